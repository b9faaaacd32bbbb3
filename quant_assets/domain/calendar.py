"""Sessions, their minutes, and which of them have closed. All instants are UTC."""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise, starmap
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.domain.hours import Hours
from quant_assets.errors import ConfigurationError, FutureSessionError, NotASessionError

_HISTORY_START = date(2000, 1, 3)

FOREIGN_EXCHANGE = "FX"
"""Our own calendar, because none is published: the trade dates of spot currencies, Monday to Friday."""
FUTURES = "CMES"
VOLATILITY_FUTURES = "XCBF"
EUROPEAN_FUTURES = "XEUR"
CONTINUOUS = "24/7"

_NO_TIME = -(2**63)
"""No instant, in nanoseconds."""
_OWN = ":"
"""Between the calendar of an exchange and the con_id of an instrument that keeps hours of its own there."""
_TRADE_DATE_STARTS = dict.fromkeys((FOREIGN_EXCHANGE, FUTURES, VOLATILITY_FUTURES), time(17))
"""Local time at which a new trade date begins on the evening before; elsewhere a date begins at midnight."""
_DATED_AHEAD = (VOLATILITY_FUTURES,)
"""Exchanges that trade on the morning of a holiday, for the trade date after it."""
_DAILY_BREAK = time(16)
"""Chicago's time at which futures pause until the next trade date."""
_EUREX_SINCE_ASIA = (date(2018, 12, 10), time(0, 10))
"""From which day on Eurex opens in Asia's morning, and when: in UTC, since it is an hour later in its own summer."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One exchange's sessions and their hours."""

    hours: dict[date, Hours]
    timezone: str


def own_calendar(name: str, con_id: int) -> str:
    """Return the name of one instrument's calendar: its exchange's, where TWS has told nothing of the instrument."""
    return f"{name}{_OWN}{con_id}"


def exchange_calendar(name: str) -> str:
    """Return the calendar of the exchange, of one of its instruments' calendar too."""
    return name.partition(_OWN)[0]


def owner_of(name: str) -> tuple[str, int] | None:
    """Return the exchange's calendar and the con_id in the name of an instrument's own one."""
    exchange, _, con_id = name.partition(_OWN)
    return (exchange, int(con_id)) if con_id else None


@lru_cache(maxsize=32)
def _exchange(name: str) -> _Exchange:
    """Read the calendar of an exchange once; sessions up to a year ahead are known.

    Raises:
        ConfigurationError: there is no such exchange.
    """
    if name == FOREIGN_EXCHANGE:
        return _spot_currencies()
    read = _published(name)
    if name not in _WHOLE_DAY:
        return read
    zone = ZoneInfo(read.timezone)
    return _Exchange({day: _WHOLE_DAY[name](day, hours, zone) for day, hours in read.hours.items()}, read.timezone)


def _globex(day: date, published: Hours, zone: ZoneInfo) -> Hours:
    """Return a trade date of CME without the pause after it, which exchange_calendars counts as trading."""
    return replace(published, closes_at=min(published.closes_at, _at(day, _DAILY_BREAK, zone)))


def _cfe(day: date, published: Hours, zone: ZoneInfo) -> Hours:
    """Return a trade date of VIX futures; exchange_calendars has the daytime only, and with it the early closes."""
    closes_at = published.closes_at
    is_early = closes_at < _at(day, time(15), zone)
    evening = _at(day - timedelta(days=1), _TRADE_DATE_STARTS[VOLATILITY_FUTURES], zone)
    return Hours(evening, closes_at if is_early else _at(day, _DAILY_BREAK, zone))


def _eurex(day: date, published: Hours, _: ZoneInfo) -> Hours:
    """Return a day of the index and interest rate futures; exchange_calendars has the hours of the other products."""
    since, opens = _EUREX_SINCE_ASIA
    return replace(published, opens_at=datetime.combine(day, opens, UTC)) if day >= since else published


_WHOLE_DAY: Mapping[str, Callable[[date, Hours, ZoneInfo], Hours]] = {
    FUTURES: _globex,
    VOLATILITY_FUTURES: _cfe,
    EUROPEAN_FUTURES: _eurex,
}
"""From the published hours of an exchange to those around the clock, where its futures keep others."""


