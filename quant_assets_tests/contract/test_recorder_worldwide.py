"""Every kind of instrument through the recorder, over real sockets: what was told is told again, without the market."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.clock import ManualClock, SystemClock
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws import Timeouts, TwsAddress, TwsClient
from quant_assets.domain import venues
from quant_assets.domain.instruments import daily_series, minute_series
from quant_assets.errors import UnknownNameError
from quant_assets.gateway.accounts import Portfolio
from quant_assets.gateway.proxy import Relay, Tape
from quant_assets.gateway.proxy.probe import problem_of
from quant_assets.gateway.proxy.tape import load
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway
from quant_assets_tests.unit.gateway.clients import history, library, new_client, refused, stock, synthetic

NAMES = ("ARCA:QMKT", "LSE:QLNA", "IDEALPRO:EUR.USD", "PAXOS:BTC.USD", "CME:QESH7")
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
"""A Sunday: New York closed on Friday, coins closed a session ten hours ago."""
FRIDAY = datetime(2026, 11, 20, 22, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 22, tzinfo=UTC)
PATIENT = Timeouts(connect_s=5, history_s=20, lookup_s=20, probe_s=5)

MINUTES = {
    # by hand, three sessions each: New York 390, London 510, IDEALPRO 17:15-17:00 New York, UTC days, CME 23 hours
    "QMKT": ("TRADES", 3 * 390),
    "QLNA": ("TRADES", 3 * 510),
    "EUR.USD": ("MIDPOINT", 3 * 1425),
    "BTC.USD": ("AGGTRADES", 3 * 1440),
    "QESH7": ("TRADES", 3 * 1380),
}
LAST_DAY = {"QMKT": 20, "QLNA": 20, "EUR.USD": 20, "BTC.USD": 21, "QESH7": 20}
"""Of November: the coin's Saturday has ended."""


@asynccontextmanager
async def serving(market: Any = None, now: datetime = NOW) -> AsyncIterator[Gateway]:
    gateway = Gateway(market or synthetic(), Rules.off(), ManualClock(now))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@dataclass
class Heard:
    """A relay, and what it told."""

    relay: Relay
    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


@asynccontextmanager
async def recording(out: Path, port: int, now: datetime = NOW) -> AsyncIterator[Heard]:
    told: list[str] = []
    warned: list[str] = []
    with Tape(out) as tape:
        relay = Relay(tape, ("127.0.0.1", port), ManualClock(now), told.append, warned.append)
        await relay.start()
        try:
            yield Heard(relay, told, warned)
        finally:
            await relay.stop()
            tape.merge()


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[TwsClient]:
    async with TwsClient(TwsAddress(port=port), SystemClock(), PATIENT) as client:
        yield client


def listed(name: str, con_id: int = 0) -> Contract:
    """The contract that the product makes of a name in a list."""
    exchange, symbol = name.split(":")
    return Contract.listed(exchange, symbol, venues.asset_class_at(exchange), venues.currency_at(exchange), con_id)


async def ask_everything(
    port: int, *, names: Sequence[str] = NAMES, con_ids: dict[str, int] | None = None
) -> dict[tuple[str, str], Any]:
    """What a data cycle asks of each kind of instrument: details, minutes, every daily series, a schedule."""
    answers: dict[tuple[str, str], Any] = {}
    async with client_of(port) as client:
        for name in names:
            contract = listed(name, (con_ids or {}).get(name, 0))
            if not con_ids:
                (found,) = await client.contract_details(contract)
                answers[name, "details"] = found
                contract = replace(contract, con_id=found.con_id)
            end = SATURDAY if contract.sec_type == "CRYPTO" else FRIDAY
            series = minute_series(contract.sec_type, use_rth=True)
            asked = {
                "minutes": BarRequest(contract, end, "3 D", "1 min", series.what_to_show, series.use_rth),
                "newest minute": BarRequest(
                    contract, end - timedelta(days=1), "1 D", "1 min", series.what_to_show, series.use_rth
                ),
            }
            for what in daily_series(contract.sec_type):
                asked[what] = BarRequest(contract, None, "20 D", "1 day", what)
            answers |= {(name, key): (await client.bars(request)).bars for key, request in asked.items()}
            answers[name, "schedule"] = await client.schedule(contract, end, 8, use_rth=series.use_rth)
    return answers


