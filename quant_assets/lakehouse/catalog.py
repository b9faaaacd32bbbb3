"""catalog.json: what the lakehouse holds, how fresh it is and what is missing, on one page.

It is a summary of files and manifests, computed from their footers; nothing plans from it and it can always be built
again. A file that cannot be read makes its session `degraded` here instead of ending the summary: this is where one
looks when something is wrong.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.control.files import write_text
from quant_assets.domain.health import WEIGHTS, WINDOW, freshness, instrument_parts, score, verdict
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, UNIVERSE, Table
from quant_assets.errors import CorruptFileError, NotPublishedError
from quant_assets.lakehouse.catalog_state import CatalogState, Held
from quant_assets.lakehouse.health import Hours, instrument_days, observed_since, unexplained_minutes
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.store import Lakehouse


def build_catalog(
    layout: Layout,
    tables: Iterable[Table],
    calendar_sessions: Sequence[date],
    now: datetime,
    *,
    hours: Hours | None = None,
    state: CatalogState | None = None,
) -> dict[str, Any]:
    """Summarize tables and instruments.

    Args:
        layout: where the lakehouse is.
        tables: declarations to summarize.
        calendar_sessions: every session that had closed by `now`, ascending; the last one is what fresh means.
        now: aware instant that the summary speaks of.
        hours: opening and closing by instrument; without it nothing is said of instruments' minutes.
        state: what the last summary saw; with it, only partitions that were committed since are looked at.

    Returns:
        Plain values for JSON, keys in a fixed order, so that equal lakehouses give equal text.
    """
    lakehouse = Lakehouse(layout)
    sessions = sorted(set(calendar_sessions))
    seen = state if state is not None else CatalogState()
    asked = [one.session for one in lakehouse.curated.partitions(UNIVERSE)]
    return {
        "generated_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "latest_expected_session": str(sessions[-1]) if sessions else None,
        "tables": {table.name: _table_entry(lakehouse, table, sessions, seen, asked) for table in tables},
        "instruments": _instruments(lakehouse, sessions, hours),
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
    except (OSError, ValueError) as error:
        cause = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CorruptFileError(layout.catalog, cause, "Build it again with `quant lake catalog`.") from None
    return dict(catalog)


def _table_entry(
    lakehouse: Lakehouse, table: Table, sessions: Sequence[date], seen: CatalogState, asked: Sequence[date]
) -> dict[str, Any]:
    is_known = table.name in seen.tables and not lakehouse.layout.manifest(table).is_dir()
    damaged = [] if is_known else _damaged_manifest(lakehouse, table)
    held = seen.held(lakehouse, table)
    days = sorted({one.partition.session for one in held})
    unreadable = [*damaged, *(path for one in held for path in one.unreadable)]
    behind = _behind(days[-1] if days else None, sessions) if table.is_expected else None
    missing = _missing(table, days, sessions, asked)
    if missing and not days:
        behind = sum(day >= missing[0] for day in sessions)
    unexplained, expected = _accounted(lakehouse, table, days)
    return {
        "zone": table.zone,
        "n_partitions": len(held),
        "first_partition": held[0].partition.key if held else None,
        "last_partition": held[-1].partition.key if held else None,
        "rows": sum(one.rows for one in held),
        "bytes": sum(one.bytes for one in held),
        "last_content_id": _last_content_id(lakehouse, table, held),
        "sessions_behind": behind,
        "missing_sessions": [str(day) for day in missing],
        "unreadable_files": unreadable,
        "conditions": _conditions(table, held, days, sessions, missing),
        **_quality(
            {
                "coverage": len(days) / (len(days) + len(missing)) if days or missing else None,
                "freshness": freshness(behind),
                "sound": 1.0 - sum(bool(one.unreadable) for one in held) / len(held) if held else None,
                **({"explained": 1.0 - unexplained / expected} if expected else {}),
            },
            behind,
            missing=len(missing),
            unreadable=unreadable,
            unexplained=unexplained,
        ),
    }


def _damaged_manifest(lakehouse: Lakehouse, table: Table) -> list[str]:
    """Return the path of a table's manifest if it is damaged; its files answer for themselves from then on."""
    found = [store.damaged_manifest(table) for store in (lakehouse.raw, lakehouse.curated)]
    return [lakehouse.layout.relative(lakehouse.layout.manifest(table))] if any(found) else []


def _accounted(lakehouse: Lakehouse, table: Table, days: Sequence[date]) -> tuple[int, int]:
    """Return the unexplained and the expected minutes of a table's newest sessions; only 1-minute bars have any."""
    return unexplained_minutes(lakehouse.curated, days[-WINDOW:]) if table is CURATED_TWS_1M_BARS else (0, 0)


