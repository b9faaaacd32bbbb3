"""Locks between threads and between real processes, one of which is killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from quant_assets.clock import ManualClock
from quant_assets.control.locks import hold, holder_of
from quant_assets.errors import DefectError, LockHeldError, UnsafeNameError

HOLD_FOR_EVER = """
import sys, time
from pathlib import Path
from quant_assets.control.locks import hold
with hold("tws", Path(sys.argv[1]), owner={"run": "child"}):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def child(tmp_path):
    """A process that holds `tws`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOR_EVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_who_holds(child, tmp_path):
    with pytest.raises(LockHeldError) as refused, hold("tws", tmp_path):
        pytest.fail("two holders")
    assert refused.value.holder["pid"] == child.pid
    assert refused.value.holder["run"] == "child"
    assert "run=child" in str(refused.value)
    assert refused.value.exit_code == 75


def test_kill_9_frees_the_lock_and_its_note_misleads_nobody(child, tmp_path):
    assert holder_of("tws", tmp_path)["run"] == "child"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (tmp_path / "tws.holder.json").exists(), "a killed process leaves its note"
    assert holder_of("tws", tmp_path) is None
    with hold("tws", tmp_path, owner={"run": "heir"}):
        assert holder_of("tws", tmp_path)["run"] == "heir"


def test_a_waiter_gets_the_lock_when_the_holder_dies(child, tmp_path):
    threading.Timer(0.6, child.kill).start()
    started = time.monotonic()
    with hold("tws", tmp_path, wait_s=20):
        assert 0.3 < time.monotonic() - started < 15


def test_a_stale_note_is_not_reported_as_the_holder(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    with hold("tws", tmp_path):
        note = json.loads((tmp_path / "tws.holder.json").read_text())
        (tmp_path / "tws.holder.json").write_text(json.dumps({**note, "pid": dead.pid}))
        assert holder_of("tws", tmp_path) == {}


def test_a_note_from_another_host_is_believed_since_its_pid_says_nothing_here(tmp_path):
    with hold("tws", tmp_path):
        note = json.loads((tmp_path / "tws.holder.json").read_text())
        (tmp_path / "tws.holder.json").write_text(json.dumps({**note, "pid": 1 << 22, "host": "elsewhere"}))
        assert holder_of("tws", tmp_path)["host"] == "elsewhere"


def test_threads_exclude_each_other(tmp_path):
    inside, most = 0, 0
    guard = threading.Lock()

    def work():
        nonlocal inside, most
        with hold("table.commit", tmp_path, wait_s=20):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_nested_hold_of_the_same_thread_is_a_defect_and_not_a_wait(tmp_path):
    with hold("tws", tmp_path), pytest.raises(DefectError, match="not re-entrant"), hold("tws", tmp_path, wait_s=60):
        pytest.fail("nested")
    with hold("tws", tmp_path):
        pass


def test_different_names_do_not_exclude(tmp_path):
    with hold("a", tmp_path), hold("b", tmp_path):
        assert holder_of("a", tmp_path)["lock_id"] != holder_of("b", tmp_path)["lock_id"]


def test_the_note_tells_when_and_disappears_at_the_end(tmp_path):
    clock = ManualClock(datetime(2024, 1, 2, 21, 0, tzinfo=UTC))
    with hold("tws", tmp_path, clock, owner={"stage": "ingest"}) as taken:
        note = json.loads((tmp_path / "tws.holder.json").read_text())
        assert note["since"] == "2024-01-02T21:00:00Z"
        assert (note["lock_id"], note["stage"], note["pid"]) == (taken.lock_id, "ingest", os.getpid())
    assert not (tmp_path / "tws.holder.json").exists()


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), hold("tws", tmp_path):
        _ = 1 / 0
    assert holder_of("tws", tmp_path) is None


@pytest.mark.usefixtures("child")
def test_waiting_is_said_once(tmp_path, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(LockHeldError), hold("tws", tmp_path, wait_s=0.8):
        pytest.fail("two holders")
    waiting = [record for record in caplog.records if "waiting for lock 'tws'" in record.getMessage()]
    assert len(waiting) == 1
    assert "child" in waiting[0].getMessage()


@pytest.mark.parametrize("name", ["../tws", "a/b", "", ".", "..", ".hidden", "a..b", "a b", "tws\n"])
def test_names_that_would_leave_the_directory_are_refused(tmp_path, name):
    with pytest.raises(UnsafeNameError), hold(name, tmp_path):
        pytest.fail("held")
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_written_does_not_stop_the_work(tmp_path, caplog):
    (tmp_path / "tws.holder.json").mkdir()
    with hold("tws", tmp_path):
        assert "could not be written" in caplog.text
