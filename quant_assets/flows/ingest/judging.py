"""Judging the daily answers of one run: against the calendar, who else knows, and what arrived before them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import chain, islice

import polars as pl

from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws.planner import PlannedRequest, reaching, recut_series
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain.calendar import day_start
from quant_assets.domain.completeness import Beginning, DailyVerdict, judge_daily, other_units, unit_of
from quant_assets.domain.instruments import may_be_lots
from quant_assets.domain.tables import RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import read_ledger
from quant_assets.flows.ingest.units import Units
from quant_assets.flows.ingest.witnesses import minutes_traded
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

Series = tuple[int, str]
"""con_id and what_to_show."""

_EARLIER_DAYS = 14
"""What an answer may begin before the sessions that it was to hold, for holidays among them."""
_VINTAGES_ASKED = 20
"""How many ledgers are looked through for a series that had ended before."""
_KNOWN = ["session", "close", "volume"]


def series_of(planned: PlannedRequest) -> Series:
    """Return the series that a request asks for."""
    return planned.request.contract.con_id, planned.request.what_to_show


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one request, and what its answer was judged to be; without an answer there is no verdict."""

    outcome: Outcome
    verdict: DailyVerdict | None

    @property
    def contract(self) -> Contract:
        """Whose history it is."""
        return self.outcome.planned.request.contract

    @property
    def is_kept(self) -> bool:
        """Whether its bars count."""
        return self.verdict is not None and self.verdict.outcome == "bars"

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing speaks for the answer."""
        return self.verdict is not None and not self.verdict.proof


class DailyJudge:
    """Remembers what answers of a run said, so that a second one can confirm the first."""

    def __init__(
        self, work: Work, vintage: date, near: Sequence[date], asked_from: date, contracts: Iterable[Contract]
    ) -> None:
        contracts = list(contracts)
        self.units = Units(contracts)
        self._symbols = {contract.con_id: contract.symbol for contract in contracts}
        self._work, self._vintage, self._near, self._asked_from = work, vintage, near, asked_from
        self._told: dict[Series, list[DailyVerdict]] = defaultdict(list)
        """Verdicts on answers that nothing speaks for."""
        self._fetched: dict[int, list[pl.DataFrame]] = defaultdict(list)
        """Bars that arrived in this run, by con_id."""
        self._beginnings: dict[int, Beginning] = {}
        """What TWS said of first bars, by con_id."""
        self._quiet_after: dict[int, date] = {}
        """After which session TWS was asked for 1-minute bars and has none, by con_id."""
        self._traded_since: dict[int, frozenset[date]] = {}
        """Sessions of which it had some."""
        self._is_among_lots = False
        """Whether some volume of this run was in lots, that TWS has a setting for."""

    @cached_property
    def stored(self) -> pl.DataFrame:
        """The newest row per series and session of the vintages near, with the newest vintage of its series."""
        columns = ["con_id", "what_to_show", "session", "vintage", "close", "volume", "ingested_at"]
        read = self._work.lake.raw.read
        frames = [read(RAW_TWS_DAILY_BARS, Partition(vintage), columns) for vintage in self._near]
        rows = pl.concat(frames) if frames else RAW_TWS_DAILY_BARS.empty().select(columns)
        newest = rows.sort("ingested_at").unique(["con_id", "what_to_show", "session"], keep="last")
        return newest.with_columns(pl.col("vintage").max().over("con_id", "what_to_show"))

    @cached_property
    def _by_series(self) -> dict[tuple[object, ...], pl.DataFrame]:
        """The same, divided: thousands of answers are judged, each by its own few rows."""
        return self.stored.partition_by("con_id", "what_to_show", as_dict=True)

    def _stored_of(self, series: Series) -> pl.DataFrame:
        return self._by_series.get(series, self.stored.clear())

    @cached_property
    def _ended(self) -> dict[Series, tuple[date, date]]:
        """Vintage, and the first session asked for, of series of which the last proved word is that they had ended."""
        raw = self._work.lake.raw
        before = (one for one in reversed(raw.sessions(RAW_TWS_REQUESTS)) if one < self._vintage)
        asked = (one for one in before if raw.batches(RAW_TWS_REQUESTS, Partition(one)))
        ledger = read_ledger(self._work, sorted(islice(asked, _VINTAGES_ASKED)))
        proved = ledger.filter((pl.col("bar_size") == "1 day") & (pl.col("proof") != "")).sort("session", "asked_at")
        newest = proved.unique(["con_id", "what_to_show"], keep="last", maintain_order=True)
        ended = newest.filter((pl.col("outcome") == "no_trades") & (pl.col("proof") == "agreement"))
        rows = ended.select("con_id", "what_to_show", "session", "asked_from").iter_rows()
        return {(con_id, what): (vintage, asked_from) for con_id, what, vintage, asked_from in rows}

    @cached_property
    def _minutes(self) -> pl.DataFrame:
        """Instruments and sessions of which bronze holds 1-minute bars with trades."""
        return minutes_traded(self._work, self._asked_from, self._vintage)

    @cached_property
    def _known_days(self) -> dict[int, frozenset[date]]:
        """Sessions on which any stored daily series or the 1-minute bars of an instrument have a bar, by con_id."""
        days = pl.concat([frame.select("con_id", "session") for frame in (self.stored, self._minutes)]).unique()
        return {con_id: frozenset(some) for con_id, some in days.group_by("con_id").agg("session").iter_rows()}

    def in_lots(self) -> set[str]:
        """Return the instruments of which the last word is that their volumes are in lots, and those that showed it."""
        refused = {con_id for (con_id, _), told in self._told.items() if told[-1].outcome == "wrong_unit"}
        return {self._symbols[con_id] for con_id in refused} | self.units.shown_by

    def judged(self, outcome: Outcome, first: date) -> Judged:
        """Judge what became of a request.

        Args:
            outcome: what came.
            first: session from which on it was to bring everything.
        """
        if outcome.answer is None:
            return Judged(outcome, None)
        request, answer = outcome.planned.request, outcome.answer
        con_id, _ = series = series_of(outcome.planned)
        bars = answer.bars.filter(pl.col("session") <= self._vintage).select(*_KNOWN, "bar_count")
        mine = self._stored_of(series)
        contract = request.contract
        expected = self._work.calendar_for(contract).between(first, self._vintage)
        known = pl.concat([mine.select(_KNOWN), *self._fetched[con_id]]).unique("session", keep="last")
        verdict = judge_daily(
            bars,
            expected,
            known,
            earliest=_earliest(request, expected),
            newest_vintage=None if mine.is_empty() else mine["vintage"][0],
            words=answer.no_data_text,
            is_share=contract.sec_type == "STK",
            may_be_lots=(has_setting := may_be_lots(contract.sec_type, contract.currency)),
        )
        is_in_lots = has_setting and verdict.outcome == "wrong_unit"
        if has_setting:
            self.units.heard(contract, "lots" if is_in_lots else unit_of(bars))
        self._is_among_lots |= is_in_lots
        if self._is_among_lots:
            verdict = verdict.among_lots()
        if verdict.proof != "complete":
            verdict = self._weighed(verdict, series, expected)
        self._remember(series, verdict, bars.select(_KNOWN))
        return Judged(outcome, verdict)

    def _weighed(self, verdict: DailyVerdict, series: Series, expected: Sequence[date]) -> DailyVerdict:
        """Let everybody speak who knows of the instrument: whoever says that it traded is heard first."""
        is_short = max(verdict.sessions, default=date.min) < expected[-1]
        said = verdict.contradicted_by(self._traded(series[0], expected)) if is_short else verdict
        vintage, asked_from = self._ended.get(series, (date.max, date.max))
        if asked_from <= expected[0]:
            said = said.after_the_end(vintage)
        is_quiet = self._quiet_after.get(series[0], date.max) <= max(verdict.sessions, default=date.min)
        return said.confirmed_by(self._told.get(series, ()), self._beginnings.get(series[0]), is_quiet=is_quiet)

    def _traded(self, con_id: int, expected: Sequence[date]) -> frozenset[date]:
        """Return the sessions on which any daily series or the 1-minute bars of an instrument have a bar."""
        fetched = chain.from_iterable(bars["session"].to_list() for bars in self._fetched[con_id])
        told = self._known_days.get(con_id, frozenset()) | self._traded_since.get(con_id, frozenset()) | set(fetched)
        return told & frozenset(expected)

    def contradicts_units(self, judged: Judged) -> bool:
        """Return whether an answer has a hundred times the volumes that are stored of its series."""
        mine = self._stored_of(series_of(judged.outcome.planned))
        return judged.outcome.answer is not None and other_units(judged.outcome.answer.bars.select(_KNOWN), mine)

    # ------------------------------------------------------------ what to ask next

    def needs_beginning(self, judged: Judged) -> bool:
        """Return whether TWS is to say where the series begins: nobody else speaks for or against a nothing."""
        verdict = judged.verdict
        is_open = verdict is not None and verdict.is_nothing and not verdict.is_contradicted
        return is_open and judged.contract.con_id not in self._beginnings

    def heard(self, contract: Contract, beginning: Beginning) -> None:
        """Note what TWS said of an instrument's first bar."""
        self._beginnings[contract.con_id] = beginning

    def early_ends(self, doubted: Iterable[Judged]) -> dict[Contract, date]:
        """Return the last session of instruments whose days end before their window, if nobody spoke of the rest."""
        lasts: dict[Contract, date] = {}
        for one in doubted:
            if (verdict := one.verdict) and verdict.is_short and not verdict.is_contradicted:
                lasts[one.contract] = max(*verdict.sessions, lasts.get(one.contract, date.min))
        return {one: last for one, last in lasts.items() if self._quiet_after.get(one.con_id, date.max) > last}

    def heard_since(self, contract: Contract, last: date, traded: Collection[date]) -> None:
        """Note on which sessions an instrument traded after one, by its 1-minute bars; on none, it was quiet."""
        self._traded_since[contract.con_id] = frozenset(traded)
        if not traded:
            self._quiet_after[contract.con_id] = last

    def recut(self, judged: Judged, first: date) -> PlannedRequest:
        """Return another request for an answer that is in doubt.

        A series that begins before the window and has nothing in it is asked for back to its first bar: if it has
        ended, the answer shows where.
        """
        planned, verdict = judged.outcome.planned, judged.verdict
        beginning = self._beginnings.get(judged.contract.con_id)
        if verdict and verdict.is_nothing and beginning and beginning.day and beginning.day < first:
            return reaching(planned, self._work.clock.now() - day_start(beginning.day))
        return recut_series(planned)

    def _remember(self, series: Series, verdict: DailyVerdict, bars: pl.DataFrame) -> None:
        if not verdict.proof:
            self._told[series].append(verdict)
            return
        self._told.pop(series, None)
        if verdict.outcome == "bars":
            self._fetched[series[0]].append(bars)


def _earliest(request: BarRequest, expected: Sequence[date]) -> date:
    """Return a day before which no bar of an answer can be, roughly."""
    count, unit = request.duration.split()
    if unit == "D":
        return expected[0] - timedelta(days=max(0, int(count) - len(expected)) * 2 + _EARLIER_DAYS)
    return expected[-1] - timedelta(days=366 * int(count) + _EARLIER_DAYS)