def assert_same(left: dict[tuple[str, str], Any], right: dict[tuple[str, str], Any]) -> None:
    assert left.keys() == right.keys()
    for key, one in left.items():
        if isinstance(one, pl.DataFrame):
            assert one.height > 0, key
            assert_frame_equal(one, right[key])
        else:
            assert one, key
            assert one == right[key], key


def test_every_kind_of_instrument_is_served_as_it_was_recorded(tmp_path):
    async def scenario() -> None:
        out = tmp_path / "world.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            original = await ask_everything(heard.relay.port)
        async with serving(RecordedMarket.open(out)) as replay:
            assert_same(await ask_everything(replay.port), original)
        assert heard.warned == []
        minutes, daily = load(out, "minutes"), load(out, "daily")
        assert set(minutes["symbol"]) == set(MINUTES)
        for name, (what, n_bars) in MINUTES.items():
            mine = minutes.filter(pl.col("symbol") == name)
            assert (mine["what"].unique().to_list(), mine.height) == ([what], n_bars), name
            newest = daily.filter(pl.col("symbol") == name)["session"].max()
            assert (newest.month, newest.day) == (11, LAST_DAY[name])
        pair = original["IDEALPRO:EUR.USD", "minutes"]
        assert pair["volume"].null_count() == pair.height, "no volume is null, and not 0"

    asyncio.run(scenario())


def test_daily_bars_are_made_of_the_minutes_where_only_those_were_recorded(tmp_path):
    """A recording without its daily answers: each instrument's minutes add up inside its own sessions."""

    async def scenario() -> None:
        out = tmp_path / "world.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            await ask_everything(heard.relay.port)
            original = await daily_of(heard.relay.port)
        out.with_suffix(".daily.parquet").unlink()
        async with serving(RecordedMarket.open(out)) as replay:
            again = await daily_of(replay.port)
        for name, bars in original.items():
            assert bars.height == (2 if "BTC" in name else 3), "the coin's Sunday is not over"
            assert_frame_equal(again[name], bars, abs_tol=1e-4)

    async def daily_of(port: int) -> dict[str, pl.DataFrame]:
        async with client_of(port) as client:
            return {
                name: (await client.bars(BarRequest(listed(name), None, "3 D", "1 day", what))).bars
                for name, (what, _) in zip(NAMES, MINUTES.values(), strict=True)
            }

    asyncio.run(scenario())


def test_a_product_that_knows_its_instruments_already_asks_for_no_details(tmp_path):
    """Details are not asked again while they are young: then what the requests say has to be enough."""

    async def scenario() -> list[str]:
        out = tmp_path / "world.parquet"
        known = {f"{one.primary_exchange or one.exchange}:{one.label}": one for one in synthetic().instruments(NOW)}
        con_ids = {name: known[name].con_id for name in NAMES}
        async with serving() as gateway, recording(out, gateway.port) as heard:
            original = await ask_everything(heard.relay.port, con_ids=con_ids)
        with Tape(out) as tape:
            lost = tape.undescribed()
        async with serving(RecordedMarket.open(out)) as replay:
            assert_same(await ask_everything(replay.port, con_ids=con_ids), original)
            async with client_of(replay.port) as client:
                for name in NAMES:
                    (found,) = await client.contract_details(listed(name))
                    assert (found.con_id, found.symbol) == (con_ids[name], name.split(":")[1])
        return lost

    assert asyncio.run(scenario()) == sorted(MINUTES)


