"""1-minute bars: asked for, judged and committed group by group; what is in doubt is asked for again."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import date
from functools import cached_property

import polars as pl

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws.planner import Need, PlannedRequest
from quant_assets.connectors.tws.retry import Outcome, fetch_with_lulls
from quant_assets.domain.completeness import judge_minutes, unit_of
from quant_assets.domain.outcomes import DOUBTFUL, NOTHING
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import QuantAssetsError, WrongUnitError
from quant_assets.flows.ingest import groups
from quant_assets.flows.ingest.groups import Group
from quant_assets.flows.ingest.idle import settle_idle
from quant_assets.flows.ingest.ledger import (
    CONFIRMATIONS,
    is_fatal,
    read_ledger,
)
from quant_assets.flows.ingest.needs import MinuteNeeds, minute_needs, plan_for
from quant_assets.flows.ingest.past import Key
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.rows import MinuteRows, stamped
from quant_assets.flows.ingest.schedules import Schedules, Session, again
from quant_assets.flows.ingest.telling import Teller
from quant_assets.flows.ingest.units import Units
from quant_assets.flows.ingest.witnesses import closed_rows, daily_volumes, renewed
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

GROUP_BARS = 40_000
"""Bars of a commit: long requests fill it before there are so many of them, and memory does not grow with history."""


def ingest_minutes(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Fetch what is missing of the given sessions into `raw_tws_bars`; nothing missing means no connection.

    Every group of requests is committed as it arrives, and before a wait, so that a crash loses little and a rerun
    asks only for the rest. What is in doubt is asked for again, cut differently.

    Raises:
        NotPublishedError: the universe of a session is missing.
        SourceUnavailableError: TWS stayed away; what had arrived is committed.
        SourceRefusedError: TWS calls a request malformed.
        WrongUnitError: TWS sends volumes in lots; what shows itself that it is in shares is committed. Once several
            instruments show it, only what the setting does not concern is still asked for.
    """
    settle_idle(work, sessions)
    needs, report = minute_needs(work, sessions), IngestReport()
    if needs:
        plan = plan_for(work, needs)
        report.plan(len(plan), work.gate.budget)
        teller = Teller(work, "ingest_minutes", RAW_TWS_BARS.name, len(plan))
        with report.measured(work):
            work.gate.run(
                lambda opened: _MinuteIngest(work, opened, report, needs, teller).run(plan), needs.n_instruments
            )
        teller.done(report.n_rows)
    return report


