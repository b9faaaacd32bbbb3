"""When the exchange is open: one table of sessions that the whole gateway counts in."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

FIRST_SESSION = date(1990, 1, 2)
"""Ordinal 0. The synthetic market is a function of ordinals, so this date must never move."""
LAST_DAY = date(2036, 12, 31)
FULL_SESSION_MINUTES = 390
WIRE_ZONE = "US/Eastern"
"""How TWS spells the zone of a US exchange."""
ZONE = ZoneInfo("America/New_York")

Instants = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TradingHours:
    """The sessions of one exchange, ascending; a session's position is its ordinal."""

    sessions: npt.NDArray[np.datetime64]
    """Exchange dates, datetime64[D]."""
    opens: Instants
    """Opening instants, epoch seconds."""
    closes: Instants
    pauses: Instants
    """Where trading pauses; the close where it does not."""
    resumes: Instants
    """Where it goes on; the close where it does not pause."""

    @classmethod
    def unbroken(cls, sessions: npt.NDArray[np.datetime64], opens: Instants, closes: Instants) -> Self:
        """Return sessions without a pause."""
        return cls(sessions, opens, closes, pauses=closes, resumes=closes)

    def session(self, ordinal: int) -> date:
        """Return the exchange date of an ordinal."""
        value: date = self.sessions[ordinal].astype(object)
        return value

    def ordinal_on_or_after(self, day: date) -> int:
        """Return the first session that is not before `day`."""
        return int(np.searchsorted(self.sessions, np.datetime64(day)))

    def ordinal_on_or_before(self, day: date) -> int:
        """Return the last session that is not after `day`; -1 when there is none."""
        return int(np.searchsorted(self.sessions, np.datetime64(day), side="right")) - 1

    def between(self, first: date, last: date) -> range:
        """Return the ordinals of the sessions from `first` to `last`, both included."""
        return range(self.ordinal_on_or_after(first), self.ordinal_on_or_before(last) + 1)

    def nearest(self, first: date, last: date) -> list[date]:
        """Return the sessions before and after a range that holds none."""
        around = (self.ordinal_on_or_before(first), self.ordinal_on_or_after(last))
        return [self.session(ordinal) for ordinal in around if 0 <= ordinal < len(self.sessions)]

    def opened_before(self, instant: datetime) -> int:
        """Return how many sessions opened before `instant`; the last of them is this number less one."""
        return int(np.searchsorted(self.opens, instant.timestamp()))

    def closed_by(self, instant: datetime) -> int:
        """Return how many sessions had closed at `instant`."""
        return int(np.searchsorted(self.closes, instant.timestamp(), side="right"))

    def overlapping(self, start: datetime, end: datetime) -> range:
        """Return the ordinals of the sessions that share at least an instant with [start, end)."""
        return range(self.closed_by(start), self.opened_before(end))

    def open_at(self, ordinal: int) -> datetime:
        """Return the opening instant."""
        return datetime.fromtimestamp(int(self.opens[ordinal]), UTC)

    def close_at(self, ordinal: int) -> datetime:
        """Return the closing instant."""
        return datetime.fromtimestamp(int(self.closes[ordinal]), UTC)

    def minutes(self, ordinals: Sequence[int] | Instants) -> Instants:
        """Return how many minutes each session lasts."""
        chosen = np.asarray(ordinals, dtype=np.int64)
        open_s = self.closes[chosen] - self.opens[chosen] - (self.resumes[chosen] - self.pauses[chosen])
        return np.asarray(open_s // 60, dtype=np.int64)

    def minute_starts(self, ordinals: Instants, n_minutes: int) -> Instants:
        """Return the starts of each session's first open minutes, (sessions, minutes); those after it mean nothing."""
        chosen = np.asarray(ordinals, dtype=np.int64)[:, None]
        starts = self.opens[chosen] + 60 * np.arange(n_minutes)
        pause = self.resumes[chosen] - self.pauses[chosen]
        return np.asarray(starts + np.where(starts >= self.pauses[chosen], pause, 0))

    def intervals(self, ordinal: int) -> list[tuple[datetime, datetime]]:
        """Return the stretches of a session in which trading goes on."""
        ends = [(self.opens, self.pauses), (self.resumes, self.closes)]
        pairs = [(int(start[ordinal]), int(end[ordinal])) for start, end in ends]
        return [(datetime.fromtimestamp(a, UTC), datetime.fromtimestamp(b, UTC)) for a, b in pairs if a < b]


def exchange_date(instant: datetime) -> date:
    """Return the date at the exchange."""
    return instant.astimezone(ZONE).date()


_DAYTIME: Final = (time(8, 30), time(16))
"""Regular hours of a future, at its exchange; its whole session begins on the evening before."""


@lru_cache(maxsize=8)
def regular(hours: TradingHours, sec_type: str, zone: str) -> TradingHours:
    """Return what useRTH leaves of sessions: of a future its daytime, of everything else all."""
    if sec_type != "FUT":
        return hours
    place = ZoneInfo(zone)
    start, end = (
        np.array([int(datetime.combine(day, clock, place).timestamp()) for day in hours.sessions.astype(object)])
        for clock in _DAYTIME
    )
    return TradingHours.unbroken(hours.sessions, np.maximum(hours.opens, start), np.minimum(hours.closes, end))


SPOT_CURRENCIES: Final = "FX"
"""IDEALPRO's trade dates; no calendar of it is published."""
_PUBLISHED_SINCE: Final = date(2000, 1, 3)
"""Every calendar is known from here on, and until a year ahead."""
_GLOBEX: Final = "CMES"
_GLOBEX_BREAK_S: Final = 3600
"""From 16:00 to 17:00 in Chicago nothing trades; the published calendar ends a session only with the break."""
_CFE: Final = "XCBF"
_EUREX: Final = "XEUR"
_EUREX_WITH_ASIA: Final = np.datetime64("2018-12-10")
_TEN_PAST_MIDNIGHT_S: Final = 600


def trading_hours(calendar: str = "XNYS") -> TradingHours:
    """Return the table of sessions of an exchange; made once per process (a quarter of a second)."""
    return _table(calendar)


@lru_cache(maxsize=32)
def _table(calendar: str) -> TradingHours:
    if calendar == SPOT_CURRENCIES:
        return _spot_currencies()
    found = _published(calendar)
    if calendar == _CFE:
        return _volatility_futures(found)
    if calendar == _EUREX:
        asian = found.sessions.astype("datetime64[s]").astype(np.int64) + _TEN_PAST_MIDNIGHT_S
        opens = np.where(found.sessions >= _EUREX_WITH_ASIA, asian, found.opens)
        return TradingHours.unbroken(found.sessions, opens, found.closes)
    if calendar != _GLOBEX:
        return found
    is_whole = found.closes - found.opens == 24 * _GLOBEX_BREAK_S
    return TradingHours.unbroken(
        found.sessions, found.opens, np.where(is_whole, found.closes - _GLOBEX_BREAK_S, found.closes)
    )


def _volatility_futures(daytime: TradingHours) -> TradingHours:
    """Trade dates from 17:00 of the evening before to 16:00 in Chicago, or to an early close of the daytime."""
    chicago, days = ZoneInfo("America/Chicago"), daytime.sessions.astype(object)
    opens = [datetime.combine(day - timedelta(days=1), time(17), chicago) for day in days]
    usual = [datetime.combine(day, time(15, 15), chicago) for day in days]
    late = [datetime.combine(day, time(16), chicago) for day in days]
    begins, daytime_ends, ends = (
        np.array([int(instant.timestamp()) for instant in column]) for column in (opens, usual, late)
    )
    closes = np.where(daytime.closes < daytime_ends, daytime.closes, ends)
    return TradingHours.unbroken(daytime.sessions, begins, closes)


def _spot_currencies() -> TradingHours:
    """Weekdays from 17:15 of the evening before to 17:00 in New York, but for Christmas and New Year."""
    everyday = np.arange(np.datetime64(FIRST_SESSION), np.datetime64(LAST_DAY))
    month_day = [str(day)[5:] for day in everyday]
    days = everyday[np.is_busday(everyday) & ~np.isin(month_day, ["12-25", "01-01"])]
    closes = np.array([int(datetime.combine(day, time(17), ZONE).timestamp()) for day in days.astype(object)])
    opens = [datetime.combine(day - timedelta(days=1), time(17, 15), ZONE) for day in days.astype(object)]
    return TradingHours.unbroken(days, np.array([int(instant.timestamp()) for instant in opens]), closes)


def _published(calendar: str) -> TradingHours:
    import exchange_calendars

    with warnings.catch_warnings():
        # the calendars use what pandas deprecates; that is between those two, and no reason for our callers to stop
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            chosen = exchange_calendars.get_calendar(calendar, start=str(FIRST_SESSION), end=str(LAST_DAY))
        except ValueError:  # whose holidays are not published that far
            chosen = exchange_calendars.get_calendar(calendar, start=str(_PUBLISHED_SINCE))
        breaks = (chosen.break_starts_nanos, chosen.break_ends_nanos)
        pauses, resumes = (np.where(nanos > 0, nanos, chosen.closes_nanos) // 10**9 for nanos in breaks)
        return TradingHours(
            sessions=chosen.sessions.to_numpy().astype("datetime64[D]"),
            opens=chosen.opens_nanos // 10**9,
            closes=chosen.closes_nanos // 10**9,
            pauses=pauses,
            resumes=resumes,
        )