@pytest.mark.parametrize("name", ["QES 2027", "local"])
def test_a_bare_client_that_names_pairs_coins_and_futures_its_own_way(tmp_path, name):
    """Bars first and details last, as a client may: the month of a future, the two halves of a pair."""

    async def ask(port: int) -> list[Any]:
        kit, ib = library(), new_client()
        future = kit.Future(localSymbol="QESH7", exchange="CME", currency="USD")
        if name != "local":
            future = kit.Future("QES", "202703", "CME", currency="USD")
        asked = [
            (kit.Forex("EURUSD"), "MIDPOINT"),
            (kit.Crypto("BTC", "PAXOS", "USD"), "AGGTRADES"),
            (future, "TRADES"),
            (kit.Stock("QLNA", "SMART", "GBP"), "TRADES"),
        ]
        await ib.connectAsync("127.0.0.1", port, clientId=3, timeout=5)
        try:
            bars = [
                await history(ib, contract, endDateTime="20261120-20:00:00", whatToShow=what)
                for contract, what in asked
            ]
            for contract, _ in asked:
                await ib.reqContractDetailsAsync(contract)
        finally:
            ib.disconnect()
        return [[(b.date, b.open, b.high, b.low, b.close, b.volume) for b in found] for found in bars]

    async def scenario() -> None:
        out = tmp_path / "bare.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            original = await ask(heard.relay.port)
        assert all(original)
        async with serving(RecordedMarket.open(out)) as replay:
            assert await ask(replay.port) == original
        assert sorted(load(out, "minutes")["symbol"].unique()) == ["BTC.USD", "EUR.USD", "QESH7", "QLNA"]

    asyncio.run(scenario())


def test_stocks_of_one_symbol_are_told_apart_by_where_they_are_listed(tmp_path):
    """A recording of two places that use one symbol, as VOD in London and New York."""

    async def scenario() -> None:
        out = tmp_path / "two.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            await ask_everything(heard.relay.port, names=NAMES[:2])
        for kind in ("minutes", "daily", "details"):
            path = out if kind == "minutes" else out.with_suffix(f".{kind}.parquet")
            pl.read_parquet(path).with_columns(symbol=pl.lit("VOD")).write_parquet(path)
        async with serving(RecordedMarket.open(out)) as replay, client_of(replay.port) as client:
            (here,) = await client.contract_details(listed("ARCA:VOD"))
            (there,) = await client.contract_details(listed("LSE:VOD"))
            assert (here.currency, here.timezone) == ("USD", "US/Eastern")
            assert (there.currency, there.timezone) == ("GBP", "GB-Eire")
            bars = (await client.bars(BarRequest(listed("LSE:VOD"), FRIDAY, "1 D"))).bars
            assert bars.height == 510

    asyncio.run(scenario())


def test_what_is_not_kept_is_told_once_and_counted(tmp_path):
    async def scenario() -> Heard:
        async with serving() as gateway, recording(tmp_path / "tws.parquet", gateway.port) as heard:
            kit, ib = library(), new_client()
            await ib.connectAsync("127.0.0.1", heard.relay.port, clientId=3, timeout=5)
            try:
                for size, hour in (("5 mins", 20), ("5 mins", 21), ("1 hour", 21)):
                    await history(ib, stock("QMKT"), endDateTime=f"20261120-{hour}:00:00", barSizeSetting=size)
                await ib.reqHeadTimeStampAsync(stock("QMKT"), "TRADES", True, 2)
                await ib.reqMatchingSymbolsAsync("QF")
                await refused(history(ib, kit.Forex("EURUSD"), whatToShow="TRADES"))
                await history(ib, stock("QMKT"), endDateTime="20261120-20:00:00")
            finally:
                ib.disconnect()
        return heard

    heard = asyncio.run(scenario())
    expected = {"bars of 5 mins": 2, "bars of 1 hour": 1, "oldest bars": 1, "symbol searches": 1, "refused requests": 1}
    assert dict(heard.relay.missed.counts) == expected
    assert [line.partition(" (")[0] for line in heard.warned] == [
        f"not recorded: {kind}" for kind in ("bars of 5 mins", "bars of 1 hour", *list(expected)[2:])
    ]
    assert heard.told == ["recorded 330 bars of 1 min: QMKT TRADES"]


def test_regular_and_whole_days_of_a_series_are_not_mixed(tmp_path):
    async def scenario() -> tuple[Heard, int]:
        out = tmp_path / "tws.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", heard.relay.port, clientId=3, timeout=5)
            try:
                await history(ib, stock("QMKT"), endDateTime="20261120-20:00:00")
                await history(ib, stock("QMKT"), endDateTime="20261119-20:00:00", useRTH=False)
            finally:
                ib.disconnect()
        return heard, load(out, "minutes").height

    heard, n_bars = asyncio.run(scenario())
    assert n_bars == 330
    assert dict(heard.relay.missed.counts) == {"bars with another useRTH than the first of their series": 1}


