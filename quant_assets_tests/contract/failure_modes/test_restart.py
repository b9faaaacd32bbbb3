"""Modes 8 and 9 at the wire: the nightly restart, quiet hours, and a door that nobody answers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time

import pytest

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.connectors.tws import Pacer, PacingBudget, RetryPolicy, TwsAddress, TwsClient
from quant_assets.connectors.tws.failures import ClientIdInUseError, PortDroppedError, PortSilentError
from quant_assets.connectors.tws.patience import NEW_YORK, DailyWindow
from quant_assets.errors import SourceUnavailableError
from quant_assets.flows.gate import TwsGate
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.rules import Rules
from quant_assets.settings import Settings
from quant_assets_tests.contract.failure_modes.scene import (
    CONTRACTS,
    MARKET,
    MIDNIGHT,
    NOW,
    PATIENT,
    POLICY,
    QUICK,
    SCALE,
    Scene,
    assert_whole,
    run,
    scene,
)

# ---------------------------------------------------------------- 8 the nightly restart


def test_mode_08_the_nightly_restart_is_waited_out_and_says_until_when(caplog):
    async def scenario() -> None:
        line = {"fault": "restart", "request": "history", "nth": 3, "lasts": 1000}
        policy = RetryPolicy(reset=POLICY.reset, outage_s=1800, attempts=20)
        async with scene(line, start=MIDNIGHT, latency_s=200.0, policy=policy) as on:
            with caplog.at_level(logging.WARNING, "quant_assets.connectors"):
                assert_whole(await on.carry_out(CONTRACTS[:8]), CONTRACTS[:8])
            assert on.client.epoch >= 2

    run(scenario())
    assert caplog.text.count("TWS restarting, retry until 02:00 New York") == 1, "once, though six wait"
    assert caplog.text.count("TWS answers again") == 1


def test_mode_08_a_run_that_starts_during_the_restart_waits_too():
    async def scenario() -> None:
        clock = ScaledClock(SCALE, MIDNIGHT)
        with EmbeddedGateway(MARKET, Rules(), clock) as running:
            running.call(lambda gateway: gateway.close_port())
            client = TwsClient(TwsAddress(port=running.gateway.port), clock, PATIENT, patience=POLICY)
            entering = asyncio.create_task(client.__aenter__())
            await asyncio.sleep(0.2)
            assert not entering.done()
            loop = running._loop
            assert loop
            asyncio.run_coroutine_threadsafe(running.gateway.open_port(), loop).result(2)
            await entering
            assert client.is_connected
            await client.__aexit__()

    run(scenario())


def test_mode_08_outside_the_window_a_missing_tws_is_told_at_once():
    async def scenario() -> None:
        with EmbeddedGateway(MARKET, Rules()) as running:
            port = running.port
        with pytest.raises(SourceUnavailableError, match="Start TWS or IB Gateway"):
            await TwsClient(TwsAddress(port=port), ScaledClock(1, NOW), QUICK, patience=POLICY).__aenter__()

    run(scenario())


def test_mode_08_a_restart_that_ends_the_very_first_greeting_is_waited_out(caplog):
    """Outside the window, too: somebody was there a moment ago."""

    async def scenario() -> None:
        line = {"fault": "restart", "request": "handshake", "lasts": 1000}
        async with scene(line) as on:
            assert on.strikes() == ["restart"]
            assert on.client.is_connected

    with caplog.at_level(logging.WARNING, "quant_assets.connectors"):
        run(scenario())
    assert "is not available" in caplog.text
    assert "retry until" in caplog.text


def test_mode_08_a_tws_that_ends_every_greeting_is_told_with_its_mend():
    async def scenario() -> None:
        with pytest.raises(PortDroppedError, match=r"restart TWS or IB Gateway"):
            async with scene({"fault": "drop", "request": "handshake", "every": 1}):
                pass

    run(scenario())


@pytest.mark.parametrize(("start", "end"), [("23:40", "01:50"), ("00:15", "01:45")])
def test_mode_08_the_window_may_pass_midnight(start, end):
    window = DailyWindow(time.fromisoformat(start), time.fromisoformat(end))
    assert window.contains(MIDNIGHT)
    assert f"{window.next_end(MIDNIGHT).astimezone(UTC):%Y-%m-%d}" == "2024-03-16"
    assert not window.contains(NOW)
    assert not window.contains(datetime(2024, 3, 16, 6, 0, tzinfo=UTC))


NIGHT = date(2024, 3, 15)


def new_york(hour: int, minute: int) -> datetime:
    return datetime.combine(NIGHT, time(hour, minute), NEW_YORK).astimezone(UTC)


QUIET = RetryPolicy(quiet=DailyWindow(time(23, 0), time(23, 50)))


@asynccontextmanager
async def at_night(hour: int, minute: int, budget: PacingBudget) -> AsyncIterator[Scene]:
    """The quiet hours are 23:00 to 23:50; time passes only while the client waits."""
    clock = ManualClock(new_york(hour, minute))
    with EmbeddedGateway(MARKET, Rules(), clock) as running:
        pacer, address = Pacer(budget, clock), TwsAddress(port=running.port)
        async with TwsClient(address, clock, PATIENT, pacer=pacer, patience=QUIET) as client:
            yield Scene(running, client, pacer, QUIET)


def test_mode_08_quiet_hours_that_begin_while_a_request_waits_for_pacing_are_kept_too():
    async def scenario() -> None:
        async with at_night(22, 55, PacingBudget(requests_per_window=1, in_flight=1)) as on:
            assert_whole(await on.carry_out(CONTRACTS[:2]), CONTRACTS[:2])
            asked = [entry.asked_at for entry in on.running.history_ledger.entries]
            assert asked == [new_york(22, 55), new_york(23, 50)]

    run(scenario())


@pytest.mark.parametrize("question", ["bars", "schedule", "head_timestamp", "contract_details"])
def test_mode_08_nothing_is_asked_in_quiet_hours(question):
    async def scenario() -> None:
        async with at_night(23, 20, PacingBudget()) as on:
            (contract,) = CONTRACTS[:1]
            if question == "bars":
                assert_whole(await on.carry_out([contract]), [contract])
            elif question == "schedule":
                assert await on.client.schedule(contract, NOW, 2)
            elif question == "head_timestamp":
                assert await on.client.head_timestamp(contract, "TRADES", use_rth=True)
            else:
                assert await on.client.contract_details(contract)
            assert on.pacer.clock.now() == new_york(23, 50)
            assert {entry.asked_at for entry in on.running.history_ledger.entries} <= {new_york(23, 50)}

    run(scenario())


@pytest.mark.parametrize(("mode", "is_kept"), [("live", True), ("replay", False)])
def test_mode_08_a_replay_says_that_it_keeps_no_quiet_hours(tmp_path, caplog, mode, is_kept):
    tws = {"mode": mode, "quiet_hours": {"start": "23:00", "end": "02:00"}}
    manifest = {"default_profile": "calm", "production_profile": "calm", "tws": tws, "profiles": {"calm": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    gate = TwsGate(Settings.from_env({}, data=tmp_path / "data", configs=tmp_path))
    with caplog.at_level(logging.WARNING):
        assert (gate.policy.quiet is not None) == is_kept
        assert gate.policy.attempts == 5
    said = [one.getMessage() for one in caplog.records]
    told = ["tws.quiet_hours (23:00 to 02:00 New York) are kept in live mode only: a replay disturbs nobody"]
    assert said == ([] if is_kept else told)


# ---------------------------------------------------------------- 9 nobody answers the door


def test_mode_09_a_client_id_in_use_gives_way_to_the_next():
    async def scenario() -> None:
        async with scene({"fault": "client_id_taken", "request": "start_api", "times": 3}) as on:
            assert on.running.call(lambda gateway: gateway.client_ids()) == {43}

    run(scenario())


def test_mode_09_a_whole_range_in_use_is_told_with_its_mend():
    async def scenario() -> None:
        with pytest.raises(ClientIdInUseError, match=r"40 to 47 in use .*Set another tws.client_id"):
            async with scene({"fault": "client_id_taken", "request": "start_api", "every": 1}):
                pass

    run(scenario())


@pytest.mark.parametrize("moment", ["handshake", "start_api"])
def test_mode_09_an_open_port_that_says_nothing_is_told_with_its_mend(moment):
    async def scenario() -> None:
        with pytest.raises(PortSilentError, match=r"restart TWS or IB Gateway.*Sundays, 01:00 New York"):
            async with scene({"fault": "hang", "request": moment, "every": 1}, timeouts=QUICK):
                pass

    run(scenario())
