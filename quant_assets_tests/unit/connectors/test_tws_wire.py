"""What a peer can do to the wire, and what the caller then gets: one answer or one typed error, in time."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest

from quant_assets.clock import ManualClock, ScaledClock, SystemClock
from quant_assets.connectors.base import BarRequest, Contract, ScanRequest, SessionHours
from quant_assets.connectors.tws import (
    Need,
    Outcome,
    Pacer,
    PacingBudget,
    RetryPolicy,
    Timeouts,
    TwsAddress,
    TwsClient,
    fetch_all,
    plan_minutes,
)
from quant_assets.connectors.tws.failures import (
    ClientIdInUseError,
    LinkDownError,
    PortRefusedError,
    PortSilentError,
    SourceTransientError,
    TooManyOpenError,
)
from quant_assets.errors import (
    BadRequestError,
    NoPermissionError,
    PacingError,
    QuantAssetsError,
    SourceRefusedError,
    SourceTimeoutError,
    UnknownContractError,
)
from quant_assets_tests.contract.whitelist import ACCOUNTS, OUTGOING
from quant_assets_tests.unit.connectors.loop import on_loop
from quant_assets_tests.unit.connectors.tws_peer import Peer, bars, error, frame, three_minutes

AAPL = Contract("AAPL", 265598, primary_exchange="NASDAQ")
DAY = BarRequest(AAPL, datetime(2024, 1, 5, 21, tzinfo=UTC), "1 D")
QUICK = Timeouts(connect_s=0.3, history_s=0.15, lookup_s=0.15, probe_s=0.1)
PATIENT = Timeouts(connect_s=2, history_s=5, lookup_s=5, probe_s=5)


@asynccontextmanager
async def connected(peer: Peer, timeouts: Timeouts = PATIENT) -> AsyncIterator[TwsClient]:
    async with peer, TwsClient(TwsAddress(port=peer.port), SystemClock(), timeouts) as client:
        yield client


# ---------------------------------------------------------------- reaching it


@on_loop
async def test_a_closed_port_a_silent_port_and_a_taken_id_are_three_errors():
    async with Peer() as peer:
        free_port = peer.port
    with pytest.raises(PortRefusedError, match=r"connection refused.*Start TWS or IB Gateway"):
        await TwsClient(TwsAddress(port=free_port), SystemClock(), QUICK).connect()
    async with Peer(hello=False) as peer:
        with pytest.raises(PortSilentError, match=r"within 0\.3 s.*API is not answering.*restart TWS"):
            await TwsClient(TwsAddress(port=peer.port), SystemClock(), QUICK).connect()
    async with Peer(taken_ids=frozenset({40, 41})) as peer:
        address = TwsAddress(port=peer.port, client_id=40, n_client_ids=2)
        with pytest.raises(ClientIdInUseError, match=r"client id 40 to 41 in use.*Set another tws\.client_id"):
            await TwsClient(address, SystemClock(), PATIENT).connect()
        assert peer.client_ids == [40, 41]


@on_loop
async def test_the_next_free_client_id_is_taken_and_kept():
    peer = Peer(taken_ids=frozenset({40, 41}))
    async with connected(peer) as client:
        peer.writers[-1].transport.abort()
        await asyncio.sleep(0.02)
        await client.connect()
        assert client.epoch == 2
    assert peer.client_ids == [40, 41, 42, 42]


@on_loop
async def test_a_peer_that_hangs_up_during_the_handshake_is_told_at_once():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PortSilentError, match="closed during the handshake"):
            await TwsClient(TwsAddress(port=port), SystemClock(), PATIENT).connect()


# ---------------------------------------------------------------- answers


@on_loop
async def test_bars_come_as_a_frame_and_the_request_is_spelled_so_that_no_setting_reinterprets_it():
    peer = Peer()
    async with connected(peer) as client:
        answer = await client.bars(DAY)
    assert answer.bars["ts"].to_list() == [datetime(2024, 1, 5, 14, minute, tzinfo=UTC) for minute in (30, 31, 32)]
    assert answer.bars["volume"].to_list() == [1200.0, 800.0, None]
    assert answer.no_data_text == ""
    (sent,) = [fields for fields in peer.received if fields[0] == "20"]
    assert sent[2:5] == ["265598", "AAPL", "STK"]
    assert sent[15:] == ["20240105-21:00:00", "1 min", "1 D", "1", "TRADES", "2", "0", ""]


@pytest.mark.parametrize(
    ("code", "text"),
    [(162, "HMDS query returned no data: AAPL@SMART Trades"), (165, "no items retrieved")],
)
@on_loop
async def test_no_data_is_an_answer(code, text):
    peer = Peer()
    peer.on["20"] = lambda fields: error(fields[1], code, text)
    async with connected(peer) as client:
        answer = await client.bars(DAY)
    assert answer.bars.is_empty()
    assert answer.no_data_text == text


@on_loop
async def test_an_empty_answer_has_no_text():
    peer = Peer()
    peer.on["20"] = lambda fields: bars(fields[1], [])
    async with connected(peer) as client:
        answer = await client.bars(DAY)
    assert (answer.bars.height, answer.no_data_text) == (0, "")


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (162, "Historical data request pacing violation", PacingError),
        (162, "No market data permissions for NYSE", NoPermissionError),
        (162, "Query failed", SourceTransientError),
        (200, "No security definition", UnknownContractError),
        (321, "Error validating request", BadRequestError),
        (10314, "End Date/Time", BadRequestError),
        (322, "Only 50 simultaneous", TooManyOpenError),
        (354, "not subscribed", NoPermissionError),
        (366, "No historical data query found", SourceTransientError),
        (31337, "a code of a later version", SourceTransientError),
    ],
)
@on_loop
async def test_a_refusal_is_its_own_error_at_once(code, text, expected):
    peer = Peer()
    peer.on["20"] = lambda fields: error(fields[1], code, text)
    async with connected(peer) as client:
        with pytest.raises(expected, match=text):
            await client.bars(DAY)
    assert peer.count("25") == 0, "what the server has ended is not cancelled"


@on_loop
async def test_a_notice_for_the_request_does_not_end_it():
    peer = Peer()
    peer.on["20"] = lambda f: error(f[1], 2174, "no explicit time zone") + bars(f[1], three_minutes())
    async with connected(peer) as client:
        assert (await client.bars(DAY)).bars.height == 3


# ---------------------------------------------------------------- silence


@on_loop
async def test_a_timeout_is_typed_cancelled_at_the_server_and_probed():
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with connected(peer, QUICK) as client:
        with pytest.raises(SourceTimeoutError, match=r"1 D of 1 min TRADES bars.*within 0\.15 s"):
            await client.bars(DAY)
        assert client.is_connected, "a peer that tells the time is alive"
    sent = [fields for fields in peer.received if fields[0] in ("20", "25", "49")]
    assert [fields[0] for fields in sent] == ["20", "25", "49"]
    assert sent[1][2] == sent[0][1], "the cancelled id is the asked one"


@on_loop
async def test_a_late_answer_reaches_nobody_and_the_next_request_gets_its_own():
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with connected(peer, QUICK) as client:
        with pytest.raises(SourceTimeoutError):
            await client.bars(DAY)
        late = bars(peer.received[1][1], three_minutes())
        peer.on["20"] = lambda fields: late + bars(fields[1], three_minutes(1_704_470_000)[:1])
        answer = await client.bars(DAY)
    assert answer.bars["ts"].dt.epoch("s").to_list() == [1_704_470_000]


@on_loop
async def test_an_answer_sent_twice_is_taken_once():
    peer = Peer()
    peer.on["20"] = lambda fields: bars(fields[1], three_minutes()) * 2
    async with connected(peer) as client:
        assert [(await client.bars(DAY)).bars.height for _ in range(2)] == [3, 3]


@on_loop
async def test_a_dead_peer_is_dropped_after_the_timeout_and_a_new_connection_works():
    peer = Peer()
    peer.on["20"] = peer.on["49"] = lambda _: None
    async with connected(peer, QUICK) as client:
        with pytest.raises(SourceTimeoutError):
            await client.bars(DAY)
        assert not client.is_connected
        with pytest.raises(LinkDownError, match="not connected"):
            await client.bars(DAY)
        peer.on["20"] = lambda fields: bars(fields[1], three_minutes())
        await client.ensure_ready()
        assert (await client.bars(DAY)).bars.height == 3
        assert client.epoch == 2


@on_loop
async def test_several_timeouts_at_once_share_one_dead_connection():
    peer = Peer()
    peer.on["20"] = peer.on["49"] = lambda _: None
    async with connected(peer, QUICK) as client:
        results = await asyncio.gather(*(client.bars(DAY) for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [SourceTimeoutError] * 4
    assert peer.count("25") == 4
    assert peer.count("49") == 1


@on_loop
async def test_a_cancelled_caller_leaves_no_request_open_at_the_server():
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with connected(peer) as client:
        task = asyncio.create_task(client.bars(DAY))
        await peer.until("20")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await peer.until("25")
        assert client.is_connected


@on_loop
async def test_leaving_cancels_what_is_open_and_ends_it_for_its_caller():
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with peer:
        client = TwsClient(TwsAddress(port=peer.port), SystemClock(), PATIENT)
        async with client:
            task = asyncio.create_task(client.bars(DAY))
            await peer.until("20")
        with pytest.raises(LinkDownError, match="disconnected"):
            await task
        await peer.until("25")


# ---------------------------------------------------------------- breaking it


@pytest.mark.parametrize("how", ["fin", "rst", "half and fin"])
@on_loop
async def test_a_connection_that_ends_in_flight_fails_the_request_at_once(how):
    peer = Peer()

    def break_off(fields: list[str]) -> None:
        writer = peer.writers[-1]
        if how == "rst":
            writer.transport.abort()
            return
        if how == "half and fin":
            writer.write(bars(fields[1], three_minutes())[:-40])
        writer.close()

    peer.on["20"] = break_off
    async with connected(peer) as client:
        with pytest.raises(LinkDownError, match="closed by the other side"):
            await client.bars(DAY)
        assert not client.is_connected


@pytest.mark.parametrize("garbage", [bars("1", three_minutes())[:60], struct.pack(">I", 0x7FFFFFFF) + b"x" * 50])
@on_loop
async def test_a_stalled_or_desynchronised_stream_is_found_by_the_probe(garbage):
    peer = Peer()
    peer.on["20"] = lambda _: garbage
    async with connected(peer, QUICK) as client:
        with pytest.raises(SourceTimeoutError):
            await client.bars(DAY)
        assert not client.is_connected


@on_loop
async def test_an_undecodable_bar_is_an_error_at_once_and_never_a_shorter_answer():
    rows = three_minutes()
    rows[1] = (*rows[1][:3], "abc", *rows[1][4:])
    peer = Peer()
    peer.on["20"] = lambda fields: bars(fields[1], rows)
    async with connected(peer) as client:
        with pytest.raises(SourceTransientError, match="undecodable bar"):
            await client.bars(DAY)


@on_loop
async def test_an_unknown_message_changes_nothing():
    peer = Peer()
    peer.on["20"] = lambda fields: frame("9999", "junk") + frame("x\xff") + bars(fields[1], three_minutes())
    async with connected(peer) as client:
        assert (await client.bars(DAY)).bars.height == 3


@pytest.mark.parametrize("code", [1100, 1300])
@on_loop
async def test_losing_the_market_fails_everything_in_flight_until_it_is_back(code):
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with connected(peer) as client:
        tasks = [asyncio.create_task(client.bars(DAY)) for _ in range(3)]
        await peer.until("20", 3)
        peer.send(error(-1, code, "Connectivity between IB and TWS has been lost"))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [LinkDownError] * 3
        with pytest.raises(LinkDownError, match=f"error {code}"):
            await client.bars(DAY)
        assert peer.count("20") == 3, "nothing is sent during the outage"
        peer.on["20"] = lambda fields: bars(fields[1], three_minutes())
        peer.send(error(-1, 1102, "Connectivity restored"))
        await client.current_time()
        assert (await client.bars(DAY)).bars.height == 3
    assert set(peer.ids()) <= OUTGOING - ACCOUNTS, "no account data is asked for after the outage either"


@on_loop
async def test_a_broken_history_farm_stops_history_alone():
    peer = Peer()
    peer.on["9"] = lambda fields: error(fields[2], 200, "No security definition")
    async with connected(peer) as client:
        peer.send(error(-1, 2105, "HMDS data farm connection is broken:ushmds"))
        await client.current_time()
        with pytest.raises(LinkDownError, match="historical data farm ushmds"):
            await client.bars(DAY)
        with pytest.raises(UnknownContractError):
            await client.contract_details(AAPL)
        peer.send(error(-1, 2107, "HMDS data farm connection is inactive but should be available:ushmds"))
        await client.current_time()
        assert (await client.bars(DAY)).bars.height == 3


@on_loop
async def test_too_many_messages_slow_the_pacer_down():
    peer = Peer()
    pacer = Pacer(PacingBudget(), ManualClock(datetime(2024, 1, 5, tzinfo=UTC)))
    async with peer, TwsClient(TwsAddress(port=peer.port), SystemClock(), PATIENT, pacer=pacer) as client:
        peer.send(error(-1, 100, "Max rate of messages per second has been exceeded"))
        await client.current_time()
        assert pacer.share == 0.5


@on_loop
async def test_a_nightly_restart_in_the_middle_of_a_plan():
    """The port closes with requests in flight, stays closed, and opens again: every request is answered in the end."""
    calendar = {datetime(2024, 1, day, tzinfo=UTC).date(): datetime(2024, 1, day, 14, 30, tzinfo=UTC) for day in (4, 5)}
    hours = {day: (opens, opens + timedelta(hours=6.5)) for day, opens in calendar.items()}
    plan = plan_minutes([Need(Contract(s, n + 1), d) for n, s in enumerate("ABCD") for d in hours], hours, "1 D")
    clock = ScaledClock(100)
    policy = RetryPolicy(attempts=4, base_s=1.0, cap_s=4.0, outage_s=600.0)
    peer = Peer()
    peer.on["20"] = lambda _: None
    await peer.__aenter__()
    async with TwsClient(TwsAddress(port=peer.port), clock, PATIENT) as client:
        pacer = Pacer(PacingBudget(), clock)

        async def restart() -> None:
            await peer.until("20", 6)
            await peer.__aexit__()
            await asyncio.sleep(0.1)
            peer.on["20"] = lambda fields: bars(fields[1], three_minutes())
            await peer.__aenter__()

        async def work() -> list[Outcome]:
            return [outcome async for outcome in fetch_all(client, pacer, plan, policy)]

        outcomes, _ = await asyncio.gather(work(), restart())
        assert client.epoch == 2
    await peer.__aexit__()
    assert sorted(o.planned.sessions[0].day for o in outcomes if o.answer) == [4] * 4 + [5] * 4


# ---------------------------------------------------------------- the other questions


@on_loop
async def test_every_lookup_ends_in_time():
    peer = Peer()
    asked = DAY.end
    assert asked
    async with connected(peer, QUICK) as client:
        peer.on["20"] = lambda _: None
        for ask in (
            lambda: client.contract_details(AAPL),
            lambda: client.schedule(AAPL, asked, 3),
            lambda: client.head_timestamp(AAPL, "TRADES", use_rth=True),
            lambda: client.scan(ScanRequest("MOST_ACTIVE")),
        ):
            with pytest.raises(SourceTimeoutError):
                await ask()
    assert {"25", "90", "23"} <= set(peer.ids()), "history, head timestamp and scan were cancelled"


@on_loop
async def test_schedule_head_and_scan():
    hours = ("20240104-09:30:00", "20240104-16:00:00", "20240104", "20240105-09:30:00", "20240105-16:00:00", "20240105")
    row = (0, 265598, "AAPL", "STK", "", "0", "", "SMART", "USD", "AAPL", "NMS", "NMS", "", "", "", "")
    peer = Peer()
    peer.on["20"] = lambda f: frame(106, f[1], hours[0], hours[4], "US/Eastern", 2, *hours)
    peer.on["87"] = lambda f: frame(88, f[1], 345479400)
    peer.on["22"] = lambda f: frame(20, 3, f[1], 1, *row)
    async with connected(peer) as client:
        schedule = await client.schedule(AAPL, datetime(2024, 1, 5, 20, tzinfo=UTC), 5)
        head = await client.head_timestamp(AAPL, "TRADES", use_rth=True)
        scanned = await client.scan(ScanRequest("MOST_ACTIVE", filters=(("usdMarketCapAbove", "1e9"),)))
    at = (datetime(2024, 1, 4, 14, 30, tzinfo=UTC), datetime(2024, 1, 4, 21, tzinfo=UTC))
    assert schedule == [SessionHours(date(2024, 1, 4), *at)], (
        "the session that has not ended before the end is left out"
    )
    assert head == datetime(1980, 12, 12, 14, 30, tzinfo=UTC)
    assert [(r.rank, r.contract.symbol, r.contract.con_id) for r in scanned] == [(0, "AAPL", 265598)]
    (scan,) = [fields for fields in peer.received if fields[0] == "22"]
    assert "usdMarketCapAbove=1e9;" in scan
    assert peer.count("90") == 1, "an answered head timestamp stays open at TWS until it is cancelled"
    assert peer.count("23") == 1


@on_loop
async def test_a_scan_without_rows_is_empty_and_a_schedule_without_data_is_refused():
    peer = Peer()
    peer.on["22"] = lambda f: error(f[1], 165, "no items retrieved")
    peer.on["20"] = lambda f: error(f[1], 162, "HMDS query returned no data: X@SMART")
    async with connected(peer) as client:
        assert await client.scan(ScanRequest("MOST_ACTIVE")) == []
        with pytest.raises(SourceRefusedError, match="no data"):
            await client.schedule(AAPL, datetime(2024, 1, 5, 20, tzinfo=UTC), 5)


@on_loop
@pytest.mark.parametrize("text", ["No head time stamp", "HMDS query returned no data: X@SMART"])
async def test_a_series_without_a_first_bar_has_no_head_timestamp(text):
    peer = Peer()
    peer.on["87"] = lambda f: error(f[1], 162, f"Historical Market Data Service error message:{text}")
    async with connected(peer) as client:
        assert await client.head_timestamp(AAPL, "TRADES", use_rth=True) is None


@on_loop
async def test_a_refused_head_timestamp_is_no_word_on_the_first_bar():
    peer = Peer()
    peer.on["87"] = lambda f: error(f[1], 354, "Requested market data is not subscribed.")
    async with connected(peer) as client:
        with pytest.raises(NoPermissionError):
            await client.head_timestamp(AAPL, "TRADES", use_rth=True)


@on_loop
async def test_nothing_but_reading_ever_goes_over_the_wire():
    """Every method, an outage and the way out: all message ids are of the list that trades nothing."""
    peer = Peer()
    peer.on["9"] = lambda f: error(f[2], 200, "No security definition")
    peer.on["22"] = peer.on["87"] = lambda f: error(f[1], 162, "Query failed")
    trading = {"3", "4", "5", "7", "16", "76", "99"}
    async with connected(peer) as client:
        for ask in (
            client.bars(DAY),
            client.contract_details(AAPL),
            client.head_timestamp(AAPL, "TRADES", use_rth=True),
            client.scan(ScanRequest("MOST_ACTIVE")),
            client.current_time(),
        ):
            try:
                await ask
            except QuantAssetsError:
                continue
    assert set(peer.ids()) <= OUTGOING - ACCOUNTS, "holdings are asked for only where the manifest wants them"
    assert not OUTGOING & trading
    assert not [name for name in dir(TwsClient) if "order" in name.lower() or "account" in name.lower()]
