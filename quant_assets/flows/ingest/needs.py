"""1-minute bars: which sessions of which instruments are missing, and the requests that bring them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from quant_assets.connectors.base import Contract, SessionHours
from quant_assets.connectors.tws.planner import Need, PlannedRequest, plan_minutes, recut
from quant_assets.domain.calendar import TradingCalendar, day_start
from quant_assets.domain.instruments import Series, minute_series
from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.accepting import accepted_holes
from quant_assets.flows.ingest.ledger import (
    UNANSWERED,
    contradicted,
    in_other_units,
    patience_of,
    read_ledger,
    settled,
    without_contradicted,
)
from quant_assets.flows.ingest.past import EarlierAnswers
from quant_assets.flows.ingest.schedules import denied, outlived
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


@dataclass(frozen=True, slots=True)
class MinuteNeeds:
    """What has to be asked for, and what the ledger knows of it already."""

    open: list[Need]
    """No request has settled these."""
    rereads: list[Need]
    """Settled on their own day, and not asked for since."""
    past: EarlierAnswers
    shut: list[Need] = field(default_factory=list)
    """Their exchange is closed by its calendar, and yet their daily history has a bar."""

    def __bool__(self) -> bool:
        return bool(self.open or self.rereads or self.shut)

    @property
    def n_instruments(self) -> int:
        """How many instruments are to be asked for."""
        return len({need.contract.con_id for need in (*self.open, *self.rereads, *self.shut)})


def minute_needs(work: Work, sessions: Sequence[date]) -> MinuteNeeds:
    """Return the sessions of the universe's instruments that no request has settled, or that are to be read again.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    before = _sessions_before(work, sessions)
    ledger = read_ledger(work, sorted({*sessions, *before})).filter(pl.col("bar_size") == "1 min")
    universe = pl.concat([work.lake.curated.read(UNIVERSE, Partition(session)) for session in sessions])
    done = settled(ledger, work.clock.now(), patience_of(work), asks_known=work.asks_known)
    holds = done.join(outlived(work, done, universe), on=["session", "con_id", "request_id"], how="anti")
    apart = in_other_units(work, sessions)
    holds = without_contradicted(holds, apart, ["session", "con_id"])
    reopened = _reopened(work, sessions)
    holds = holds.join(reopened, on=["session", "con_id"], how="anti")
    wanted = universe.join(holds, on=["session", "con_id"], how="anti")
    rereads = [_to_reread(work, session, ledger) for session in before]
    again = pl.concat(rereads).join(wanted, on=["session", "con_id"], how="anti") if rereads else universe.clear()
    past = EarlierAnswers.of(ledger, {*reopened.iter_rows(), *apart.select("session", "con_id").iter_rows()})
    return MinuteNeeds(_needs(work, wanted), _needs(work, again), past, denied(work, _every(wanted)))


def _reopened(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return session, con_id of what a repair asks for although answers agree: the daily volume contradicts them."""
    if not work.is_repair:
        return pl.DataFrame(schema={"session": pl.Date, "con_id": pl.Int64})
    found = contradicted(work, sessions).join(accepted_holes(work, sessions), on=["session", "con_id"], how="left")
    is_open = ~pl.col("is_known") & pl.col("accepted").is_null()
    return found.filter(is_open | pl.lit(work.asks_known)).select("session", "con_id")


def _needs(work: Work, members: pl.DataFrame) -> list[Need]:
    return [need for need in _every(members) if _is_closed(work, need)]


def _every(members: pl.DataFrame) -> list[Need]:
    rows = members.sort("con_id", "session").iter_rows(named=True)
    return [Need(contract_of(row), row["session"]) for row in rows]


def _sessions_before(work: Work, sessions: Sequence[date]) -> list[date]:
    """Return the session before each of the given ones, where there is a universe to read it again for."""
    if not work.settings.manifest.lakehouse.reread_previous_session:
        return []
    found = {before for session in sessions if (before := work.calendar.previous(session))}
    return sorted(day for day in found if work.lake.curated.exists(UNIVERSE, Partition(day)))


def _to_reread(work: Work, session: date, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the members of which bars of a session were settled while it was the newest one, and not asked for since.

    A session of a backfill is not among them: it was fetched after vendors had revised it.
    """
    members = work.lake.curated.read(UNIVERSE, Partition(session))
    following = work.calendar.following(session)
    assert following is not None
    of_session = ledger.filter((pl.col("session") == session) & ~pl.col("outcome").is_in(UNANSWERED))
    asked = of_session.group_by("con_id").agg(
        ((pl.col("proof") != "") & pl.col("bars_batch_id").is_not_null()).any().alias("is_settled"),
        pl.col("asked_at").max(),
    )
    on_its_day = asked.filter(pl.col("is_settled") & (pl.col("asked_at") < day_start(following) + timedelta(days=1)))
    return members.join(on_its_day, on="con_id", how="semi")


def _is_closed(work: Work, need: Need) -> bool:
    """Return whether the instrument traded in the session, and its exchange has been closed for long enough."""
    hours = work.calendar_for(need.contract).hours_on(need.session)
    return hours is not None and hours.closes_at + work.fetch_delay <= work.clock.now()


def contract_of(row: dict[str, Any]) -> Contract:
    """Return the contract to ask for, from a row of the universe."""
    return Contract.listed(row["exchange"], row["symbol"], row["asset_class"], row["currency"], row["con_id"])


def plan_for(work: Work, needs: MinuteNeeds) -> list[PlannedRequest]:
    """Return the fewest legal requests that cover the needs; what is in doubt is cut differently than before."""
    planned = _fewest(work, [*needs.open, *needs.rereads])
    return [part for one in planned for part in _cut_anew(work, one, needs.past)]


def _cut_anew(work: Work, planned: PlannedRequest, past: EarlierAnswers) -> list[PlannedRequest]:
    """Cut a request differently than every one whose answer is in doubt: equal answers to equal requests prove nothing.

    Each cut begins a session earlier than the one before; where none is longer, it is halved.
    """
    contract = planned.request.contract
    tried = {length for day in planned.needed for length in past.doubted.get((day, contract.con_id), ())}
    calendar = work.calendar_for(contract)
    parts = [planned]
    while len(parts) == 1 and parts[0].request.duration in tried:
        before = calendar.previous(parts[0].sessions[0])
        hours = calendar.hours(before) if before else None
        longer = recut(parts[0], SessionHours(before, *hours.row) if before and hours else None)
        if longer == parts:
            break
        parts = longer
    return parts


def _fewest(work: Work, needs: Sequence[Need]) -> list[PlannedRequest]:
    groups: dict[tuple[TradingCalendar, Series], list[Need]] = defaultdict(list)
    for need in needs:
        contract = need.contract
        series = minute_series(contract.sec_type, use_rth=work.settings.manifest.lakehouse.use_rth)
        groups[work.calendar_for(contract), series].append(need)
    return [
        planned for (calendar, series), wanted in groups.items() for planned in _plan_of(work, calendar, series, wanted)
    ]


def _plan_of(work: Work, calendar: TradingCalendar, series: Series, needs: Sequence[Need]) -> list[PlannedRequest]:
    """Plan what one exchange's hours and one kind of series serve; a request counts that exchange's sessions."""
    span = calendar.between(min(n.session for n in needs), max(n.session for n in needs))
    hours = {session: calendar.hours(session) for session in span}
    return plan_minutes(
        needs,
        {session: one.row for session, one in hours.items()},
        work.settings.manifest.tws.max_minute_duration,
        what_to_show=series.what_to_show,
        use_rth=series.use_rth,
    )
