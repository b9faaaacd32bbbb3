"""`quant why RUN SYMBOL`: from a weight back to the bars that it was made of, read from the run directory alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from quant_assets.domain.comparison import Fate
from quant_assets.domain.run_files import (
    CERTIFICATE,
    COMPOSITION,
    PROVENANCE,
    SELECTION_FRAME,
    SELECTION_RECORD,
    WEIGHTS_RECORD,
)
from quant_assets.domain.synthesis import Atom, atoms_of
from quant_assets.errors import NotInRunError, UnknownNameError
from quant_assets.flows.alpha.compute import profile_of
from quant_assets.flows.alpha.fates import fates_of, require_instruments
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.settings.manifest import RiskConfig

_BINDING = 1e-6


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an instrument has the weight that it has; every part says from which file of the run it was read."""

    run_id: str
    con_id: int
    symbol: str
    long_name: str
    verdict: str
    """`weighted`, `no weight` (selected, and the optimizer gave it nothing), or the stage that left it out."""
    reason: str
    method: str
    weight: float
    risk_contribution: float | None
    limits: list[dict[str, Any]]
    """Caps that the weight stands under: name, group, value, cap, and whether it binds."""
    atoms: list[dict[str, Any]]
    """atom, logic, direction, timescale, live, weight, held = weight x direction x live signal."""
    score: dict[str, Any] | None
    """score, rank, of, cluster, cluster_mates, terms (value, p, weight, term per metric; terms sum to ln score)."""
    vetoes: list[dict[str, Any]]
    """metric, bounds, value where the run holds it; `kept` is false for the veto that rejected it."""
    returns: dict[str, Any]
    """verdict, reason, n_returns, missing_fraction, first_session, last_session of the coverage certificate."""
    candidate: dict[str, Any]
    """rank, verdict, reasons, is_pit, and the numbers that the screen looked at."""
    bars: dict[str, Any]
    """file, content_id, n_sessions, first_session, last_session, known_basis, and the table that it was frozen from."""
    requests: list[dict[str, Any]]
    """TWS requests that served the bars: vintage, what_to_show, request_id, batch_id, n_bars, sessions, ingested_at."""
    requests_from: str
    """`lakehouse`, `run directory`, or `nowhere` when neither knows."""
    quarantine: list[dict[str, Any]]
    """1-minute bars of the window that quarantine held back: rule, verdict, n_rows, n_sessions."""


@dataclass(frozen=True)
class _Files:
    """What explanations read of a run; each file is read once, however many weights are explained."""

    run: RunDirectory

    @cached_property
    def record(self) -> dict[str, Any]:
        return dict(self.run.read_json(WEIGHTS_RECORD))

    @cached_property
    def chosen(self) -> pl.DataFrame:
        return self.run.read_frame(SELECTION_FRAME)

    @cached_property
    def bounds(self) -> dict[str, dict[str, float]]:
        return dict(self.run.read_json(SELECTION_RECORD)["vetoes"])

    @cached_property
    def certificate(self) -> pl.DataFrame:
        return self.run.read_frame(CERTIFICATE)

    @cached_property
    def atoms(self) -> list[Atom]:
        return list(atoms_of(self.run.read_frame(COMPOSITION)))

    @cached_property
    def fates(self) -> dict[int, Fate]:
        return fates_of(self.run)

    @cached_property
    def kept(self) -> dict[str, Any]:
        return provenance_of(self.run)

    @cached_property
    def instruments(self) -> dict[int, dict[str, Any]]:
        return {one["con_id"]: one for one in self.run.inputs["instruments"]}

    @cached_property
    def risk(self) -> RiskConfig:
        return profile_of(self.run).risk


def provenance_of(run: RunDirectory) -> dict[str, Any]:
    """Return what a run keeps of where its bars came from.

    Returns:
        `certificate` of the session, and whom of the run it names as `degraded`; `requests`, `quarantine`.
    """
    kept = run.read_json(PROVENANCE) if run.file(PROVENANCE).is_file() else {}
    return {"certificate": "", "degraded": [], "requests": [], "quarantine": [], **kept}


def explain(run: RunDirectory, symbol: str, requests: Sequence[Mapping[str, Any]] | None = None) -> Explanation:
    """Explain the weight of an instrument, or why it has none.

    Args:
        run: a run that has weights.
        symbol: `EXCHANGE:SYMBOL`, a symbol that only one instrument of the run has, or a con_id.
        requests: what the lakehouse knows of the requests behind the frozen bars; without it the run's own record.

    Raises:
        ConfigurationError: the run is a meta portfolio.
        NotInRunError: the instrument was judged, and no bar of it was frozen.
        UnknownNameError: the universe of the run has no such instrument.
    """
    require_instruments(run)
    files = _Files(run)
    return _explained(files, _found(files, symbol), requests)


def explain_all(run: RunDirectory, limit: int | None = None) -> list[Explanation]:
    """Explain the instruments that have a weight, the largest first."""
    files = _Files(run)
    weights = [(-abs(one["weight"]), one["con_id"]) for one in files.record["weights"] if one["weight"]]
    return [_explained(files, con_id) for _, con_id in sorted(weights)[:limit]]


