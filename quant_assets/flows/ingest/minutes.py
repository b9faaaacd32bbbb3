"""1-minute bars: which sessions of which instruments are missing, asked for and committed group by group."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws.planner import Need, PlannedRequest, plan_minutes
from quant_assets.connectors.tws.retry import Outcome, fetch_all
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.instruments import Series, minute_series
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_REQUESTS, UNIVERSE
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.ingest.ledger import is_fatal, read_ledger, settled, throttle_of
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.rows import MinuteRows
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

GROUP = 64
"""Requests per commit: what a crash can cost at the most."""


def minute_needs(work: Work, sessions: Sequence[date]) -> list[Need]:
    """Return the sessions of the universe's instruments that no request has settled.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    universe = pl.concat([work.lake.curated.read(UNIVERSE, Partition(session)) for session in sessions])
    done = settled(
        read_ledger(work, sessions).filter(pl.col("bar_size") == "1 min"), work.clock.now(), throttle_of(work)
    )
    open_ = universe.join(done, on=["session", "con_id"], how="anti").sort("con_id", "session")
    needs = [Need(contract_of(row), row["session"]) for row in open_.iter_rows(named=True)]
    return [need for need in needs if _is_closed(work, need)]


def _is_closed(work: Work, need: Need) -> bool:
    """Return whether the instrument traded in the session, and its exchange has been closed for long enough."""
    hours = work.calendar_of(need.contract.sec_type, need.contract.venue).hours_on(need.session)
    return hours is not None and hours.closes_at + work.fetch_delay <= work.clock.now()


def contract_of(row: dict[str, Any]) -> Contract:
    """Return the contract to ask for, from a row of the universe."""
    return Contract.listed(row["exchange"], row["symbol"], row["asset_class"], row["currency"], row["con_id"])


def plan_for(work: Work, needs: Sequence[Need]) -> list[PlannedRequest]:
    """Return the fewest legal requests that cover the needs."""
    if not needs:
        return []
    groups: dict[tuple[TradingCalendar, Series], list[Need]] = defaultdict(list)
    for need in needs:
        contract = need.contract
        series = minute_series(contract.sec_type, use_rth=work.settings.manifest.lakehouse.use_rth)
        groups[work.calendar_of(contract.sec_type, contract.venue), series].append(need)
    return [
        planned for (calendar, series), wanted in groups.items() for planned in _plan_of(work, calendar, series, wanted)
    ]


def _plan_of(work: Work, calendar: TradingCalendar, series: Series, needs: Sequence[Need]) -> list[PlannedRequest]:
    """Plan what one exchange's hours and one kind of series serve; a request counts that exchange's sessions."""
    span = calendar.between(min(n.session for n in needs), max(n.session for n in needs))
    hours = {session: calendar.hours(session) for session in span}
    return plan_minutes(
        needs,
        {session: (one.opens_at, one.closes_at) for session, one in hours.items()},
        work.settings.manifest.tws.max_minute_duration,
        what_to_show=series.what_to_show,
        use_rth=series.use_rth,
    )


def ingest_minutes(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Fetch what is missing of the given sessions into `raw_tws_bars`; nothing missing means no connection.

    Every group of requests is committed as it arrives, so that a crash loses at most one group and a rerun asks only
    for the rest.

    Raises:
        NotPublishedError: the universe of a session is missing.
        SourceUnavailableError: TWS stayed away; what had arrived is committed.
        SourceRefusedError: TWS calls a request malformed.
    """
    plan = plan_for(work, minute_needs(work, sessions))
    report = IngestReport()
    if plan:
        work.audit.record("ingest_minutes", run_id=work.run_id, status="started", current=0, total=len(plan))
        work.gate.run(lambda opened: _MinuteIngest(work, opened, report).run(plan))
        work.audit.record("ingest_minutes", run_id=work.run_id, status="done", rows=report.n_rows)
    return report


class _MinuteIngest:
    """Carries out one plan: gathers outcomes into groups, and commits each group."""

    def __init__(self, work: Work, opened: OpenSource, report: IngestReport) -> None:
        self._work, self._opened, self._report = work, opened, report
        self._group: list[Outcome] = []
        self._fatal: QuantAssetsError | None = None

    async def run(self, plan: Sequence[PlannedRequest]) -> None:
        """Ask for everything, committing group by group; what arrived is committed before an outage is raised."""
        opened, pending = self._opened, len(plan)
        with self._work.progress.task("raw_tws_bars", total=len(plan)) as task:
            async for outcome in fetch_all(opened.source, opened.pacer, plan, opened.policy):
                pending = max(0, pending - 1)
                task.advance(note=outcome.planned.request.contract.symbol, eta_s=opened.pacer.estimate(pending))
                self._take(outcome)
                if len(self._group) >= GROUP:
                    self._commit(len(plan), pending)
        self._commit(len(plan), 0)
        if self._fatal:
            raise self._fatal

    def _take(self, outcome: Outcome) -> None:
        if outcome.error and is_fatal(outcome.error):
            self._fatal = self._fatal or outcome.error
        else:
            self._group.append(outcome)

    def _commit(self, total: int, pending: int) -> None:
        """Write bars first and the ledger last: a session counts as asked only once its bars are safe."""
        if not self._group:
            return
        work, batch_id = self._work, self._work.new_batch_id()
        asked = []
        for number, outcome in enumerate(self._group):
            contract = outcome.planned.request.contract
            calendar = work.calendar_of(contract.sec_type, contract.venue)
            asked.append(MinuteRows.of(outcome, batch_id, number, calendar, work.clock.now()))
        bars = pl.concat([rows.bars for rows in asked])
        ledger = pl.concat([rows.ledger for rows in asked])
        for table, frame in ((RAW_TWS_BARS, bars), (RAW_TWS_REQUESTS, ledger)):
            for (session,), part in frame.group_by("session", maintain_order=True):
                self._work.lake.raw.append(table, Partition(_date(session)), part, batch_id)
        self._group.clear()
        self._report.add(ledger)
        self._work.audit.record(
            "batch_committed",
            run_id=self._work.run_id,
            status="ok",
            rows=bars.height,
            current=total - pending,
            total=total,
            eta_s=self._opened.pacer.estimate(pending),
        )


def _date(value: object) -> date:
    assert isinstance(value, date)
    return value
