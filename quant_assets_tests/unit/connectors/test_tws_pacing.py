"""IBKR's rules on a clock that only moves when slept on: the lengths slept are the assertion."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest

from quant_assets.clock import ManualClock
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws.pacing import Paced, Pacer, PacingBudget, estimate_s
from quant_assets.errors import PacingError
from quant_assets_tests.unit.connectors.loop import on_loop

START = datetime(2024, 1, 5, tzinfo=UTC)
OPEN_BUDGET = {"requests_per_window": 10_000, "messages_per_s": 10_000, "per_contract": 10_000}


def request(con_id: int = 1, day: int = 1, what: str = "TRADES") -> BarRequest:
    return BarRequest(Contract("X", con_id), datetime(2024, 1, day, 21, tzinfo=UTC), "1 D", what_to_show=what)


async def ask(pacer: Pacer, *requests: BarRequest | Paced) -> None:
    for each in requests:
        async with pacer.slot(each):
            pass


@on_loop
async def test_the_56th_request_waits_for_the_window():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(messages_per_s=1000), clock)
    await ask(pacer, *(request(con_id) for con_id in range(55)))
    assert clock.slept == []
    await ask(pacer, request(55))
    assert clock.slept == [600.0]


@on_loop
async def test_the_window_slides():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=2), clock)
    await ask(pacer, request(1))
    clock.advance(100)
    await ask(pacer, request(2), request(3), request(4))
    assert clock.slept == [500.0, 100.0]


@on_loop
async def test_an_identical_request_waits_15_s_and_another_one_does_not():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    await ask(pacer, request(1))
    clock.advance(4)
    await ask(pacer, request(1, day=2), request(2), request(1))
    assert clock.slept == [11.0]


@on_loop
async def test_the_sixth_request_for_one_contract_waits_until_2_s_have_passed():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    await ask(pacer, *(request(1, day) for day in range(1, 6)), request(1, 1, "MIDPOINT"), request(2))
    assert clock.slept == []
    await ask(pacer, request(1, 6))
    assert clock.slept == [2.0]


@on_loop
async def test_quotes_count_twice():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=4, messages_per_s=1000), clock)
    await ask(pacer, request(1, 1, "BID_ASK"), request(2, 1, "BID_ASK"))
    assert clock.slept == []
    await ask(pacer, request(3))
    assert clock.slept == [600.0]


@on_loop
async def test_messages_of_all_kinds_share_45_per_second():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    await ask(pacer, *(request(con_id) for con_id in range(20)))
    for _ in range(25):
        async with pacer.message():
            pass
    assert clock.slept == []
    async with pacer.message():
        pass
    assert clock.slept == [1.0]


@on_loop
async def test_a_request_counts_from_its_answer():
    """TWS saw it at an unknown instant before: counting from the sending could be too early by the latency."""
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    async with pacer.slot(request(1)):
        clock.advance(10)
    await ask(pacer, request(1))
    assert clock.slept == [15.0]


@on_loop
async def test_no_more_than_the_budget_is_in_flight():
    pacer, release, inside = Pacer(PacingBudget(in_flight=3), ManualClock(START)), asyncio.Event(), []

    async def hold(con_id: int) -> None:
        async with pacer.slot(request(con_id)):
            inside.append(con_id)
            await release.wait()

    tasks = [asyncio.create_task(hold(con_id)) for con_id in range(5)]
    await asyncio.sleep(0.01)
    assert inside == [0, 1, 2]
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert inside == [0, 1, 2, 3], "a cancelled holder gives its place back"
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_pacer_keeps_the_rules_over_several_event_loops():
    """Each connection of a process runs on a loop of its own; TWS counts them together."""
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(in_flight=2, requests_per_window=5), clock)

    async def one(con_id: int) -> None:
        async with pacer.slot(request(con_id)):
            await asyncio.sleep(0)

    async def crowd(first: int) -> None:
        await asyncio.gather(*(one(first + i) for i in range(3)))

    for first in (0, 3, 6):
        asyncio.run(crowd(first))
    assert sum(clock.slept) >= 600.0


@on_loop
async def test_what_is_long_over_is_forgotten_and_what_counts_is_not():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=10_000, messages_per_s=10_000), clock)
    await ask(pacer, *(request(con_id) for con_id in range(600)))
    clock.advance(14)
    await ask(pacer, request(1000))
    await ask(pacer, request(599))
    assert clock.slept == [1.0]
    clock.advance(60)
    await ask(pacer, request(1001))
    assert len(pacer._keyed) < 10


@on_loop
async def test_identical_requests_that_wait_together_still_go_one_by_one():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    went: list[float] = []

    async def one() -> None:
        async with pacer.slot(request(1)):
            went.append(clock.monotonic())

    pacer.refused()
    await asyncio.gather(*(one() for _ in range(4)))
    assert all(later - earlier >= 15.0 for earlier, later in pairwise(went))


@on_loop
async def test_a_violation_pauses_everything_doubling_up_to_600_s_and_halves_the_rate():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(**OPEN_BUDGET), clock)
    for con_id in range(8):
        with pytest.raises(PacingError):
            async with pacer.slot(request(con_id)):
                raise PacingError("bars", 15)
    await ask(pacer, request(100))
    assert clock.slept == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert pacer.share == pytest.approx(1 / 2**8, rel=0.05)


@on_loop
async def test_refusals_of_requests_already_in_flight_are_one_violation():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    assert [pacer.refused() for _ in range(3)] == [15.0, 15.0, 15.0]
    assert pacer.share == 0.5


@on_loop
async def test_the_halved_rate_holds_for_the_window():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=10, messages_per_s=1000), clock)
    pacer.refused()
    await ask(pacer, *(request(con_id) for con_id in range(5)))
    assert clock.slept == [15.0]
    await ask(pacer, request(5))
    assert clock.slept == [15.0, 600.0]


@on_loop
async def test_the_rate_recovers_after_four_windows_of_answers_and_the_next_pause_is_short_again():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=8, messages_per_s=1000), clock)
    pacer.refused()
    await ask(pacer, *(request(con_id) for con_id in range(31)))
    assert pacer.share < 1.0
    await ask(pacer, request(31))
    assert pacer.share == 1.0
    assert pacer.refused() == 15.0


@pytest.mark.parametrize("n_requests", [1, 45, 46, 55, 56, 111, 400])
def test_the_estimate_is_exactly_what_is_slept(n_requests):
    clock = ManualClock(START)

    @on_loop
    async def run() -> None:
        pacer = Pacer(PacingBudget(), clock)
        expected = pacer.estimate(n_requests)
        await ask(pacer, *(request(con_id) for con_id in range(n_requests)))
        assert sum(clock.slept) == pytest.approx(expected, abs=1e-6)

    run()


@on_loop
async def test_the_estimate_counts_what_is_used_of_the_window():
    """55 went at once, and leave the window 600 s later; a second has passed."""
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(messages_per_s=1000), clock)
    await ask(pacer, *(request(con_id) for con_id in range(55)))
    clock.advance(1)
    assert pacer.estimate(29) == pytest.approx(599.0)
    assert pacer.estimate(55) == pytest.approx(599.0)
    assert pacer.estimate(56) == pytest.approx(1199.0)
    assert pacer.estimate(0) == 0.0


@on_loop
async def test_the_estimate_counts_the_reduced_rate_until_it_has_recovered():
    """The 55th of a full window was refused; the next go when the window is empty again, 600 s later.

    From half the rate on, n answers later int(27.5 + n / 8) fit into the window: 31 of them, then 35, 40, 46, 53, and 55
    in each window from there. 500 are 31 + 35 + 40 + 46 + 53 = 205, five times 55, and 20: the eleventh window.
    """
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(messages_per_s=1000), clock)
    await ask(pacer, *(request(con_id) for con_id in range(55)))
    pacer.refused()
    windows = {31: 1, 32: 2, 66: 2, 67: 3, 106: 3, 107: 4, 152: 4, 153: 5, 205: 5, 206: 6, 480: 10, 481: 11, 500: 11}
    assert {n: pacer.estimate(n) for n in windows} == {n: pytest.approx(600.0 * k) for n, k in windows.items()}


@on_loop
async def test_the_estimate_counts_the_pause_and_those_who_wait_already():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(requests_per_window=2, messages_per_s=1000), clock)
    pacer.refused()
    assert pacer.estimate(1) == pytest.approx(15.0)
    waiting = asyncio.create_task(ask(pacer, request(1)))
    clock.sleep = lambda _: asyncio.Event().wait()  # type: ignore[method-assign]
    await asyncio.sleep(0.01)
    assert pacer.estimate(0) == pytest.approx(15.0)
    assert pacer.estimate(1) == pytest.approx(615.0), "one in a window at half the rate, and one waits before it"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert pacer.estimate(0) == 0.0


@on_loop
async def test_the_estimate_of_named_requests_counts_the_rules_of_one_contract():
    clock = ManualClock(START)
    pacer = Pacer(PacingBudget(), clock)
    await ask(pacer, request(1, 1))
    days = [request(1, day) for day in range(2, 12)]
    assert pacer.estimate(days) == pytest.approx(4.0), "four beside the first, five 2 s later, and one after that"
    assert pacer.estimate([request(1, 1)]) == pytest.approx(15.0), "the same again"
    assert pacer.estimate([request(1, 1), *(request(n) for n in range(2, 40))]) == pytest.approx(15.0)
    quotes = [request(n, 1, "BID_ASK") for n in range(100, 127)]
    assert pacer.estimate(quotes) == 0.0, "27 quotes are 54 beside the first"
    assert pacer.estimate([*quotes, request(200)]) == pytest.approx(600.0)


@pytest.mark.parametrize("seed", range(12))
def test_the_estimate_is_what_is_slept_from_any_state(seed):
    """Contracts and days at random, after a random past with refusals; answers are instant."""
    random = Random(seed)

    @on_loop
    async def run() -> None:
        clock = ManualClock(START)
        pacer = Pacer(PacingBudget(in_flight=1), clock)
        for _ in range(random.randrange(120)):
            await ask(pacer, request(random.randrange(30), random.randrange(1, 28)))
            clock.advance(random.choice([0, 0, 0.1, 7]))
            if random.random() < 0.02:
                pacer.refused()
        todo = [request(random.randrange(20), random.randrange(1, 28)) for _ in range(random.randrange(1, 200))]
        expected, began = pacer.estimate(todo), clock.monotonic()
        await ask(pacer, *todo)
        assert clock.monotonic() - began == pytest.approx(expected, abs=1e-3)

    run()


def test_the_estimate_of_a_known_budget():
    assert estimate_s(PacingBudget(), 55) == pytest.approx(1.0)
    assert estimate_s(PacingBudget(), 56) == pytest.approx(600.0)
    assert estimate_s(PacingBudget(enforced=False), 10_000) == 0.0


@pytest.mark.parametrize(
    "wrong", [{"in_flight": 0}, {"in_flight": 51}, {"requests_per_window": 0}, {"per_contract": 0}]
)
def test_an_impossible_budget_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        PacingBudget(**wrong)
