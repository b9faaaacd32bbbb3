"""Freezing: the inputs of a run, copied into a directory that never changes again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from quant_assets.clock import Clock
from quant_assets.domain.limits import Limits
from quant_assets.domain.run_files import BIAS, ENVIRONMENT, INPUTS, JUDGED, PROVENANCE, RESOLVED, WALKED
from quant_assets.domain.tables import SNAPSHOTS
from quant_assets.errors import DefectError
from quant_assets.flows.reader import Reader
from quant_assets.flows.snapshot.gather import Gathered, Request, frozen, gather
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, RunLog, code_version, environment, merkle_root, run_id
from quant_assets.lakehouse.runs.record import read_log
from quant_assets.settings.manifest import Profile


@dataclass(frozen=True, slots=True)
class Previous:
    """The weights held before this run, by con_id: what a turnover limit is measured from."""

    session: date
    run_id: str
    content_id: str
    weights: Mapping[int, float]

    def described(self) -> dict[str, Any]:
        """Return it as a part of config/inputs.json."""
        held = {str(con_id): weight for con_id, weight in sorted(self.weights.items()) if weight}
        return {"session": str(self.session), "run_id": self.run_id, "content_id": self.content_id, "weights": held}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen run, its row of SNAPSHOTS, and what stale and degraded instruments it holds."""

    run: RunDirectory
    frame: pl.DataFrame
    inputs: dict[str, str]
    stale: tuple[str, ...]
    degraded: tuple[str, ...]
    """Instruments that the session's certificate names as degraded; none is kept out for it."""
    is_unchanged: bool
    """The run directory stood already, and nothing was written."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.run.run_id


def freeze(
    store: Reader,
    layout: Layout,
    session: date,
    profile_name: str,
    profile: Profile,
    sessions_window: Sequence[date],
    clock: Clock,
    *,
    base_currency: str = "USD",
    limits: Limits | None = None,
    previous: Previous | None = None,
    evidence: Callable[[pl.DataFrame, Sequence[date]], Mapping[str, Any]] | None = None,
    walked: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Copy the accepted candidates and their daily bars into a run directory.

    Args:
        store: the lakehouse.
        layout: where run directories are.
        session: the session that weights are wanted for.
        profile_name: the profile's own name, never an alias.
        profile: configuration; it becomes part of the run's identity.
        sessions_window: the calendar's sessions up to and including `session`; the last `data.lookback_sessions` of
            them are frozen.
        base_currency: what every instrument has to be quoted in.
        limits: of today, which the session's certificate has to keep; None asks for none.
        clock: for the run's log; no time enters the run's identity.
        previous: the weights of the run before, where the profile limits turnover.
        evidence: from the frozen bars and sessions to where they came from; kept beside them as
            config/provenance.json. It names no input, so that it is no part of the run's identity either.
        walked: what a backtest of the profile came to, for the report; kept as config/walk_forward.json, and no part of
            the run's identity.

    Returns:
        The snapshot. With unchanged inputs, configuration and code it is the run that stands already.

    Raises:
        SnapshotIncompleteError: lists everything that is missing, too short, stale or altered, and how it is mended.
        SnapshotExistsError: the run directory holds something else.
    """
    window = tuple(sorted(set(sessions_window)))[-profile.data.lookback_sessions :]
    if not window or window[-1] != session:
        raise DefectError(f"the window of sessions must end with {session}")
    request = Request(session, profile_name, profile, window, base_currency, limits)
    gathered = gather(store, request)
    described = _describe(request, gathered) | ({"previous": previous.described()} if previous else {})
    identity = {"inputs": described, "config": _resolved(request), "code": code_version()}
    root = merkle_root(identity)
    run = RunDirectory(layout.run(run_id(session, profile_name, root)))
    names = {"run_id": run.run_id, "merkle_root": root, "code_version": identity["code"]}
    with run.writing(clock):
        is_unchanged = not _write(run, request, gathered, {**described, **names})
        if evidence is not None and not run.file(PROVENANCE).exists() and not run.is_finished:
            told = evidence(gathered.bars, window)
            certified = {"certificate": gathered.certificate_id, "degraded": list(gathered.degraded)}
            run.write_json(PROVENANCE, certified | dict(told))
        if walked is not None and not run.file(WALKED).exists() and not run.is_finished:
            run.write_json(WALKED, walked)
        _log(RunLog(run, clock), request, gathered)
    return Snapshot(
        run=run,
        frame=_row(run, request, described, root),
        inputs={f"{name}|{request.session}": footer.content_id for name, footer in gathered.footers.items()},
        stale=gathered.stale,
        degraded=gathered.degraded,
        is_unchanged=is_unchanged,
    )


