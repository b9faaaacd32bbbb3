"""The gateway in a thread of its own, and as a program of its own."""

import asyncio
import socket
import threading
import time

import pytest

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.errors import ConfigurationError
from quant_assets.gateway import speaker
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.serve import serve
from quant_assets.gateway.server import Gateway
from quant_assets.gateway.wire import frame, message
from quant_assets_tests.unit.gateway.clients import NOW, eventually, history, new_client, stock, synthetic


def ask_once(port):
    async def scenario():
        ib = new_client()
        await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=5)
        bars = await history(ib, stock("QTEA"))
        ib.disconnect()
        return len(bars)

    return asyncio.run(scenario())


def test_a_run_that_asks_for_nothing_starts_nothing():
    before = threading.active_count()
    with EmbeddedGateway(synthetic, Rules.off(), ManualClock(NOW)) as gateway:
        assert not gateway.is_running
        assert threading.active_count() == before
        assert gateway.data_requests() == 0
        assert gateway.counts() == {}


def test_it_starts_at_the_first_use_and_its_counts_outlive_it():
    with EmbeddedGateway(synthetic, Rules.off(), ManualClock(NOW)) as gateway:
        assert ask_once(gateway.port) == 390
        assert gateway.is_running
    assert not gateway.is_running
    assert gateway.counts()["history"] == 1
    assert gateway.data_requests() == 1
    assert gateway.history_ledger.outcomes() == {"answered": 1}
    assert all(thread.name != "replay-gateway" for thread in threading.enumerate())


def test_two_gateways_live_side_by_side_and_a_stopped_one_starts_again():
    with EmbeddedGateway(synthetic, Rules.off()) as one, EmbeddedGateway(synthetic, Rules.off()) as two:
        assert one.port != two.port
        one.stop()
        assert ask_once(one.port) == ask_once(two.port) == 390


def test_stopping_drops_a_connected_client():
    async def scenario():
        with EmbeddedGateway(synthetic, Rules.off(), ManualClock(NOW)) as gateway:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", gateway.port, timeout=5)
        await eventually(lambda: not ib.isConnected())

    asyncio.run(scenario())


def test_latency_is_counted_on_the_clock():
    async def scenario():
        with EmbeddedGateway(synthetic, Rules.off(), ScaledClock(100, NOW), latency_s=10) as gateway:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", gateway.port, timeout=5)
            loop = asyncio.get_running_loop()
            start = loop.time()
            assert len(await history(ib, stock("QTEA"))) == 390
            assert 0.09 < loop.time() - start < 3
            ib.disconnect()

    asyncio.run(scenario())


def test_actions_run_on_the_gateways_thread():
    with EmbeddedGateway(synthetic) as gateway:
        assert gateway.call(lambda _: threading.current_thread().name) == "replay-gateway"


def test_serve_tells_when_it_is_ready_and_ends_when_cancelled():
    async def scenario():
        ready = asyncio.Event()
        seen = []
        task = asyncio.create_task(
            serve(synthetic(), port=0, on_ready=lambda gateway: (seen.append(gateway.port), ready.set()))
        )
        await ready.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", seen[0])
        writer.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", seen[0])

    asyncio.run(scenario())


def test_a_port_in_use_is_a_configuration_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*Choose another port"):
            asyncio.run(serve(synthetic(), port=port))


def greeted(gateway, client_id=1):
    """A bare socket whose client id the gateway knows."""
    line = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    line.sendall(b"API\0" + frame(b"v157..176") + message(71, 2, client_id, ""))
    while gateway.call(Gateway.client_ids) != {client_id}:
        time.sleep(0.002)
    return line


def send_until_refused(line):
    for _ in range(1000):
        line.sendall(b"x")
        time.sleep(0.002)


def test_a_client_that_is_hung_up_on_reads_the_last_word_whatever_it_sends_meanwhile():
    with EmbeddedGateway(synthetic, Rules.off(), ManualClock(NOW)) as gateway, greeted(gateway) as line:
        gateway.call(lambda gateway: gateway.broadcast(1300, "Socket port has been reset"))
        gateway.call(Gateway.kick)
        assert gateway.call(Gateway.client_ids) == set(), "its id is free"
        for _ in range(3):
            line.sendall(message(49, 1))
            time.sleep(0.02)
        assert b"Socket port has been reset" in b"".join(iter(lambda: line.recv(4096), b""))
        assert gateway.counts()["current_time"] == 0, "nobody answers any more"


def test_a_client_that_never_hangs_up_is_cut_off(monkeypatch):
    monkeypatch.setattr(speaker, "_LINGER_S", 0.05)
    with EmbeddedGateway(synthetic, Rules.off(), ManualClock(NOW)) as gateway, greeted(gateway) as line:
        gateway.call(Gateway.kick)
        while gateway.call(lambda gateway: len(gateway.sessions)):
            time.sleep(0.002)
        with pytest.raises(ConnectionError):
            send_until_refused(line)
