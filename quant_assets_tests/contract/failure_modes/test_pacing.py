"""Modes 1, 12 and 15 at the wire: the message rate, the slots, and what outlives a killed process."""

import asyncio
import json
import time as machine
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.connectors.base import BarRequest
from quant_assets.connectors.tws import (
    Need,
    Pacer,
    PacingBudget,
    RetryPolicy,
    TwsAddress,
    TwsClient,
    fetch_all,
    plan_minutes,
)
from quant_assets.connectors.tws.failures import LinkDownError, RepeatedRefusalError, UntoldError
from quant_assets.connectors.tws.journal import PacingJournal
from quant_assets.connectors.tws.pacing import Paced
from quant_assets.errors import PacingError
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.rules import Rules
from quant_assets_tests.contract.failure_modes.scene import (
    CONTRACTS,
    HMDS,
    HOURS,
    MARKET,
    NOW,
    PATIENT,
    POLICY,
    SCALE,
    WEEK,
    WitnessedClock,
    assert_whole,
    run,
    scene,
)

# ---------------------------------------------------------------- 1 pacing


@pytest.mark.parametrize("fault", ["pacing", "pacing_localised"])
def test_mode_01_pacing_pauses_everything_longer_each_time(fault, tmp_path):
    """Seven refusals in a row: 15 s, doubled each time, 10 minutes at the most, and each is waited out and no more.

    From the fourth on the rate, halved four times to three requests in ten minutes, may ask for more than the pause.
    """
    pauses, longest = (15, 30, 60, 120, 240, 480, 600), (15, 30, 60, 600, 600, 600, 600)
    base_s = 0.1
    policy, waits = RetryPolicy(attempts=10, base_s=base_s, cap_s=base_s), WitnessedClock(SCALE, NOW)
    line = {"fault": fault, "request": "history", "times": 7}

    async def scenario() -> None:
        async with scene(line, policy=policy, in_flight=1, waits=waits, journal=tmp_path / "pacing.jsonl") as on:
            outcomes = await on.carry_out(CONTRACTS[:2])
            assert_whole(outcomes, CONTRACTS[:2])
            asked = list(pairwise(on.asked_at()))[:7]
            for (refused_at, again_at), least, most in zip(asked, pauses, longest, strict=True):
                assert again_at - refused_at >= least - 0.1, "nothing is asked in the pause, by the gateway's clock"
                assert waits.slept_between(refused_at, again_at) <= most + base_s, "the pause or the rate, not both"
            assert on.pacer.share < 0.1

    run(scenario())
    noted = [json.loads(line) for line in (tmp_path / "pacing.jsonl").read_text().splitlines() if "paused" in line]
    assert tuple(line["length"] for line in noted) == pauses


def test_mode_01_a_refusal_pauses_the_other_instruments_too():
    async def scenario() -> None:
        async with scene({"fault": "pacing", "request": "history", "nth": 3}, latency_s=5.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:12]), CONTRACTS[:12])
            refused_at = on.running.gateway.strikes[0].at
            in_pause = [at for at in on.asked_at() if refused_at < at < refused_at + 14]
            assert len(in_pause) <= 5, "only what was in flight when it began"
            assert 0.45 < on.pacer.share < 0.6

    run(scenario())


def test_mode_01_a_refusal_in_another_language_ends_with_the_advice_to_switch_to_english():
    async def scenario() -> None:
        line = {"fault": "pacing_localised", "request": "history", "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=3)) as on:
            (outcome,) = await on.carry_out(CONTRACTS[:1])
            assert isinstance(outcome.error, UntoldError)
            assert "Show API error messages in English" in str(outcome.error)
            assert "infracción" in str(outcome.error)

    run(scenario())


def test_mode_01_what_tws_says_in_english_is_no_pacing_unless_it_says_so():
    """No pause and no lower rate; refused on every attempt, it is told with TWS's words and without a wrong advice."""

    async def scenario() -> None:
        line = {"fault": "query_failed", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        unlisted = {**line, "text": f"{HMDS}Starting time must occur before ending time"}
        async with scene(unlisted, policy=RetryPolicy(attempts=3)) as on:
            outcomes = await on.carry_out(CONTRACTS[:4])
            (refused,) = [o for o in outcomes if o.error]
            assert isinstance(refused.error, RepeatedRefusalError)
            assert "Starting time must occur" in str(refused.error)
            assert "English" not in str(refused.error)
            assert on.strikes() == ["query_failed"] * 3
            assert on.pacer.share == 1.0
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:4])

    run(scenario())


def test_mode_01_too_many_messages_and_the_disconnection_after_them():
    async def scenario() -> None:
        async with scene({"fault": "rate_exceeded", "request": "history", "nth": 2}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:4]), CONTRACTS[:4])
            assert on.client.epoch == 2
            assert on.pacer.share < 1

    run(scenario())


