"""Blast radius: what the vendor changed of a session after it was first served, and which runs had read it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.domain.bars import newest_answers
from quant_assets.domain.differences import ColumnChange, difference
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, Table
from quant_assets.errors import CorruptFileError
from quant_assets.flows.ingest.vintages import FULL_EVERY
from quant_assets.flows.work import Work
from quant_assets.lakehouse.footer import instant_text
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.runs import RunDirectory, list_runs
from quant_assets.lakehouse.runs.record import read_log

_VALUES = ("open", "high", "low", "close", "volume")
_SAME = 1e-9
"""Relative difference that arithmetic leaves when a basis is put on another one."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What one later answer changed of one instrument's session."""

    table: str
    session: date
    con_id: int
    symbol: str
    arrived_at: datetime
    batch_id: str
    n_added: int
    n_removed: int
    n_changed: int
    columns: dict[str, ColumnChange]
    rescaled_by: float = 1.0
    """Factor between the price bases of the answers, taken out before comparing."""
    runs: tuple[str, ...] = field(default=())
    """Runs that had read this instrument's session before the answer came."""


def revisions(work: Work, sessions: Sequence[date] | None = None, since: datetime | None = None) -> list[Revision]:
    """Return what was revised, oldest session first.

    Args:
        work: the lakehouse.
        sessions: revisions of these sessions only; of all when left out.
        since: answers that arrived at or after this aware instant only.
    """
    readings = _readings(work)
    found = [*_minutes(work, sessions, since), *_daily(work, sessions, since)]
    ordered = sorted(found, key=lambda one: (one.session, one.table, one.symbol, one.arrived_at))
    return [_with_runs(one, readings) for one in ordered]


# ------------------------------------------------------------ minutes


def _minutes(work: Work, sessions: Sequence[date] | None, since: datetime | None) -> Iterator[Revision]:
    for partition in _revised_partitions(work, RAW_TWS_BARS, sessions, since):
        raw = work.lake.raw.read(RAW_TWS_BARS, partition)
        again = raw.group_by("con_id").agg(pl.col("request_id").n_unique().alias("n")).filter(pl.col("n") > 1)
        for (_,), rows in raw.join(again, on="con_id", how="semi").group_by("con_id", maintain_order=True):
            yield from _answers(partition.session, rows.sort("ingested_at", "request_id"), since)


def _answers(session: date, rows: pl.DataFrame, since: datetime | None) -> Iterator[Revision]:
    """Compare what spoke for an instrument's session before and after each later answer."""
    answers = rows.select("ingested_at", "request_id", "batch_id").unique(maintain_order=True)
    for place, (arrived, _, batch) in enumerate(answers.iter_rows()):
        if place == 0 or (since and arrived < since):
            continue
        until = rows.join(answers.head(place + 1), on="request_id", how="semi")
        before = _spoken(until.join(answers.head(place), on="request_id", how="semi"))
        after = _spoken(until)
        factor = _factor(after)
        moved = before.with_columns(
            *((pl.col(name) * factor).alias(name) for name in _VALUES[:-1]), (pl.col("volume") / factor).alias("volume")
        )
        change = difference(moved, after, ["ts"], _VALUES, tolerance=_SAME)
        if not change.is_none or factor != 1.0:
            yield Revision(
                RAW_TWS_BARS.name, session, rows["con_id"][0], rows["symbol"][-1], arrived, batch,
                change.n_added, change.n_removed, change.n_changed, change.columns, factor,
            )  # fmt: skip


def _spoken(rows: pl.DataFrame) -> pl.DataFrame:
    return newest_answers(rows).sort("ts", "volume", "answer_row").unique("ts", keep="last", maintain_order=True)


def _factor(rows: pl.DataFrame) -> float:
    """Return what older rows were rescaled by; 1 when none was."""
    moved = rows.filter(pl.col("rescaled_by") != 1.0)["rescaled_by"]
    return float(moved[0]) if moved.len() else 1.0


# ------------------------------------------------------------ days


