"""Proof that the client reads only: during a full data cycle every message on the wire is on a short list."""

import ast
import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import quant_assets
from quant_assets.clock import SystemClock
from quant_assets.flows.doctor import examine
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.proxy import Relay, Tape
from quant_assets.gateway.proxy.tape import load
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets_tests.contract.whitelist import ACCOUNTS, OUTGOING

ORDER_FAMILY = {
    3: "placeOrder",
    4: "cancelOrder",
    5: "reqOpenOrders",
    8: "reqIds",
    15: "reqAutoOpenOrders",
    16: "reqAllOpenOrders",
    18: "requestFA",
    19: "replaceFA",
    21: "exerciseOptions",
    58: "reqGlobalCancel",
    99: "reqCompletedOrders",
}
"""Message ids that place, change, cancel, bind or list orders, or change an account's settings."""


@contextmanager
def wiretap(root: Path) -> Iterator[tuple[int, Relay]]:
    """A gateway behind a recorder that runs in a thread of its own: yields the port, and the relay with its counts."""
    with EmbeddedGateway(SyntheticMarket(seed=7), None, SystemClock()) as gateway:
        loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        relays: list[Relay] = []

        async def run() -> None:
            with Tape(root / "tap.parquet") as tape:
                relays.append(Relay(tape, ("127.0.0.1", gateway.port)))
                await relays[0].start()
                ready.set()
                await stop.wait()
                await relays[0].stop()
                tape.merge()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        ready.wait(10)
        try:
            yield relays[0].port, relays[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            loop.close()


def assert_read_only(sent: Counter[int]) -> None:
    whitelist = {int(message_id) for message_id in OUTGOING}
    assert not whitelist & ORDER_FAMILY.keys(), "the list itself is clean"
    assert set(sent) <= whitelist
    assert not set(sent) & ORDER_FAMILY.keys()


def opened(root: Path, sections: dict[str, Any]) -> Any:
    """Return a house; an environment that has the client library and no Dagster runs the other tests."""
    pytest.importorskip("dagster", reason="a data cycle runs on Dagster")
    from quant_assets_tests.assets.house import House

    return House(root, sections)


def test_a_full_data_cycle_sends_whitelisted_messages_only(tmp_path):
    with wiretap(tmp_path) as (port, relay), opened(tmp_path, {"tws": {"mode": "live", "port": port}}) as house:
        house.run_data("2025-11-26", "2025-11-28")
        sent = Counter(relay.sent)
    assert_read_only(sent)
    assert sent[71] >= 1, "it connected"
    assert sent[9] == 6
    assert sent[20] == 6 + 12
    assert load(tmp_path / "tap.parquet", "minutes").height == 6 * (390 + 210), "and the tap heard every bar"


def test_what_accounts_hold_is_asked_only_where_positions_are_enabled(tmp_path):
    """The account messages are on the list for those who want them; a default cycle sends none."""
    accounts = {int(message_id) for message_id in ACCOUNTS}
    assert accounts == {6, 61, 62, 63, 64}, "updates, positions, summary and the cancels: nothing that changes one"
    for enabled in (False, True):
        root = tmp_path / str(enabled)
        root.mkdir()
        with wiretap(root) as (port, relay):
            sections = {"tws": {"mode": "live", "port": port}, "positions": {"enabled": enabled}}
            with opened(root, sections) as house:
                latest = str(house.work().latest_session())
                assert house.run(["universe"], latest).success
            sent = Counter(relay.sent)
        assert_read_only(sent)
        assert set(sent) & accounts == (accounts if enabled else set())


def test_a_doctors_examination_is_read_only_too(tmp_path):
    with wiretap(tmp_path) as (port, relay), opened(tmp_path, {"tws": {"mode": "live", "port": port}}) as house:
        checks = examine(house.settings, root=tmp_path)
        sent = Counter(relay.sent)
    assert [check for check in checks if check.status == "fail"] == []
    assert_read_only(sent)
    assert {49, 20, 9, 87} <= set(sent)


def test_the_tap_would_see_an_order(tmp_path):
    """The proof is worth something only if the tap counts what a client sends that does trade."""
    from quant_assets_tests.unit.gateway.clients import library, new_client, stock

    async def order(port: int) -> None:
        ib = new_client()
        await ib.connectAsync("127.0.0.1", port, clientId=9, timeout=5)
        ib.client.placeOrder(1, stock("QTEA"), library().MarketOrder("BUY", 1))
        ib.client.cancelOrder(1)
        await asyncio.sleep(0.2)
        ib.disconnect()
        await asyncio.sleep(0)

    with wiretap(tmp_path) as (port, relay):
        asyncio.run(order(port))
        sent = Counter(relay.sent)
    assert sent[3] == sent[4] == 1
    with pytest.raises(AssertionError):
        assert_read_only(sent)


def test_no_code_of_ours_names_a_method_that_trades():
    trading = {
        "placeOrder",
        "cancelOrder",
        "reqGlobalCancel",
        "exerciseOptions",
        "replaceFA",
        "whatIfOrder",
        "whatIfOrderAsync",
        "bracketOrder",
        "reqAutoOpenOrders",
        "reqIds",
    }
    used: dict[str, set[str]] = {}
    for path in Path(quant_assets.__file__).parent.rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        used[path.name] = names & trading
    assert {name: names for name, names in used.items() if names} == {}