def test_that_accounts_passed_is_counted_and_nothing_of_them_is_told(tmp_path):
    async def scenario() -> Heard:
        held = Portfolio({"DU7654321": {"ARCA:QMKT": 123.0}})
        market = Gateway(synthetic(), Rules.off(), ManualClock(NOW), accounts="DU7654321", portfolio=held)
        await market.start()
        try:
            async with recording(tmp_path / "tws.parquet", market.port) as heard:
                ib = new_client()
                await ib.connectAsync("127.0.0.1", heard.relay.port, clientId=3, timeout=5)
                assert [one.position for one in ib.positions()] == [123]
                ib.disconnect()
                await asyncio.sleep(0.05)
        finally:
            await market.stop()
        return heard

    heard = asyncio.run(scenario())
    assert heard.warned == ["not recorded: accounts, positions and orders (they are never looked into)"]
    assert heard.relay.missed.counts["accounts, positions and orders"] >= 1
    assert heard.told == []


def test_some_instruments_of_a_recording_can_be_chosen_by_their_names(tmp_path):
    async def scenario() -> Path:
        out = tmp_path / "world.parquet"
        async with serving() as gateway, recording(out, gateway.port) as heard:
            await ask_everything(heard.relay.port)
        return out

    out = asyncio.run(scenario())
    chosen = RecordedMarket.open(out, symbols=["QESH7", "EUR.USD"])
    assert {one.label for one in chosen.instruments(NOW)} == {"QESH7", "EUR.USD"}
    assert chosen.report.rows == MINUTES["QESH7"][1] + MINUTES["EUR.USD"][1]
    with pytest.raises(UnknownNameError, match="Did you mean 'QESH7'"):
        RecordedMarket.open(out, symbols=["QESH8"])


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        # London and the pair have closed at 22:00 of a Thursday; New York and Chicago too; the coin's day runs on
        (datetime(2026, 11, 19, 22, tzinfo=UTC), {"QMKT": 19, "QLNA": 19, "EUR.USD": 19, "BTC.USD": 18, "QESH7": 19}),
        # at 17:00 only London has
        (datetime(2026, 11, 19, 17, tzinfo=UTC), {"QMKT": 18, "QLNA": 19, "EUR.USD": 18, "BTC.USD": 18, "QESH7": 18}),
    ],
    ids=["evening", "afternoon"],
)
def test_the_days_that_have_closed_where_each_instrument_trades_are_kept(tmp_path, now, newest):
    async def scenario() -> dict[str, int]:
        out = tmp_path / "world.parquet"
        async with (
            serving(now=now) as gateway,
            recording(out, gateway.port, now) as heard,
            client_of(heard.relay.port) as client,
        ):
            for name, (what, _) in zip(NAMES, MINUTES.values(), strict=True):
                await client.contract_details(listed(name))
                await client.bars(BarRequest(listed(name), None, "5 D", "1 day", what))
        return {
            name: day.day for name, day in load(out, "daily").group_by("symbol").agg(pl.col("session").max()).rows()
        }

    assert asyncio.run(scenario()) == newest


# ---------------------------------------------------------------- whether TWS is there


def test_a_dead_upstream_is_told_at_the_start():
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            told = await problem_of("127.0.0.1", port)
            assert told == "not reachable (Connection refused): clients are turned away until it is"
            taken.listen()
            assert "nobody answers behind it" in str(await problem_of("127.0.0.1", port, within_s=0.2))
        async with serving() as gateway:
            assert await problem_of("127.0.0.1", gateway.port) is None
            gateway.kick()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TWS"),
        (b"", "no TWS"),
        (b"\0\0\0\x0c201\x0020260101\0", "newer than this recorder: version 201"),
    ],
)
def test_another_program_behind_the_port_is_told(greeting, words):
    async def scenario() -> str | None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(greeting)
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        try:
            return await problem_of("127.0.0.1", server.sockets[0].getsockname()[1])
        finally:
            server.close()

    assert words in str(asyncio.run(scenario()))