def _daily(work: Work, sessions: Sequence[date] | None, since: datetime | None) -> Iterator[Revision]:
    """Compare each vintage with what the vintages before it say of the same sessions, its own basis taken out."""
    stored = work.lake.raw.partitions(RAW_TWS_DAILY_BARS)
    first = min(sessions) if sessions else None
    older: list[pl.DataFrame] = []
    for partition in stored:
        if first and partition.session < first:
            continue
        rows = work.lake.raw.read(RAW_TWS_DAILY_BARS, partition).filter(pl.col("what_to_show") != "ADJUSTED_LAST")
        if older and (since is None or rows.filter(pl.col("ingested_at") >= since).height):
            yield from _vintage(_newest(pl.concat(older)), _newest(rows), sessions)
        older = [*older[-FULL_EVERY:], rows]


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort("vintage", "ingested_at", "request_id")
    return ordered.unique(["con_id", "session"], keep="last", maintain_order=True)


def _vintage(before: pl.DataFrame, after: pl.DataFrame, sessions: Sequence[date] | None) -> Iterator[Revision]:
    keys = ["con_id", "session"]
    both = after.join(before.select(*keys, *_VALUES), on=keys, suffix="_before")
    ratio = (pl.col("close") / pl.col("close_before")).median().over("con_id")
    is_far = [
        ((pl.col(name) / (pl.col(f"{name}_before") * ratio) - 1).abs() > _ROUNDING).fill_null(value=False)
        for name in _VALUES[:-1]
    ]
    volume = ((pl.col("volume") * ratio / pl.col("volume_before") - 1).abs() > _ROUNDING).fill_null(value=False)
    changed = both.with_columns(ratio.alias("_ratio")).filter(pl.any_horizontal(*is_far, volume))
    if sessions:
        changed = changed.filter(pl.col("session").is_in(list(sessions)))
    for row in changed.sort(keys).iter_rows(named=True):
        columns = {}
        for name in _VALUES:
            basis = row["_ratio"] if name != "volume" else 1 / row["_ratio"]
            if not row[f"{name}_before"] or row[name] is None:
                continue
            size = abs(row[name] / (row[f"{name}_before"] * basis) - 1)
            if size > _ROUNDING:
                columns[name] = ColumnChange(1, size)
        yield Revision(
            RAW_TWS_DAILY_BARS.name, row["session"], row["con_id"], row["symbol"], row["ingested_at"], row["batch_id"],
            0, 0, 1, columns, row["_ratio"],
        )  # fmt: skip


_ROUNDING = 1e-5
"""Relative difference that rounding leaves when a window moves to another basis."""


def _revised_partitions(
    work: Work, table: Table, sessions: Sequence[date] | None, since: datetime | None
) -> Iterator[Partition]:
    """Yield the partitions with several batches, the newest of which came late enough; only the index is read."""
    mark = instant_text(since.isoformat()) if since else ""
    chosen = [Partition(one) for one in sessions] if sessions else work.lake.raw.partitions(table)
    for partition in chosen:
        if len(work.lake.raw.batches(table, partition)) > 1 and work.lake.raw.watermark(table, partition) >= mark:
            yield partition


# ------------------------------------------------------------ runs


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one run read, and when it was frozen."""

    run_id: str
    frozen_at: datetime
    window: frozenset[str]
    con_ids: frozenset[int]


def _readings(work: Work) -> list[_Reading]:
    found = []
    for run_id in list_runs(work.layout).filter(pl.col("state") != "broken")["run_id"]:
        run = RunDirectory(work.layout.run(run_id))
        try:
            inputs, log = run.inputs, read_log(run)
            stamps = [line["timestamp"] for line in log if line["event"] == "frozen"]
            con_ids = frozenset(one["con_id"] for one in inputs["instruments"])
            found.append(_Reading(run_id, datetime.fromisoformat(stamps[0]), frozenset(inputs["window"]), con_ids))
        except (CorruptFileError, KeyError, TypeError, ValueError, IndexError):
            continue  # a run of another kind, or one that was killed before it froze anything
    return found


def _with_runs(one: Revision, readings: Sequence[_Reading]) -> Revision:
    """Name the runs that had frozen the instrument's session before the answer came."""
    touched = tuple(
        reading.run_id
        for reading in readings
        if one.con_id in reading.con_ids and str(one.session) in reading.window and reading.frozen_at < one.arrived_at
    )
    return Revision(
        one.table, one.session, one.con_id, one.symbol, one.arrived_at, one.batch_id, one.n_added, one.n_removed,
        one.n_changed, one.columns, one.rescaled_by, touched,
    )  # fmt: skip
