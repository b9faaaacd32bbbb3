"""Daily history in vintages: one request per series brings the whole window on the price basis of its day."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import chain, islice

import polars as pl

from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws.planner import PlannedRequest, plan_daily, recut_series
from quant_assets.connectors.tws.retry import Outcome, fetch_all
from quant_assets.domain.bars import overlap_agrees
from quant_assets.domain.calendar import day_start
from quant_assets.domain.completeness import DailyVerdict, judge_daily
from quant_assets.domain.tables import RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS, UNIVERSE
from quant_assets.errors import QuantAssetsError, WrongUnitError
from quant_assets.flows.ingest.ledger import CONFIRMATIONS, is_fatal, read_ledger, settled, throttle_of
from quant_assets.flows.ingest.minutes import GROUP, contract_of
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.rows import DailyRows
from quant_assets.flows.ingest.witnesses import renewed
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

WHAT = ("TRADES", "ADJUSTED_LAST")
FULL_EVERY = 20
"""Sessions after which a full window is fetched again, so that no reader has to look further back for one."""
OVERLAP = 10
"""Sessions of a short re-fetch: new ones, and enough old ones to compare the price basis."""


Series = tuple[int, str]
"""con_id and what_to_show."""


@dataclass(frozen=True, slots=True)
class DailyNeeds:
    """Which series need a full window, and which only a short overlap."""

    full: list[Contract]
    short: list[Contract]
    n_sessions: int
    """Length of a full window: from before the first session of the run to the vintage."""
    asked_from: date
    span: timedelta
    """From before the first session of a full window to now."""
    served: frozenset[Series] = frozenset()
    """Series whose full window has arrived already, without the rest of its instrument."""

    def plan_full(self, more: Sequence[Contract] = ()) -> list[PlannedRequest]:
        """Return the requests for full windows of `full` and of `more` that have not been answered."""
        planned = plan_daily([*self.full, *more], self.n_sessions, span=self.span)
        return [one for one in planned if _series_of(one) not in self.served]


def _series_of(planned: PlannedRequest) -> Series:
    return planned.request.contract.con_id, planned.request.what_to_show


def vintages_near(work: Work, session: date) -> list[date]:
    """Return the stored vintages that can speak for a window as of a session: a bounded number on either side.

    Further ones count when they were fetched for a window as old as this one, which their batches' names say.
    """
    stored = [partition.session for partition in work.lake.raw.partitions(RAW_TWS_DAILY_BARS)]
    return _near(work, stored, session)


def _near(work: Work, stored: Sequence[date], session: date) -> list[date]:
    place = bisect_right(stored, session)
    after = stored[place : place + FULL_EVERY]
    far = stored[place + FULL_EVERY :]
    deep = (vintage for vintage in far if _reaches(work, vintage, _window_start(work, session)))
    return [*stored[max(0, place - FULL_EVERY) : place], *after, *islice(deep, FULL_EVERY)]


def _window_start(work: Work, session: date) -> date:
    return work.calendar.window(session, work.settings.manifest.max_lookback_sessions)[0]


def _reaches(work: Work, vintage: date, start: date) -> bool:
    names = (file.stem for file in work.lake.raw.batches(RAW_TWS_DAILY_BARS, Partition(vintage)))
    return any(_FROM in name and name.partition(_FROM)[2] <= f"{start:%Y%m%d}" for name in names)


_EARLIER_DAYS = 14
"""What an answer may begin before the sessions that it was to hold, for holidays among them."""
_SLACK = timedelta(days=1)
"""For the time between a plan and its last request."""
_FROM = "-from-"
"""In the name of a batch of full windows, before the first session that they were asked for."""


def daily_needs(work: Work, sessions: Sequence[date]) -> DailyNeeds:
    """Return which instruments of the universe lack daily history for windows as of the given sessions.

    A session is served by a full window that was fetched for it then or later; or live, by what was fetched on the
    very session and a full window before it. Every series of the instrument has to come from the same vintage.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    first, vintage = sessions[0], work.latest_session()
    stored = [partition.session for partition in work.lake.raw.partitions(RAW_TWS_DAILY_BARS)]
    near = {session: _near(work, stored, session) for session in sessions}
    ledger = read_ledger(work, sorted({*chain.from_iterable(near.values()), vintage}))
    done = settled(ledger.filter(pl.col("bar_size") == "1 day"), work.clock.now(), throttle_of(work))
    full: dict[int, dict[str, object]] = {}
    short: dict[int, dict[str, object]] = {}
    for session in sessions:
        start = _window_start(work, session)
        is_full = pl.col("asked_from") <= start
        recent = [one for one in near[session] if one < session][-(FULL_EVERY - 1) :]
        based = _newest_is_whole(done.filter(is_full & pl.col("session").is_in(recent)))
        live = set(_whole(done.filter(pl.col("session") == session))) & set(based)
        served = {*_whole(done.filter(is_full & (pl.col("session") >= session))), *live}
        extensible = based if session == vintage and start < work.calendar.window(vintage, OVERLAP)[0] else []
        for row in work.lake.curated.read(UNIVERSE, Partition(session)).sort("con_id").iter_rows(named=True):
            if row["con_id"] not in served:
                (short if row["con_id"] in extensible else full)[row["con_id"]] = row
    start = _window_start(work, first)
    return DailyNeeds(
        full=[contract_of(row) for _, row in sorted(full.items())],
        short=[contract_of(row) for con_id, row in sorted(short.items()) if con_id not in full],
        n_sessions=len(work.calendar.between(start, vintage)) + 1,
        asked_from=start,
        span=work.clock.now() - day_start(start) + _SLACK,
        served=frozenset(
            done.filter((pl.col("session") == vintage) & (pl.col("asked_from") <= start))
            .select("con_id", "what_to_show")
            .iter_rows()
        ),
    )


