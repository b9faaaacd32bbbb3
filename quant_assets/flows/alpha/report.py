"""From the files of a run to what its report shows."""

import json
from typing import Any

import numpy as np
import polars as pl

from quant_assets.domain.reports import (
    Choice,
    Excluded,
    Held,
    Position,
    Quality,
    Reason,
    ReportData,
    Scored,
    Tree,
    correlation,
    track,
    tree,
)
from quant_assets.domain.returns import complete_cases, con_ids
from quant_assets.domain.run_files import (
    BIAS,
    CERTIFICATE,
    ENVIRONMENT,
    MATRIX,
    SELECTION_FRAME,
    SELECTION_RECORD,
    WALKED,
    WEIGHTS_RECORD,
)
from quant_assets.domain.verification import Finding
from quant_assets.flows.alpha.compute import profile_of
from quant_assets.flows.alpha.why import Explanation, explain_all, provenance_of
from quant_assets.lakehouse.runs import RunDirectory


def report_data(run: RunDirectory) -> ReportData:
    """Read everything that the report shows from the run directory."""
    inputs, profile = run.inputs, profile_of(run)
    record = json.loads(run.read(WEIGHTS_RECORD))
    matrix = run.read_frame(MATRIX)
    certificate = run.read_frame(CERTIFICATE)
    positions = _positions(run, record)
    cases = complete_cases(matrix.select("session", *(str(one.con_id) for one in positions)))
    weight_of = {one.con_id: one.weight for one in positions}
    symbol_of = {one.con_id: one.symbol for one in positions}
    return ReportData(
        run_id=inputs["run_id"],
        session=inputs["session"],
        profile=inputs["profile"],
        description=profile.description,
        requested=record["requested"],
        method=record["method"],
        fallbacks=record["fallbacks"],
        cash=record["cash"],
        net=record["net"],
        gross=record["gross"],
        max_weight=profile.risk.max_weight,
        sector_cap=profile.risk.sector_cap,
        positions=positions,
        choice=_choice(run, record, profile.risk.cluster_cap),
        sectors=record["sectors"],
        correlation=correlation(cases.values, [symbol_of[con_id] for con_id in cases.con_ids]),
        tree=_tree(run, matrix),
        track=track(cases.values, np.array([weight_of[con_id] for con_id in cases.con_ids]), cases.sessions),
        n_matrix_sessions=matrix.height,
        excluded=_excluded(run, certificate),
        quality=_quality(run, certificate),
        quarantined=_held(run),
        bias=run.read_json(BIAS) if run.file(BIAS).is_file() else None,
        walked=run.read_json(WALKED) if run.file(WALKED).is_file() else None,
        whys=[_why(one) for one in explain_all(run, _EXPLAINED)],
        certificate=provenance_of(run)["certificate"],
        degraded=provenance_of(run)["degraded"],
        n_requests=len({one["request_id"] for one in provenance_of(run)["requests"]}),
        stale=inputs["stale"],
        stale_policy=profile.data.stale_policy,
        known_basis=inputs["known_basis"],
        is_pit=inputs["is_pit"],
        findings=[Finding(**one) for one in record["findings"]],
        tables=inputs["tables"],
        merkle_root=inputs["merkle_root"],
        code_version=inputs["code_version"],
        environment=run.read_json(ENVIRONMENT),
    )


_EXPLAINED = 60
"""Positions whose reasons the report tells; `quant why` tells those of all."""


def _tree(run: RunDirectory, matrix: pl.DataFrame) -> Tree | None:
    rows = run.read_frame(SELECTION_FRAME).filter(pl.col("cluster").is_not_null())
    by_id = {con_id: (symbol, cluster) for con_id, symbol, cluster in rows.select("con_id", "symbol", "cluster").rows()}
    known = [con_id for con_id in con_ids(matrix) if con_id in by_id]
    values = matrix.select(map(str, known)).fill_null(float("nan")).to_numpy()
    return tree(values, [by_id[i][0] for i in known], [by_id[i][1] for i in known])


