"""What the gateway refuses, and that its ledger tells."""

import asyncio

import pytest
from click.testing import CliRunner

from quant_assets.cli.gateway import gateway as gateway_command
from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.gateway.faults import Fault, ScriptedFaults, Strike
from quant_assets.gateway.rules import Rules
from quant_assets_tests.unit.gateway.clients import (
    NOW,
    connected,
    eventually,
    history,
    new_client,
    refused,
    send_history,
    stock,
)

NEVER_ANSWERED = ScriptedFaults([Strike("history", Fault("hang"), times=None)])


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"endDateTime": "yesterday"}, 10314, "End Date/Time"),
        ({"endDateTime": "20261119 10:30:00 Mars/Olympus"}, 10314, "End Date/Time"),
        ({"endDateTime": "20261319-10:30:00"}, 10314, "End Date/Time"),
        ({"durationStr": ""}, 321, "must specify a duration"),
        ({"durationStr": "1 day"}, 321, "integer{SPACE}unit"),
        ({"durationStr": "1D"}, 321, "integer{SPACE}unit"),
        ({"durationStr": "0 D"}, 321, "duration is invalid"),
        ({"durationStr": "29 S"}, 321, "duration is invalid"),
        ({"durationStr": "86401 S"}, 321, "greater than 86400 seconds"),
        ({"durationStr": "366 D"}, 321, "longer than 365 days must be made in years"),
        ({"durationStr": "53 W"}, 321, "longer than 52 weeks must be made in years"),
        ({"durationStr": "13 M"}, 321, "longer than 12 months must be made in years"),
        ({"whatToShow": "ADJUSTED_LAST"}, 321, "End date not supported with adjusted last"),
        ({"barSizeSetting": "1 mins"}, 321, "bar size setting is invalid. Legal ones are: 1 secs, 5 secs"),
        ({"barSizeSetting": "1 sec"}, 321, "bar size setting is invalid"),
        ({"whatToShow": "LAST"}, 321, "What to show value of LAST rejected"),
        ({"formatDate": 4}, 321, "Date formatting selection of 4 rejected"),
        ({"whatToShow": "SCHEDULE"}, 321, "Only daily resolution"),
        ({"endDateTime": "nonsense", "durationStr": "nonsense"}, 10314, "End Date/Time"),
        ({"durationStr": "nonsense", "barSizeSetting": "nonsense"}, 321, "integer{SPACE}unit"),
    ],
)
def test_malformed_requests_are_refused_in_tws_order_and_cost_no_pacing(changes, code, words):
    async def scenario():
        async with connected(rules=Rules(window=1, burst=None)) as (ib, gateway):
            got, text = await refused(history(ib, stock("QTEA"), **changes))
            assert got == code
            assert words in text
            assert not gateway.history_ledger.breaches()
            assert len(await history(ib, stock("QTEA"))) == 390

    asyncio.run(scenario())


def test_an_identical_request_within_15_seconds_is_a_violation():
    async def scenario():
        clock = ManualClock(NOW)
        async with connected(rules=Rules(), clock=clock) as (ib, gateway):
            assert len(await history(ib, stock("QTEA"))) == 390
            clock.advance(14.9)
            code, text = await refused(history(ib, stock("QTEA")))
            assert (code, "pacing violation" in text) == (162, True)
            clock.advance(15.1)
            assert len(await history(ib, stock("QTEA"))) == 390
            assert [entry.breach for entry in gateway.history_ledger.entries] == [None, "identical", None]

    asyncio.run(scenario())


def test_the_sixth_request_in_two_seconds_for_one_series_is_a_violation():
    async def scenario():
        clock = ManualClock(NOW)
        async with connected(rules=Rules(), clock=clock) as (ib, gateway):
            ends = [f"202611{day}-23:00:00" for day in (10, 11, 12, 13, 16)]
            for end in ends:
                assert await history(ib, stock("QTEA"), endDateTime=end)
            assert (await refused(history(ib, stock("QTEA"), endDateTime="20261117-23:00:00")))[0] == 162
            assert await history(ib, stock("QTEB"), endDateTime="20261117-23:00:00")
            assert await history(ib, stock("QTEA"), endDateTime="20261117-23:00:00", whatToShow="MIDPOINT")
            clock.advance(2.1)
            assert await history(ib, stock("QTEA"), endDateTime="20261118-23:00:00")
            assert [entry.breach for entry in gateway.history_ledger.breaches()] == ["burst"]

    asyncio.run(scenario())


