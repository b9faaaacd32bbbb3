"""What each stage depends on, what it makes, and how that is served again where none of it changed.

A result leaves out session, profile and run id, which name a run and decide no number: two profiles that ask for the
same matrix share it. Only the making of a run is served from the cache; verification always computes.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from quant_assets.domain.run_files import (
    CERTIFICATE,
    COMPOSITION,
    MATRIX,
    SELECTION_FRAME,
    SELECTION_RECORD,
    STREAMS,
    WEIGHTS_FRAME,
    WEIGHTS_RECORD,
)
from quant_assets.domain.tables import RETURNS_MATRIX, SELECTION, SYNTHETIC_RETURNS, WEIGHTS, Table
from quant_assets.errors import CorruptFileError
from quant_assets.flows.alpha.compute import label
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.runs import RunDirectory, RunLog, StageCache, environment, key_of, read_log, stage_code

CACHE, COMPUTED = "cache", "computed"
"""Where the result of a stage came from, as the run's log says it."""

_LABELS = ("session", "profile", "run_id")
_SCREEN = {"top_n", "min_price", "min_dollar_volume", "min_coverage", "ranking"}
"""Keys of `selection` that the screen reads, before the snapshot."""
_MATRIX = {"max_abs_return", "max_missing_fraction"}
"""Keys of `risk` that the returns matrix reads."""

Described = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, its code, what it reads and what it makes."""

    name: str
    code: tuple[str, ...]
    """Modules that compute it; what they import counts as well."""
    config: Callable[[Mapping[str, Any]], Described]
    """From the resolved profile to the keys that are read."""
    instrument: tuple[str, ...]
    """What is read of each instrument in config/inputs.json."""
    reads: tuple[str, ...]
    """Files of earlier stages."""
    makes: Mapping[str, Table | None]
    """Files that are kept; of the rows of a table without their labels."""
    inputs: tuple[str, ...] = ("window",)
    """Further entries of config/inputs.json."""

    def origin(self, run: RunDirectory) -> dict[str, Any]:
        """Return everything that the result depends on; equal origins give equal results."""
        instruments = sorted(run.inputs["instruments"], key=lambda one: int(one["con_id"]))
        return {
            "inputs": {
                "instruments": [[one[name] for name in ("con_id", *self.instrument)] for one in instruments],
                **{name: run.inputs.get(name) for name in self.inputs},
                **{name: _content(run.read_frame(name)) for name in self.reads},
            },
            "config": dict(self.config(run.resolved)),
            "code": stage_code(self.code),
            "environment": environment(),
        }


RETURNS = Stage(
    name="returns",
    code=("flows/alpha/compute.py",),
    config=lambda profile: {
        "data": {"min_sessions_floor": profile["data"]["min_sessions_floor"]},
        "risk": {name: profile["risk"][name] for name in sorted(_MATRIX)},
    },
    instrument=("symbol", "content_id"),
    reads=(),
    makes={MATRIX: None, CERTIFICATE: RETURNS_MATRIX},
)

CHOICE = Stage(
    name="selection",
    code=("flows/alpha/choose.py",),
    config=lambda profile: {"selection": _but(profile["selection"], _SCREEN)},
    instrument=("symbol", "content_id"),
    reads=(MATRIX, CERTIFICATE),
    makes={SELECTION_FRAME: SELECTION, SELECTION_RECORD: None},
)

SYNTHESIS = Stage(
    name="synthesis",
    code=("flows/alpha/combine.py",),
    config=lambda profile: {"synthesis": profile["synthesis"]},
    instrument=("symbol", "content_id"),
    reads=(MATRIX, SELECTION_FRAME),
    makes={STREAMS: None, COMPOSITION: SYNTHETIC_RETURNS},
)

ALLOCATION = Stage(
    name="weights",
    code=("flows/alpha/weigh.py",),
    config=lambda profile: {"risk": _but(profile["risk"], _MATRIX), "costs": profile["costs"]},
    instrument=("symbol", "content_id", "sector", "currency"),
    reads=(MATRIX, SELECTION_FRAME, STREAMS, COMPOSITION),
    makes={WEIGHTS_FRAME: WEIGHTS, WEIGHTS_RECORD: None},
    inputs=("window", "previous"),
)

STAGES = (RETURNS, CHOICE, SYNTHESIS, ALLOCATION)
"""Those that are served from the cache; a report names its run, and is written for each."""


def reuse(run: RunDirectory, stage: Stage, cache: StageCache | None, log: RunLog) -> str:
    """Copy a stage's result from the cache into the run, if it is there; return `cache` or `computed`.

    A damaged entry is put on record, forgotten, and computed again.

    Raises:
        SnapshotExistsError: the run holds another result already.
    """
    if cache is None:
        return COMPUTED
    key = key_of(stage.origin(run))
    try:
        parts = cache.get(stage.name, key)
    except CorruptFileError as error:
        cache.drop(stage.name, key)
        log.note("cache_damaged", status="warn", stage=stage.name, key=key, problem=error.path.name)
        return COMPUTED
    if parts is None or parts.keys() != stage.makes.keys():
        return COMPUTED
    for name, table in stage.makes.items():
        if table is None:
            run.write(name, parts[name])
        else:
            run.write_frame(name, _labelled(pl.read_parquet(io.BytesIO(parts[name])), table, run))
    return CACHE


def keep(run: RunDirectory, stage: Stage, cache: StageCache | None) -> None:
    """Put what a stage made into the cache."""
    if cache is not None:
        parts = {
            name: run.read(name) if table is None else _bytes(_bare(run.read_frame(name)))
            for name, table in stage.makes.items()
        }
        cache.put(stage.name, stage.origin(run), parts)


def origins(run: RunDirectory) -> dict[str, str]:
    """Return where the result of each stage came from, by stage, as the run's log says."""
    return {line["event"]: line["origin"] for line in read_log(run) if "origin" in line}


def _but(section: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in names}


def _bare(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the columns that name a run; a matrix has sessions in its rows and keeps them."""
    return frame.drop(_LABELS) if "run_id" in frame.columns else frame


def _labelled(bare: pl.DataFrame, table: Table, run: RunDirectory) -> pl.DataFrame:
    labels = label(run)
    return table.conform(bare.with_columns(pl.lit(labels[name]).alias(name) for name in _LABELS))


def _content(frame: pl.DataFrame) -> str:
    bare = _bare(frame)
    return content_id(bare, bare.columns, ())


def _bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="snappy", statistics=True)
    return buffer.getvalue()
