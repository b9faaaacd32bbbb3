"""Daily history: which vintages speak for a session, which series lack one, and the requests that bring them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain, islice
from typing import Self

import polars as pl

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws.planner import PlannedRequest, plan_daily
from quant_assets.domain.calendar import day_start
from quant_assets.domain.instruments import WhatToShow, daily_series
from quant_assets.domain.tables import RAW_TWS_DAILY_BARS, UNIVERSE
from quant_assets.flows.ingest.judging import Series, series_of
from quant_assets.flows.ingest.ledger import in_other_units, read_ledger, settled, throttle_of, without_contradicted
from quant_assets.flows.ingest.needs import contract_of
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

FULL_EVERY = 20
"""Sessions after which a full window is fetched again, so that no reader has to look further back for one."""
OVERLAP = 10
"""Sessions of a short re-fetch: new ones, and enough old ones to compare the price basis."""


@dataclass(frozen=True, slots=True)
class DailyNeeds:
    """Which series need a full window, and which only a short overlap."""

    full: list[Contract]
    short: list[Contract]
    vintage: date
    asked_from: date
    """First session that a full window has to hold."""
    span: timedelta
    """From before that session to now."""
    served: frozenset[Series] = frozenset()
    """Series (con_id, what_to_show) whose full window has arrived already, without the rest of its instrument."""

    @property
    def n_instruments(self) -> int:
        """How many instruments are to be asked for."""
        return len({contract.con_id for contract in (*self.full, *self.short)})

    def plan(self, work: Work) -> list[PlannedRequest]:
        """Return all requests: overlaps, then full windows."""
        return [*plan_overlaps(work, self.short, self.vintage), *self.plan_full(work, self.full)]

    def plan_full(self, work: Work, contracts: Sequence[Contract]) -> list[PlannedRequest]:
        """Return the requests for full windows of some instruments, but for what is there already."""
        return self.missing_of(plan_full(work, contracts, self.asked_from, self.vintage, self.span))

    def missing_of(self, planned: Sequence[PlannedRequest]) -> list[PlannedRequest]:
        """Return the planned requests for full windows that have not been answered."""
        return [one for one in planned if series_of(one) not in self.served]


def plan_overlaps(work: Work, contracts: Sequence[Contract], vintage: date) -> list[PlannedRequest]:
    """Return the requests for the newest sessions of some instruments."""
    start = work.calendar.window(vintage, OVERLAP)[0]
    return _planned(contracts, lambda one: max(OVERLAP, work.calendar_for(one).count(start, vintage)))


def plan_full(
    work: Work, contracts: Sequence[Contract], start: date, vintage: date, span: timedelta
) -> list[PlannedRequest]:
    """Return the requests for windows that begin before `start`, each in the sessions of its own exchange."""
    return _planned(contracts, lambda one: work.calendar_for(one).count(start, vintage) + 1, span)


def _planned(
    contracts: Sequence[Contract], length: Callable[[Contract], int], span: timedelta | None = None
) -> list[PlannedRequest]:
    alike: dict[tuple[int, tuple[WhatToShow, ...]], list[Contract]] = defaultdict(list)
    for contract in contracts:
        alike[length(contract), daily_series(contract.sec_type)].append(contract)
    plans = (plan_daily(group, n_sessions, what, span=span) for (n_sessions, what), group in alike.items())
    return list(chain.from_iterable(plans))


def vintages_near(work: Work, session: date) -> list[date]:
    """Return the stored vintages that can speak for a window as of a session: a bounded number on either side.

    Further ones count when they were fetched for a window as old as this one, which their batches' names say.
    """
    return _near(work, work.lake.raw.sessions(RAW_TWS_DAILY_BARS), session)


def _near(work: Work, listed: Sequence[date], session: date) -> list[date]:
    """Choose among the vintages that have a directory; only those near the session are looked into."""
    place = bisect_right(listed, session)
    until = islice(_stored(work, reversed(listed[:place])), FULL_EVERY)
    later = _stored(work, listed[place:])
    after = list(islice(later, FULL_EVERY))
    deep = (vintage for vintage in later if _reaches(work, vintage, _window_start(work, session)))
    return [*sorted(until), *after, *islice(deep, FULL_EVERY)]


def _stored(work: Work, listed: Iterable[date]) -> Iterator[date]:
    return (vintage for vintage in listed if work.lake.raw.batches(RAW_TWS_DAILY_BARS, Partition(vintage)))


def _window_start(work: Work, session: date) -> date:
    return work.calendar.window(session, work.settings.manifest.max_lookback_sessions)[0]


def _reaches(work: Work, vintage: date, start: date) -> bool:
    names = (file.stem for file in work.lake.raw.batches(RAW_TWS_DAILY_BARS, Partition(vintage)))
    return any(FROM in name and name.partition(FROM)[2] <= f"{start:%Y%m%d}" for name in names)


_SLACK = timedelta(days=1)
"""For the time between a plan and its last request."""
FROM = "-from-"
"""In the name of a batch of full windows, before the first session that they were asked for."""


def daily_needs(work: Work, sessions: Sequence[date], patience: timedelta | None = None) -> DailyNeeds:
    """Return which instruments of the universe lack daily history for windows as of the given sessions.

    A session is served by a full window that was fetched for it then or later; or live, by what was fetched on the
    very session and a full window before it. Every series of the instrument has to come from the same vintage. What
    the minutes have since contradicted by a factor of a hundred serves nobody.

    Args:
        work: stores and calendars.
        sessions: ascending.
        patience: how long refusals and doubts are left alone; the fetch throttle when left out.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    first, vintage = sessions[0], work.latest_session()
    asked = _Asked.of(work, sessions)
    stands = without_contradicted(asked.ledger, in_other_units(work, sessions), ["con_id"])
    done = settled(stands, work.clock.now(), throttle_of(work) if patience is None else patience)
    full: dict[int, dict[str, object]] = {}
    short: dict[int, dict[str, object]] = {}
    for session in sessions:
        served, based = asked.serve(work, session, done)
        start = _window_start(work, session)
        extensible = based if session == vintage and start < work.calendar.window(vintage, OVERLAP)[0] else set()
        for row in asked.universe.filter(pl.col("session") == session).sort("con_id").iter_rows(named=True):
            if row["con_id"] not in served:
                (short if row["con_id"] in extensible else full)[row["con_id"]] = row
    start = _window_start(work, first)
    return DailyNeeds(
        full=[contract_of(row) for _, row in sorted(full.items())],
        short=[contract_of(row) for con_id, row in sorted(short.items()) if con_id not in full],
        vintage=vintage,
        asked_from=start,
        span=work.clock.now() - day_start(start) + _SLACK,
        served=frozenset(
            done.filter((pl.col("session") == vintage) & (pl.col("asked_from") <= start))
            .select("con_id", "what_to_show")
            .iter_rows()
        ),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for windows as of some sessions, and for whom."""

    near: Mapping[date, list[date]]
    """Vintages that can speak for a session."""
    ledger: pl.DataFrame
    universe: pl.DataFrame
    wanted: pl.DataFrame

    @classmethod
    def of(cls, work: Work, sessions: Sequence[date]) -> Self:
        listed = work.lake.raw.sessions(RAW_TWS_DAILY_BARS)
        near = {session: _near(work, listed, session) for session in sessions}
        ledger = read_ledger(work, sorted({*chain.from_iterable(near.values()), work.latest_session()}))
        universe = pl.concat([work.lake.curated.read(UNIVERSE, Partition(session)) for session in sessions])
        return cls(near, ledger.filter(pl.col("bar_size") == "1 day"), universe, n_series(universe))

    def serve(self, work: Work, session: date, done: pl.DataFrame) -> tuple[set[int], set[int]]:
        """Return the instruments whose windows are served, and those that have a base to be extended."""
        is_full = pl.col("asked_from") <= _window_start(work, session)
        recent = [one for one in self.near[session] if one < session][-(FULL_EVERY - 1) :]
        based = set(_newest_is_whole(done.filter(is_full & pl.col("session").is_in(recent)), self.wanted))
        live = set(_whole(done.filter(pl.col("session") == session), self.wanted)) & based
        later = _whole(done.filter(is_full & (pl.col("session") >= session)), self.wanted)
        return {*later, *live}, based


def unproved(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return session, con_id, symbol of members of whose daily history some series has no answer that is proved.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    if not sessions:
        return UNIVERSE.empty().select(_MEMBER)
    asked = _Asked.of(work, sessions)
    proved = asked.ledger.filter(pl.col("proof") != "")
    lacking = [
        asked.universe.filter(pl.col("session") == session, ~pl.col("con_id").is_in(served)).select(_MEMBER)
        for session in sessions
        for served in [sorted(asked.serve(work, session, proved)[0])]
    ]
    return pl.concat(lacking).sort("session", "con_id")


_MEMBER = ["session", "con_id", "symbol"]


def n_series(members: pl.DataFrame) -> pl.DataFrame:
    """Return con_id and n_series: how many daily series its kind of instrument has.

    Args:
        members: con_id, asset_class.
    """
    kinds = {kind: len(daily_series(kind)) for kind in members["asset_class"].unique()}
    each = members.select("con_id", "asset_class").unique("con_id", keep="last", maintain_order=True)
    return each.select("con_id", pl.col("asset_class").replace_strict(kinds, return_dtype=pl.UInt32).alias("n_series"))


def _whole(ledger: pl.DataFrame, wanted: pl.DataFrame) -> list[int]:
    """Return the instruments of which some vintage has every series that is needed."""
    counted = ledger.group_by("con_id", "session").agg(_N_SERIES).join(wanted, on="con_id")
    return counted.filter(pl.col("n") >= pl.col("n_series"))["con_id"].to_list()


def _newest_is_whole(ledger: pl.DataFrame, wanted: pl.DataFrame) -> list[int]:
    """Return the instruments of which the newest vintage has every series that is needed."""
    newest = ledger.filter(pl.col("session") == pl.col("session").max().over("con_id"))
    return _whole(newest, wanted)


_N_SERIES = pl.col("what_to_show").n_unique().alias("n")
