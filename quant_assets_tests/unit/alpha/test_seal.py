import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from quant_assets.control.seal import is_sealed, network_seal
from quant_assets.errors import NetworkSealedError


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def connect(listener: socket.socket) -> None:
    socket.create_connection(listener.getsockname(), timeout=2).close()


def test_a_real_connection_works_before_and_after_and_is_refused_inside(listener):
    connect(listener)
    with network_seal() as seal, pytest.raises(NetworkSealedError, match=r"127\.0\.0\.1"):
        connect(listener)
    assert len(seal.refused) == 1
    assert not is_sealed()
    connect(listener)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("localhost", 80),
        lambda: socket.gethostbyname("localhost"),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_way_out_is_closed(reach):
    with network_seal(), pytest.raises(NetworkSealedError):
        reach()


def test_a_thread_pool_started_by_sealed_code_is_sealed(listener):
    with network_seal(), ThreadPoolExecutor(1) as pool, pytest.raises(NetworkSealedError):
        pool.submit(connect, listener).result()


def test_a_thread_that_ran_before_is_sealed_too(listener):
    go, failures = threading.Event(), []

    def late() -> None:
        go.wait(5)
        try:
            connect(listener)
        except NetworkSealedError as error:
            failures.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    with network_seal():
        go.set()
        thread.join(5)
    assert len(failures) == 1


def test_an_error_that_a_library_swallows_is_still_on_record(listener):
    with network_seal() as seal, contextlib.suppress(Exception):
        connect(listener)
    assert seal.refused


def test_seals_nest_and_the_outer_one_outlives_the_inner(listener):
    with network_seal():
        with network_seal():
            pass
        with pytest.raises(NetworkSealedError):
            connect(listener)


def test_listening_accepting_pipes_and_event_loops_are_untouched(tmp_path):
    with network_seal():
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
        left, right = socket.socketpair()
        left.sendall(b"x")
        assert right.recv(1) == b"x"
        left.close(), right.close()
        assert asyncio.run(asyncio.sleep(0, result=7)) == 7
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(tmp_path / "s"))
            server.listen()
            client.connect(str(tmp_path / "s"))


def test_sqlite_and_files_work_inside(tmp_path):
    import sqlite3

    with network_seal(), sqlite3.connect(tmp_path / "x.db") as base:
        base.execute("create table t (a int)")
    base.close()
