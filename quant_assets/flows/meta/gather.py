"""Freezing the sleeves: what a meta portfolio needs of finished runs, copied into a run directory of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.clock import Clock
from quant_assets.domain.meta import joined, stream
from quant_assets.domain.run_files import (
    ENVIRONMENT,
    INPUTS,
    MANIFEST,
    RESOLVED,
    SLEEVE_RETURNS,
    SLEEVE_WEIGHTS,
    STREAMS,
    WEIGHTS_FRAME,
    WEIGHTS_RECORD,
    bars_file,
)
from quant_assets.domain.verification import errors
from quant_assets.errors import ConfigurationError, VerificationError
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import (
    RunDirectory,
    RunLog,
    code_version,
    environment,
    hash_findings,
    merkle_root,
    run_id,
)
from quant_assets.lakehouse.runs.directory import sha256
from quant_assets.settings.manifest import Profile

KIND = "meta"


@dataclass(frozen=True, slots=True)
class _Gathered:
    returns: pl.DataFrame
    weights: pl.DataFrame
    sleeves: list[dict[str, Any]]
    instruments: list[dict[str, Any]]
    files: Mapping[str, pl.DataFrame]
    window: list[str]


def freeze_sleeves(
    layout: Layout, profile_name: str, profile: Profile, runs: Sequence[RunDirectory], clock: Clock
) -> RunDirectory:
    """Copy what a meta portfolio needs of finished runs; return its run directory.

    Args:
        layout: where run directories are.
        profile_name: name of the meta portfolio.
        profile: method, caps, and bounds of the sleeves by profile; a run whose profile has none is free.
        runs: the sleeves; their order does not matter.
        clock: for the run's log; no time enters the run's identity.

    Raises:
        ConfigurationError: no run, the same run twice, or runs of different sessions.
        VerificationError: a sleeve is not finished, or was altered.
        SnapshotExistsError: the run directory holds something else.
    """
    ordered = sorted(runs, key=lambda one: one.run_id)
    session = _session_of(ordered, profile_name)
    gathered = _gather(ordered)
    described = _describe(session, profile_name, gathered, ordered)
    config = {"profile": profile_name, **profile.model_dump(mode="json")}
    identity = {"inputs": described, "config": config, "code": code_version()}
    root = merkle_root(identity)
    run = RunDirectory(layout.run(run_id(session, profile_name, root)))
    names = {"run_id": run.run_id, "merkle_root": root, "code_version": identity["code"]}
    with run.writing(clock):
        run.write_json(RESOLVED, config)
        if not run.file(ENVIRONMENT).exists():
            run.write_json(ENVIRONMENT, environment())
        for name, frame in gathered.files.items():
            run.write_frame(name, frame)
        run.write_frame(SLEEVE_RETURNS, gathered.returns)
        run.write_frame(SLEEVE_WEIGHTS, gathered.weights)
        run.write_json(INPUTS, {**described, **names})
        RunLog(run, clock).note("frozen", status="ok", sleeves=[one["run_id"] for one in gathered.sleeves])
    return run


def _session_of(runs: Sequence[RunDirectory], name: str) -> date:
    """Return the session that all sleeves are of, having proved that they can be used."""
    if not runs:
        raise ConfigurationError(f"meta portfolio {name}", "it has no sleeves.", "Name runs, or set sleeves.")
    if len({one.run_id for one in runs}) < len(runs):
        raise ConfigurationError(f"meta portfolio {name}", "a run is named twice.", "A sleeve is one run.")
    for one in runs:
        if not one.is_finished:
            raise VerificationError(one.run_id, ["it is not finished: it has no manifest.json"])
        if problems := errors(hash_findings(one)):
            raise VerificationError(one.run_id, [problem.message for problem in problems])
        if one.inputs.get("kind") == KIND:
            raise ConfigurationError(f"run {one.run_id}", "it is a meta portfolio itself.", "Name the runs it is of.")
    sessions = {one.run_id: one.inputs["session"] for one in runs}
    if len(set(sessions.values())) > 1:
        told = ", ".join(f"{key} ({value})" for key, value in sessions.items())
        raise ConfigurationError(f"meta portfolio {name}", f"its sleeves are of different sessions: {told}.")
    return date.fromisoformat(next(iter(sessions.values())))


def _gather(runs: Sequence[RunDirectory]) -> _Gathered:
    streams, weights, sleeves = [], [], []
    chosen: dict[int, tuple[RunDirectory, dict[str, Any]]] = {}
    for run in runs:
        record = run.read_json(WEIGHTS_RECORD)
        streams.append(stream(run.read_frame(STREAMS), {one["atom"]: one["weight"] for one in record["atoms"]}))
        frame = run.read_frame(WEIGHTS_FRAME).select("run_id", "con_id", "symbol", "weight")
        weights.append(frame)
        for one in run.inputs["instruments"]:
            before = chosen.get(one["con_id"])
            if before is None or one["n_sessions"] > before[1]["n_sessions"]:
                chosen[one["con_id"]] = (run, one)
        sleeves.append(
            {
                "run_id": run.run_id,
                "profile": run.inputs["profile"],
                "session": run.inputs["session"],
                "method": record["method"],
                "merkle_root": run.inputs["merkle_root"],
                "manifest_sha256": sha256(run.read(MANIFEST)),
                "cash": record["cash"],
                "n_instruments": frame.height,
            }
        )
    stacked = pl.concat(weights).sort("run_id", "con_id")
    held = set(stacked["con_id"].to_list())
    instruments = [chosen[con_id] for con_id in sorted(held)]
    names = Counter(one["file"] for _, one in instruments)
    described = [
        {**one, "file": one["file"] if names[one["file"]] == 1 else bars_file(one["con_id"])} for _, one in instruments
    ]
    bars = (run.read_frame(one["file"]) for run, one in instruments)
    return _Gathered(
        returns=joined(streams),
        weights=stacked,
        sleeves=sleeves,
        instruments=described,
        files={one["file"]: frame for one, frame in zip(described, bars, strict=True)},
        window=sorted({day for run in runs for day in run.inputs["window"]}),
    )


def _describe(session: date, profile_name: str, gathered: _Gathered, runs: Sequence[RunDirectory]) -> dict[str, Any]:
    symbols = {one["symbol"] for one in gathered.instruments}
    streams = [name for name in gathered.returns.columns if name != "session"]
    return {
        "kind": KIND,
        "session": session.isoformat(),
        "profile": profile_name,
        "sleeves": gathered.sleeves,
        "streams": content_id(gathered.returns, ("session", *streams), ("session",)),
        "holdings": content_id(gathered.weights, ("run_id", "con_id", "weight"), ("run_id", "con_id")),
        "tables": {
            f"sleeve {place}: {one['profile']}": {
                "partition": one["run_id"],
                "content_id": one["manifest_sha256"],
                "n_rows": one["n_instruments"],
            }
            for place, one in enumerate(gathered.sleeves, start=1)
        },
        "window": gathered.window,
        "instruments": gathered.instruments,
        "stale": sorted({symbol for run in runs for symbol in run.inputs["stale"]} & symbols),
        "known_basis": "observed" if all(run.inputs["known_basis"] == "observed" for run in runs) else "assumed",
        "is_pit": all(run.inputs["is_pit"] for run in runs),
    }
