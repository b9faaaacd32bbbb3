"""Modes 4 to 7 at the wire: lines that break, fall silent, or lose the market behind them."""

import asyncio
import time as machine

import pytest

from quant_assets.connectors.tws import RetryPolicy, Timeouts
from quant_assets.connectors.tws.failures import LinkDownError
from quant_assets.errors import SourceUnavailableError
from quant_assets_tests.contract.failure_modes.scene import (
    CONTRACTS,
    WATCHFUL,
    WEEK,
    WITHOUT_END,
    assert_whole,
    run,
    scene,
)

# ---------------------------------------------------------------- 4 the socket drops


@pytest.mark.parametrize("fault", ["half", "reset", "drop"])
def test_mode_04_a_connection_that_breaks_in_the_middle_of_an_answer(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 2}, latency_s=40.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert on.client.epoch >= 2
            assert on.running.history_ledger.outcomes()["lost"] >= 1

    run(scenario())


def test_mode_04_an_answer_that_always_breaks_the_connection_is_asked_for_in_parts():
    async def scenario() -> None:
        policy = RetryPolicy(attempts=2)
        async with scene({"fault": "half", "request": "history", "times": 2}, policy=policy) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.durations() == ["5 D", "5 D", "3 D", "2 D"]

    run(scenario())


def test_mode_04_one_session_that_always_breaks_it_does_not_cost_the_others():
    async def scenario() -> None:
        line = {"fault": "reset", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=2), in_flight=1) as on:
            outcomes = await on.carry_out(CONTRACTS[:3], WEEK[:1])
            (broken,) = [o for o in outcomes if o.error]
            assert broken.planned.request.contract == CONTRACTS[0]
            assert "broke on every attempt" in str(broken.error)
            assert not isinstance(broken.error, SourceUnavailableError), "the source is there"
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:3], WEEK[:1])

    run(scenario())


# ---------------------------------------------------------------- 5 half-open


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "freeze", "request": "history", "nth": 2, "lasts": 4000},
        {"fault": "stall", "request": "history", "nth": 2},
        {"fault": "bad_length", "request": "history", "nth": 2},
    ],
    ids=lambda line: line["fault"],
)
def test_mode_05_half_open_peer_is_found_out_by_its_silence(line):
    """No request has timed out yet, by far: silence, then a probe without answer, end the connection."""

    async def scenario() -> None:
        async with scene(line, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert on.client.epoch >= 2

    run(scenario())


def test_mode_05_a_slow_peer_is_not_a_dead_one():
    """Its answer arrives in twenty pieces over five times the silence that is allowed."""

    async def scenario() -> None:
        line = {"fault": "dribble", "request": "history", "delay": 5000}
        async with scene(line, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:3]), CONTRACTS[:3])
            assert on.client.epoch == 1

    run(scenario())


def test_mode_05_a_probe_is_answered_while_a_request_is_late():
    async def scenario() -> None:
        async with scene({"fault": "late", "request": "history", "delay": 4000}, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.client.epoch == 1
            assert on.running.counts()["current_time"] >= 2

    run(scenario())


def test_mode_05_what_a_hung_peer_reads_only_when_it_wakes_counts_from_then():
    """Its old connection's bytes are read after ours has been given up; the same request waits 15 s from there."""

    async def scenario() -> None:
        impatient = Timeouts(connect_s=10, history_s=0.3, lookup_s=0.3, probe_s=0.1, idle_s=5.0)
        async with scene(timeouts=impatient, scale=100) as on:
            loop = on.running._loop
            assert loop
            loop.call_soon_threadsafe(machine.sleep, 1.0)
            assert_whole(await on.carry_out(CONTRACTS[:3], WEEK[:1]), CONTRACTS[:3], WEEK[:1])
            assert on.client.epoch >= 2
            assert len(on.asked_at()) > 3, "some were read twice: from the connection given up, and from the new one"

    run(scenario())


# ---------------------------------------------------------------- 6 TWS loses its own link


@pytest.mark.parametrize("restored", ["connectivity_lost_1101", "connectivity_lost_1102"])
def test_mode_06_nothing_is_asked_until_the_link_is_back(restored):
    """1101 (data lost) and 1102 (data kept): what was in flight is sent anew in either case."""

    async def scenario() -> None:
        line = {"fault": restored, "request": "history", "nth": 4, "lasts": 4000}
        async with scene(line, latency_s=400.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:10]), CONTRACTS[:10])
            lost_at = on.running.gateway.strikes[0].at
            assert [at for at in on.asked_at() if lost_at + 2000 < at < lost_at + 4000] == []
            assert on.running.history_ledger.outcomes()["cancelled"] >= 3, "what was in flight failed at once"
            assert on.client.epoch == 2, "one socket, but a new connection to the market"

    run(scenario())


