"""The recorder between real clients and the replay gateway: nothing changes on the wire, and what was said is served."""

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.clock import ManualClock, SystemClock
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws import Timeouts, TwsAddress, TwsClient
from quant_assets.connectors.tws import library as tws_library
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.proxy import Relay, Tape
from quant_assets.gateway.proxy.tape import load
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets_tests.unit.gateway.clients import history, library, new_client, stock

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
END = datetime(2024, 3, 15, 20, tzinfo=UTC)
ACCOUNTS = "DU7654321,U1234567"
PATIENT = Timeouts(connect_s=5, history_s=20, lookup_s=20, probe_s=5)
SYMBOLS = ("QTEA", "QMKT")


@asynccontextmanager
async def serving(market=None) -> AsyncIterator[Gateway]:
    gateway = Gateway(market or SyntheticMarket(seed=7), Rules.off(), ManualClock(NOW), accounts=ACCOUNTS)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@asynccontextmanager
async def recording(out: Path, port: int, lines: list[str] | None = None) -> AsyncIterator[Relay]:
    with Tape(out) as tape:
        relay = Relay(tape, ("127.0.0.1", port), ManualClock(NOW), (lines if lines is not None else []).append)
        await relay.start()
        try:
            yield relay
        finally:
            await relay.stop()
            tape.merge()


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[TwsClient]:
    async with TwsClient(TwsAddress(port=port), SystemClock(), PATIENT) as client:
        yield client


async def ask_everything(port: int) -> list[object]:
    """What a data cycle asks: details, one-minute windows that overlap, and both daily series."""
    answers: list[object] = []
    async with client_of(port) as client:
        for symbol in SYMBOLS:
            found = await client.contract_details(Contract(symbol))
            contract = Contract(symbol, found[0].con_id)
            wanted = [
                BarRequest(contract, END, "3 D"),
                BarRequest(contract, END, "5 D"),
                BarRequest(contract, None, "20 D", "1 day"),
                BarRequest(contract, None, "20 D", "1 day", "ADJUSTED_LAST"),
            ]
            answers += [found, *[(await client.bars(request)).bars for request in wanted]]
    return answers


def files_of(out: Path) -> list[Path]:
    return [path for path in out.parent.rglob("*") if path.is_file()]


def assert_same(left: list[object], right: list[object]) -> None:
    assert len(left) == len(right) == 5 * len(SYMBOLS)
    for one, other in zip(left, right, strict=True):
        if isinstance(one, pl.DataFrame):
            assert one.height > 0
            assert_frame_equal(one, other)
        else:
            assert one == other


def test_what_a_client_has_the_recording_has(tmp_path, monkeypatch):
    """A recorder that is killed once the client has its answer has it on disk, however slow the disk is."""
    out, add = tmp_path / "tws.parquet", Tape.add

    def add_slowly(tape: Tape, kind: str, rows: pl.DataFrame) -> None:
        time.sleep(0.3)
        add(tape, kind, rows)

    async def ask(port: int) -> int:
        async with client_of(port) as client:
            asked = asyncio.ensure_future(client.bars(BarRequest(Contract("QTEA"), END, "1 D")))
            held: list[int] = []
            asked.add_done_callback(lambda _: held.append(load(out, "minutes").height))
            assert (await asked).bars.height == 390
            await asyncio.sleep(0)
        return held[0]

    async def scenario() -> int:
        async with serving() as gateway, recording(out, gateway.port) as relay:
            return await asyncio.to_thread(lambda: asyncio.run(ask(relay.port)))

    monkeypatch.setattr(Tape, "add", add_slowly)
    assert asyncio.run(scenario()) == 390


def test_the_recording_serves_what_our_client_was_told_row_for_row(tmp_path):
    async def scenario() -> None:
        out = tmp_path / "tws.parquet"
        async with serving() as gateway, recording(out, gateway.port) as relay:
            original = await ask_everything(relay.port)
        async with serving(RecordedMarket.open(out)) as replay:
            assert_same(await ask_everything(replay.port), original)
        assert load(out, "minutes").height == 2 * 5 * 390, "windows that overlap are merged"

    asyncio.run(scenario())