def _explained(files: _Files, con_id: int, requests: Sequence[Mapping[str, Any]] | None = None) -> Explanation:
    one, fate, record = files.instruments[con_id], files.fates[con_id], files.record
    weighed = next((row for row in record["weights"] if row["con_id"] == con_id), None)
    weight = weighed["weight"] if weighed else 0.0
    frozen = [row for row in files.kept["requests"] if row["con_id"] == con_id]
    return Explanation(
        run_id=files.run.inputs["run_id"],
        con_id=con_id,
        symbol=one["symbol"],
        long_name=one["long_name"] or "",
        verdict=("weighted" if weight else "no weight") if fate.is_selected else fate.stage,
        reason=fate.reason,
        method=record["method"],
        weight=weight,
        risk_contribution=weighed["risk_contribution"] if weighed else None,
        limits=_limits(files, con_id, weight),
        atoms=_atoms(files, con_id),
        score=_score(files.chosen, con_id),
        vetoes=_vetoes(files, con_id),
        returns=_certified(files.certificate, con_id),
        candidate=_candidate(files.run, con_id),
        bars=_bars(files.run, one),
        requests=[dict(row) for row in (requests or frozen)],
        requests_from="lakehouse" if requests else "run directory" if frozen else "nowhere",
        quarantine=[row for row in files.kept["quarantine"] if row["con_id"] == con_id],
    )


def _found(files: _Files, symbol: str) -> int:
    """Return the con_id that a name stands for among the frozen instruments."""
    run = files.run
    judged = {one["con_id"]: one for one in run.audit_trail}
    named = {con_id: one["symbol"] for con_id, one in judged.items()}
    named |= {con_id: one["symbol"] for con_id, one in files.instruments.items()}
    hits = [i for i, name in named.items() if symbol in (name, name.partition(":")[2], str(i))]
    if len(hits) != 1:
        raise UnknownNameError("instrument of the run", symbol, named.values())
    if hits[0] not in files.instruments:
        raise NotInRunError(run.run_id, named[hits[0]], judged[hits[0]]["reasons"])
    return int(hits[0])


def _limits(files: _Files, con_id: int, weight: float) -> list[dict[str, Any]]:
    risk, record = files.risk, files.record
    if not weight:
        return []
    sector = next(row["sector"] for row in record["weights"] if row["con_id"] == con_id)
    cluster = str(files.chosen.row(by_predicate=pl.col("con_id") == con_id, named=True)["cluster"])
    rows = (
        ("instrument", "", abs(weight), risk.max_weight),
        ("sector", sector, abs(record["sectors"].get(sector, 0.0)), risk.sector_cap),
        ("cluster", cluster, record["clusters"].get(cluster, 0.0), risk.cluster_cap),
    )
    return [
        {"limit": name, "group": group, "value": value, "cap": cap, "binds": value >= cap - _BINDING}
        for name, group, value, cap in rows
    ]


def _atoms(files: _Files, con_id: int) -> list[dict[str, Any]]:
    given = {one["atom"]: one["weight"] for one in files.record["atoms"]}
    mine = [atom for atom in files.atoms if atom.con_id == con_id]
    return [
        {
            "atom": atom.name,
            "logic": atom.logic,
            "direction": atom.direction,
            "timescale": atom.timescale,
            "live": atom.live,
            "weight": given.get(atom.name, 0.0),
            "held": given.get(atom.name, 0.0) * atom.exposure + 0.0,
            "reason": atom.reason,
        }
        for atom in mine
    ]


def _score(chosen: pl.DataFrame, con_id: int) -> dict[str, Any] | None:
    scored = chosen.filter(pl.col("score").is_not_null()).sort("score", "con_id", descending=[True, False])
    mine = scored.filter(pl.col("con_id") == con_id)
    if mine.is_empty():
        return None
    row = mine.row(0, named=True)
    mates = scored.filter((pl.col("cluster") == row["cluster"]) & (pl.col("con_id") != con_id))
    terms = [{"metric": name, **term} for name, term in json.loads(row["terms"]).items()]
    return {
        "score": row["score"],
        "rank": scored["con_id"].to_list().index(con_id) + 1,
        "of": scored.height,
        "cluster": row["cluster"],
        "cluster_mates": sorted(mates["symbol"].to_list()),
        "terms": sorted(terms, key=lambda one: (one["term"], one["metric"])),
    }


def _vetoes(files: _Files, con_id: int) -> list[dict[str, Any]]:
    row = files.chosen.row(by_predicate=pl.col("con_id") == con_id, named=True)
    terms = json.loads(row["terms"]) if row["terms"] else {}
    return [
        {
            "metric": name,
            **limits,
            "value": terms[name]["value"] if name in terms else None,
            "kept": not any(part.startswith(f"veto_{name}:") for part in row["reason"].split(";")),
        }
        for name, limits in files.bounds.items()
    ]


def _certified(certificate: pl.DataFrame, con_id: int) -> dict[str, Any]:
    row = certificate.row(by_predicate=pl.col("con_id") == con_id, named=True)
    names = ("verdict", "reason", "n_returns", "missing_fraction", "first_session", "last_session")
    return {name: str(row[name]) if name.endswith("session") else row[name] for name in names}


def _candidate(run: RunDirectory, con_id: int) -> dict[str, Any]:
    one = next(row for row in run.audit_trail if row["con_id"] == con_id)
    return {name: one[name] for name in ("rank", "verdict", "reasons", "logic", "is_pit", "metadata")}


def _bars(run: RunDirectory, one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("file", "content_id", "n_sessions", "first_session", "last_session", "n_warnings", "known_basis")
    table = run.inputs["tables"]["curated_tws_1d_bars"]
    source = {"table": "curated_tws_1d_bars", "partition": table["partition"], "table_content_id": table["content_id"]}
    return {**{name: one[name] for name in names}, **source}
