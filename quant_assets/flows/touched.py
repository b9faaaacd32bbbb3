"""`quant why --bar`: from one bar forward to everything that it touched, table by table and run by run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.domain.features.labels import HORIZONS
from quant_assets.domain.features.registry import GROUPS
from quant_assets.domain.run_files import INPUTS, WEIGHTS_RECORD
from quant_assets.domain.tables import (
    ALL,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    LABELS_TWS_RETURNS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    SNAPSHOTS,
    UNIVERSE,
    Table,
)
from quant_assets.errors import ConfigurationError, UnknownBarError, UnknownNameError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.reading import resolve_symbols
from quant_assets.lakehouse.runs import RunDirectory, list_runs
from quant_assets.lakehouse.store import CuratedStore, Lakehouse

_ANSWER = ["con_id", "request_id", "batch_id", "ingested_at"]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar by name: a session's daily bar, or the 1-minute bar that starts at an instant."""

    symbol: str
    session: date
    ts: datetime | None = None

    @classmethod
    def parse(cls, text: str, session: date | None = None) -> "Bar":
        """Parse `EXCHANGE:SYMBOL@2026-01-05T14:30Z`, `EXCHANGE:SYMBOL@2026-01-05`, or a symbol beside a session.

        A minute's session is the date of its instant unless `session` says otherwise; regular hours never straddle
        midnight UTC on the exchanges of the Americas and Europe.

        Raises:
            ConfigurationError: it is none of these.
        """
        symbol, _, when = text.partition("@")
        try:
            if not when and session:
                return cls(symbol, session)
            if "T" not in when:
                return cls(symbol, date.fromisoformat(when))
            ts = datetime.fromisoformat(when)
        except ValueError:
            raise ConfigurationError("--bar", f"{text!r} names no bar.", _EXAMPLE) from None
        if ts.tzinfo is None:
            raise ConfigurationError("--bar", f"{when} has no time zone.", _EXAMPLE)
        ts = ts.astimezone(UTC)
        return cls(symbol, session or ts.date(), ts)

    def __str__(self) -> str:
        """The bar as it is written on the command line."""
        return f"{self.symbol}@{self.ts:%Y-%m-%dT%H:%MZ}" if self.ts else f"{self.symbol}@{self.session}"


_EXAMPLE = "Write it as NYSE:XYZ@2026-01-05T14:30Z, or NYSE:XYZ@2026-01-05 for the daily bar."


