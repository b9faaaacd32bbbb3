"""TWS's own hours as an input: what is made with them names the very ones, and is made anew when they become others.

The id is that of the hours that a unit of work holds, not of the files that they were read from: another process may
settle hours at any time, and what it told is not in what is computed here.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from quant_assets.domain import venues
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    UNIVERSE,
)
from quant_assets.flows.accounting import expected_days
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Partition

HOURS: Final = "hours"
"""Input of what is made with hours that TWS tells otherwise than a calendar; absent where it tells none."""

_OF_MINUTES = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, DQ_METRICS)
MADE_WITH_HOURS: Final = tuple(one.name for one in (*_OF_MINUTES, ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS))


def told_hours(work: Work, table: str, session: date) -> dict[str, str]:
    """Return the hours that a partition of a table is made with, as an input; none where TWS tells none otherwise.

    Args:
        work: stores and calendars.
        table: one of MADE_WITH_HOURS.
        session: the partition's.
    """
    if table == CURATED_TWS_1D_BARS.name:
        return _days(work, session, work.calendar.window(session, work.settings.manifest.max_lookback_sessions))
    before = work.calendar.previous(session) if table == ADJUSTMENT_FACTORS.name else None
    return _hours(work, session, [session] if before is None else [before, session])


def _hours(work: Work, session: date, sessions: Sequence[date]) -> dict[str, str]:
    """Return the id of the hours that the universe of a session keeps in some sessions."""
    if not any(day in sessions for days in work.told.values() for day, _ in days):
        return {}
    members = _members(work, session)
    hours = pl.concat(work.hours_of(day, members).with_columns(pl.lit(day).alias("session")) for day in sessions)
    return {HOURS: content_id(hours, hours.columns, ["session", "con_id"])}


def _days(work: Work, session: date, window: Sequence[date]) -> dict[str, str]:
    """Return the id of how many sessions of a window each instrument's exchange was open on."""
    held = set(window)
    moved = (
        (hours is None) != (venues.calendar(name).hours_on(day) is None)
        for name, days in work.told.items()
        for day, hours in days
        if day in held
    )
    if not any(moved):
        return {}
    expected = expected_days(work, _members(work, session), window)
    return {HOURS: content_id(expected, expected.columns, ["con_id"])}


def _members(work: Work, session: date) -> pl.DataFrame:
    return work.lake.curated.read_many(UNIVERSE, [Partition(session)], ["con_id", "asset_class", "exchange"])
