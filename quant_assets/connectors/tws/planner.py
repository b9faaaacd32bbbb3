"""From what is needed to the fewest legal requests. Pure: no connection, no clock.

IBKR counts requests, not bars, so the length of a request is the only lever on speed. All durations are `N D`, which
counts trading days: the other units count calendar time, whose sessions depend on weekends and holidays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import zip_longest
from math import ceil
from typing import Literal

from quant_assets.connectors.base import BarRequest, BarSize, Contract, SessionHours
from quant_assets.connectors.tws.pacing import PacingBudget, estimate_s
from quant_assets.domain.instruments import WhatToShow
from quant_assets.errors import ConfigurationError, DefectError

HoursRow = tuple[datetime, datetime] | tuple[datetime, datetime, datetime | None, datetime | None]
"""Opening and close of a session; and where its pause begins and ends."""
MaxDuration = Literal["1 D", "2 D", "1 W", "2 W", "1 M"]

SESSIONS_IN: Mapping[str, int] = {"1 D": 1, "2 D": 2, "1 W": 5, "2 W": 10, "1 M": 21}
"""Rungs of the ladder, in sessions per request of one-minute bars."""

_MAX_DAYS = 365
_SESSIONS_PER_YEAR = 248
"""The shortest year that XNYS has had since 1990 (2001)."""
_YEAR = timedelta(days=365)
"""The shortest year that a duration can mean."""
MAX_YEARS = 20
"""The longest history that is asked for only to see where a series ended."""
_BYTES_PER_BAR = 52


@dataclass(frozen=True, slots=True)
class Need:
    """One session of one instrument that has to be fetched."""

    contract: Contract
    session: date


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request, the sessions that it covers, and those of them that somebody needs."""

    request: BarRequest
    covers: tuple[SessionHours, ...] = ()
    """Ascending; empty for a daily series, whose sessions the source knows."""
    needed: frozenset[date] = frozenset()

    @property
    def sessions(self) -> tuple[date, ...]:
        """The sessions that the answer will hold."""
        return tuple(hours.session for hours in self.covers)

    @property
    def extra(self) -> tuple[date, ...]:
        """Sessions that come along though nobody needs them: they lie between two that are needed."""
        return tuple(session for session in self.sessions if session not in self.needed)

    @property
    def n_bars(self) -> int:
        """How many bars the answer holds at most."""
        if self.request.bar_size == "1 day":
            count, unit = self.request.duration.split()
            return int(count) * (1 if unit == "D" else 253)
        return sum(one.hours.n_minutes for one in self.covers)


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan costs."""

    n_requests: int
    n_instruments: int
    n_needed: int
    n_extra: int
    pacing_s: float
    n_bars: int
    n_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.n_requests} requests for {self.n_instruments} instruments, at least "
            f"{self.pacing_s / 60:.1f} min of pacing, about {self.n_bytes / 1e6:.1f} MB"
        )


def plan_minutes(
    needs: Iterable[Need],
    hours: Mapping[date, HoursRow],
    max_duration: MaxDuration = "1 W",
    *,
    what_to_show: WhatToShow = "TRADES",
    use_rth: bool = True,
) -> list[PlannedRequest]:
    """Cover every need with the fewest requests, instruments taking turns.

    Args:
        needs: in any order; doubles are one need.
        hours: opening, close and pause of every session of the calendar over the range, needed or not.
        max_duration: the longest request.
        what_to_show: kind of bars.
        use_rth: regular hours only.

    Returns:
        Per instrument ascending by session; no two neighbours of the same instrument while others have work left.

    Raises:
        ConfigurationError: `max_duration` is no rung of the ladder.
        DefectError: a need lies on a day that `hours` does not know.
    """
    if max_duration not in SESSIONS_IN:
        raise ConfigurationError("tws.max_minute_duration", f"{max_duration!r} is not one of {', '.join(SESSIONS_IN)}.")
    calendar = [SessionHours(session, *hours[session]) for session in sorted(hours)]
    template = BarRequest(Contract(""), None, "1 D", "1 min", what_to_show, use_rth)
    series = [
        [_covering(replace(template, contract=contract), stretch, wanted) for stretch in stretches]
        for contract, wanted in _by_contract(needs).items()
        for stretches in [_stretches(wanted, calendar, SESSIONS_IN[max_duration])]
    ]
    return _take_turns(series)


def _by_contract(needs: Iterable[Need]) -> dict[Contract, frozenset[date]]:
    wanted: dict[Contract, set[date]] = {}
    for need in needs:
        wanted.setdefault(need.contract, set()).add(need.session)
    order = sorted(wanted, key=lambda contract: (contract.symbol, contract.con_id, str(contract)))
    return {contract: frozenset(wanted[contract]) for contract in order}


def _stretches(wanted: frozenset[date], calendar: Sequence[SessionHours], limit: int) -> list[tuple[SessionHours, ...]]:
    """Cut into runs of at most `limit` sessions, each from a needed one to a needed one.

    Starting each run at the first session not yet covered is optimal: some run has to cover it, and none that does
    reaches further.
    """
    places = [place for place, hours in enumerate(calendar) if hours.session in wanted]
    if len(places) != len(wanted):
        unknown = sorted(wanted - {hours.session for hours in calendar})
        raise DefectError(f"needs lie on days outside the calendar: {', '.join(map(str, unknown[:5]))}")
    stretches: list[tuple[SessionHours, ...]] = []
    start = end = -1
    for place in places:
        if start < 0 or place >= start + limit:
            if start >= 0:
                stretches.append(tuple(calendar[start : end + 1]))
            start = place
        end = place
    return [*stretches, tuple(calendar[start : end + 1])] if start >= 0 else stretches


def _covering(template: BarRequest, stretch: tuple[SessionHours, ...], wanted: frozenset[date]) -> PlannedRequest:
    request = replace(template, end=stretch[-1].closes_at, duration=f"{len(stretch)} D")
    return PlannedRequest(request, stretch, wanted & {hours.session for hours in stretch})


def _take_turns(series: Iterable[list[PlannedRequest]]) -> list[PlannedRequest]:
    """One of each instrument, then the next of each: the rule of 5 requests per contract in 2 s rarely bites."""
    return [planned for turn in zip_longest(*series) for planned in turn if planned is not None]


def plan_daily(
    contracts: Iterable[Contract],
    lookback_sessions: int,
    what: Sequence[WhatToShow] = ("TRADES", "ADJUSTED_LAST"),
    *,
    span: timedelta | None = None,
) -> list[PlannedRequest]:
    """One request per series, up to the source's now: the whole window comes on one price basis.

    Args:
        contracts: whose history is wanted.
        lookback_sessions: sessions that the window has to hold.
        what: the series.
        span: from the beginning of the window's first session to the source's now, where it is known.
    """
    duration = daily_duration(lookback_sessions, span)
    bar_size: BarSize = "1 day"
    return [
        PlannedRequest(BarRequest(contract, None, duration, bar_size, kind))
        for kind in what
        for contract in dict.fromkeys(contracts if isinstance(contracts, Sequence) else list(contracts))
    ]


def daily_duration(lookback_sessions: int, span: timedelta | None = None) -> str:
    """The smallest legal duration that holds that many sessions: days up to 365, then years.

    Days count sessions; years count the calendar, so that their number follows from the `span` of the window. Without
    it, every year is taken for the poorest in sessions that there was.
    """
    if lookback_sessions < 1:
        raise ConfigurationError("data.lookback_sessions", f"must be at least 1, not {lookback_sessions}.")
    if lookback_sessions <= _MAX_DAYS:
        return f"{lookback_sessions} D"
    if span is not None:
        return f"{ceil(span / _YEAR)} Y"
    return f"{ceil(lookback_sessions / _SESSIONS_PER_YEAR)} Y"


def halve(planned: PlannedRequest) -> list[PlannedRequest]:
    """Split in two by session, for an answer that was too long or too slow.

    A part that nobody needs is dropped, and the others shrink to what is needed. What cannot be split comes back
    as it is, alone.
    """
    if len(planned.covers) < 2:  # noqa: PLR2004
        return [planned]
    middle = (len(planned.covers) + 1) // 2
    parts = (_trimmed(part, planned.needed) for part in (planned.covers[:middle], planned.covers[middle:]))
    return [_covering(planned.request, part, planned.needed) for part in parts if part]


def recut(planned: PlannedRequest, before: SessionHours | None) -> list[PlannedRequest]:
    """Cover the same needs by other requests, for an answer that is not believed: a cache may hold the old one.

    Args:
        planned: what was asked.
        before: the session before the first that it covers; None where there is none.

    Returns:
        One request that begins a session earlier; where none is longer, or there is no such session, two halves.
    """
    if before is None or len(planned.covers) >= max(SESSIONS_IN.values()):
        return halve(planned)
    return [_covering(planned.request, (before, *planned.covers), planned.needed)]


def recut_series(planned: PlannedRequest) -> PlannedRequest:
    """Ask for a daily series with the next longer duration."""
    count, unit = planned.request.duration.split()
    longer = "2 Y" if planned.request.duration == f"{_MAX_DAYS} D" else f"{int(count) + 1} {unit}"
    return replace(planned, request=replace(planned.request, duration=longer))


def reaching(planned: PlannedRequest, span: timedelta) -> PlannedRequest:
    """Ask for a daily series with the years that reach back so far, and with one more than before at the least.

    Args:
        planned: what was asked.
        span: how far back the answer is to reach from now; further than `MAX_YEARS` is not asked.
    """
    count, unit = planned.request.duration.split()
    longer = int(count) + 1 if unit == "Y" else 1
    years = min(max(ceil(span / _YEAR), longer), max(MAX_YEARS, longer))
    return replace(planned, request=replace(planned.request, duration=f"{years} Y"))


def _trimmed(part: tuple[SessionHours, ...], needed: frozenset[date]) -> tuple[SessionHours, ...]:
    places = [place for place, hours in enumerate(part) if hours.session in needed]
    return part[places[0] : places[-1] + 1] if places else ()


def summary(plan: Sequence[PlannedRequest], budget: PacingBudget) -> PlanSummary:
    """What a plan costs, before anything is sent."""
    n_bars = sum(planned.n_bars for planned in plan)
    return PlanSummary(
        n_requests=len(plan),
        n_instruments=len({planned.request.contract for planned in plan}),
        n_needed=sum(len(planned.needed) for planned in plan),
        n_extra=sum(len(planned.extra) for planned in plan),
        pacing_s=estimate_s(budget, len(plan)),
        n_bars=n_bars,
        n_bytes=n_bars * _BYTES_PER_BAR,
    )
