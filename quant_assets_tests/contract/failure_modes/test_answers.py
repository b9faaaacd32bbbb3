"""Modes 2, 3, 11, 13 and 14 at the wire: answers that are empty, late, refused or wrong."""

import asyncio

import pytest

from quant_assets.connectors.tws import RetryPolicy
from quant_assets.connectors.tws.failures import RepeatedRefusalError
from quant_assets.errors import BadRequestError, NoPermissionError, SourceTimeoutError
from quant_assets_tests.contract.failure_modes.scene import CONTRACTS, HMDS, QUICK, WEEK, assert_whole, run, scene

# ---------------------------------------------------------------- 2 no data


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "no_data"},
        {"fault": "no_items"},
        {"fault": "no_data", "text": f"{HMDS}No historical market data for X"},
    ],
    ids=" ".join,
)
def test_mode_02_no_data_is_told_apart_and_stops_nobody(line):
    async def scenario() -> None:
        async with scene({**line, "request": "history", "nth": 2}, in_flight=1) as on:
            outcomes = await on.carry_out(CONTRACTS[:3])
            empty = [o for o in outcomes if o.answer and o.answer.bars.is_empty()]
            assert [o.planned.request.contract for o in empty] == CONTRACTS[1:2]
            assert all(o.answer and o.answer.no_data_text for o in empty), "the source's own words are kept"
            assert_whole([o for o in outcomes if o not in empty], [CONTRACTS[0], CONTRACTS[2]])

    run(scenario())


# ---------------------------------------------------------------- 3 timeout


@pytest.mark.parametrize("fault", ["hang", "late"])
def test_mode_03_a_slow_request_is_cancelled_and_halved(fault):
    async def scenario() -> None:
        line = {"fault": fault, "request": "history"} | ({"delay": 3000} if fault == "late" else {})
        async with scene(line, timeouts=QUICK) as on:
            outcomes = await on.carry_out(CONTRACTS[:1])
            assert_whole(outcomes, CONTRACTS[:1])
            assert on.durations() == ["5 D", "3 D", "2 D"]
            assert on.running.history_ledger.entries[0].outcome == "cancelled"
            await asyncio.sleep(0.7)
            assert_whole(outcomes, CONTRACTS[:1])  # what comes late fills nothing
            assert on.client.epoch == 1, "the probe was answered, so the connection stands"

    run(scenario())


def test_mode_03_a_request_that_never_ends_is_a_timeout_and_not_an_empty_answer():
    async def scenario() -> None:
        line = {"fault": "hang", "request": "history", "every": 1, "symbol": CONTRACTS[0].symbol}
        async with scene(line, policy=RetryPolicy(attempts=2), timeouts=QUICK) as on:
            outcomes = await on.carry_out(CONTRACTS[:2], WEEK[:1])
            errors = {o.planned.request.contract: o.error for o in outcomes}
            assert isinstance(errors[CONTRACTS[0]], SourceTimeoutError)
            assert "tws.request_timeout_s" in str(errors[CONTRACTS[0]])
            assert errors[CONTRACTS[1]] is None

    run(scenario())


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "too_long"},
        {"fault": "invalid_step"},
        {"fault": "too_long", "text": f"{HMDS}Historical data request for greater than 365 days rejected."},
    ],
    ids=" ".join,
)
def test_mode_03_what_exceeds_the_maximum_is_halved_too(line):
    async def scenario() -> None:
        async with scene({**line, "request": "history"}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.durations() == ["5 D", "3 D", "2 D"]
            assert on.pacer.share == 1.0

    run(scenario())


def test_mode_03_one_session_that_is_always_too_long_is_refused_and_not_asked_for_ever():
    async def scenario() -> None:
        line = {"fault": "too_long", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=3)) as on:
            outcomes = await on.carry_out(CONTRACTS[:2], WEEK[:2])
            refused = [o for o in outcomes if o.error]
            assert [type(o.error) for o in refused] == [RepeatedRefusalError] * 2
            assert on.strikes() == ["too_long"] * (1 + 2 * 3), "once as a whole, and each half three times"
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:2], WEEK[:2])

    run(scenario())


# ---------------------------------------------------------------- 11 our own mistake


@pytest.mark.parametrize("fault", ["malformed", "bad_request", "bad_end"])
def test_mode_11_a_bad_request_is_final_at_once_and_names_what_is_legal(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history"}) as on:
            (outcome,) = await on.carry_out(CONTRACTS[:1])
            assert isinstance(outcome.error, BadRequestError)
            assert "Legal durations" in str(outcome.error)
            assert len(on.asked_at()) == 1

    run(scenario())


# ---------------------------------------------------------------- 13 entitlements


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "no_permission"},
        {"fault": "other_session"},
        {"fault": "not_subscribed"},
        {"fault": "needs_subscription"},
        {"fault": "competing_session"},
        {"fault": "no_permission", "text": f"{HMDS}Requested market data is not subscribed."},
        {"fault": "not_subscribed", "code": 10090, "text": "Part of requested market data is not subscribed."},
    ],
    ids=lambda line: " ".join(map(str, line.values()))[:30],
)
def test_mode_13_a_missing_permission_is_final_for_its_symbol_only(line):
    async def scenario() -> None:
        everywhere = {"request": "history", "symbol": CONTRACTS[2].symbol, "every": 1}
        async with scene({**line, **everywhere}) as on:
            outcomes = await on.carry_out(CONTRACTS[:6])
            (denied,) = [o for o in outcomes if o.error]
            assert isinstance(denied.error, NoPermissionError)
            assert "Subscribe to streaming level-1 data" in str(denied.error)
            assert denied.planned.request.contract == CONTRACTS[2]
            assert_whole([o for o in outcomes if o.answer], [c for c in CONTRACTS[:6] if c != CONTRACTS[2]])
            assert len(on.asked_at()) == 6, "it is not asked again"

    run(scenario())


# ---------------------------------------------------------------- 14 wrong bytes


@pytest.mark.parametrize("fault", ["bad_bar", "duplicate", "garbage"])
def test_mode_14_bytes_that_are_wrong_never_become_bars(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 3}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())