def test_mode_01_what_tws_says_before_it_hangs_up_is_heard_when_a_write_meets_the_dead_line_first():
    """The busy client has not read the complaint yet when its next questions find the connection reset."""

    async def scenario() -> None:
        requests = [BarRequest(contract, HOURS[WEEK[0]][1], "1 D") for contract in CONTRACTS[:4]]
        async with scene({"fault": "rate_exceeded", "request": "history"}) as on:

            async def ask(request: BarRequest) -> None:
                async with on.pacer.slot(request):
                    await on.client.bars(request)

            first = asyncio.create_task(ask(requests[0]))
            await asyncio.sleep(0)
            while not on.strikes():
                machine.sleep(0.002)  # noqa: ASYNC251 - the loop is to be busy until TWS has hung up
            machine.sleep(0.05)  # noqa: ASYNC251 - until its words are here
            on.running.call(lambda gateway: gateway.kick(abort=True))
            rest = [asyncio.create_task(ask(request)) for request in requests[1:]]
            ended = await asyncio.gather(first, *rest, return_exceptions=True)
            assert isinstance(ended[0], PacingError), ended[0]
            assert all(isinstance(one, LinkDownError) for one in ended[1:]), ended
            assert on.pacer.share == 0.5

    run(scenario())


# ---------------------------------------------------------------- 12 slots


@pytest.mark.parametrize("fault", ["too_many_open", "duplicate_id", "no_query"])
def test_mode_12_a_refused_slot_is_asked_for_again(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 2}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())


def test_mode_12_no_more_than_six_are_open_and_each_exit_frees_its_slot():
    async def scenario() -> None:
        async with scene(latency_s=100.0) as on:
            work = asyncio.create_task(on.carry_out(CONTRACTS[:40]))
            most = 0
            while on.running.history_ledger.outcomes()["answered"] < 12 or not on.running.history_ledger.still_open():
                most = max(most, len(on.running.history_ledger.still_open()))
                await asyncio.sleep(0.001)
            assert 2 <= most <= 6
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            while on.running.history_ledger.still_open():  # noqa: ASYNC110 - it is on the gateway's thread
                await asyncio.sleep(0.002)
            assert on.running.history_ledger.outcomes()["cancelled"] >= 1

    run(scenario())


# ---------------------------------------------------------------- 15 killed, and run again


def test_mode_15_what_a_killed_process_asked_counts_for_the_next(tmp_path: Path):
    """Three pacers, as three processes would have them, on one gateway: together they keep to 60 in ten minutes."""

    async def scenario() -> None:
        clock, journal = ScaledClock(SCALE, NOW), tmp_path / "pacing.jsonl"
        with EmbeddedGateway(MARKET, Rules(), clock) as running:
            for n_contracts, day in ((30, WEEK[0]), (30, WEEK[0]), (20, WEEK[1])):
                pacer = Pacer(PacingBudget(), clock, journal)
                plan = plan_minutes([Need(contract, day) for contract in CONTRACTS[:n_contracts]], HOURS)
                async with TwsClient(TwsAddress(port=running.port), clock, PATIENT, pacer=pacer) as client:
                    outcomes = [o async for o in fetch_all(client, pacer, plan, POLICY)]
                assert all(outcome.answer for outcome in outcomes)
                with journal.open("a") as torn:
                    torn.write('{"asked": "torn by a cra')
            assert running.history_ledger.breaches() == []
            asked = [entry.at for entry in running.history_ledger.entries]
            assert len(asked) == 80
            assert asked[-1] - asked[0] >= 590, "the eightieth had to wait for the window"

    run(scenario())


def test_mode_15_the_journal_forgets_what_is_over(tmp_path: Path):
    """It is rewritten once it has grown, also under a process that has it open, and nothing recent is lost."""
    clock, path = ScaledClock(100, NOW), tmp_path / "pacing.jsonl"
    old = PacingJournal(path, ManualClock(NOW - timedelta(days=1)), 600)
    for number in range(2000):
        old.ended(old.asked(f"old {number}", "group", 1))
    first, second = PacingJournal(path, clock, 600), PacingJournal(path, clock, 600)
    first.ended(first.asked("one", "group", 1))
    assert [past.identity for past in second.news()[0]] == ["one"]
    assert path.stat().st_size < 1000
    first.news()
    first.ended(first.asked("two", "group", 1))
    assert [past.identity for past in second.news()[0]] == ["two"]


def test_mode_15_a_pause_outlives_the_process_that_was_refused(tmp_path: Path):
    clock, journal = ManualClock(NOW), tmp_path / "pacing.jsonl"
    refused = Pacer(PacingBudget(), clock, journal)
    assert refused.refused() == 15
    clock.advance(4)
    heir = Pacer(PacingBudget(), clock, journal)

    async def wait() -> None:
        async with heir.slot(Paced("this", "group")):
            pass

    asyncio.run(wait())
    assert clock.slept == [11]
    assert heir.share < 0.6


def test_mode_15_a_request_without_an_end_counts_too(tmp_path: Path):
    clock, journal = ManualClock(NOW), tmp_path / "pacing.jsonl"
    request = plan_minutes([Need(CONTRACTS[0], WEEK[0])], HOURS)[0].request

    async def scenario() -> None:
        killed = Pacer(PacingBudget(), clock, journal).slot(request)
        await killed.__aenter__()
        clock.advance(4)
        async with Pacer(PacingBudget(), clock, journal).slot(request):
            assert clock.slept == [15], "TWS may have seen it as late as this very moment"

    run(scenario())