def test_a_bare_client_that_names_symbols_only_and_dates_as_text(tmp_path):
    async def scenario() -> None:
        out = tmp_path / "tws.parquet"

        async def ask(port: int) -> list[list[tuple[object, ...]]]:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", port, clientId=3, timeout=5)
            try:
                asked = [
                    history(ib, stock("QTEA"), endDateTime="20240315-20:00:00", formatDate=1),
                    history(ib, stock("QTEA"), endDateTime="20240314 16:00:00 US/Eastern", durationStr="2 D"),
                    history(ib, stock("QTEA"), endDateTime="", barSizeSetting="1 day", durationStr="1 M"),
                ]
                answers = [await one for one in asked]
                if port == relayed.port:
                    await ib.reqContractDetailsAsync(stock("QTEA"))
            finally:
                ib.disconnect()
            return [
                [(b.date, b.open, b.high, b.low, b.close, b.volume, b.average, b.barCount) for b in bars]
                for bars in answers
            ]

        async with serving() as gateway, recording(out, gateway.port) as relayed:
            original = await ask(relayed.port)
        assert [len(bars) for bars in original] == [390, 780, 20]
        async with serving(RecordedMarket.open(out)) as replay:
            assert await ask(replay.port) == original
        con_id = SyntheticMarket(seed=7).find(NOW, symbol="QTEA").con_id
        assert load(out, "minutes")["con_id"].unique().to_list() == [con_id]

    asyncio.run(scenario())


def test_no_account_reaches_the_recording_or_its_lines(tmp_path):
    async def scenario() -> list[str]:
        lines: list[str] = []
        async with serving() as gateway, recording(tmp_path / "tws.parquet", gateway.port, lines) as relay:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", relay.port, clientId=3, timeout=5)
            assert ib.managedAccounts() == ACCOUNTS.split(","), "the client is told; only the recording is not"
            await history(ib, stock("QTEA"), endDateTime="20240315-20:00:00")
            assert [part.suffix for part in files_of(tmp_path / "tws.parquet.parts" / "x")] != []
            for file in files_of(tmp_path / "tws.parquet"):
                for account in ACCOUNTS.split(","):
                    assert account.encode() not in file.read_bytes()
            ib.disconnect()
            await asyncio.sleep(0.05)
        return lines

    lines = asyncio.run(scenario())
    assert any(line.startswith("recorded 390 bars") for line in lines)
    written = b"".join(file.read_bytes() for file in files_of(tmp_path / "tws.parquet")) + "\n".join(lines).encode()
    frames = pl.read_parquet(tmp_path / "tws.parquet").write_csv().encode()
    for secret in ("7654321", "1234567", "DU", "accounts"):
        assert not re.search(rf"\b{secret}", (written + frames).decode(errors="replace")), secret


# ---------------------------------------------------------------- the bytes


def framed(*fields: object) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


HELLO = b"API\0" + struct.pack(">I", 9) + b"v157..176"


