"""Daily history in vintages: one request per series brings the whole window on the price basis of its day."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws.planner import PlannedRequest, plan_daily
from quant_assets.connectors.tws.retry import Outcome, fetch_all
from quant_assets.domain.bars import overlap_agrees
from quant_assets.domain.tables import RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS, UNIVERSE
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.ingest.ledger import is_fatal, read_ledger, settled, throttle_of
from quant_assets.flows.ingest.minutes import GROUP, contract_of
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.rows import DailyRows
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

WHAT = ("TRADES", "ADJUSTED_LAST")
FULL_EVERY = 20
"""Sessions after which a full window is fetched again, so that no reader has to look further back for one."""
OVERLAP = 10
"""Sessions of a short re-fetch: new ones, and enough old ones to compare the price basis."""


@dataclass(frozen=True, slots=True)
class DailyNeeds:
    """Which series need a full window, and which only a short overlap."""

    full: list[Contract]
    short: list[Contract]
    n_sessions: int
    """Length of a full window: from before the first session of the run to the vintage."""
    asked_from: date


def vintages_near(work: Work, session: date) -> list[date]:
    """Return the stored vintages that can speak for a window as of a session: a bounded number on either side."""
    stored = [partition.session for partition in work.lake.raw.partitions(RAW_TWS_DAILY_BARS)]
    before = [vintage for vintage in stored if vintage <= session][-FULL_EVERY:]
    after = [vintage for vintage in stored if vintage > session][:FULL_EVERY]
    return before + after


def daily_needs(work: Work, sessions: Sequence[date]) -> DailyNeeds:
    """Return which instruments of the universe lack daily history for windows as of the given sessions.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    first, last, vintage = sessions[0], sessions[-1], work.latest_session()
    universe = pl.concat([work.lake.curated.read(UNIVERSE, Partition(session)) for session in sessions])
    members = universe.sort("con_id", "session").unique("con_id", keep="last", maintain_order=True)
    start = work.calendar.window(first, work.settings.manifest.max_lookback_sessions)[0]
    ledger = read_ledger(work, dict.fromkeys([*vintages_near(work, last), vintage])).filter(pl.col("bar_size") == "1 day")
    done = settled(ledger, work.clock.now(), throttle_of(work))
    served = _complete_series(done.filter((pl.col("session") >= last) & (pl.col("asked_from") <= start)))
    extended = _complete_series(done.filter(pl.col("session") == vintage)) if last == vintage else []
    recent = _complete_series(done.filter((pl.col("session") < vintage) & (pl.col("asked_from") <= start)))
    open_ = members.filter(~pl.col("con_id").is_in([*served, *_both(extended, recent)]))
    can_extend = pl.col("con_id").is_in(recent if first == last == vintage else [])
    return DailyNeeds(
        full=[contract_of(row) for row in open_.filter(~can_extend).iter_rows(named=True)],
        short=[contract_of(row) for row in open_.filter(can_extend).iter_rows(named=True)],
        n_sessions=len(work.calendar.between(start, vintage)) + 1,
        asked_from=start,
    )


def _complete_series(ledger: pl.DataFrame) -> list[int]:
    """Return the instruments of which every series that is needed is in the ledger."""
    counted = ledger.group_by("con_id").agg(pl.col("what_to_show").n_unique().alias("n"))
    return counted.filter(pl.col("n") == len(WHAT))["con_id"].to_list()


def _both(left: list[int], right: list[int]) -> list[int]:
    return sorted(set(left) & set(right))