def test_the_61st_request_in_ten_minutes_is_a_violation():
    async def scenario():
        clock = ManualClock(NOW)
        async with connected(rules=Rules(), clock=clock) as (ib, gateway):
            for i in range(60):
                clock.advance(1)
                assert await history(ib, stock(f"QTE{'ABCD'[i % 4]}"), durationStr=f"{i + 1} D", barSizeSetting="1 day")
            assert (await refused(history(ib, stock("QFIA"))))[0] == 162
            assert [entry.breach for entry in gateway.history_ledger.breaches()] == ["window"]
            clock.advance(601)
            assert await history(ib, stock("QFIA"))

    asyncio.run(scenario())


def test_bid_ask_counts_twice():
    async def scenario():
        async with connected(rules=Rules(window=4)) as (ib, _):
            assert await history(ib, stock("QTEA"), whatToShow="BID_ASK")
            assert await history(ib, stock("QTEB"))
            assert (await refused(history(ib, stock("QTEC"), whatToShow="BID_ASK")))[0] == 162

    asyncio.run(scenario())


def test_larger_bars_are_exempt_when_the_rules_say_so_but_head_timestamps_never():
    async def scenario():
        async with connected(rules=Rules(small_bars_only=True)) as (ib, _):
            for _ in range(7):
                assert await history(ib, stock("QTEA"))
            await ib.reqHeadTimeStampAsync(stock("QTEA"), "TRADES", True, 2)
            ib.client.reqHeadTimeStamp(900, stock("QTEA"), "TRADES", True, 2)
            await eventually(lambda: any(req_id == 900 for req_id, *_ in ib.errors))
            assert ib.errors[-1][1] == 162

    asyncio.run(scenario())


def test_ten_minutes_pass_in_a_blink_on_a_scaled_clock():
    async def scenario():
        clock = ScaledClock(20_000, NOW)
        async with connected(rules=Rules(window=2, messages_a_second=None), clock=clock) as (ib, gateway):
            assert await history(ib, stock("QTEA"))
            assert await history(ib, stock("QTEB"))
            await clock.sleep(601)
            assert await history(ib, stock("QTEC"))
            assert not gateway.history_ledger.breaches()

    asyncio.run(scenario())


def test_fast_pacing_does_not_move_the_markets_day():
    async def scenario():
        pacing = ScaledClock(1e7, NOW)
        async with connected(rules=Rules(), clock=pacing, market_clock=ManualClock(NOW)) as (ib, _):
            await pacing.sleep(86400)
            assert await ib.reqCurrentTimeAsync() == NOW
            (bar,) = await history(ib, stock("QTEA"), endDateTime="", barSizeSetting="1 day")
            assert bar.date == NOW.date()

    asyncio.run(scenario())


def test_the_51st_open_request_is_refused_and_cancelling_frees_slots():
    async def scenario():
        async with connected(rules=Rules(burst=None, window=None, messages_a_second=None), faults=NEVER_ANSWERED) as (
            ib,
            gateway,
        ):
            for i in range(55):
                send_history(ib, 100 + i, stock("QTEA"), duration=f"{i + 1} D")
            await eventually(lambda: len(ib.errors) == 3 + 5)
            refusals = [(req_id, code) for req_id, code, _ in ib.errors if code == 322]
            assert refusals == [(150 + i, 322) for i in range(5)]
            assert len(gateway.history_ledger.still_open()) == 50
            ib.client.cancelHistoricalData(100)
            await eventually(lambda: ib.errors[-1][:2] == (100, 162))
            assert "query cancelled" in ib.errors[-1][2]
            send_history(ib, 200, stock("QTEB"))
            await ib.reqCurrentTimeAsync()
            assert len(gateway.history_ledger.still_open()) == 50
            assert gateway.history_ledger.outcomes() == {"open": 50, "refused": 5, "cancelled": 1}

    asyncio.run(scenario())


