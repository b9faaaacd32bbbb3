"""What the client library does by itself: tests of it, not of us. Each names what in our code leans on it.

When one of these fails after an upgrade, the code named may be simplified, or has to change.
"""

import asyncio
import inspect
import time
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from quant_assets.connectors.tws import library
from quant_assets_tests.unit.connectors.loop import on_loop
from quant_assets_tests.unit.connectors.tws_peer import Peer, bars, error, frame, three_minutes

END = "20240105-21:00:00"


@asynccontextmanager
async def bare(peer: Peer):
    """The library as its documentation uses it, short of the account synchronisation that the peer does not answer."""
    ib = library.load().IB()
    async with peer:
        await ib.client.connectAsync("127.0.0.1", peer.port, 1)
        try:
            yield ib
        finally:
            ib.client.disconnect()
            await asyncio.sleep(0.01)


def ask(ib, timeout: float = 60):
    contract = library.load().Stock("AAPL", "SMART", "USD")
    return ib.reqHistoricalDataAsync(contract, END, "1 D", "1 min", "TRADES", True, 2, timeout=timeout)


@on_loop
async def test_a_timeout_is_an_empty_list_that_a_late_answer_fills():
    """`Link.ask` therefore has a future of its own, and a timeout is an error."""
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with bare(peer) as ib:
        answer = await ask(ib, timeout=0.05)
        assert list(answer) == []
        await peer.until("25")
        (asked,) = [fields for fields in peer.received if fields[0] == "20"]
        peer.send(bars(asked[1], three_minutes()))
        await asyncio.sleep(0.05)
        assert len(answer) == 3


@on_loop
async def test_errors_are_swallowed_by_default():
    """`library.new_session` sets RaiseRequestErrors; a pacing violation would otherwise be an empty answer."""
    peer = Peer()
    peer.on["20"] = lambda f: error(f[1], 162, "Historical data request pacing violation")
    async with bare(peer) as ib:
        assert library.load().IB.RaiseRequestErrors is False
        assert list(await ask(ib)) == []
        ib.RaiseRequestErrors = True
        with pytest.raises(Exception, match="pacing violation") as raised:
            await ask(ib)
        assert raised.value.code == 162, "`Link._settle` reads code and message from it"
        assert raised.value.message.endswith("pacing violation")


@on_loop
async def test_165_never_ends_a_request():
    """`Link._on_message` ends it as no data."""
    peer = Peer()
    peer.on["20"] = lambda f: error(f[1], 165, "no items retrieved")
    async with bare(peer) as ib:
        task = asyncio.ensure_future(ask(ib, timeout=0))
        await peer.until("20")
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()


@on_loop
async def test_an_undecodable_bar_never_ends_a_request():
    """`history.to_frame` decodes the message instead."""
    peer = Peer()
    peer.on["20"] = lambda f: bars(f[1], [(1_704_465_000, "abc", *"111111")])
    async with bare(peer) as ib:
        task = asyncio.ensure_future(ask(ib, timeout=0))
        await peer.until("20")
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()


@on_loop
async def test_cancelling_the_caller_cancels_nothing_at_the_server():
    """`Link.ask` sends the cancellation on every way out but the answer."""
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with bare(peer) as ib:
        task = asyncio.ensure_future(ask(ib))
        await peer.until("20")
        task.cancel()
        await asyncio.sleep(0.05)
        assert peer.count("25") == 0


@on_loop
async def test_neither_an_outage_nor_our_own_disconnect_ends_what_is_in_flight():
    """`Link` fails it on 1100 and on close."""
    peer = Peer()
    peer.on["20"] = lambda _: None
    async with bare(peer) as ib:
        task = asyncio.ensure_future(ask(ib, timeout=0))
        await peer.until("20")
        peer.send(error(-1, 1100, "lost"))
        await asyncio.sleep(0.05)
        assert not task.done()
        assert ib.isConnected()
        ib.disconnect()
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()


@on_loop
async def test_a_read_only_connection_still_asks_for_positions_and_account():
    """`connection._handshake` therefore connects the inner client alone."""
    peer = Peer()
    peer.on["61"] = lambda _: frame(62, 1)
    peer.on["6"] = lambda f: frame(54, 1, f[3])
    peer.on["76"] = lambda f: frame(74, 1, f[2])
    peer.on["7"] = lambda f: frame(55, 1, f[2])
    async with peer:
        ib = library.load().IB()
        await ib.connectAsync("127.0.0.1", peer.port, clientId=1, readonly=True)
        assert {"61", "6", "7"} <= set(peer.ids())
        ib.disconnect()
        await asyncio.sleep(0.01)


@on_loop
async def test_after_an_outage_it_subscribes_to_the_account_summary():
    """`library.new_session` removes that listener."""
    peer = Peer()
    async with bare(peer) as ib:
        peer.send(error(-1, 1102, "restored"))
        await peer.until("62")
        assert ib.isConnected()


@on_loop
async def test_messages_over_45_a_second_are_held_back_silently():
    """`library.new_session` switches that off: the pacer counts messages where the wait can be seen."""
    assert library.load().IB().client.MaxRequests == 45
    peer = Peer()
    async with bare(peer) as ib:
        for _ in range(60):
            ib.client.reqCurrentTime()
        await asyncio.sleep(0.2)
        assert peer.count("49") < 60
        ib.client.MaxRequests = 0
        ib.client.reqCurrentTime()
        await peer.until("49", 61)


@pytest.fixture
def tokyo(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
@on_loop
async def test_naive_instants_are_taken_as_the_machines_local_time():
    """`library.end_text` spells UTC itself."""
    assert library.load().util.formatIBDatetime(datetime(2024, 1, 5, 21)) == "20240105 12:00:00 UTC"  # noqa: DTZ001


@on_loop
async def test_the_names_we_reach_for_exist():
    """`Link`, `connection` and `requests` use these; they are not all documented."""
    ib = library.load().IB()
    assert set(inspect.signature(ib.wrapper.startReq).parameters) >= {"key", "contract", "container"}
    assert ib.client.decoder.handlers[17] == ib.client.decoder.historicalData
    assert list(inspect.signature(ib.client.reqHistoricalData).parameters) == [
        "reqId",
        "contract",
        "endDateTime",
        "durationStr",
        "barSizeSetting",
        "whatToShow",
        "useRTH",
        "formatDate",
        "keepUpToDate",
        "chartOptions",
    ]
    assert callable(ib.wrapper.historicalDataEnd)
    assert ib.client.conn.transport is None
    assert {"apiEnd", "apiError"} <= set(dir(ib.client))
