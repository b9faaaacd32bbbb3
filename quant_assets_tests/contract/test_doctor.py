"""`quant doctor` against real sockets: what it finds when all is well, and what it says of each way to fail."""

import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.connectors.tws.failures import NotTwsError
from quant_assets.control.locks import hold
from quant_assets.flows.doctor import Check, examine
from quant_assets.flows.gate import TwsGate
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.faults import Fault, ScriptedFaults, Strike
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Layout
from quant_assets.settings import Settings
from quant_assets_tests.unit.connectors.tws_peer import error as error_message
from quant_assets_tests.unit.connectors.tws_peer import frame
from quant_assets_tests.unit.doctor.house import house
from quant_assets_tests.unit.flows.hours import with_session

MAIN = "from quant_assets.cli import main; main()"
REMOTE = ("port", "API handshake", "server version", "accounts", "clock", "contract details", "market data")


def live(root: Path, port: int, **tws: object) -> Settings:
    quick = {"mode": "live", "port": port, "connect_timeout_s": 1.0, "request_timeout_s": 5.0, "client_id_range": 2}
    return house(root, tws=quick | tws)


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def of(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@contextmanager
def gateway(**options: object) -> Iterator[EmbeddedGateway]:
    clock = options.pop("clock", None) or ScaledClock(1)
    market = SyntheticMarket(7, options.pop("hours", None))
    with EmbeddedGateway(market, None, clock, **options) as running:
        yield running


def test_replay_mode_examines_the_embedded_gateway(tmp_path):
    found = statuses(examine(house(tmp_path), root=tmp_path))
    assert {found[name] for name in REMOTE} == {"pass"}
    assert (found["sessions"], found["head timestamp"]) == ("pass", "pass")
    assert threading.active_count() == 1 or all(t.name != "replay-gateway" for t in threading.enumerate())


def test_accounts_are_counted_and_their_numbers_hidden(tmp_path):
    with gateway(accounts="DU7654321,F1234567A") as running:
        check = of(examine(live(tmp_path, running.port), root=tmp_path), "accounts")
    assert check.found == "2, numbers hidden: DU…, F…"


def test_few_requests_are_sent_and_none_that_is_no_question(tmp_path):
    with gateway() as running:
        examine(live(tmp_path, running.port), root=tmp_path)
        counts = running.counts()
        assert not running.history_ledger.still_open()
    assert counts["contract_details"] == counts["head_timestamp"] == 1
    assert counts["history"] == 2, "bars of one session, and the schedule of the last weeks"
    assert set(counts) <= {
        "handshake",
        "start_api",
        "current_time",
        "history",
        "contract_details",
        "head_timestamp",
        "cancel",
    }


# ---------------------------------------------------------------- each way to fail


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_closed_port(tmp_path):
    checks = examine(live(tmp_path, free_port()), root=tmp_path)
    port = of(checks, "port")
    assert port.status == "fail"
    assert "Enable ActiveX and Socket Clients" in port.mend
    assert {statuses(checks)[name] for name in REMOTE[1:]} == {"skip"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_open_port_behind_which_nobody_speaks(tmp_path, listener):
    checks = examine(live(tmp_path, listener.getsockname()[1]), root=tmp_path)
    assert of(checks, "port").status == "pass"
    handshake = of(checks, "API handshake")
    assert handshake.status == "fail"
    assert "no handshake within 1 s" in handshake.found
    assert "weekly session" in handshake.mend
    assert {statuses(checks)[name] for name in REMOTE[2:]} == {"skip"}


@contextmanager
def web_server() -> Iterator[int]:
    """Waits for the end of a line that a client of TWS never sends, as web servers do."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def speaking(words: bytes) -> Iterator[int]:
    """Says something as soon as somebody comes or has spoken, and neither closes nor goes on."""

    class Speaks(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(words)
            while self.request.recv(1000):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Speaks) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


OTHERS = {
    "a web server": (web_server, ""),
    "one that refuses": (lambda: speaking(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "400 Bad Request"),
    "a shell": (lambda: speaking(b"SSH-2.0-OpenSSH_9.6\r\n"), "SSH-2.0-OpenSSH_9.6"),
    "a short word": (lambda: speaking(b"-"), "'-'"),
    "frames of its own": (lambda: speaking(frame("hello", "world")), "hello"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_program_on_the_port_is_told_as_that(tmp_path, other):
    opened, words = OTHERS[other]
    with opened() as at:
        checks = examine(live(tmp_path, at), root=tmp_path)
    port = of(checks, "port")
    assert port.status == "fail"
    assert "another program" in port.found
    assert words in port.found
    assert all(name in port.mend for name in ("tws.port", "7496", "7497", "4001", "4002"))
    assert "log" not in port.mend
    assert {statuses(checks)[name] for name in REMOTE[1:]} == {"skip"}


def test_another_program_on_the_port_ends_an_ingestion_at_once(tmp_path):
    with speaking(b"SSH-2.0-OpenSSH_9.6\r\n") as at:
        gate = TwsGate(live(tmp_path, at))
        with pytest.raises(NotTwsError, match=r"another program listens there.*tws\.port"):
            gate.run(asked_of)


async def asked_of(_opened: object) -> None:
    raise AssertionError("there is no TWS to ask")


@contextmanager
def answering(listener: socket.socket, after_start: bytes, n_clients: int, version: int = 176) -> Iterator[None]:
    """A peer that greets, and answers the start of the API with some bytes."""

    def serve() -> None:
        for _ in range(n_clients):
            client, _address = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(frame(version, "20240105 09:30:00 EST"))
                client.recv(1000)
                client.sendall(after_start)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    thread.join(5)


def test_client_ids_that_are_taken(tmp_path, listener):
    taken = error_message(-1, 326, "Unable to connect as the client id is already in use.")
    with answering(listener, taken, n_clients=2):
        checks = examine(live(tmp_path, listener.getsockname()[1]), root=tmp_path)
    handshake = of(checks, "API handshake")
    assert (of(checks, "port").status, handshake.status) == ("pass", "fail")
    assert "error 326" in handshake.found
    assert "tws.client_id" in handshake.mend
    assert of(checks, "market data").found == "no client id is free"


def test_a_client_id_of_the_range_that_is_free_is_found(tmp_path):
    with gateway() as running, socket.create_connection(("127.0.0.1", running.port)) as other:
        hello = b"v157..176"
        other.sendall(b"API\0" + len(hello).to_bytes(4, "big") + hello)
        other.recv(1000)
        other.sendall(frame(71, 2, 31, ""))
        other.recv(1000)
        assert statuses(examine(live(tmp_path, running.port), root=tmp_path))["API handshake"] == "pass"


def test_an_old_server_counts_volume_in_lots(tmp_path):
    with gateway(max_version=170) as running:
        check = of(examine(live(tmp_path, running.port), root=tmp_path), "server version")
    assert (check.status, check.found) == ("warn", "170")
    assert "lots of 100" in check.mend


def test_volumes_in_lots_are_found(tmp_path):
    lots = ScriptedFaults([Strike("history", Fault("lots"), times=None)])
    with gateway(faults=lots) as running:
        check = of(examine(live(tmp_path, running.port), "NYSE:QCOD", root=tmp_path), "market data")
    assert check.status == "fail"
    assert "volumes in lots of 100" in check.found
    assert "switch off *Send market data in lots" in check.mend


@pytest.mark.parametrize(("apart_s", "status"), [(1, "pass"), (20, "warn"), (300, "fail")])
def test_clocks_that_differ(tmp_path, apart_s, status):
    now = datetime.now(UTC)
    with gateway(clock=ManualClock(now)) as running:
        clock = ManualClock(now + timedelta(seconds=apart_s))
        check = of(examine(live(tmp_path, running.port), root=tmp_path, clock=clock), "clock")
    assert check.status == status
    assert ("NTP" in check.mend) == (status != "pass")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (354, "Requested market data is not subscribed."),
        (162, "Historical Market Data Service error message:No market data permissions for NYSE STK"),
        (10197, "No market data during competing live session"),
    ],
)
def test_no_permission(tmp_path, code, text):
    refusal = ScriptedFaults([Strike("history", Fault("error", code=code, text=text), times=None)])
    with gateway(faults=refusal) as running:
        checks = examine(live(tmp_path, running.port), root=tmp_path)
    check = of(checks, "market data")
    assert check.status == "fail"
    assert str(code) in check.found
    assert "Subscribe to streaming level-1 data" in check.mend
    assert of(checks, "contract details").status == "pass"


def test_an_unknown_symbol(tmp_path):
    with gateway() as running:
        checks = examine(live(tmp_path, running.port), "NYSE:NOPE", root=tmp_path)
    details = of(checks, "contract details")
    assert details.status == "fail"
    assert "error 200" in details.found
    assert "Check symbol, exchange and currency" in details.mend
    assert of(checks, "market data").status == "skip"
    with gateway() as running:
        unsafe = examine(live(tmp_path, running.port), "../etc", root=tmp_path)
    assert of(unsafe, "contract details").status == "fail"


def test_an_empty_answer_is_a_warning_with_tws_own_words(tmp_path):
    text = "Historical Market Data Service error message:HMDS query returned no data: QMKT@SMART Trades"
    empty = ScriptedFaults([Strike("history", Fault("error", code=162, text=text), times=None)])
    with gateway(faults=empty) as running:
        check = of(examine(live(tmp_path, running.port), root=tmp_path), "market data")
    assert check.status == "warn"
    assert "HMDS query returned no data" in check.found


def test_an_instrument_without_a_first_bar_is_a_warning(tmp_path):
    text = "Historical Market Data Service error message:No head time stamp"
    none = ScriptedFaults([Strike("head_timestamp", Fault("error", code=162, text=text))])
    with gateway(faults=none) as running:
        check = of(examine(live(tmp_path, running.port), root=tmp_path), "head timestamp")
    assert (check.status, check.found) == ("warn", "TWS knows of no bar of ARCA:QMKT")


def test_a_session_that_no_configured_calendar_opens_is_found_in_the_schedule(tmp_path):
    """Nothing else can find it: a day without a partition is never asked about."""
    saturday, now = date(2026, 11, 14), datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    with gateway(clock=ScaledClock(1, now), hours=with_session(saturday)) as running:
        check = of(examine(live(tmp_path, running.port), root=tmp_path, clock=ScaledClock(1, now)), "sessions")
    assert (check.status, check.found) == (
        "warn",
        "ARCA:QMKT traded on 2026-11-14, a day that no configured calendar opens",
    )
    assert "lakehouse.calendars" in check.mend


def test_a_run_that_uses_tws_is_not_disturbed(tmp_path):
    with gateway() as running:
        settings = live(tmp_path, running.port)
        ready, done = threading.Event(), threading.Event()

        def other_run() -> None:
            with hold("tws", Layout(settings.data).locks, owner={"run": "r7", "stage": "ingestion"}):
                ready.set()
                done.wait(20)

        thread = threading.Thread(target=other_run)
        thread.start()
        ready.wait(5)
        checks = examine(settings, root=tmp_path)
        done.set()
        thread.join()
        counts = running.counts()
    assert of(checks, "locks").status == "warn"
    assert of(checks, "clock").status == "pass"
    assert "run=r7" in of(checks, "market data").found
    assert counts["history"] == counts["contract_details"] == counts["head_timestamp"] == 0


# ---------------------------------------------------------------- the command, as a program


def quant(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"QUANT_DATA": str(root / "data"), "QUANT_CONFIGS": str(root / "configs")} | variables
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=root, timeout=60, check=False)


@pytest.fixture
def served() -> Iterator[int]:
    command = [sys.executable, "-c", MAIN, "gateway", "serve", "--port", "0"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        line = process.stdout.readline()
        yield int(line.split("127.0.0.1:")[1].split(":")[0])
        process.terminate()


def test_every_check_that_does_not_pass_says_what_to_do(tmp_path):
    hung = ScriptedFaults(
        [Strike("history", Fault("hang"), times=None), Strike("head_timestamp", Fault("hang"), times=None)]
    )
    with gateway(faults=hung) as running:
        checks = examine(live(tmp_path, running.port, request_timeout_s=0.5), root=tmp_path)
    assert statuses(checks) | {"market data": "fail", "head timestamp": "warn"} == statuses(checks)
    assert all(check.mend for check in checks if check.status in ("warn", "fail"))


def test_the_command_in_both_modes(tmp_path, served):
    house(tmp_path)
    for mode in ("replay", "live"):
        result = quant(tmp_path, "doctor", "--json", QUANT_TWS_MODE=mode, QUANT_TWS_PORT=str(served))
        assert result.returncode == 0, result.stderr
        told = json.loads(result.stdout)
        assert told["ok"] is True
        found = {check["name"]: check["status"] for check in told["checks"]}
        assert {found[name] for name in REMOTE} == {"pass"}, mode
        assert found["Dagster instance"] == "warn"


def test_the_command_fails_where_a_check_fails_and_prints_the_mend(tmp_path):
    house(tmp_path)
    result = quant(tmp_path, "doctor", QUANT_TWS_MODE="live", QUANT_TWS_PORT=str(free_port()))
    assert result.returncode == 1
    assert "Start TWS or IB Gateway, enable its API" in result.stdout
    assert "fail  port" in result.stdout
    assert not result.stderr


def test_a_second_examination_keeps_the_rule_of_identical_requests(tmp_path):
    """The pacing journal outlives a process: the doctor asked again within 15 s waits and is not refused."""
    with gateway() as running:
        settings = live(tmp_path, running.port)
        for _ in range(2):
            assert statuses(examine(settings, root=tmp_path))["market data"] == "pass"
        assert running.history_ledger.breaches() == []


def test_nothing_is_asked_in_quiet_hours(tmp_path):
    with gateway() as running:
        checks = examine(live(tmp_path, running.port, quiet_hours={"start": "00:00", "end": "23:59"}), root=tmp_path)
        assert running.counts()["history"] == 0
    assert of(checks, "clock").status == "pass"
    assert "quiet hours" in of(checks, "market data").found