def ingest_daily(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Fetch the vintages that windows as of the given sessions need; nothing missing means no connection.

    An instrument with a recent full window gets a short overlap; when that disagrees with what is stored (a split or
    a dividend changed the basis), the full window is fetched at once.

    Raises:
        NotPublishedError: the universe of a session is missing.
        SourceUnavailableError: TWS stayed away; what had arrived is committed.
    """
    needs, report = daily_needs(work, sessions), IngestReport()
    if needs.full or needs.short:
        work.gate.run(lambda opened: _DailyIngest(work, opened, report, needs.asked_from).run(needs))
        work.audit.record("ingest_daily", run_id=work.run_id, status="done", rows=report.n_rows)
    return report


class _DailyIngest:
    """Carries out the requests of one vintage."""

    def __init__(self, work: Work, opened: OpenSource, report: IngestReport, asked_from: date) -> None:
        self._work, self._opened, self._report, self._asked_from = work, opened, report, asked_from
        self._vintage = work.latest_session()

    async def run(self, needs: DailyNeeds) -> None:
        """Fetch short overlaps, then full windows: those that are needed, and those whose overlap disagreed."""
        rebased: list[Contract] = []
        if needs.short:
            rebased = await self._short(needs.short)
        full = [*needs.full, *rebased]
        if full:
            await self._fetch(plan_daily(full, needs.n_sessions), is_full=True)

    async def _short(self, contracts: Sequence[Contract]) -> list[Contract]:
        """Fetch overlaps; keep those that agree with the stored basis and return the instruments that do not."""
        outcomes = [outcome async for outcome in self._outcomes(plan_daily(contracts, OVERLAP))]
        changed = self._changed_basis(outcomes)
        kept = [outcome for outcome in outcomes if outcome.planned.request.contract.con_id not in changed]
        self._commit(kept, is_full=False)
        return [contract for contract in contracts if contract.con_id in changed]

    def _changed_basis(self, outcomes: Sequence[Outcome]) -> set[int]:
        fetched = pl.concat(
            [
                outcome.answer.bars.select("session", "close").with_columns(
                    pl.lit(outcome.planned.request.contract.con_id, pl.Int64).alias("con_id"),
                    pl.lit(outcome.planned.request.what_to_show).alias("what_to_show"),
                )
                for outcome in outcomes
                if outcome.answer
            ]
        )
        stored = pl.concat(
            [
                self._work.lake.raw.read(
                    RAW_TWS_DAILY_BARS, Partition(vintage), ["con_id", "what_to_show", "session", "close", "ingested_at"]
                )
                for vintage in vintages_near(self._work, self._vintage)
            ]
        )
        newest = stored.sort("ingested_at").unique(["con_id", "what_to_show", "session"], keep="last")
        verdicts = overlap_agrees(newest.drop("ingested_at"), fetched)
        return set(verdicts.filter(~pl.col("agrees"))["con_id"].to_list())

    async def _fetch(self, plan: Sequence[PlannedRequest], *, is_full: bool) -> None:
        group: list[Outcome] = []
        async for outcome in self._outcomes(plan):
            group.append(outcome)
            if len(group) >= GROUP:
                self._commit(group, is_full=is_full)
                group = []
        self._commit(group, is_full=is_full)

    async def _outcomes(self, plan: Sequence[PlannedRequest]) -> AsyncIterator[Outcome]:
        """Yield outcomes that belong into the ledger; an outage or a malformed request is raised after the others."""
        fatal: QuantAssetsError | None = None
        pending = len(plan)
        with self._work.progress.task("raw_tws_daily_bars", total=len(plan)) as task:
            async for outcome in fetch_all(self._opened.source, self._opened.pacer, plan, self._opened.policy):
                pending = max(0, pending - 1)
                request = outcome.planned.request
                note = f"{request.contract.symbol} {request.what_to_show}"
                task.advance(note=note, eta_s=self._opened.pacer.estimate(pending))
                if outcome.error and is_fatal(outcome.error):
                    fatal = fatal or outcome.error
                else:
                    yield outcome
        if fatal:
            raise fatal

    def _commit(self, group: Sequence[Outcome], *, is_full: bool) -> None:
        if not group:
            return
        work, batch_id = self._work, self._work.new_batch_id()
        asked_from = self._asked_from if is_full else work.calendar.window(self._vintage, OVERLAP)[0]
        rows = [
            DailyRows.of(outcome, batch_id, number, self._vintage, asked_from, is_full=is_full, at=work.clock.now())
            for number, outcome in enumerate(group)
        ]
        ledger = pl.concat([one.ledger for one in rows])
        bars = pl.concat([one.bars for one in rows])
        if not bars.is_empty():
            work.lake.raw.append(RAW_TWS_DAILY_BARS, Partition(self._vintage), bars, batch_id)
        work.lake.raw.append(RAW_TWS_REQUESTS, Partition(self._vintage), ledger, batch_id)
        self._report.add(ledger)
