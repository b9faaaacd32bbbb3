"""Mode 10 at the wire: a contract that TWS denies, truly or not."""

import pytest

from quant_assets.connectors.base import Contract
from quant_assets.errors import RetryLater, UnknownContractError
from quant_assets_tests.contract.failure_modes.scene import CONTRACTS, MIDNIGHT, STRANGER, assert_whole, run, scene

# ---------------------------------------------------------------- 10 an unknown contract, true or false


def test_mode_10_a_false_200_is_not_believed_on_one_connection():
    async def scenario() -> None:
        line = {"fault": "unknown_contract", "request": "history", "symbol": CONTRACTS[1].symbol}
        async with scene(line) as on:
            assert_whole(await on.carry_out(CONTRACTS[:5]), CONTRACTS[:5])
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_a_true_200_is_confirmed_and_the_others_go_on():
    async def scenario() -> None:
        async with scene() as on:
            outcomes = await on.carry_out([STRANGER, *CONTRACTS[:5]])
            denied = [o for o in outcomes if o.error]
            assert [o.planned.request.contract for o in denied] == [STRANGER]
            assert isinstance(denied[0].error, UnknownContractError)
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[:5])
            asked = [e for e in on.running.history_ledger.entries if e.request.contract.symbol == "NOPE"]
            assert len(asked) == 2
            assert on.client.epoch == 2

    run(scenario())


STRANGERS = [Contract(f"NOPE{n}", 900 + n) for n in range(12)]


def test_mode_10_one_other_connection_confirms_all_that_was_denied():
    async def scenario() -> None:
        async with scene() as on:
            told: list[Contract] = []
            found = await on.client.details_of([*STRANGERS, *CONTRACTS[:3]], told.append)
            assert [[one.con_id for one in each] for each in found] == [
                *([] for _ in STRANGERS),
                *([one.con_id] for one in CONTRACTS[:3]),
            ]
            assert sorted(map(str, told)) == sorted(map(str, [*STRANGERS, *CONTRACTS[:3]]))
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_unknown_contracts_of_a_plan_cost_one_reconnection_together():
    async def scenario() -> None:
        async with scene() as on:
            outcomes = await on.carry_out([*STRANGERS, *CONTRACTS[:5]])
            denied = {outcome.planned.request.contract for outcome in outcomes if outcome.error}
            assert denied == set(STRANGERS)
            assert all(isinstance(one.error, UnknownContractError) for one in outcomes if one.error)
            assert_whole([one for one in outcomes if one.answer], CONTRACTS[:5])
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_around_the_reset_a_200_is_never_believed():
    async def scenario() -> None:
        async with scene(start=MIDNIGHT) as on:
            (outcome,) = await on.carry_out([STRANGER])
            assert isinstance(outcome.error, RetryLater)
            assert not isinstance(outcome.error, UnknownContractError)
            assert "nightly reset" in str(outcome.error)

    run(scenario())


def test_mode_10_lookups_ask_for_a_second_opinion_as_well():
    async def scenario() -> None:
        line = {"fault": "unknown_contract", "request": "contract_details"}
        async with scene(line) as on:
            assert (await on.client.contract_details(CONTRACTS[0]))[0].con_id == CONTRACTS[0].con_id
            with pytest.raises(UnknownContractError, match="Check symbol, exchange and currency"):
                await on.client.contract_details(STRANGER)

    run(scenario())