@dataclass(frozen=True, slots=True)
class Touched:
    """What a bar became part of."""

    bar: str
    con_id: int
    status: str
    """`curated`, `quarantined` or `superseded`: the last is in bronze, and a newer answer stands in its place."""
    answers: list[dict[str, Any]]
    """Rows of bronze: request_id, batch_id, ingested_at, and what each of them said."""
    quarantine: list[dict[str, Any]]
    """rule, verdict, evidence of the rows that were rejected."""
    tables: list[dict[str, Any]] = field(default_factory=list)
    """table, partition, content_id, rows of the instrument that the bar reaches; `via` names the table before it."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """run_id, session, profile, state, weight of the instrument; every weight of such a run stands on the bar."""


def touched(lake: Lakehouse, bar: Bar) -> Touched:
    """Follow a bar forward.

    Tables are followed by content: a partition was touched when its footer names, among its inputs, the content id of
    one that was. Runs are looked into directly, so that those count too whose row in the lakehouse has been replaced.

    Raises:
        UnknownNameError: no universe knows the symbol.
        UnknownBarError: no bar of that time was ever received.
    """
    con_id = _con_id(lake, bar)
    answers = _answers(lake, bar, con_id)
    rejected = _rejected(lake, bar, con_id)
    seeds = list(_seeds(lake, bar, con_id))
    if not answers and not rejected and not seeds:
        raise UnknownBarError(str(bar))
    status = "curated" if seeds else "quarantined" if rejected else "superseded"
    tables = [*seeds, *_downstream(lake.curated, seeds, bar, con_id)]
    frozen = {one["partition"] for one in tables if one["table"] == SNAPSHOTS.name}
    through = {lake.curated.read(SNAPSHOTS, Partition.from_key(key))["run_id"][0] for key in frozen}
    runs = list(_runs(lake.layout, bar, con_id, through))
    return Touched(str(bar), con_id, status, answers, rejected, tables, runs)


def _con_id(lake: Lakehouse, bar: Bar) -> int:
    if bar.symbol.isdigit():
        return int(bar.symbol)
    sessions = [one.session for one in lake.curated.partitions(UNIVERSE)]
    near = [session for session in sessions if session <= bar.session][-1:] or sessions[:1]
    later = [session for session in sessions if session > bar.session]
    try:
        return resolve_symbols(lake.curated, [bar.symbol], near)[bar.symbol]
    except UnknownNameError:
        return resolve_symbols(lake.curated, [bar.symbol], [*near, *later])[bar.symbol]


def _answers(lake: Lakehouse, bar: Bar, con_id: int) -> list[dict[str, Any]]:
    """Return the rows of bronze that are this bar, the oldest answer first."""
    if bar.ts:
        table, partitions = RAW_TWS_BARS, [Partition(bar.session)]
        chosen = pl.col("ts") == bar.ts
        names = [*_ANSWER, "what_to_show", "ts", "close", "volume"]
    else:
        table = RAW_TWS_DAILY_BARS
        partitions = [one for one in lake.raw.partitions(table) if one.session >= bar.session]
        chosen = pl.col("session") == bar.session
        names = [*_ANSWER, "what_to_show", "vintage", "session", "close", "volume"]
    frames = [lake.raw.read(table, one, names).filter(chosen, pl.col("con_id") == con_id) for one in partitions]
    rows = pl.concat(frames) if frames else table.empty().select(names)
    return rows.drop("con_id").sort("ingested_at", "request_id").to_dicts()


def _rejected(lake: Lakehouse, bar: Bar, con_id: int) -> list[dict[str, Any]]:
    if bar.ts is None or not lake.curated.exists(QUARANTINE_TWS_BARS, Partition(bar.session)):
        return []
    names = ["con_id", "ts", "rule", "verdict", "evidence", "close", "request_id"]
    rows = lake.curated.read(QUARANTINE_TWS_BARS, Partition(bar.session), names)
    return rows.filter((pl.col("con_id") == con_id) & (pl.col("ts") == bar.ts)).drop("con_id", "ts").to_dicts()


def _seeds(lake: Lakehouse, bar: Bar, con_id: int) -> Iterator[dict[str, Any]]:
    """Yield the curated partitions that hold the bar: one for a minute, one per window for a day."""
    store = lake.curated
    table = CURATED_TWS_1M_BARS if bar.ts else CURATED_TWS_1D_BARS
    for partition in store.partitions(table):
        if partition.session < bar.session or (bar.ts and partition.session != bar.session):
            continue
        names = ["con_id", "session", *(["ts"] if bar.ts else [])]
        mine = store.read(table, partition, names).filter(pl.col("con_id") == con_id)
        same = (pl.col("ts") == bar.ts) if bar.ts else (pl.col("session") == bar.session)
        if n_rows := mine.filter(same).height:
            source = RAW_TWS_BARS if bar.ts else RAW_TWS_DAILY_BARS
            yield _row(store, table, partition, n_rows, source.name)


def _downstream(store: CuratedStore, seeds: Sequence[dict[str, Any]], bar: Bar, con_id: int) -> list[dict[str, Any]]:
    """Return the partitions that were computed from touched ones, nearest first."""
    found: list[dict[str, Any]] = []
    known = {one["content_id"]: one["table"] for one in seeds}
    waiting = list(_candidates(store, bar, {(one["table"], one["partition"]) for one in seeds}))
    while True:
        hits = [
            (table, partition, known[via])
            for table, partition, inputs in waiting
            if (via := next((value for value in inputs.values() if value in known), None)) is not None
        ]
        if not hits:
            return found
        for table, partition, via in hits:
            found.append(_row(store, table, partition, _reached(store, table, partition, bar, con_id), via))
            known[found[-1]["content_id"]] = table.name
        done = {(table.name, partition.key) for table, partition, _ in hits}
        waiting = [one for one in waiting if (one[0].name, one[1].key) not in done]


def _candidates(
    store: CuratedStore, bar: Bar, seeds: set[tuple[str, str]]
) -> Iterator[tuple[Table, Partition, dict[str, str]]]:
    for table in ALL:
        if table.append_only:
            continue
        for partition in store.partitions(table):
            footer = store.footer(table, partition) if partition.session >= bar.session else None
            if footer and (table.name, partition.key) not in seeds:
                yield table, partition, dict(footer.inputs)


def _reached(store: CuratedStore, table: Table, partition: Partition, bar: Bar, con_id: int) -> int | None:
    """Return how many rows of the instrument the bar reaches; None where a table has no rows per instrument."""
    columns = table.schema.names()
    if "con_id" not in columns:
        return None
    has_ts = bar.ts is not None and "ts" in columns
    mine = store.read(table, partition, ["con_id", *(["ts"] if has_ts else [])]).filter(pl.col("con_id") == con_id)
    if not has_ts or bar.ts is None:
        return mine.height
    group = next((one for one in GROUPS.values() if one.table.name == table.name), None)
    after = timedelta(minutes=group.lookback.n - 1 if group else 0)
    before = timedelta(minutes=max(HORIZONS) if table.name == LABELS_TWS_RETURNS.name else 0)
    return mine.filter(pl.col("ts").is_between(bar.ts - before, bar.ts + after)).height


def _row(store: CuratedStore, table: Table, partition: Partition, n_rows: int | None, via: str) -> dict[str, Any]:
    footer = store.footer(table, partition)
    said = footer.content_id if footer else ""
    return {"table": table.name, "partition": partition.key, "content_id": said, "rows": n_rows, "via": via}


def _runs(layout: Layout, bar: Bar, con_id: int, through: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the runs whose frozen bars of the instrument hold the daily bar, and those that tables lead to."""
    seconds = int(datetime(bar.session.year, bar.session.month, bar.session.day, tzinfo=UTC).timestamp())
    for listed in list_runs(layout).filter(pl.col("state") != "broken").iter_rows(named=True):
        run = RunDirectory(layout.run(listed["run_id"]))
        if not run.file(INPUTS).is_file():
            continue
        one = next((row for row in run.inputs["instruments"] if row["con_id"] == con_id), None)
        is_frozen = bar.ts is None and one is not None and (run.read_frame(one["file"])["timestamp"] == seconds).any()
        if not is_frozen and listed["run_id"] not in through:
            continue
        yield {
            "run_id": listed["run_id"],
            "session": listed["session"],
            "profile": listed["profile"],
            "state": listed["state"],
            "weight": _weight(run, con_id),
        }


def _weight(run: RunDirectory, con_id: int) -> float | None:
    name = WEIGHTS_RECORD
    rows = run.read_json(name)["weights"] if run.file(name).is_file() else []
    return next((row["weight"] for row in rows if row["con_id"] == con_id), None)