def test_mode_06_an_outage_beyond_the_budget_ends_the_plan_and_says_that_it_resumes():
    async def scenario() -> None:
        line = {"fault": "connectivity_lost_1101", "request": "history", "lasts": 1e6}
        async with scene(line, policy=RetryPolicy(outage_s=600)) as on:
            outcomes = await on.carry_out(CONTRACTS[:20])
            assert all(isinstance(outcome.error, SourceUnavailableError) for outcome in outcomes)
            assert "the same command resumes where it stopped" in str(outcomes[0].error)
            assert "1100" in str(outcomes[0].error)
            assert len(on.asked_at()) <= 6, "the rest is not even asked"

    run(scenario())


# ---------------------------------------------------------------- 7 one farm is broken


def test_mode_07_a_broken_history_farm_pauses_history_only():
    async def scenario() -> None:
        line = {"fault": "history_farm_broken", "request": "history", "nth": 3, "lasts": WITHOUT_END}
        async with scene(line, in_flight=2, policy=RetryPolicy(outage_s=WITHOUT_END)) as on:
            work = asyncio.create_task(on.carry_out(CONTRACTS[:6]))
            await on.broken_at()
            await on.client.current_time()  # the notice came before this answer, so the client has read it
            assert await on.client.contract_details(CONTRACTS[0]), "contracts are looked up meanwhile"
            n_asked = len(on.asked_at())
            assert n_asked <= 4, "the third, and what was in flight beside it"
            on.mend_farm("history_farm_broken")
            assert_whole(await work, CONTRACTS[:6])
            assert len(on.asked_at()) - n_asked >= 3

    run(scenario())


def test_mode_07_nothing_of_history_is_asked_while_its_farm_is_broken():
    async def scenario() -> None:
        line = {"fault": "history_farm_broken", "request": "history", "nth": 3, "lasts": 8000}
        async with scene(line, in_flight=2) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            broken_at = on.running.gateway.strikes[0].at
            assert len([at for at in on.asked_at() if broken_at + 8000 <= at]) >= 3

    run(scenario())


def test_mode_07_a_broken_contract_farm_pauses_lookups_only():
    async def scenario() -> None:
        line = {"fault": "secdef_farm_broken", "request": "history", "lasts": WITHOUT_END}
        async with scene(line, policy=RetryPolicy(cap_s=30, outage_s=WITHOUT_END)) as on:
            await on.carry_out(CONTRACTS[:1])
            lookup = asyncio.create_task(on.client.contract_details(CONTRACTS[0]))
            assert_whole(await on.carry_out(CONTRACTS[1:6]), CONTRACTS[1:6])  # history does not wait
            assert on.running.counts()["contract_details"] == 0, "nothing was asked in vain"
            on.mend_farm("secdef_farm_broken")
            assert (await lookup)[0].con_id == CONTRACTS[0].con_id

    run(scenario())


@pytest.mark.parametrize("fault", ["farm_asleep", "no_time_zone"])
def test_mode_07_notices_that_mean_nothing_change_nothing(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "every": 1}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert len(on.asked_at()) == 6

    run(scenario())


def test_mode_07_quotes_are_not_asked_for_so_their_farm_may_break():
    async def scenario() -> None:
        async with scene({"fault": "market_farm_broken", "request": "history", "lasts": 1e5}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())


def test_a_link_error_names_address_and_mend():
    assert "the same command resumes" in str(LinkDownError("127.0.0.1:7497", "gone"))