def _asked_vintages(work: Work, near: Sequence[date]) -> list[date]:
    """Return the sessions from the first of some vintages on whose ledger can speak of daily requests."""
    stored = [partition.session for partition in work.lake.raw.partitions(RAW_TWS_REQUESTS)]
    first = min(near, default=date.min)
    return [session for session in stored if session >= first][-FULL_EVERY:]


def _whole(ledger: pl.DataFrame) -> list[int]:
    """Return the instruments of which some vintage has every series that is needed."""
    return ledger.group_by("con_id", "session").agg(_N_SERIES).filter(pl.col("n") == len(WHAT))["con_id"].to_list()


def _newest_is_whole(ledger: pl.DataFrame) -> list[int]:
    """Return the instruments of which the newest vintage has every series that is needed."""
    newest = ledger.filter(pl.col("session") == pl.col("session").max().over("con_id"))
    return newest.group_by("con_id").agg(_N_SERIES).filter(pl.col("n") == len(WHAT))["con_id"].to_list()


_N_SERIES = pl.col("what_to_show").n_unique().alias("n")


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


@dataclass(frozen=True, slots=True)
class _Judged:
    """What became of one request, and what its answer was judged to be; without an answer there is no verdict."""

    outcome: Outcome
    verdict: DailyVerdict | None

    @property
    def contract(self) -> Contract:
        return self.outcome.planned.request.contract

    @property
    def is_kept(self) -> bool:
        """Whether its bars count."""
        return self.verdict is not None and self.verdict.outcome == "bars"