def _resolved(request: Request) -> dict[str, Any]:
    return {"profile": request.profile_name, **request.profile.model_dump(mode="json")}


def _describe(request: Request, gathered: Gathered) -> dict[str, Any]:
    """Return config/inputs.json without the names that follow from it."""
    bases = {one["known_basis"] for one in gathered.instruments}
    accepted = gathered.candidates.filter(pl.col("verdict") == "accepted")
    tables = {
        table.name: {
            "partition": partition.key,
            "content_id": gathered.footers[table.name].content_id,
            "n_rows": gathered.footers[table.name].n_rows,
        }
        for table, partition in request.partitions
    }
    return {
        "session": request.session.isoformat(),
        "profile": request.profile_name,
        "tables": tables,
        "window": [session.isoformat() for session in request.window],
        "instruments": gathered.instruments,
        "stale": list(gathered.stale),
        "known_basis": "observed" if bases == {"observed"} else "assumed",
        "is_pit": bool(accepted["is_pit"].all()),
    }


def _write(run: RunDirectory, request: Request, gathered: Gathered, inputs: dict[str, Any]) -> bool:
    """Write the run's configuration and data; return whether anything was new."""
    rows = gathered.candidates.drop("session", "profile").to_dicts()
    audit = [{**row, "metadata": json.loads(row["metadata"])} for row in rows]
    written = [
        run.write_json(RESOLVED, _resolved(request)),
        run.write_json(JUDGED, {"instruments": audit}),
        run.write_json(BIAS, gathered.bias),
    ]
    if not run.file(ENVIRONMENT).exists():
        written.append(run.write_json(ENVIRONMENT, environment()))
    for one in gathered.instruments:
        bars = gathered.bars.filter(pl.col("con_id") == one["con_id"])
        written.append(run.write_frame(one["file"], frozen(bars)))
    written.append(run.write_json(INPUTS, inputs))
    return any(written)


def _log(log: RunLog, request: Request, gathered: Gathered) -> None:
    if gathered.tolerated:
        policy = request.profile.data.stale_policy
        log.note("tolerated", status="warn" if policy == "warn" else "ok", policy=policy, problems=gathered.tolerated)
    if gathered.degraded:
        log.note("degraded", status="warn", instruments=gathered.degraded)
    log.note(
        "frozen",
        status="ok",
        n_instruments=len(gathered.instruments),
        n_sessions=len(request.window),
        certificate=gathered.certificate_id,
    )


def _row(run: RunDirectory, request: Request, described: dict[str, Any], root: str) -> pl.DataFrame:
    stamps = [line["timestamp"] for line in read_log(run) if line["event"] == "frozen"]
    row = {
        "session": request.session,
        "profile": request.profile_name,
        "run_id": run.run_id,
        "merkle_root": root,
        "n_instruments": len(described["instruments"]),
        "n_sessions": len(request.window),
        "stale_policy": request.profile.data.stale_policy,
        "known_basis": described["known_basis"],
        "is_pit": described["is_pit"],
        "created_at": datetime.fromisoformat(stamps[0]).astimezone(UTC),
    }
    return SNAPSHOTS.conform(SNAPSHOTS.frame([row]))