def _at(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _spot_currencies() -> _Exchange:
    """Return IDEALPRO's trade dates: 17:15 to 17:00 New York, but for Christmas and New Year."""
    zone = ZoneInfo("America/New_York")
    last = _published("24/5").hours
    days = [day for day in last if (day.month, day.day) not in {(12, 25), (1, 1)}]
    hours = {day: Hours(_at(day - timedelta(days=1), time(17, 15), zone), _at(day, time(17), zone)) for day in days}
    return _Exchange(hours, zone.key)


def _published(name: str) -> _Exchange:
    """Read a calendar of exchange_calendars."""
    import exchange_calendars

    with warnings.catch_warnings():
        # exchange_calendars calls what pandas deprecates; that is between the two, and nothing a caller can mend
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            known = exchange_calendars.get_calendar(name, start=str(_HISTORY_START))
        except exchange_calendars.errors.InvalidCalendarName:
            some = ", ".join(exchange_calendars.get_calendar_names(include_aliases=False)[:20])
            raise ConfigurationError(
                "lakehouse.calendars", f"there is no exchange calendar {name!r}.", f"Some: {some}, …"
            ) from None
        nanos = (known.opens_nanos, known.closes_nanos, known.break_starts_nanos, known.break_ends_nanos)
        opens, closes, pauses, resumes = (_instants(one) for one in nanos)
        sessions = [stamp.date() for stamp in known.sessions]
    hours = starmap(Hours, zip(opens, closes, pauses, resumes, strict=True))
    return _Exchange(dict(zip(sessions, hours, strict=True)), str(known.tz))


def _instants(nanoseconds: Any) -> list[Any]:
    """Return instants; None where there is none, which exchange_calendars writes as pandas does."""
    values = map(int, nanoseconds)
    return [None if value == _NO_TIME else datetime.fromtimestamp(value // 1_000_000_000, UTC) for value in values]


@dataclass(frozen=True)
class TradingCalendar:
    """The union of the configured exchange calendars: a day is a session when any of them trades."""

    names: tuple[str, ...] = ("XNYS",)
    delay: timedelta = timedelta()
    """How long after the last close of a session nothing is asked yet."""
    told: tuple[tuple[date, Hours | None], ...] = ()
    """Hours of single sessions as TWS tells them, None where it has no session; of a single exchange only."""

    @cached_property
    def all_sessions(self) -> list[date]:
        """Every known session, ascending, up to a year ahead."""
        return sorted({day for table in self._tables for day in table})

    @cached_property
    def _tables(self) -> list[Mapping[date, Hours]]:
        """The hours of each exchange."""
        tables: list[Mapping[date, Hours]] = [_exchange(exchange_calendar(name)).hours for name in self.names]
        if not self.told:
            return tables
        assert len(tables) == 1
        told = dict(self.told)
        kept = {day: hours for day, hours in tables[0].items() if day not in told}
        return [kept | {day: hours for day, hours in told.items() if hours}]

    @cached_property
    def _known(self) -> frozenset[date]:
        return frozenset(self.all_sessions)

    def is_session(self, day: date) -> bool:
        """Return whether any exchange trades on a day."""
        return day in self._known

    def require(self, day: date) -> date:
        """Return the day if it is a session.

        Raises:
            NotASessionError: it is a holiday or a weekend, or outside the calendar; names the nearest sessions.
        """
        if self.is_session(day):
            return day
        reason = "the exchange is closed that day" if self._in_bounds(day) else "it is outside the exchange calendar"
        near = [session for session in (self.previous(day), self.following(day)) if session]
        raise NotASessionError(str(day), reason, near)

    def _in_bounds(self, day: date) -> bool:
        return self.all_sessions[0] <= day <= self.all_sessions[-1]

    def previous(self, day: date) -> date | None:
        """Return the last session before a day."""
        position = bisect_left(self.all_sessions, day)
        return self.all_sessions[position - 1] if position else None

    def following(self, day: date) -> date | None:
        """Return the first session after a day."""
        position = bisect_right(self.all_sessions, day)
        return self.all_sessions[position] if position < len(self.all_sessions) else None

    def between(self, first: date, last: date) -> list[date]:
        """Return the sessions of a closed range.

        Raises:
            NotASessionError: the range is reversed, or holds no session.
        """
        label = f"{first}..{last}"
        if last < first:
            raise NotASessionError(label, "the range is reversed; write the earlier session first")
        found = self.all_sessions[bisect_left(self.all_sessions, first) : bisect_right(self.all_sessions, last)]
        if not found:
            near = [session for session in (self.previous(first), self.following(last)) if session]
            raise NotASessionError(label, "no exchange trades in the range", near)
        return found

    def count(self, first: date, last: date) -> int:
        """Return how many sessions a closed range has; 0 where it has none."""
        return max(0, bisect_right(self.all_sessions, last) - bisect_left(self.all_sessions, first))

    def window(self, last: date, n_sessions: int) -> list[date]:
        """Return the `n_sessions` sessions that end with `last`, ascending; fewer at the calendar's start."""
        position = bisect_left(self.all_sessions, self.require(last))
        return self.all_sessions[max(0, position + 1 - n_sessions) : position + 1]

    def closed_days(self, first: date, last: date) -> list[date]:
        """Return the days of a closed range that are no session of any calendar."""
        span = (last - first).days + 1
        return [day for offset in range(span) if not self.is_session(day := first + timedelta(days=offset))]

    def hours(self, session: date) -> Hours:
        """Return the hours of a session: of several exchanges, the earliest opening and the latest close.

        What pauses on one exchange may trade on another, so that a pause is one only where all that trade share it.
        """
        self.require(session)
        found = [hours for table in self._tables if (hours := table.get(session))]
        pauses = {(hours.pauses_at, hours.resumes_at) for hours in found}
        first, last = min(hours.opens_at for hours in found), max(hours.closes_at for hours in found)
        return Hours(first, last, *(pauses.pop() if len(pauses) == 1 else ()))

    def hours_on(self, day: date) -> Hours | None:
        """Return opening and closing of a day, or None when no exchange trades on it."""
        return self.hours(day) if self.is_session(day) else None

    def latest(self, now: datetime) -> date:
        """Return the newest session whose partition exists, and all of whose exchanges have closed long enough.

        A partition exists once its UTC day has ended. Only where an exchange closes later than `delay` before that
        does a session wait longer.
        """
        latest = self.previous(now.astimezone(UTC).date())
        while latest is not None and self.hours(latest).closes_at + self.delay > now:
            latest = self.previous(latest)
        assert latest is not None
        return latest

    def ready_after_midnight(self) -> timedelta:
        """Return how long after the end of its UTC day a session can be asked for; nothing where all close earlier."""
        waits = [self.hours(day).closes_at + self.delay - day_start(day) - timedelta(days=1) for day in self._recent]
        return max(timedelta(), *waits)

    @property
    def _recent(self) -> list[date]:
        return self.all_sessions[-260:]

    def require_closed(self, session: date, now: datetime) -> date:
        """Return the session if its partition exists already.

        Raises:
            NotASessionError: it is no session.
            FutureSessionError: it has not closed.
        """
        self.require(session)
        if session > (latest := self.latest(now)):
            raise FutureSessionError(session, latest)
        return session

    def minutes(self, sessions: Iterable[date]) -> pl.DataFrame:
        """Return the expected minutes of sessions: columns session, ts (minute start), minute (0 at the open)."""
        frames = [self._minutes_of(session) for session in sessions]
        return pl.concat(frames) if frames else pl.DataFrame(schema=self._minutes_schema())

    @staticmethod
    def _minutes_schema() -> pl.Schema:
        return pl.Schema([("session", pl.Date()), ("ts", pl.Datetime("us", "UTC")), ("minute", pl.Int64())])

    def _minutes_of(self, session: date) -> pl.DataFrame:
        stamps = pl.concat(
            pl.datetime_range(
                start, end, interval="1m", closed="left", time_unit="us", time_zone="UTC", eager=True
            ).alias("ts")
            for start, end in self.hours(session).intervals
        )
        return pl.DataFrame({"ts": stamps}).select(
            pl.lit(session).alias("session"), "ts", pl.int_range(pl.len(), dtype=pl.Int64).alias("minute")
        )

    @property
    def timezone(self) -> str:
        """Time zone of the first calendar, in which sessions are dated."""
        return _exchange(exchange_calendar(self.names[0])).timezone

    def session_of(self, ts: pl.Expr) -> pl.Expr:
        """Return the session of a bar start, as the first calendar dates it."""
        name = exchange_calendar(self.names[0])
        starts, is_ahead = _TRADE_DATE_STARTS.get(name, time()), name in _DATED_AHEAD
        return session_of(ts, self.timezone, self.all_sessions, starts, is_ahead=is_ahead)

    def longest_gap(self, since: date) -> timedelta:
        """Return the longest time between two consecutive session days, which a freshness policy must outlast."""
        recent = [session for session in self.all_sessions if session >= since]
        return max(after - before for before, after in pairwise(recent))


def session_of(
    ts: pl.Expr, timezone: str, sessions: Sequence[date], day_starts: time = time(), *, is_ahead: bool = False
) -> pl.Expr:
    """Return the session of a bar start: its local date, or the session before it where that date is none.

    A bar on a day without a session is kept with the session before it, so that it meets the membership rule of
    that session instead of getting lost.

    Args:
        ts: bar starts, UTC.
        timezone: IANA zone of the exchange.
        sessions: all sessions of the exchange, ascending.
        day_starts: local time at which the next trade date begins; midnight is that of the date itself.
        is_ahead: keep a bar on a day without a session with the session after it.
    """
    wall = ts.dt.convert_time_zone(timezone).dt.replace_time_zone(None)
    into_next = timedelta(days=1) - timedelta(hours=day_starts.hour, minutes=day_starts.minute)
    local = (wall if day_starts == time() else wall + into_next).dt.date()
    edges = pl.Series("edges", list(sessions), dtype=pl.Date)
    index = pl.lit(edges).search_sorted(local, side="left" if is_ahead else "right").cast(pl.Int64)
    nearest = index.clip(upper_bound=len(edges) - 1) if is_ahead else (index - 1).clip(lower_bound=0)
    return pl.lit(edges).gather(nearest).alias("session")


def day_start(session: date) -> datetime:
    """Return the UTC midnight that starts a session's partition window."""
    return datetime.combine(session, time(), tzinfo=UTC)
