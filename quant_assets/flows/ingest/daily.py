"""Daily history in vintages: one request per series brings the whole window on the price basis of its day."""

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import date
from itertools import chain

import polars as pl

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.connectors.tws.retry import Outcome, fetch_with_lulls
from quant_assets.domain.bars import overlap_agrees
from quant_assets.domain.instruments import daily_series
from quant_assets.domain.tables import RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import QuantAssetsError, WrongUnitError
from quant_assets.flows.ingest import groups
from quant_assets.flows.ingest.groups import Group
from quant_assets.flows.ingest.judging import DailyJudge, Judged
from quant_assets.flows.ingest.ledger import (
    CONFIRMATIONS,
    is_fatal,
    patience_of,
)
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.rows import DailyRows
from quant_assets.flows.ingest.telling import Teller
from quant_assets.flows.ingest.vintages import FROM, OVERLAP, DailyNeeds, daily_needs, plan_overlaps, vintages_near
from quant_assets.flows.ingest.witnesses import beginning_of, renewed, traded_since
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition


def ingest_daily(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Fetch the vintages that windows as of the given sessions need; nothing missing means no connection.

    An instrument with a recent full window gets a short overlap; when that disagrees with what is stored (a split or
    a dividend changed the basis), the full window is fetched at once.

    Raises:
        NotPublishedError: the universe of a session is missing.
        SourceUnavailableError: TWS stayed away; what had arrived is committed.
        WrongUnitError: TWS sends volumes in lots; what shows itself that it is in shares is committed. Once several
            instruments show it, only what the setting does not concern is still asked for.
    """
    needs, report = daily_needs(work, sessions, patience_of(work)), IngestReport()
    if needs.full or needs.short:
        report.plan(len(needs.plan(work)), work.gate.budget)
        teller = Teller(work, "ingest_daily", RAW_TWS_DAILY_BARS.name, report.n_planned)
        with report.measured(work):
            work.gate.run(lambda opened: _DailyIngest(work, opened, report, needs, teller).run(), needs.n_instruments)
        teller.done(report.n_rows)
    return report


class _DailyIngest:
    """Carries out the requests of one vintage."""

    def __init__(self, work: Work, opened: OpenSource, report: IngestReport, needs: DailyNeeds, teller: Teller) -> None:
        self._work, self._opened, self._report, self._needs = work, opened, report, needs
        self._teller = teller
        self._vintage, self._asked_from = needs.vintage, needs.asked_from
        near = vintages_near(work, needs.vintage)
        self._judge = DailyJudge(work, needs.vintage, near, needs.asked_from, (*needs.full, *needs.short))

    async def run(self) -> None:
        """Fetch short overlaps, then full windows: those that are needed, and those whose overlap disagreed."""
        self._teller.start(self._opened.pacer)
        needs = self._needs
        rebased: list[Contract] = []
        if needs.short:
            rebased = await self._short(needs.short)
        full = [*needs.full, *rebased]
        if full:
            await self._fetch(needs.plan_full(self._work, full))
        if wrong := self._judge.in_lots():
            raise WrongUnitError(wrong, self._teller.n_given_up)

    async def _short(self, contracts: Sequence[Contract]) -> list[Contract]:
        """Fetch overlaps; keep those that agree with the stored basis and return the instruments that do not.

        The series of an instrument are asked for in turn and committed together: one that disagrees condemns them all.
        """
        changed: set[int] = set()
        waiting: dict[int, list[Judged]] = defaultdict(list)
        heard: Counter[int] = Counter()

        def commit(arrived: Sequence[Judged], *, is_last: bool = False) -> None:
            for judged in arrived:
                waiting[judged.contract.con_id].append(judged)
                heard[judged.contract.con_id] += 1
            whole = [
                con_id
                for con_id, some in waiting.items()
                if is_last or heard[con_id] >= len(daily_series(some[0].contract.sec_type))
            ]
            ready = list(chain.from_iterable(waiting.pop(con_id) for con_id in whole))
            changed.update(self._changed_basis([judged for judged in ready if judged.is_kept]))
            self._commit([judged for judged in ready if judged.contract.con_id not in changed], is_full=False)

        plan = sorted(
            plan_overlaps(self._work, contracts, self._vintage), key=lambda planned: planned.request.contract.con_id
        )
        try:
            await self._in_groups(plan, self._work.calendar.window(self._vintage, OVERLAP)[0], commit)
        finally:
            await groups.apart(commit, (), is_last=True)
        return [contract for contract in contracts if contract.con_id in changed]

    def _changed_basis(self, arrived: Sequence[Judged]) -> set[int]:
        answered = [
            judged.outcome.answer.bars.select("session", "close").with_columns(
                pl.lit(judged.contract.con_id, pl.Int64).alias("con_id"),
                pl.lit(judged.outcome.planned.request.what_to_show).alias("what_to_show"),
            )
            for judged in arrived
            if judged.outcome.answer
        ]
        if not answered:
            return set()
        verdicts = overlap_agrees(self._judge.stored, pl.concat(answered))
        in_lots = {judged.contract.con_id for judged in arrived if self._judge.contradicts_units(judged)}
        return {*verdicts.filter(~pl.col("agrees"))["con_id"].to_list(), *in_lots}

    async def _fetch(self, plan: Sequence[PlannedRequest]) -> None:
        """Fetch full windows, committing group by group."""
        await self._in_groups(plan, self._asked_from, lambda arrived: self._commit(arrived, is_full=True))

    async def _in_groups(
        self, plan: Sequence[PlannedRequest], first: date, commit: Callable[[Sequence[Judged]], None]
    ) -> None:
        """Commit answers in groups, and before a wait; what arrived is committed before an outage is raised.

        Only one commit runs at a time, and no answer is judged meanwhile.
        """
        group: Group[Judged] = Group()
        try:
            async with aclosing(self._answers(plan, first)) as answers:
                async for judged in answers:
                    if judged:
                        group.add(judged)
                    if len(group) >= groups.GROUP or group.is_old or not judged:
                        await groups.apart(commit, group.taken())
        finally:
            await groups.apart(commit, group.taken())

    async def _answers(self, plan: Sequence[PlannedRequest], first: date) -> AsyncGenerator[Judged | None, None]:
        """Yield answers with their verdicts; what is in doubt is asked again, cut differently, on a new connection.

        None comes before a wait.

        Args:
            plan: requests.
            first: session from which on they were to bring everything.
        """
        asked, doubted = list(plan), list[Judged]()
        for _ in range(1 + CONFIRMATIONS):
            if doubted:
                yield None
                await self._ask_witnesses(doubted)
                await renewed(self._opened.source)
                asked = [self._judge.recut(one, first) for one in doubted]
            doubted = []
            async with aclosing(self._outcomes(asked)) as outcomes:
                async for outcome in outcomes:
                    if outcome is None:
                        yield None
                        continue
                    judged = self._judge.judged(outcome, first)
                    if judged.is_doubtful:
                        doubted.append(judged)
                    yield judged
            doubted = [one for one in doubted if not self._judge.units.spares(one.contract)]
            if not doubted:
                return

    async def _ask_witnesses(self, doubted: Sequence[Judged]) -> None:
        """Ask TWS for the first bar where it had nothing, for the newest minutes where days end early; once a run."""
        silent = dict.fromkeys(one.contract for one in doubted if self._judge.needs_beginning(one))
        for contract in silent:
            if told := await beginning_of(self._opened.source, contract, self._vintage):
                self._judge.heard(contract, told)
        for contract, last in self._judge.early_ends(doubted).items():
            traded = await traded_since(self._work, self._opened, contract, last, self._vintage)
            if traded is not None:
                self._judge.heard_since(contract, last, traded)

    # ------------------------------------------------------------ asking and committing

    async def _outcomes(self, plan: Sequence[PlannedRequest]) -> AsyncGenerator[Outcome | None, None]:
        """Yield outcomes that belong into the ledger; an outage or a malformed request is raised after the others.

        None comes when nothing else does.
        """
        fatal: QuantAssetsError | None = None
        opened = self._opened
        with self._teller.round(plan) as agenda:
            self._spare()
            found = fetch_with_lulls(opened.source, opened.pacer, agenda, opened.policy, groups.OLDEST_S)
            async with aclosing(found):
                async for outcome in found:
                    if outcome is None:
                        yield None
                        continue
                    request = outcome.planned.request
                    self._teller.answered(f"{request.contract.symbol} {request.what_to_show}")
                    if outcome.error and is_fatal(outcome.error):
                        fatal = fatal or outcome.error
                    else:
                        yield outcome
                        self._spare()
        if fatal:
            raise fatal

    def _spare(self) -> None:
        """Ask nothing more of what would come in lots; what TWS has been asked already is waited for, and judged."""
        units = self._judge.units
        if units.are_lots:
            self._teller.give_up(lambda planned: units.concerns(planned.request.contract))

    def _commit(self, group: Sequence[Judged], *, is_full: bool) -> None:
        if not group:
            return
        work = self._work
        asked_from = self._asked_from if is_full else work.calendar.window(self._vintage, OVERLAP)[0]
        batch_id = work.new_batch_id() + (f"{FROM}{asked_from:%Y%m%d}" if is_full else "")
        rows = [
            DailyRows.of(
                judged.outcome,
                judged.verdict,
                f"{batch_id}-{number:03d}",
                self._vintage,
                asked_from,
                is_full=is_full,
                at=work.clock.now(),
            )
            for number, judged in enumerate(group)
        ]
        ledger = pl.concat([one.ledger for one in rows])
        bars = pl.concat([one.bars for one in rows])
        if not bars.is_empty():
            work.lake.raw.append(RAW_TWS_DAILY_BARS, Partition(self._vintage), bars, batch_id)
        work.lake.raw.append(RAW_TWS_REQUESTS, Partition(self._vintage), ledger, batch_id)
        self._report.add(ledger)