def _quality(
    parts: dict[str, float | None],
    behind: int | None,
    *,
    missing: int = 0,
    degraded: int = 0,
    unreadable: Sequence[str] = (),
    unexplained: int = 0,
    accepted: int = 0,
    broken: int = 0,
) -> dict[str, Any]:
    """Return score, parts, colour and reasons, as tables and instruments show them."""
    total = score(parts)
    judged = verdict(
        total,
        behind,
        missing=missing,
        degraded=degraded,
        unreadable=unreadable,
        unexplained=unexplained,
        accepted=accepted,
        broken=broken,
    )
    return {
        "data_quality_score": total,
        "data_quality_parts": {name: None if part is None else round(part, 4) for name, part in parts.items()},
        "health": judged.colour,
        "reasons": list(judged.reasons),
    }


def _last_content_id(lakehouse: Lakehouse, table: Table, held: Sequence[Held]) -> str | None:
    if not held or held[-1].unreadable:
        return None
    if table.append_only:
        return lakehouse.raw.content_id(table, held[-1].partition)
    footer = lakehouse.curated.footer(table, held[-1].partition)
    return footer.content_id if footer else None


def _behind(last: date | None, sessions: Sequence[date]) -> int | None:
    """Count expected sessions after the last one that is held; None when nothing is held."""
    return len(sessions) - bisect_right(sessions, last) if last else None


def _missing(table: Table, days: Sequence[date], sessions: Sequence[date], asked: Sequence[date]) -> list[date]:
    """Return the sessions without a partition from the first one that was asked for to the last one that is held.

    Of a table that holds nothing, all that were asked for. Vintages need not exist per session, nor runs. After the
    newest universe nobody was asked for: the ledger holds the day on which daily history was fetched, too.

    Args:
        table: its declaration.
        days: sessions that it holds, ascending.
        sessions: expected ones, ascending.
        asked: sessions of the universe, ascending.
    """
    wanted = sorted({*days[:1], *asked[:1]})
    if not wanted or not table.is_expected:
        return []
    present, last = set(days), min([*days[-1:], *asked[-1:]])
    return [day for day in sessions if wanted[0] <= day <= last and day not in present]


def _conditions(
    table: Table, held: Sequence[Held], days: Sequence[date], sessions: Sequence[date], missing: Sequence[date]
) -> dict[str, str]:
    """Return session → available, degraded (a file cannot be read), missing or pending, ascending.

    Pending is the newest expected session, whose data cycle may not have run yet.
    """
    found = {day: "missing" if days or day != sessions[-1] else "pending" for day in missing}
    if days and table.is_expected:
        found |= {day: "pending" if day == sessions[-1] else "missing" for day in sessions if day > days[-1]}
    found |= dict.fromkeys(days, "available")
    found |= {one.partition.session: "degraded" for one in held if one.unreadable}
    return {str(day): found[day] for day in sorted(found)}


def _instruments(lakehouse: Lakehouse, sessions: Sequence[date], hours: Hours | None) -> dict[str, Any]:
    """Summarize each instrument of the newest daily window, and its minutes of the last sessions.

    How far behind it is, its minutes tell where they are judged, as the reasons do; else its newest daily bar.
    """
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
    judged = observed_since(lakehouse.curated, sessions[-WINDOW:])
    quality = {}
    if hours and judged:
        quality = instrument_quality(instrument_days(lakehouse.curated, judged, hours, latest=sessions[-1]))
    return {
        str(row["con_id"]): {
            "symbol": row["symbol"],
            "first_session": str(row["first_session"]),
            "last_session": str(row["last_session"]),
            "n_sessions": row["n_sessions"],
            "coverage": row["coverage"],
            "sessions_behind": _behind(row["last_session"], sessions),
            "n_minutes_in_newest_session": n_minutes.get(row["con_id"], 0),
            **quality.get(row["con_id"], {}),
        }
        for row in summary.sort("con_id").iter_rows(named=True)
    }


def instrument_quality(days: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """Return, per con_id, score, parts, colour, reasons, sessions behind, and the condition of each session."""
    found: dict[int, dict[str, Any]] = {}
    calendars = {con_id: part for (con_id,), part in days.group_by("con_id", maintain_order=True)}
    for row in instrument_parts(days).iter_rows(named=True):
        part = calendars[row["con_id"]]
        counts = dict(part.group_by("condition").len().iter_rows())
        parts = {name: row[name] for name in WEIGHTS}
        told = _quality(
            parts,
            row["sessions_behind"],
            missing=counts.get("missing", 0),
            degraded=counts.get("degraded", 0),
            accepted=int(part["accepted"].sum()),
            broken=int((part["broken"] > 0).sum()),
        )
        conditions = {str(day): one for day, one in part.select("session", "condition").iter_rows()}
        found[row["con_id"]] = {**told, "sessions_behind": row["sessions_behind"], "conditions": conditions}
    return found


def _newest(lakehouse: Lakehouse, table: Table, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of the newest partition that can be read, or no rows."""
    store = lakehouse.curated
    partition = store.newest(table)
    while partition:
        try:
            return store.read(table, partition, columns)
        except (CorruptFileError, NotPublishedError):
            partition = store.newest(table, partition.session - timedelta(days=1))
    return table.empty().select(columns)