class _DailyIngest:
    """Carries out the requests of one vintage."""

    def __init__(self, work: Work, opened: OpenSource, report: IngestReport, asked_from: date) -> None:
        self._work, self._opened, self._report, self._asked_from = work, opened, report, asked_from
        self._vintage = work.latest_session()
        self._told: dict[Series, list[DailyVerdict]] = defaultdict(list)
        """Verdicts on answers that nothing speaks for."""
        self._fetched: dict[int, list[pl.DataFrame]] = defaultdict(list)
        """Bars that arrived in this run, by con_id."""

    @cached_property
    def _stored(self) -> pl.DataFrame:
        """The newest row per series and session of the vintages near, with the newest vintage of its series."""
        columns = ["con_id", "what_to_show", "session", "vintage", "close", "volume", "ingested_at"]
        vintages = vintages_near(self._work, self._vintage)
        read = self._work.lake.raw.read
        frames = [read(RAW_TWS_DAILY_BARS, Partition(vintage), columns) for vintage in vintages]
        rows = pl.concat(frames) if frames else RAW_TWS_DAILY_BARS.empty().select(columns)
        newest = rows.sort("ingested_at").unique(["con_id", "what_to_show", "session"], keep="last")
        return newest.with_columns(pl.col("vintage").max().over("con_id", "what_to_show"))

    @cached_property
    def _known_nothings(self) -> frozenset[Series]:
        """Series of which an earlier vintage had said that there is no data: another connection's word."""
        vintages = vintages_near(self._work, self._vintage)
        ledger = read_ledger(self._work, [one for one in _asked_vintages(self._work, vintages) if one < self._vintage])
        said = ledger.filter((pl.col("bar_size") == "1 day") & (pl.col("outcome") == "no_data"))
        return frozenset(said.select("con_id", "what_to_show").iter_rows())

    async def run(self, needs: DailyNeeds) -> None:
        """Fetch short overlaps, then full windows: those that are needed, and those whose overlap disagreed."""
        rebased: list[Contract] = []
        if needs.short:
            rebased = await self._short(needs.short)
        if needs.full or rebased:
            await self._fetch(needs.plan_full(rebased))
        symbols = {contract.con_id: contract.symbol for contract in (*needs.full, *needs.short)}
        wrong = [symbols[con_id] for (con_id, _), told in self._told.items() if told[-1].outcome == "wrong_unit"]
        if wrong:
            raise WrongUnitError(wrong)

    async def _short(self, contracts: Sequence[Contract]) -> list[Contract]:
        """Fetch overlaps; keep those that agree with the stored basis and return the instruments that do not."""
        arrived: list[_Judged] = []
        changed: set[int] = set()
        try:
            async for judged in self._answers(plan_daily(contracts, OVERLAP), is_full=False):
                arrived.append(judged)  # noqa: PERF401 - what came before an outage counts, and extend would drop it
        finally:
            changed = self._changed_basis([judged for judged in arrived if judged.is_kept])
            kept = [judged for judged in arrived if judged.contract.con_id not in changed]
            self._commit(kept, is_full=False)
        return [contract for contract in contracts if contract.con_id in changed]

    def _changed_basis(self, arrived: Sequence[_Judged]) -> set[int]:
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
        verdicts = overlap_agrees(self._stored, pl.concat(answered))
        return set(verdicts.filter(~pl.col("agrees"))["con_id"].to_list())

    async def _fetch(self, plan: Sequence[PlannedRequest]) -> None:
        """Fetch full windows, committing group by group; what arrived is committed before an outage is raised."""
        group: list[_Judged] = []
        try:
            async for judged in self._answers(plan, is_full=True):
                group.append(judged)
                if len(group) >= GROUP:
                    arrived, group = group, []
                    self._commit(arrived, is_full=True)
        finally:
            self._commit(group, is_full=True)

    # ------------------------------------------------------------ doubts

    async def _answers(self, plan: Sequence[PlannedRequest], *, is_full: bool) -> AsyncIterator[_Judged]:
        """Yield answers with their verdicts; what is in doubt is asked again, cut differently, on a new connection."""
        asked = list(plan)
        for _ in range(1 + CONFIRMATIONS):
            doubted: list[PlannedRequest] = []
            async for outcome in self._outcomes(asked):
                judged = self._judged(outcome, is_full=is_full)
                if judged.verdict and not judged.verdict.proof:
                    self._told[_series_of(outcome.planned)].append(judged.verdict)
                    doubted.append(outcome.planned)
                else:
                    self._told.pop(_series_of(outcome.planned), None)
                yield judged
            if not doubted:
                return
            await renewed(self._opened.source)
            asked = [recut_series(one) for one in doubted]

    def _judged(self, outcome: Outcome, *, is_full: bool) -> _Judged:
        if outcome.answer is None:
            return _Judged(outcome, None)
        request, answer = outcome.planned.request, outcome.answer
        con_id, what = series = _series_of(outcome.planned)
        bars = answer.bars.filter(pl.col("session") <= self._vintage).select("session", "close", "volume", "bar_count")
        mine = self._stored.filter(pl.col("con_id") == con_id)
        of_series = mine.filter(pl.col("what_to_show") == what)
        known = ["session", "close", "volume"]
        expected = self._expected(request.contract, is_full=is_full)
        verdict = judge_daily(
            bars,
            expected,
            pl.concat([of_series.select(known), *self._fetched[con_id]]).unique("session", keep="last"),
            earliest=self._earliest(request, expected),
            newest_vintage=None if of_series.is_empty() else of_series["vintage"][0],
            words=answer.no_data_text,
            is_share=request.contract.sec_type == "STK",
        )
        if verdict.outcome == "no_data" and series in self._known_nothings:
            verdict = replace(verdict, proof="agreement")
        verdict = verdict.confirmed_by(self._told.get(series, ()))
        if verdict.outcome == "bars":
            self._fetched[con_id].append(bars.select(known))
        return _Judged(outcome, verdict)

    def _expected(self, contract: Contract, *, is_full: bool) -> list[date]:
        """Return the sessions of the instrument's own exchange in the window."""
        first = self._asked_from if is_full else self._work.calendar.window(self._vintage, OVERLAP)[0]
        return self._work.calendar_of(contract.sec_type, contract.primary_exchange).between(first, self._vintage)

    @staticmethod
    def _earliest(request: BarRequest, expected: Sequence[date]) -> date:
        """Return a day before which no bar of an answer can be, roughly: years and longer durations reach further."""
        count, unit = request.duration.split()
        if unit == "D":
            return expected[0] - timedelta(days=max(0, int(count) - len(expected)) * 2 + _EARLIER_DAYS)
        return expected[-1] - timedelta(days=366 * int(count) + _EARLIER_DAYS)

    # ------------------------------------------------------------ asking and committing

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

    def _commit(self, group: Sequence[_Judged], *, is_full: bool) -> None:
        if not group:
            return
        work = self._work
        asked_from = self._asked_from if is_full else work.calendar.window(self._vintage, OVERLAP)[0]
        batch_id = work.new_batch_id() + (f"{_FROM}{asked_from:%Y%m%d}" if is_full else "")
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
