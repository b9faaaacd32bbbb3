"""Faults at the seam, seen by an unmodified client."""

import asyncio

import pytest

from quant_assets.gateway.faults import Fault, ScriptedFaults, Strike
from quant_assets_tests.unit.gateway.clients import connected, eventually, history, new_client, refused, serving, stock


def striking(kind, *args, skip=0, times=1, symbol="", **fault):
    return ScriptedFaults([Strike(kind, Fault(*args, **fault), symbol=symbol, skip=skip, times=times)])


def test_an_error_hits_the_chosen_request_only():
    async def scenario():
        plan = striking("history", "error", 162, "pacing violation", symbol="QTEB", skip=1)
        async with connected(faults=plan) as (ib, gateway):
            assert await history(ib, stock("QTEB"))
            assert await history(ib, stock("QTEA"))
            assert await refused(history(ib, stock("QTEB"), durationStr="2 D")) == (162, "pacing violation")
            assert await history(ib, stock("QTEB"), durationStr="2 D")
            assert gateway.history_ledger.outcomes() == {"answered": 3, "fault": 1}
            assert [moment.symbol for moment, _ in plan.fired] == ["QTEB"]

    asyncio.run(scenario())


def test_a_truncated_answer_is_well_formed_and_short():
    async def scenario():
        async with connected(faults=striking("history", "truncate", share=0.6)) as (ib, _):
            assert len(await history(ib, stock("QTEA"))) == 234
            assert len(await history(ib, stock("QTEA"))) == 390

    asyncio.run(scenario())


def test_an_empty_answer_holds_no_bars():
    async def scenario():
        async with connected(faults=striking("history", "empty")) as (ib, _):
            assert len(await history(ib, stock("QTEA"))) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("action", ["half", "drop"])
def test_the_connection_breaks_while_a_request_waits(action):
    async def scenario():
        async with connected(faults=striking("history", action)) as (ib, _):
            with pytest.raises(ConnectionError):
                await history(ib, stock("QTEA"))

    asyncio.run(scenario())


def test_a_hanging_request_is_answered_never():
    async def scenario():
        async with connected(faults=striking("history", "hang")) as (ib, gateway):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(history(ib, stock("QTEA")), 0.1)
            assert len(gateway.history_ledger.still_open()) == 1
            assert await history(ib, stock("QTEB"))

    asyncio.run(scenario())


def test_a_late_answer_arrives_after_its_delay():
    async def scenario():
        async with connected(faults=striking("history", "late", delay_s=30)) as (ib, gateway):
            assert len(await history(ib, stock("QTEA"))) == 390
            assert gateway.clock.slept == [30]

    asyncio.run(scenario())


def test_a_notice_comes_before_the_answer():
    async def scenario():
        async with connected(faults=striking("history", "notice", 2107, "HMDS data farm connection is inactive")) as (
            ib,
            _,
        ):
            assert await history(ib, stock("QTEA"))
            assert (-1, 2107, "HMDS data farm connection is inactive") in ib.errors

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["handshake", "start_api"])
def test_a_silent_gateway_lets_the_client_time_out(kind):
    async def scenario():
        async with serving(faults=striking(kind, "hang")) as gateway:
            ib = new_client()
            with pytest.raises(TimeoutError):
                await ib.connectAsync("127.0.0.1", gateway.port, timeout=0.2)
            ib.disconnect()
            await ib.connectAsync("127.0.0.1", gateway.port, timeout=5)
            ib.disconnect()

    asyncio.run(scenario())


def test_an_operator_can_broadcast_freeze_and_kick():
    async def scenario():
        async with connected() as (ib, gateway):
            gateway.broadcast(1100, "Connectivity between IB and TWS has been lost.")
            await eventually(lambda: ib.errors[-1][1] == 1100)
            gateway.freeze()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ib.reqCurrentTimeAsync(), 0.1)
            gateway.freeze(frozen=False)
            assert await history(ib, stock("QTEA"))
            gateway.kick(abort=True)
            await eventually(lambda: not ib.isConnected())

    asyncio.run(scenario())