def _held(run: RunDirectory) -> list[Held]:
    symbols = {one["con_id"]: one["symbol"] for one in run.inputs["instruments"]}
    return [
        Held(symbols[one["con_id"]], one["rule"], one["verdict"], one["n_rows"], one["n_sessions"])
        for one in provenance_of(run)["quarantine"]
    ]


def _why(one: Explanation) -> Reason:
    assert one.score is not None
    terms = one.score["terms"]
    return Reason(
        symbol=one.symbol,
        weight=one.weight,
        atoms=[_atom(atom) for atom in one.atoms if atom["held"]],
        score=one.score["score"],
        rank=one.score["rank"],
        n_scored=one.score["of"],
        best=terms[-1]["metric"] if terms else "",
        worst=terms[0]["metric"] if terms else "",
        caps=[f"{limit['limit']} {limit['group']}".strip() for limit in one.limits if limit["binds"]],
        bars_id=one.bars["content_id"],
        n_requests=len(one.requests),
    )


def _atom(atom: dict[str, Any]) -> str:
    """Return an atom in words: `long only`, or `momentum short 63`."""
    logic = atom["logic"].replace("_", " ")
    return logic if logic == "long only" else f"{logic} {atom['direction'].lower()} {atom['timescale']}"


def _positions(run: RunDirectory, record: dict[str, Any]) -> list[Position]:
    names = {one["con_id"]: one["long_name"] or "" for one in run.inputs["instruments"]}
    return [Position(long_name=names[one["con_id"]], **one) for one in record["weights"]]


def _choice(run: RunDirectory, record: dict[str, Any], cluster_cap: float) -> Choice:
    made = run.read_json(SELECTION_RECORD)
    rows = run.read_frame(SELECTION_FRAME).filter(pl.col("score").is_not_null())
    scored = [
        Scored(
            symbol=row["symbol"],
            verdict=row["verdict"],
            reason=row["reason"],
            score=row["score"],
            cluster=row["cluster"],
            terms={name: term["term"] for name, term in json.loads(row["terms"]).items()},
        )
        for row in rows.sort("score", "con_id", descending=[True, False]).iter_rows(named=True)
    ]
    return Choice(
        scored=scored,
        weights=made["weights"],
        ladder=made["ladder"],
        clusters=record["clusters"],
        cluster_cap=cluster_cap,
        atoms=record["atoms"],
        costs=record["costs"],
        cash_idle=record["cash_idle"],
    )


def _excluded(run: RunDirectory, certificate: pl.DataFrame) -> list[Excluded]:
    """Return who was not selected, then who was dropped from the matrix, then who never became a candidate."""
    judged = run.read_frame(SELECTION_FRAME).filter(verdict="rejected").filter(pl.col("score").is_not_null())
    dropped = certificate.filter(pl.col("verdict") == "dropped").select("symbol", "reason").rows()
    rejected = [one for one in run.audit_trail if one["verdict"] == "rejected"]
    return [
        *(Excluded(symbol, "selection", reason) for symbol, reason in judged.select("symbol", "reason").rows()),
        *(Excluded(symbol, "returns", reason) for symbol, reason in dropped),
        *(Excluded(one["symbol"], "screen", one["reasons"]) for one in rejected),
    ]


def _quality(run: RunDirectory, certificate: pl.DataFrame) -> list[Quality]:
    rows = {row["con_id"]: row for row in certificate.iter_rows(named=True)}
    return [
        Quality(
            symbol=one["symbol"],
            n_sessions=one["n_sessions"],
            n_returns=rows[one["con_id"]]["n_returns"],
            missing_fraction=rows[one["con_id"]]["missing_fraction"],
            first_session=one["first_session"],
            last_session=one["last_session"],
            n_warnings=one["n_warnings"],
            known_basis=one["known_basis"],
        )
        for one in run.inputs["instruments"]
    ]