class _MinuteIngest:
    """Carries out one plan: gathers outcomes into groups, judges and commits each group, and asks about doubts."""

    def __init__(
        self, work: Work, opened: OpenSource, report: IngestReport, needs: MinuteNeeds, teller: Teller
    ) -> None:
        self._work, self._opened, self._report, self._teller = work, opened, report, teller
        self._past = needs.past
        self._rereads = {(need.session, need.contract.con_id) for need in needs.rereads}
        self._sessions = sorted({need.session for need in (*needs.open, *needs.rereads, *needs.shut)})
        self._shut = needs.shut
        self._schedules = Schedules(work, opened, report)
        self._group: Group[Outcome] = Group()
        self._unclear: list[Outcome] = []
        """Answers whose volumes may be in lots: they wait until all of the round have been heard."""
        self._is_among_lots = False
        """Whether some volume of this run was in lots, that TWS has a setting for."""
        self._units = Units(need.contract for need in (*needs.open, *needs.rereads, *needs.shut))
        self._doubts: dict[Key, Need] = {}
        self._fatal: QuantAssetsError | None = None

    @cached_property
    def _daily(self) -> pl.DataFrame:
        return daily_volumes(self._work, self._sessions)

    @cached_property
    def _known(self) -> frozenset[Key]:
        """Sessions of instruments that the daily history speaks of."""
        spoken = self._daily.filter(pl.col("daily_volume").is_not_null())
        return frozenset(spoken.select("session", "con_id").iter_rows())

    async def run(self, plan: Sequence[PlannedRequest]) -> None:
        """Ask for everything, then again for what is in doubt; what arrived is committed before an error is raised."""
        self._teller.start(self._opened.pacer)
        await self._ask([*plan, *await self._reopened()])
        await self._settle_hours()
        for _ in range(CONFIRMATIONS):
            doubts = await self._open_doubts()
            if not doubts:
                break
            await self._ask(plan_for(self._work, MinuteNeeds(doubts, [], self._past)))
        if wrong := self._in_lots():
            raise WrongUnitError(wrong, self._teller.n_given_up)

    def _in_lots(self) -> set[str]:
        """Return the instruments of which the last word is that their volumes are in lots, and those that showed it."""
        doubts = self._doubts.items()
        refused = {need.contract.symbol for key, need in doubts if self._past.last[key] == "wrong_unit"}
        return refused | self._units.shown_by

    async def _ask(self, plan: Sequence[PlannedRequest]) -> None:
        opened = self._opened
        with self._teller.round(plan) as agenda:
            self._spare()
            found = fetch_with_lulls(opened.source, opened.pacer, agenda, opened.policy, groups.OLDEST_S)
            async with aclosing(found):
                async for outcome in found:
                    if outcome:
                        self._teller.answered(outcome.planned.request.contract.symbol)
                        await self._take(outcome)
                    if self._is_full() or self._group.is_old or not outcome:
                        await asyncio.to_thread(self._commit)
            await asyncio.to_thread(self._commit)
            await asyncio.to_thread(self._commit_unclear)
            if self._fatal:
                raise self._fatal

    def _spare(self) -> None:
        """Ask nothing more of what would come in lots; what TWS has been asked already is waited for, and judged."""
        if self._units.are_lots:
            self._teller.give_up(lambda planned: self._units.concerns(planned.request.contract))

    async def _take(self, outcome: Outcome) -> None:
        if outcome.error and is_fatal(outcome.error):
            self._fatal = self._fatal or outcome.error
            return
        self._group.add(outcome)
        contract = outcome.planned.request.contract
        answer = outcome.answer
        if answer and self._units.are_open and self._units.concerns(contract) and unit_of(answer.bars) != "unknown":
            self._units.heard(contract, await asyncio.to_thread(self._unit, outcome))
            self._spare()

    def _unit(self, outcome: Outcome) -> str:
        """Return what an answer shows of its unit, all its sessions together."""
        _, _, judged = self._verdicts([outcome], self._work.new_batch_id())
        told = set(judged["unit"]) & {"shares", "lots"}
        return told.pop() if len(told) == 1 else "unclear"

    def _is_full(self) -> bool:
        n_bars = sum(outcome.answer.bars.height for outcome in self._group.items if outcome.answer)
        return len(self._group) >= groups.GROUP or n_bars >= GROUP_BARS

    # ------------------------------------------------------------ hours

    async def _reopened(self) -> list[PlannedRequest]:
        """Return requests for sessions that TWS's schedule has, and the calendar has not."""
        named = {(self._work.timetable_of(need.contract), need.session): need for need in self._shut}
        if not named:
            return []
        changed = await self._schedules.settle(named, {name: need.contract for (name, _), need in named.items()})
        return self._plan_again(changed)

    def _plan_again(self, changed: Collection[Session]) -> list[PlannedRequest]:
        """Return requests for what the hours that TWS tells open."""
        days = sorted({day for _, day in changed} & set(self._sessions))
        if not days:
            return []
        needs = minute_needs(self._work, days).open
        opened = [need for need in needs if self._schedules.concerns(need.contract, need.session, changed)]
        fresh = [need for need in opened if (need.session, need.contract.con_id) not in self._doubts]
        return plan_for(self._work, MinuteNeeds(fresh, [], self._past)) if fresh else []

    async def _settle_hours(self) -> None:
        """Let TWS's schedule decide where bars and calendar contradict each other, and judge the doubts by it."""
        changed = await self._schedules.settle(self._schedules.in_question())
        await groups.apart(self._settle_closed, self._schedules.shut(changed))
        await asyncio.to_thread(self._judge_again, changed)
        if plan := self._plan_again(changed):
            await self._ask(plan)

    def _judge_again(self, changed: Collection[Session]) -> None:
        """Judge stored bars of doubtful sessions by the hours that hold now; what they prove needs no other request."""
        doubted: dict[date, dict[int, Contract]] = defaultdict(dict)
        for (day, con_id), need in sorted(self._doubts.items(), key=lambda item: item[0]):
            if self._schedules.concerns(need.contract, day, changed):
                doubted[day][con_id] = need.contract
        if not doubted:
            return
        batch_id = self._work.new_batch_id()
        judged = pl.concat([self._judged_again(day, contracts, batch_id) for day, contracts in doubted.items()])
        proved = judged.filter(pl.col("proof") != "")
        self._work.lake.raw.append_all(RAW_TWS_REQUESTS, _by_session(proved), batch_id)
        self._remember(proved, {con_id: one for some in doubted.values() for con_id, one in some.items()})

    def _judged_again(self, day: date, contracts: Mapping[int, Contract], batch_id: str) -> pl.DataFrame:
        """Return what the newest answer with bars of each of some instruments comes to by the hours that hold now."""
        asked = read_ledger(self._work, [day]).filter(
            pl.col("con_id").is_in(list(contracts))
            & (pl.col("bar_size") == "1 min")
            & pl.col("bars_batch_id").is_not_null()
        )
        newest = asked.sort("asked_at", "request_id").unique("con_id", keep="last", maintain_order=True)
        return again(self._work, day, contracts.values(), newest.sort("con_id"), self._daily, batch_id)

    # ------------------------------------------------------------ doubts

    async def _open_doubts(self) -> list[Need]:
        """Return what another request can decide, on another connection where TWS had nothing to say."""
        doubts = {key: need for key, need in self._doubts.items() if not self._units.spares(need.contract)}
        nothing = [need for key, need in doubts.items() if self._past.last[key] in NOTHING]
        if nothing:
            await self._ask_schedules([need for need in nothing if not self._is_known(need)])
            await renewed(self._opened.source)
        open_ = {key: need for key, need in doubts.items() if key in self._doubts}
        return [need for key, need in open_.items() if not (self._past.is_heard(key) and not self._is_known(need))]

    def _is_known(self, need: Need) -> bool:
        """Return whether the daily history speaks of the session."""
        return (need.session, need.contract.con_id) in self._known

    async def _ask_schedules(self, needs: Sequence[Need]) -> None:
        """Ask TWS, once a run, whether the exchange was open; what was closed is settled by that."""
        fresh = [need for need in needs if (need.session, need.contract.con_id) not in self._past.scheduled]
        self._past.scheduled.update((need.session, need.contract.con_id) for need in fresh)
        await groups.apart(self._settle_closed, await self._schedules.closed(fresh))

    def _settle_closed(self, sessions: Sequence[tuple[Contract, date]]) -> None:
        if not sessions:
            return
        batch_id, now = self._work.new_batch_id(), self._work.clock.now()
        rows = closed_rows(sessions, batch_id, now, use_rth=self._work.settings.manifest.lakehouse.use_rth)
        self._work.lake.raw.append_all(RAW_TWS_REQUESTS, _by_session(rows), batch_id)
        for contract, day in sessions:
            self._doubts.pop((day, contract.con_id), None)
        self._report.outcomes["closed"] += len(sessions)

    # ------------------------------------------------------------ commits

    def _commit(self) -> None:
        """Write bars first and the ledger last: a session counts as asked only once its bars are safe.

        It runs in a thread of its own, so that the socket is read meanwhile: answers wait their turn, a bounded number.
        """
        self._commit_all(self._group.taken())

    def _commit_unclear(self) -> None:
        unclear, self._unclear = self._unclear, []
        self._commit_all(unclear, is_last=True)

    def _commit_all(self, group: Sequence[Outcome], *, is_last: bool = False) -> None:
        if not group:
            return
        batch_id = self._work.new_batch_id()
        bars, ledger = self._judged(group, batch_id, is_last=is_last)
        if ledger.is_empty():
            return
        for table, frame in ((RAW_TWS_BARS, bars), (RAW_TWS_REQUESTS, ledger)):
            self._work.lake.raw.append_all(table, _by_session(frame), batch_id)
        asked = (outcome.planned.request.contract for outcome in group)
        self._remember(ledger, {contract.con_id: contract for contract in asked})
        self._report.add(ledger)
        self._work.audit.record(
            "batch_committed",
            run_id=self._work.run_id,
            status="ok",
            rows=bars.height,
            current=self._teller.current,
            total=self._teller.total,
            eta_s=round(self._teller.left_s, 1),
        )

    def _judged(self, group: Sequence[Outcome], batch_id: str, *, is_last: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows of bronze and of the ledger that a group comes to; what may be in lots waits for the last."""
        asked, answers, judged = self._verdicts(group, batch_id)
        if "lots" in judged["unit"]:
            self._is_among_lots = True
            self._units.reopen()
        unclear = judged.filter((pl.col("unit") == "unclear") & (pl.col("outcome") != "wrong_unit"))
        if not is_last and not unclear.is_empty():
            waits = {int(request_id.rpartition("-")[2]) for request_id in unclear["request_id"].unique()}
            self._unclear += [outcome for number, outcome in enumerate(group) if number in waits]
            clear = [outcome for number, outcome in enumerate(group) if number not in waits]
            if not clear:
                return RAW_TWS_BARS.empty(), RAW_TWS_REQUESTS.empty()
            return self._judged(clear, batch_id, is_last=False)
        self._schedules.watch(group, answers, asked.bars, self._daily)
        kept = asked.bars.join(judged.filter("is_kept"), on=["session", "con_id", "request_id"], how="semi")
        return kept, stamped(asked.ledger, judged)

    def _verdicts(self, group: Sequence[Outcome], batch_id: str) -> tuple[MinuteRows, pl.DataFrame, pl.DataFrame]:
        """Return the rows of a group, what was known of its answers, and what they are judged to be."""
        work = self._work
        asked = MinuteRows.of(group, batch_id, work.calendar_for, work.clock.now())
        answers = self._past.told(asked.answers, self._rereads)
        earlier = self._earlier(answers)
        judged = judge_minutes(answers, asked.bars, self._daily, earlier, among_lots=self._is_among_lots)
        return asked, answers, judged

    def _earlier(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of bronze that speak of the same sessions and instruments."""
        keys = [(day, con_id) for day, con_id in answers.select("session", "con_id").iter_rows()]
        known = [key for key in keys if key in self._past.stored]
        frames = [
            self._work.lake.raw.read(RAW_TWS_BARS, Partition(day)).filter(
                pl.col("con_id").is_in([con_id for one, con_id in known if one == day])
            )
            for day in sorted({day for day, _ in known})
        ]
        return pl.concat(frames) if frames else RAW_TWS_BARS.empty()

    def _remember(self, ledger: pl.DataFrame, contracts: Mapping[int, Contract]) -> None:
        """Note what is in doubt now, and what is no longer; a session that is read again is in no doubt."""
        for row in ledger.iter_rows(named=True):
            key = (row["session"], row["con_id"])
            self._past.add(row)
            if key in self._rereads:
                if row["bars_batch_id"] == row["batch_id"]:
                    self._report.revised.add(row["session"])
            elif row["proof"] == "" and row["outcome"] in DOUBTFUL:
                self._doubts[key] = Need(contracts[row["con_id"]], row["session"])
            else:
                self._doubts.pop(key, None)


def _by_session(frame: pl.DataFrame) -> dict[Partition, pl.DataFrame]:
    return {Partition(day): part for (day,), part in frame.partition_by("session", as_dict=True).items()}
