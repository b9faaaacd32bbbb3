"""TWS's own hours as an input: what is made with them names the very ones, and is made anew when they become others.

The id is that of the hours that a unit of work holds, not of the files that they were read from: another process may
settle hours at any time, and what it told is not in what is computed here.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from quant_assets.domain import venues
from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.accounting import expected_days
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Partition

HOURS: Final = "hours"
"""Input of what is made with hours that TWS tells otherwise than a calendar; absent where it tells none."""


def told_hours(work: Work, session: date, sessions: Sequence[date] = ()) -> dict[str, str]:
    """Return, as an input, the id of the hours that the universe of a session keeps in it, or in some sessions."""
    asked = set(sessions or [session])
    if not any(day in asked for days in work.told.values() for day, _ in days):
        return {}
    members = work.lake.curated.read_many(UNIVERSE, [Partition(session)], ["con_id", "asset_class", "exchange"])
    hours = [work.hours_of(day, members).with_columns(pl.lit(day).alias("session")) for day in sorted(asked)]
    kept = pl.concat(hours)
    return {HOURS: content_id(kept, kept.columns, ["session", "con_id"])}


def told_days(work: Work, members: pl.DataFrame, sessions: Sequence[date]) -> dict[str, str]:
    """Return, as an input, the id of how many of some sessions each instrument's exchange was open on.

    Args:
        work: stores and calendars.
        members: con_id, asset_class, exchange.
        sessions: those of a daily window.
    """
    asked = set(sessions)
    moved = (
        (hours is None) != (venues.calendar(name).hours_on(day) is None)
        for name, days in work.told.items()
        for day, hours in days
        if day in asked
    )
    if not any(moved):
        return {}
    expected = expected_days(work, members, sessions)
    return {HOURS: content_id(expected, expected.columns, ["con_id"])}
