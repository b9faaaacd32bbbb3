"""Carrying out a plan against a source that answers from a script, on a clock that only moves when slept on."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from quant_assets.clock import ManualClock
from quant_assets.connectors.base import BarAnswer, BarRequest, Contract
from quant_assets.connectors.tws import (
    Need,
    Outcome,
    Pacer,
    PacingBudget,
    PlannedRequest,
    RetryPolicy,
    fetch,
    fetch_all,
    plan_daily,
    plan_minutes,
)
from quant_assets.connectors.tws.failures import LinkDownError, SourceTransientError, TooLongError, TooManyOpenError
from quant_assets.connectors.tws.history import no_bars
from quant_assets.errors import (
    DefectError,
    NoPermissionError,
    PacingError,
    QuantAssetsError,
    SourceTimeoutError,
)
from quant_assets_tests.unit.connectors.loop import on_loop

START = datetime(2024, 2, 1, tzinfo=UTC)
DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in range(5)]
HOURS = {
    day: (datetime(2024, 1, day.day, 14, 30, tzinfo=UTC), datetime(2024, 1, day.day, 21, tzinfo=UTC)) for day in DAYS
}
POLICY = RetryPolicy(attempts=3, base_s=2.0, cap_s=10.0, jitter=0.0, outage_s=100.0)

LOST = LinkDownError("here", "lost")
SLOW = SourceTimeoutError("bars", 60)
UNCLEAR = SourceTransientError("bars", 162, "Query failed")


class Source:
    """Answers from `replies`, in order, then with empty frames; `away` is how many reconnections fail."""

    def __init__(self, *replies: QuantAssetsError | None, away: int = 0) -> None:
        self.replies, self.away = list(replies), away
        self.asked: list[BarRequest] = []
        self.n_recoveries = 0
        self.judge: Callable[[BarRequest], QuantAssetsError | None] = lambda _: None

    async def ensure_ready(self) -> None:
        self.n_recoveries += 1
        if self.away > 0:
            self.away -= 1
            raise LOST

    async def bars(self, request: BarRequest) -> BarAnswer:
        self.asked.append(request)
        await asyncio.sleep(0)
        error = self.replies.pop(0) if self.replies else self.judge(request)
        if error:
            raise error
        return BarAnswer(request, no_bars("1 min"), START, START)


def pacer(clock: ManualClock) -> Pacer:
    return Pacer(PacingBudget(), clock)


def planned(n_sessions: int, symbol: str = "S") -> PlannedRequest:
    (one,) = plan_minutes([Need(Contract(symbol, 1), day) for day in DAYS[:n_sessions]], HOURS)
    return one


async def carry_out(source: Source, plan: PlannedRequest, clock: ManualClock) -> list[Outcome]:
    return [outcome async for outcome in fetch(source, pacer(clock), plan, POLICY)]


@on_loop
async def test_an_answer_is_one_outcome():
    source, plan, clock = Source(), planned(3), ManualClock(START)
    (outcome,) = await carry_out(source, plan, clock)
    assert outcome.answer
    assert outcome.answer.request == plan.request
    assert outcome.error is None
    assert clock.slept == []


@on_loop
async def test_what_may_pass_is_tried_again_after_growing_waits():
    source, clock = Source(UNCLEAR, UNCLEAR), ManualClock(START)
    (outcome,) = await carry_out(source, planned(1), clock)
    assert outcome.answer
    assert clock.slept == [2.0, 13.0, 4.0, 11.0], "each back-off, then the rest of the 15 s of an identical request"


@on_loop
async def test_attempts_are_bounded_and_the_last_error_is_yielded():
    source = Source(UNCLEAR, UNCLEAR, UNCLEAR, UNCLEAR)
    (outcome,) = await carry_out(source, planned(1), ManualClock(START))
    assert outcome.error is UNCLEAR
    assert len(source.asked) == 3


@on_loop
async def test_a_permanent_refusal_is_not_repeated():
    refusal = NoPermissionError("bars", 354, "not subscribed", "Subscribe.")
    source, clock = Source(refusal), ManualClock(START)
    (outcome,) = await carry_out(source, planned(1), clock)
    assert outcome.error is refusal
    assert (len(source.asked), clock.slept) == (1, [])


@pytest.mark.parametrize("error", [SLOW, TooLongError("bars", 162, "Time length exceed max", "")])
@on_loop
async def test_too_slow_and_too_long_are_split_until_they_pass(error):
    source = Source()
    source.judge = lambda request: error if int(request.duration.split()[0]) > 2 else None
    outcomes = await carry_out(source, planned(5), ManualClock(START))
    assert [r.duration for r in source.asked] == ["5 D", "3 D", "2 D", "1 D", "2 D"]
    assert [outcome.planned.sessions for outcome in outcomes] == [tuple(DAYS[:2]), tuple(DAYS[2:3]), tuple(DAYS[3:])]
    assert all(outcome.answer for outcome in outcomes)


@on_loop
async def test_one_bad_session_does_not_cost_the_others():
    source = Source()
    bad_end = HOURS[DAYS[1]][1]
    source.judge = lambda r: (
        SLOW if r.end >= bad_end >= r.end - timedelta(days=int(r.duration.split()[0]) - 1) else None
    )
    outcomes = await carry_out(source, planned(4), ManualClock(START))
    assert {o.planned.sessions: type(o.result) for o in outcomes} == {
        (DAYS[0],): BarAnswer,
        (DAYS[1],): SourceTimeoutError,
        (DAYS[2], DAYS[3]): BarAnswer,
    }


@on_loop
async def test_a_daily_series_that_is_slow_is_repeated_since_it_cannot_be_split():
    (daily,) = plan_daily([Contract("S", 1)], 250, what=("ADJUSTED_LAST",))
    source = Source(SLOW)
    (outcome,) = await carry_out(source, daily, ManualClock(START))
    assert outcome.answer
    assert [r.duration for r in source.asked] == ["250 D", "250 D"]


@pytest.mark.parametrize("error", [PacingError("bars", 15), TooManyOpenError("bars", 15)])
@on_loop
async def test_a_pacing_violation_makes_the_pacer_wait_and_slow_down(error):
    source, clock = Source(error), ManualClock(START)
    pace = pacer(clock)
    (outcome,) = [o async for o in fetch(source, pace, planned(1), POLICY)]
    assert outcome.answer
    assert sum(clock.slept) == 15.0
    assert 0.5 <= pace.share < 0.51


@on_loop
async def test_an_outage_is_waited_out_and_then_the_same_request_is_sent():
    source, clock = Source(LOST, away=4), ManualClock(START)
    (outcome,) = await carry_out(source, planned(2), clock)
    assert outcome.answer
    assert source.n_recoveries == 5
    assert len(source.asked) == 2, "nothing is sent while the source is away"
    assert clock.slept[:5] == [2.0, 2.0, 4.0, 8.0, 10.0]


@on_loop
async def test_an_outage_beyond_the_budget_ends_everything_that_is_left_unasked():
    source, clock = Source(away=10**9), ManualClock(START)
    source.judge = lambda _: LOST
    plan = [planned(1, symbol) for symbol in "ABCDEFGHIJ"]
    outcomes = [o async for o in fetch_all(source, Pacer(PacingBudget(in_flight=2), clock), plan, POLICY)]
    assert len(outcomes) == 10
    assert all(outcome.error is LOST for outcome in outcomes)
    assert len(source.asked) == 2
    assert clock.monotonic() >= 100


@on_loop
async def test_a_plan_yields_every_outcome_and_one_failure_stops_nobody():
    refusal = NoPermissionError("bars", 354, "not subscribed", "Subscribe.")
    source = Source()
    source.judge = lambda request: refusal if request.contract.symbol == "C" else None
    plan = [planned(2, symbol) for symbol in "ABCDE"]
    outcomes = [o async for o in fetch_all(source, pacer(ManualClock(START)), plan, POLICY)]
    got = {o.planned.request.contract.symbol: o.error for o in outcomes}
    assert got == {"A": None, "B": None, "C": refusal, "D": None, "E": None}


@on_loop
async def test_an_empty_plan_has_no_outcome():
    assert [o async for o in fetch_all(Source(), pacer(ManualClock(START)), [], POLICY)] == []


@on_loop
async def test_a_reader_who_stops_early_stops_the_work():
    source = Source()
    plan = [planned(1, f"S{i}") for i in range(200)]
    stream = fetch_all(source, Pacer(PacingBudget(in_flight=2), ManualClock(START)), plan, POLICY)
    async for _ in stream:
        break
    await stream.aclose()
    asked = len(source.asked)
    await asyncio.sleep(0.01)
    assert len(source.asked) == asked
    assert asked <= 12, "no more than the reader's room ahead"


@on_loop
async def test_a_defect_is_raised_and_not_swallowed_in_a_worker():
    class Broken(Source):
        async def bars(self, request: BarRequest) -> BarAnswer:
            raise ZeroDivisionError(request)

    with pytest.raises(ZeroDivisionError):
        _ = [o async for o in fetch_all(Broken(), pacer(ManualClock(START)), [planned(1)], POLICY)]


def test_a_wait_after_thousands_of_failures_is_the_longest_one():
    """An outage of a long weekend takes more attempts than a power of two in floating point has room for."""
    assert RetryPolicy(cap_s=120, jitter=0).wait_s(5000) == 120
    assert RetryPolicy(base_s=1e-3, cap_s=120, jitter=0).wait_s(18) == 120
    assert RetryPolicy(base_s=1e-3, cap_s=1e9, jitter=0).wait_s(31) == 1e-3 * 2**30


def test_equal_seeds_wait_equally_and_jitter_only_shortens():
    waits = [RetryPolicy(seed=7).wait_s(n) for n in range(1, 12)]
    assert waits == [RetryPolicy(seed=7).wait_s(n) for n in range(1, 12)]
    assert waits != [RetryPolicy(seed=8).wait_s(n) for n in range(1, 12)]
    full = [min(120.0, 2.0**n) for n in range(1, 12)]
    assert all(0.75 * limit <= wait <= limit for wait, limit in zip(waits, full, strict=True))


@on_loop
async def test_our_own_defect_is_an_outcome_too():
    source = Source(DefectError("ours"))
    (outcome,) = await carry_out(source, planned(1), ManualClock(START))
    assert isinstance(outcome.error, DefectError)