def test_a_duplicate_request_id_is_refused():
    async def scenario():
        async with connected(faults=NEVER_ANSWERED) as (ib, _):
            send_history(ib, 7, stock("QTEA"))
            send_history(ib, 7, stock("QTEB"))
            await eventually(lambda: any(code == 322 for _, code, _ in ib.errors))
            assert "Duplicate ticker id" in ib.errors[-1][2]

    asyncio.run(scenario())


def test_cancelling_what_is_not_open_is_366():
    async def scenario():
        async with connected() as (ib, _):
            ib.client.cancelHistoricalData(4711)
            await eventually(lambda: ib.errors and ib.errors[-1][:2] == (4711, 366))

    asyncio.run(scenario())


def test_a_client_id_can_be_used_once_at_a_time():
    async def scenario():
        async with connected(client_id=5) as (first, gateway):
            second = new_client()
            with pytest.raises((TimeoutError, ConnectionError)):
                await second.connectAsync("127.0.0.1", gateway.port, clientId=5, timeout=0.5)
            assert [code for _, code, _ in second.errors] == [326]
            second.disconnect()
            assert first.isConnected()
            first.disconnect()
            await eventually(lambda: not gateway.client_ids())
            await second.connectAsync("127.0.0.1", gateway.port, clientId=5, timeout=5)
            second.disconnect()

    asyncio.run(scenario())


def test_the_third_strike_of_the_message_rate_ends_the_session():
    async def scenario():
        clock = ManualClock(NOW)
        async with connected(rules=Rules(), clock=clock) as (ib, _):
            clock.advance(2)
            for strike in (1, 2, 3):
                for _ in range(51):
                    ib.client.reqCurrentTime()
                await eventually(
                    lambda s=strike: any(code == 100 and text.endswith(f"({s})") for _, code, text in ib.errors)
                )
                assert (strike < 3) or await _is_gone(ib)
                clock.advance(1.1)

    asyncio.run(scenario())


async def _is_gone(ib):
    await eventually(lambda: not ib.isConnected())
    return True


def test_requests_are_counted_by_kind():
    async def scenario():
        async with connected() as (ib, gateway):
            assert gateway.requests.data() == 0
            await history(ib, stock("QTEA"))
            await ib.reqContractDetailsAsync(stock("QTEA"))
            counts = gateway.requests.snapshot()
            assert (counts["history"], counts["contract_details"], counts["handshake"]) == (1, 1, 1)
            assert gateway.requests.data() == 2

    asyncio.run(scenario())


def test_a_lost_connection_frees_its_slots():
    async def scenario():
        async with connected(faults=NEVER_ANSWERED) as (ib, gateway):
            send_history(ib, 7, stock("QTEA"))
            await eventually(gateway.history_ledger.still_open)
            ib.disconnect()
            await eventually(lambda: gateway.history_ledger.outcomes() == {"lost": 1})

    asyncio.run(scenario())


def test_what_follows_in_the_pipe_of_a_closed_session_is_not_served():
    async def scenario():
        async with connected(rules=Rules(messages_a_second=20, strikes=1), clock=ManualClock(NOW)) as (ib, gateway):
            before = gateway.requests.snapshot()["current_time"]
            for _ in range(60):
                ib.client.reqCurrentTime()
            await _is_gone(ib)
            assert gateway.requests.snapshot()["current_time"] - before <= 20

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("option", "value", "legal"),
    [
        ("--time-scale", "0", "0<x<=1000000"),
        ("--time-scale", "-1", "0<x<=1000000"),
        ("--time-scale", "fast", "--time-scale"),
        ("--latency", "-1", "0<=x<=3600"),
        ("--time-scale", "nan", "'nan' is not a finite number"),
        ("--time-scale", "inf", "'inf' is not a finite number"),
        ("--latency", "nan", "'nan' is not a finite number"),
    ],
)
def test_a_clock_that_cannot_be_is_a_usage_error_with_the_legal_range(option, value, legal):
    result = CliRunner().invoke(gateway_command, ["serve", "--port", "0", option, value])
    assert result.exit_code == 2
    assert legal in result.output
