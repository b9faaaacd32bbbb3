"""The directory of a backtest: what it read, what it found, its report, and a digest of every file."""

import io
from datetime import date
from typing import Any

import polars as pl

from quant_assets.clock import Clock
from quant_assets.domain.reports.backtest import BacktestData, backtest_index, backtest_markdown, render_backtest
from quant_assets.domain.run_files import (
    EARNED,
    ENVIRONMENT,
    FOLDS,
    FOLDS_TEXT,
    INDEX,
    INPUTS,
    REPORT,
    REPORT_TEXT,
    RESOLVED,
    WEIGHTS_FRAME,
)
from quant_assets.domain.verification import errors
from quant_assets.errors import UnknownNameError
from quant_assets.flows.backtest.sources import History
from quant_assets.flows.backtest.walking import Walked, require_unchanged
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import (
    RunDirectory,
    RunLog,
    environment,
    hash_findings,
    merkle_root,
    run_id,
    seal_run,
    stage_code,
)
from quant_assets.settings.manifest import Profile
from quant_assets.settings.names import safe_name

KIND = "backtest"
_CODE = ("flows/backtest/walking.py", "domain/backtest/strategy.py", "domain/reports/backtest.py")
METRICS = "metrics.json"
_SUMMARY = {"backtest": pl.String, "profile": pl.String, "first": pl.String, "last": pl.String, "path": pl.String}


def store(layout: Layout, walked: Walked, history: History, profile: Profile, clock: Clock) -> RunDirectory:
    """Write a backtest; equal inputs, configuration and code give the same directory, and nothing is written again.

    Raises:
        ChangingLakeError: what the history is made of changed during the walk.
        SnapshotExistsError: the directory holds something else.
    """
    last = date.fromisoformat(walked.record["last"])
    require_unchanged(walked.inputs, history.described(walked.decisions, last))
    plan = {
        "rebalance": walked.plan.rebalance,
        "window": walked.plan.window,
        "embargo": walked.plan.embargo,
        "purge": walked.plan.purge,
    }
    described: dict[str, Any] = {
        "kind": KIND,
        "session": walked.record["last"],
        "first": walked.record["first"],
        "profile": walked.name,
        "plan": plan,
        **walked.inputs,
    }
    config = {"profile": walked.name, **profile.model_dump(mode="json")}
    identity = {"inputs": described, "config": config, "code": stage_code(_CODE)}
    root = merkle_root(identity)
    run = RunDirectory(layout.backtests / run_id(last, walked.name, root))
    names = {"run_id": run.run_id, "merkle_root": root, "code_version": identity["code"]}
    data = BacktestData(
        run_id=run.run_id,
        profile=walked.name,
        description=profile.description,
        plan=plan,
        costs=profile.costs.model_dump(mode="json"),
        inputs={**described, **names},
        record=walked.record,
        folds=walked.folds,
        returns=walked.returns,
        weights=walked.weights,
    )
    with run.writing(clock):
        run.write_json(RESOLVED, config)
        run.write_json(INPUTS, {**described, **names})
        if not run.file(ENVIRONMENT).exists():
            run.write_json(ENVIRONMENT, environment())
        run.write_frame(FOLDS, walked.folds)
        run.write_frame(EARNED, walked.returns)
        run.write_frame(WEIGHTS_FRAME, walked.weights)
        run.write(FOLDS_TEXT, _csv(walked.folds))
        run.write_json(METRICS, walked.record)
        RunLog(run, clock).note("walked", status="ok", n_folds=walked.record["n_folds"])
        run.write(REPORT, render_backtest(data))
        run.write(REPORT_TEXT, backtest_markdown(data))
        run.write(INDEX, backtest_index(data))
        RunLog(run, clock).note("report", status="ok")
        seal_run(run)
    return run


def _csv(frame: pl.DataFrame) -> str:
    buffer = io.StringIO()
    frame.write_csv(buffer, float_precision=9)
    return buffer.getvalue()


def list_backtests(layout: Layout) -> pl.DataFrame:
    """Return all finished backtests: backtest, profile, first, last, path."""
    found = sorted(layout.backtests.glob("[!.]*")) if layout.backtests.is_dir() else []
    runs = [run for run in map(RunDirectory, found) if run.is_finished]
    rows = [
        (run.run_id, run.inputs["profile"], run.inputs["first"], run.inputs["session"], layout.relative(run.path))
        for run in runs
    ]
    return pl.DataFrame(rows, schema=_SUMMARY, orient="row")


def newest_walk(layout: Layout, name: str, profile: Profile, until: date) -> dict[str, Any] | None:
    """Return what the newest backtest of a profile came to: backtest, inputs, plan, record.

    It has to be of the very configuration, to end by `until`, and to be whole; of those that end alike the longest.
    """
    config = {"profile": name, **profile.model_dump(mode="json")}
    listed = list_backtests(layout).filter(pl.col("profile") == name, pl.col("last") <= str(until))
    for found in listed.sort("last", "first", "backtest", descending=[True, False, False])["backtest"]:
        run = RunDirectory(layout.backtests / found)
        if run.resolved == config and not errors(hash_findings(run)):
            told = {key: run.inputs[key] for key in ("label", "known_basis", "is_pit", "merkle_root")}
            return {"backtest": found, "inputs": told, "plan": run.inputs["plan"], "record": run.read_json(METRICS)}
    return None


def open_backtest(layout: Layout, name: str) -> RunDirectory:
    """Return a backtest's directory.

    Raises:
        UnknownNameError: there is no such one.
        UnsafeNameError: the name has characters that none has.
    """
    path = layout.backtests / safe_name("backtest", name)
    if not path.is_dir():
        raise UnknownNameError("backtest", name, list_backtests(layout)["backtest"].to_list())
    return RunDirectory(path)
