"""catalog.json: what the lakehouse holds, how fresh it is and what is missing, on one page.

It is a summary of files and manifests, computed from their footers; nothing plans from it and it can always be built
again. A file that cannot be read makes its session `degraded` here instead of ending the summary: this is where one
looks when something is wrong.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, Table
from quant_assets.errors import CorruptFileError, NotPublishedError
from quant_assets.lakehouse.files import write_text
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse


@dataclass(frozen=True, slots=True)
class _Held:
    """One partition as its files describe it."""

    partition: Partition
    rows: int
    bytes: int
    unreadable: tuple[str, ...] = ()


def build_catalog(
    layout: Layout, tables: Iterable[Table], calendar_sessions: Sequence[date], now: datetime
) -> dict[str, Any]:
    """Summarize tables and instruments.

    Args:
        layout: where the lakehouse is.
        tables: declarations to summarize.
        calendar_sessions: every session that had closed by `now`, ascending; the last one is what fresh means.
        now: aware instant that the summary speaks of.

    Returns:
        Plain values for JSON, keys in a fixed order, so that equal lakehouses give equal text.
    """
    lakehouse = Lakehouse(layout)
    sessions = sorted(set(calendar_sessions))
    return {
        "generated_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "latest_expected_session": str(sessions[-1]) if sessions else None,
        "tables": {table.name: _table_entry(lakehouse, table, sessions) for table in tables},
        "instruments": _instruments(lakehouse, sessions),
    }


def write_catalog(layout: Layout, catalog: dict[str, Any]) -> Path:
    """Replace catalog.json atomically and return its path.

    Raises:
        DiskFullError: there is no space; the old one still stands.
    """
    write_text(layout.catalog, json.dumps(catalog, indent=1, allow_nan=False) + "\n")
    return layout.catalog


def read_catalog(layout: Layout) -> dict[str, Any] | None:
    """Return the catalog as it was last written, or None.

    Raises:
        CorruptFileError: the file is there and is no catalog.
    """
    try:
        catalog = json.loads(layout.catalog.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptFileError(layout.catalog, str(error), "Build it again with `quant lake catalog`.") from None
    return dict(catalog)


def _table_entry(lakehouse: Lakehouse, table: Table, sessions: Sequence[date]) -> dict[str, Any]:
    held = [_held(lakehouse, table, partition) for partition in lakehouse.curated.partitions(table)]
    days = sorted({one.partition.session for one in held})
    unreadable = [path for one in held for path in one.unreadable]
    return {
        "zone": table.zone,
        "n_partitions": len(held),
        "first_partition": held[0].partition.key if held else None,
        "last_partition": held[-1].partition.key if held else None,
        "rows": sum(one.rows for one in held),
        "bytes": sum(one.bytes for one in held),
        "last_content_id": _last_content_id(lakehouse, table, held),
        "sessions_behind": _behind(days[-1] if days else None, sessions),
        "missing_sessions": [str(day) for day in _missing(table, days, sessions)],
        "unreadable_files": unreadable,
        "conditions": _conditions(table, held, days, sessions),
    }


def _held(lakehouse: Lakehouse, table: Table, partition: Partition) -> _Held:
    rows, size, unreadable = 0, 0, []
    manifest = lakehouse.raw.manifest(table)
    for file in _files(lakehouse, table, partition):
        size += file.stat().st_size
        try:
            footer = manifest.lookup(file)
        except CorruptFileError:
            unreadable.append(lakehouse.layout.relative(file))
        else:
            rows += footer.n_rows if footer else 0
    return _Held(partition, rows, size, tuple(unreadable))


def _files(lakehouse: Lakehouse, table: Table, partition: Partition) -> list[Path]:
    if table.append_only:
        return lakehouse.raw.batches(table, partition)
    return [lakehouse.layout.file(table, partition)]


def _last_content_id(lakehouse: Lakehouse, table: Table, held: Sequence[_Held]) -> str | None:
    if not held or held[-1].unreadable:
        return None
    if table.append_only:
        return lakehouse.raw.content_id(table, held[-1].partition)
    footer = lakehouse.curated.footer(table, held[-1].partition)
    return footer.content_id if footer else None


def _behind(last: date | None, sessions: Sequence[date]) -> int | None:
    """Count expected sessions after the last one that is held; None when nothing is held."""
    return len(sessions) - bisect_right(sessions, last) if last else None


def _missing(table: Table, days: Sequence[date], sessions: Sequence[date]) -> list[date]:
    """Return expected sessions inside the range held that have no partition; vintages need not exist per session."""
    if not days or table.partition_by == "vintage":
        return []
    present = set(days)
    return [day for day in sessions if days[0] <= day <= days[-1] and day not in present]


def _conditions(table: Table, held: Sequence[_Held], days: Sequence[date], sessions: Sequence[date]) -> dict[str, str]:
    """Return session → available, degraded (a file cannot be read) or missing, ascending."""
    found = dict.fromkeys(_missing(table, days, sessions), "missing") | dict.fromkeys(days, "available")
    found |= {one.partition.session: "degraded" for one in held if one.unreadable}
    return {str(day): found[day] for day in sorted(found)}


def _instruments(lakehouse: Lakehouse, sessions: Sequence[date]) -> dict[str, Any]:
    """Summarize each instrument of the newest daily window, with its minute bars of the newest session."""
    daily = _newest(lakehouse, CURATED_TWS_1D_BARS, ("con_id", "symbol", "session", "coverage"))
    minutes = _newest(lakehouse, CURATED_TWS_1M_BARS, ("con_id", "session"))
    n_minutes = dict(minutes.group_by("con_id").len().iter_rows())
    summary = daily.group_by("con_id").agg(
        pl.col("symbol").sort_by("session").last(),
        first_session=pl.col("session").min(),
        last_session=pl.col("session").max(),
        n_sessions=pl.len(),
        coverage=pl.col("coverage").sort_by("session").last(),
    )
    return {
        str(row["con_id"]): {
            "symbol": row["symbol"],
            "first_session": str(row["first_session"]),
            "last_session": str(row["last_session"]),
            "n_sessions": row["n_sessions"],
            "coverage": row["coverage"],
            "sessions_behind": _behind(row["last_session"], sessions),
            "n_minutes_in_newest_session": n_minutes.get(row["con_id"], 0),
        }
        for row in summary.sort("con_id").iter_rows(named=True)
    }


def _newest(lakehouse: Lakehouse, table: Table, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of the newest partition that can be read, or no rows."""
    for partition in reversed(lakehouse.curated.partitions(table)):
        try:
            return lakehouse.curated.read(table, partition, columns)
        except (CorruptFileError, NotPublishedError):
            continue
    return table.empty().select(columns)
