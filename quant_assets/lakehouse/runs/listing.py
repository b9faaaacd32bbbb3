"""Which runs there are."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.domain.run_files import INPUTS, MANIFEST, WEIGHTS_RECORD
from quant_assets.errors import CorruptFileError, NotARunError, UnknownNameError
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs.directory import RunDirectory


def open_run(layout: Layout, run_id: str) -> RunDirectory:
    """Return an existing run directory.

    Raises:
        UnknownNameError: there is no such run.
        UnsafeNameError: the id has characters that no run id has.
    """
    path = layout.run(run_id)
    if not path.is_dir():
        raise UnknownNameError("run", run_id, (one.name for one in _directories(layout)))
    return RunDirectory(path)


def find_run(name: str, layout: Callable[[], Layout]) -> RunDirectory:
    """Return a run by its id, or by the path of its directory, which may lie anywhere.

    Args:
        name: an id or a path; a directory of that name wins.
        layout: asked only for an id, so that a run that was copied to a machine without a lakehouse can be opened.

    Raises:
        UnknownNameError: there is no such run.
        NotARunError: the path is no run directory.
    """
    path = Path(name).expanduser()
    if not path.is_dir() and "/" not in name and os.sep not in name:
        return open_run(layout(), name)
    if not (path / "config" / "inputs.json").is_file() and not (path / MANIFEST).is_file():
        raise NotARunError(path)
    return RunDirectory(path.resolve())


_SUMMARY = {
    "run_id": pl.String,
    "session": pl.String,
    "profile": pl.String,
    "method": pl.String,
    "n_instruments": pl.Int64,
    "state": pl.String,
    "path": pl.String,
}


def list_runs(layout: Layout) -> pl.DataFrame:
    """Return all runs: run_id, session, profile, method (after fallbacks), n_instruments, state, path.

    `state` is finished (sealed by a manifest), partial (killed or not yet reported) or broken (unreadable).
    """
    rows = [_summary(RunDirectory(path), layout) for path in _directories(layout)]
    return pl.DataFrame(rows, schema=_SUMMARY, orient="row")


def _directories(layout: Layout) -> list[Path]:
    return sorted(path for path in layout.runs.glob("[!.]*") if path.is_dir()) if layout.runs.is_dir() else []


def _summary(run: RunDirectory, layout: Layout) -> tuple[Any, ...]:
    where = layout.relative(run.path)
    try:
        inputs = run.inputs
        method = run.read_json(WEIGHTS_RECORD)["method"] if run.file(WEIGHTS_RECORD).exists() else None
    except (CorruptFileError, KeyError, TypeError):
        has_inputs = run.file(INPUTS).exists()
        return (run.run_id, None, None, None, None, "broken" if has_inputs else "partial", where)
    state = "finished" if run.is_finished else "partial"
    return (run.run_id, inputs["session"], inputs["profile"], method, len(inputs["instruments"]), state, where)