def a_history(req_id: int, symbol: str, duration: str) -> bytes:
    contract = ("0", symbol, "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
    return framed(20, req_id, *contract, 0, "20240315-20:00:00", "1 min", duration, 1, "TRADES", 2, 0, "")


async def said(port: int) -> tuple[str, int]:
    """Hash of everything that the server sends to one fixed conversation."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HELLO)
    digest, total = hashlib.sha256(), 0
    writer.write(framed(71, 2, 5, "") + framed(61, 1) + framed(99, 0))
    for number, duration in enumerate(("1 D", "5 D", "20 D"), start=1):
        writer.write(a_history(number, "QTEA", duration))
    writer.write(framed(49, 1))
    await asyncio.sleep(0)
    last = framed(49, 1, int(NOW.timestamp()))
    tail = b""
    while not tail.endswith(last):
        data = await asyncio.wait_for(reader.read(70_000), 10)
        assert data
        digest.update(data)
        total, tail = total + len(data), (tail + data)[-len(last) :]
    writer.close()
    return digest.hexdigest(), total


def test_the_client_receives_the_very_bytes_that_the_server_sent(tmp_path):
    async def scenario() -> None:
        async with serving() as gateway:
            direct = await said(gateway.port)
            async with recording(tmp_path / "tws.parquet", gateway.port) as relay:
                assert await said(relay.port) == direct
            assert direct[1] > 26 * 390 * 40
        assert load(tmp_path / "tws.parquet", "minutes").height > 19 * 390

    asyncio.run(scenario())


@pytest.mark.parametrize("prefix", [b"", HELLO], ids=["foreign", "greeting first"])
def test_bytes_that_nobody_understands_pass_both_ways_unmodified(tmp_path, prefix):
    async def scenario() -> None:
        noise = prefix + os.urandom(3_000_000)
        heard: list[bytes] = []

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(10_000):
                heard.append(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        lines: list[str] = []
        async with recording(tmp_path / "tws.parquet", server.sockets[0].getsockname()[1], lines) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)

            async def send() -> None:
                writer.write(noise)
                writer.write_eof()
                await writer.drain()

            back, _ = await asyncio.gather(reader.read(), send())
            writer.close()
        server.close()
        assert back == noise == b"".join(heard)
        assert any("nothing more of this connection is recorded" in line for line in lines)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_end_of_either_side_reaches_the_other(tmp_path):
    async def scenario() -> None:
        async with serving() as gateway, recording(tmp_path / "tws.parquet", gateway.port) as relay:
            ib = new_client()
            await ib.connectAsync("127.0.0.1", relay.port, clientId=3, timeout=5)
            gateway.kick(abort=True)
            while ib.isConnected():  # noqa: ASYNC110 - the library's state
                await asyncio.sleep(0.01)
            await ib.connectAsync("127.0.0.1", relay.port, clientId=3, timeout=5)
            assert len(gateway.sessions) == 1
            ib.disconnect()
            while gateway.sessions:  # noqa: ASYNC110 - the gateway's state
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_clients_are_turned_away_while_tws_is_away(tmp_path):
    async def scenario() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        lines: list[str] = []
        async with recording(tmp_path / "tws.parquet", port, lines) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            assert "is not reachable" in lines[0]
            with Tape(tmp_path / "other.parquet") as tape:
                second = Relay(tape, ("127.0.0.1", port))
                with pytest.raises(ConfigurationError, match="cannot be listened on"):
                    await second.start(port=relay.port)

    asyncio.run(scenario())


def test_a_newer_protocol_passes_and_is_not_recorded(tmp_path):
    async def scenario() -> None:
        async def modern(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(len(HELLO))
            writer.write(framed(201, "20240315 18:00:00 EST") + b"\0\0\0\4\0\0\0\21")
            writer.close()

        server = await asyncio.start_server(modern, "127.0.0.1", 0)
        lines: list[str] = []
        async with recording(tmp_path / "tws.parquet", server.sockets[0].getsockname()[1], lines) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(HELLO)
            assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\0\0\0\4\0\0\0\21")
            writer.close()
        server.close()
        assert "server version 201" in lines[0]

    asyncio.run(scenario())


# ---------------------------------------------------------------- the command


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from quant_assets.cli import main; main()", "gateway", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )


def port_said(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)(?::| *$)", line.strip()) or re.search(r":(\d+)$", line.strip())
    assert found, line
    return int(found[1])


@pytest.fixture
def processes():
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


async def one_day(port: int, day: datetime) -> pl.DataFrame:
    async with client_of(port) as client:
        return (await client.bars(BarRequest(Contract("QTEA"), day, "1 D"))).bars


@pytest.mark.chaos
def test_a_killed_recorder_leaves_a_recording_and_the_next_one_goes_on(tmp_path, processes):
    out = tmp_path / "tws.parquet"
    server = start("serve", "--port", "0", "--no-pacing")
    processes.append(server)
    upstream = f"127.0.0.1:{port_said(server)}"

    first = start("record", "--listen", "0", "--upstream", upstream, "--out", str(out))
    processes.append(first)
    thursday, friday = datetime(2024, 3, 14, 20, tzinfo=UTC), datetime(2024, 3, 15, 20, tzinfo=UTC)
    told = asyncio.run(one_day(port_said(first), thursday))
    assert first.stdout
    assert any(line.startswith("recorded 390 bars") for line in first.stdout)
    first.send_signal(signal.SIGKILL)
    first.wait(10)

    async def replayed(day: datetime) -> pl.DataFrame:
        async with serving(RecordedMarket.open(out)) as gateway:
            return await one_day(gateway.port, day)

    assert_frame_equal(asyncio.run(replayed(thursday)), told)

    second = start("record", "--listen", "0", "--upstream", upstream, "--out", str(out), "--quiet", "--json")
    processes.append(second)
    more = asyncio.run(one_day(port_said(second), friday))
    second.send_signal(signal.SIGTERM)
    output, _ = second.communicate(timeout=20)
    assert second.returncode == 0, output
    held = json.loads(output[output.index("{") :])
    assert held["minute_bars"] == told.height + more.height
    assert not out.with_name("tws.parquet.parts").exists()
    assert_frame_equal(asyncio.run(replayed(thursday)), told)
    assert_frame_equal(asyncio.run(replayed(friday)), more)


def test_the_command_tells_that_tws_is_away_and_what_it_did_not_keep(tmp_path, processes):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = free.getsockname()[1]
    out = tmp_path / "tws.parquet"
    recorder = start("record", "--listen", "0", "--upstream", f"127.0.0.1:{away}", "--out", str(out), "--quiet")
    processes.append(recorder)
    port = port_said(recorder)
    assert recorder.stdout
    assert recorder.stdout.readline() == "press Ctrl-C to stop\n"
    assert recorder.stdout.readline().startswith(f"127.0.0.1:{away} is not reachable (Connection refused)")

    async def ask() -> None:
        gateway = Gateway(SyntheticMarket(seed=7), Rules.off(), ManualClock(NOW))
        await gateway.start(port=away)
        ib = new_client()
        await ib.connectAsync("127.0.0.1", port, clientId=3, timeout=5)
        await history(ib, stock("QTEA"), endDateTime="20240315-20:00:00", barSizeSetting="5 mins")
        await history(ib, stock("QTEA"), endDateTime="20240315-20:00:00")
        ib.disconnect()
        await gateway.stop()

    asyncio.run(ask())
    recorder.send_signal(signal.SIGINT)
    output, _ = recorder.communicate(timeout=20)
    assert recorder.returncode == 0, output
    lines = output.splitlines()
    assert lines[0].startswith("not recorded: bars of 5 mins (")
    assert lines[1].startswith("no contract details were recorded of QTEA")
    assert lines[2].startswith(f"{out} holds 390 minute bars, 0 daily bars, 0 contract details")
    assert lines[3:] == ["not recorded: 1 × bars of 5 mins"]


@pytest.mark.parametrize("wrong", [["--upstream", "7496"], ["--upstream", "h:99999"], ["--out", "x.csv"]])
def test_mistakes_are_usage_errors(tmp_path, wrong):
    from click.testing import CliRunner

    from quant_assets.cli.gateway import gateway

    given = {"--upstream": "127.0.0.1:7496", "--out": str(tmp_path / "x.parquet")} | {wrong[0]: wrong[1]}
    result = CliRunner().invoke(gateway, ["record", *(word for pair in given.items() for word in pair)])
    assert result.exit_code == 2
    assert wrong[0] in result.output
    assert not list(tmp_path.iterdir())


def test_the_bare_library_is_the_one_that_the_client_takes():
    assert library() is tws_library.load()


def test_a_data_cycle_on_the_recording_equals_the_one_that_was_recorded(tmp_path):
    """The whole road: live through the recorder, then replayed without the market, gives equal content."""
    pytest.importorskip("dagster", reason="a data cycle runs on Dagster")
    from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS
    from quant_assets.lakehouse.layout import Partition
    from quant_assets_tests.assets.house import House
    from quant_assets_tests.contract.test_read_only import wiretap

    first, last = "2025-11-26", "2025-11-28"

    def contents(house: House) -> list[str]:
        house.run_data(first, last)
        store = house.work().lake.curated
        footers = [
            store.footer(table, Partition(datetime.fromisoformat(day).date()))
            for table in (CURATED_TWS_1M_BARS, CURATED_TWS_1D_BARS)
            for day in (first, last)
        ]
        return [footer.content_id for footer in footers if footer]

    live = {"mode": "live"}
    with wiretap(tmp_path) as (port, _), House(tmp_path / "live", {"tws": live | {"port": port}}) as recorded:
        original = contents(recorded)
    with House(tmp_path / "replay", {"replay": {"market": str(tmp_path / "tap.parquet")}}) as replayed:
        assert contents(replayed) == original
    assert len(original) == 4
