"""When a recorded instrument trades: by its exchange's calendar, else by the hours that its contract details told."""

import re
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from quant_assets.domain import venues
from quant_assets.gateway.hours import FIRST_SESSION, LAST_DAY, WIRE_ZONE, TradingHours, trading_hours
from quant_assets.gateway.market import Instrument

_SPAN: Final = re.compile(r"(\d{8}):(\d{4})-(?:(\d{8}):)?(\d{4})")
_DAY: Final = timedelta(days=1)
_ALL_ENDED: Final = timedelta(hours=36)
"""After its midnight in Greenwich a date has ended everywhere."""
_MONDAY_TO_FRIDAY: Final = range(5)


def calendar_of(sec_type: str, place: str) -> str | None:
    """Return the calendar of what an exchange lists, or None where the exchange is not known."""
    return venues.BY_ASSET_CLASS.get(sec_type) or venues.BY_EXCHANGE.get(place)


def zone_of(sec_type: str, place: str) -> str:
    """Return the time zone of an exchange; New York's where it is not known."""
    name = calendar_of(sec_type, place)
    return venues.calendar(name).timezone if name else WIRE_ZONE


def hours_of(instrument: Instrument) -> TradingHours | None:
    """Return the sessions of a recorded instrument, or None where nothing is known of them."""
    name = calendar_of(instrument.sec_type, instrument.primary_exchange or instrument.exchange)
    return trading_hours(name) if name else _told(instrument)


def last_ended(hours: TradingHours | None, now: datetime) -> date:
    """Return the last session that had closed; without hours, the last date that had ended everywhere."""
    if hours is None:
        return (now - _ALL_ENDED).date()
    return hours.session(max(hours.closed_by(now) - 1, 0))


def scheduled(hours: TradingHours, told: pl.DataFrame, *, keeps_hours: bool) -> TradingHours:
    """Return sessions as a recorded schedule corrects them.

    Args:
        hours: sessions by the calendar.
        told: session, opens, closes of each day that a schedule spoke of; null where the exchange was closed.
        keeps_hours: take from the schedule which days are sessions, and its hours only where the calendar has none.
    """
    places = {"opens": hours.opens, "pauses": hours.pauses, "resumes": hours.resumes, "closes": hours.closes}
    known = pl.DataFrame({"session": hours.sessions, **places})
    spoken = _whole_sessions(told).with_columns(pl.col(places).dt.epoch("s"), is_told=True)
    both = known.join(spoken, on="session", how="full", coalesce=True, suffix="_told")
    first, second = ("{}", "{}_told") if keeps_hours else ("{}_told", "{}")
    merged = (
        both.filter(pl.col("is_told").is_null() | pl.col("opens_told").is_not_null())
        .with_columns(pl.coalesce(first.format(x), second.format(x)).alias(x) for x in places)
        .sort("session")
    )
    sessions = merged["session"].to_numpy().astype("datetime64[D]")
    return TradingHours(sessions, **{name: merged[name].to_numpy() for name in places})


def _whole_sessions(told: pl.DataFrame) -> pl.DataFrame:
    """Put the two parts of a session that pauses together; one without a pause has it at its close."""
    resumes = pl.when(pl.len() > 1).then(pl.col("opens").max()).otherwise(pl.col("closes").max())
    return told.group_by("session", maintain_order=True).agg(
        pl.col("opens").min(), pl.col("closes").min().alias("pauses"), resumes.alias("resumes"), pl.col("closes").max()
    )


def _told(instrument: Instrument) -> TradingHours | None:
    """Return the week that contract details told, repeated; holidays are not in it."""
    is_routed = instrument.exchange == "SMART"
    text = instrument.liquid_hours if is_routed else instrument.trading_hours
    try:
        zone = ZoneInfo(instrument.timezone)
        week = _week(text)
    except (ZoneInfoNotFoundError, ValueError):
        return None
    if not week:
        return None
    everyday = [FIRST_SESSION + n * _DAY for n in range((LAST_DAY - FIRST_SESSION).days)]
    days = [day for day in everyday if day.weekday() in week]

    def instants(side: int) -> list[int]:
        return [int((datetime.combine(day, time(), zone) + week[day.weekday()][side]).timestamp()) for day in days]

    return TradingHours.unbroken(np.array(days, dtype="datetime64[D]"), np.array(instants(0)), np.array(instants(1)))


def _week(text: str) -> dict[int, tuple[timedelta, timedelta]]:
    """Return opening and close by weekday, each as the time since the midnight of the session's date.

    A session has the date on which it closes. A working day that the text does not tell, or tells to be closed, is a
    holiday like any other, unless a weekend day is a session: then the text's week counts.
    """
    spans: dict[date, list[tuple[datetime, datetime]]] = {}
    for first, opens, last, closes in _SPAN.findall(text):
        begin, end = _wall(first + opens), _wall((last or first) + closes)
        spans.setdefault(end.date(), []).append((begin, end))
    week = {}
    for day, found in spans.items():
        midnight = datetime.combine(day, time(), UTC)
        week[day.weekday()] = (min(begin for begin, _ in found) - midnight, max(end for _, end in found) - midnight)
    if week and not week.keys() - set(_MONDAY_TO_FRIDAY):
        commonest = Counter(week.values()).most_common(1)[0][0]
        week = dict.fromkeys(_MONDAY_TO_FRIDAY, commonest) | week
    return week


def _wall(text: str) -> datetime:
    """Read a wall clock; whose it is does not matter, for only differences are taken."""
    return datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=UTC)
