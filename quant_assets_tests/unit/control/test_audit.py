"""The audit chain: written by several processes, torn by a kill, forged by hand."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from quant_assets.clock import ManualClock
from quant_assets.control import audit
from quant_assets.control.audit import AuditLog, ChainFinding, read, verify
from quant_assets.errors import ConfigurationError, DiskFullError


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", ManualClock(datetime(2024, 1, 2, 21, 0, 0, 250, tzinfo=UTC)))


def lines(log):
    return log.path.read_bytes().splitlines()


def test_fields_of_an_event(log):
    log.record("ingest.request", run_id="r1", symbol="AAPL", rows=390, status="ok", current=1, total=8, eta_s=12.5)
    assert {key: value for key, value in json.loads(lines(log)[0]).items() if key != "hash"} == {
        "timestamp": "2024-01-02T21:00:00.000250Z",
        "event": "ingest.request",
        "run_id": "r1",
        "symbol": "AAPL",
        "rows": 390,
        "status": "ok",
        "progress": {"current": 1, "total": 8, "percent": 12.5, "eta_seconds": 12.5},
        "prev_hash": "0" * 64,
    }


def test_the_hash_can_be_recomputed_without_this_package(log):
    log.record("a", note="Žižkov ✓")
    log.record("b")
    previous = "0" * 64
    for raw in lines(log):
        line = json.loads(raw)
        claimed = line.pop("hash")
        assert line["prev_hash"] == previous
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == claimed
        previous = claimed


def test_a_whole_chain_has_no_findings_and_an_absent_log_neither(log):
    assert verify(log.path) == []
    for number in range(20):
        log.record("tick", rows=number)
    assert verify(log.path) == []
    assert [line["rows"] for line in read(log.path)] == list(range(20))


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (lambda held: [held[0], held[1].replace(b'"rows": 1', b'"rows": 9'), *held[2:]], [(2, "hash_mismatch")]),
        (lambda held: [held[0], *held[2:]], [(2, "chain_broken")]),
        (lambda held: [held[1], held[0], *held[2:]], [(1, "chain_broken"), (2, "chain_broken"), (3, "chain_broken")]),
        (lambda held: held[1:], [(1, "chain_broken")]),
        (lambda held: [*held[:2], b"hello", *held[2:]], [(3, "not_json")]),
        (lambda held: [*held[:2], b"[1, 2]", *held[2:]], [(3, "not_json")]),
        (lambda held: [held[0], held[1][:30], *held[2:]], [(2, "torn"), (3, "chain_broken")]),
    ],
    ids=["edited", "removed", "swapped", "beheaded", "inserted", "inserted-json", "cut-in-the-middle"],
)
def test_forgeries_are_found(log, forge, expected):
    for number in range(4):
        log.record("tick", rows=number)
    log.path.write_bytes(b"".join(line + b"\n" for line in forge(lines(log))))
    findings = verify(log.path)
    assert [(finding.line, finding.problem) for finding in findings] == expected
    assert any(finding.is_tampering for finding in findings)


@pytest.mark.parametrize("cut", [1, 5, 40, -2])
def test_a_torn_last_line_is_torn_and_not_tampering(log, cut):
    log.record("whole")
    whole = log.path.stat().st_size
    log.record("torn")
    torn = log.path.read_bytes()[whole:][:cut]
    os.truncate(log.path, whole + len(torn))

    assert [(finding.line, finding.problem) for finding in verify(log.path)] == [(2, "torn")]
    log.record("after")
    findings = verify(log.path)
    assert [(finding.line, finding.problem, finding.is_tampering) for finding in findings] == [(2, "torn", False)]
    assert [line["event"] for line in read(log.path)] == ["whole", "after"]
    assert lines(log)[1] == torn, "the torn bytes stay as they are, on a line of their own"


def test_a_line_without_its_newline_is_still_a_link(log):
    log.record("a")
    log.record("b")
    os.truncate(log.path, log.path.stat().st_size - 1)
    log.record("c")
    assert [line["event"] for line in read(log.path)] == ["a", "b", "c"]
    assert verify(log.path) == []


def test_zeros_after_a_power_cut_are_torn(log):
    log.record("a")
    with log.path.open("ab") as file:
        file.write(b"\0" * 100)
    log.record("b")
    assert [finding.problem for finding in verify(log.path)] == ["torn"]


def test_a_line_longer_than_the_block_that_is_read_back(log):
    log.record("long", note="x" * 200_000)
    log.record("b")
    log.record("c")
    assert verify(log.path) == []


def test_only_the_end_of_a_long_log_is_read(log, monkeypatch):
    log.record("first", note="x" * 1_000_000)
    log.record("last")
    read_bytes = []
    real = os.pread
    monkeypatch.setattr(audit.os, "pread", lambda *a: read_bytes.append(a[1]) or real(*a))
    log.record("next")
    assert sum(read_bytes) < 100_000


APPEND_MANY = """
import sys
from pathlib import Path
from quant_assets.control.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
for number in range(60):
    log.record("tick", run_id=sys.argv[2], rows=number)
"""


def test_several_processes_write_one_chain(log):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    children = [
        subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(log.path), str(name)], env=env) for name in range(4)
    ]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    assert verify(log.path) == []
    for name in range(4):
        assert [line["rows"] for line in read(log.path) if line["run_id"] == str(name)] == list(range(60))


def test_the_end_of_a_line_that_was_half_there_is_no_line_of_its_own(log, monkeypatch):
    """A line that crosses a page becomes visible in two steps; here the second comes while the first is judged."""
    log.record("first")
    whole_until = log.path.stat().st_size
    log.record("second")
    second = log.path.read_bytes()[whole_until:]
    os.truncate(log.path, whole_until + len(second) // 2)
    real = json.loads

    def loads(raw):
        if second.startswith(raw):
            with log.path.open("ab") as file:
                file.write(second[len(raw) :])
        return real(raw)

    monkeypatch.setattr(audit.json, "loads", loads)
    assert [(finding.line, finding.problem) for finding in verify(log.path)] == [(2, "torn")]
    assert verify(log.path) == []
    assert [line["event"] for line in read(log.path)] == ["first", "second"]


def test_a_log_that_has_no_line_yet_when_it_is_opened_is_whole(log, monkeypatch):
    log.record("first")
    empty = os.stat_result([0] * 10)
    monkeypatch.setattr(audit.os, "fstat", lambda _: empty)
    assert verify(log.path) == []
    assert list(read(log.path)) == []


def test_kill_9_while_writing_leaves_a_log_that_goes_on(log):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    endless = APPEND_MANY.replace("range(60)", "range(10**9)")
    child = subprocess.Popen([sys.executable, "-c", endless, str(log.path), "child"], env=env)
    while not log.path.exists() or log.path.stat().st_size < 5_000:
        assert child.poll() is None
    child.kill()
    child.wait()
    log.record("after")
    assert not [finding for finding in verify(log.path) if finding.is_tampering]
    assert list(read(log.path))[-1]["event"] == "after"


def test_a_full_disk_stops_the_caller_because_the_log_is_a_record(log, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    log.record("before")
    monkeypatch.setattr(audit.os, "write", full)
    with pytest.raises(DiskFullError, match="No space left"):
        log.record("after")
    monkeypatch.undo()
    assert verify(log.path) == []


def test_another_reason_is_no_full_disk(log):
    log.path.mkdir()
    with pytest.raises(ConfigurationError, match=r"audit\.jsonl: it cannot be written \(Is a directory\)"):
        log.record("a")


@pytest.mark.parametrize("field", ["timestamp", "hash", "prev_hash", "progress"])
def test_fields_of_the_chain_cannot_be_given(log, field):
    with pytest.raises(ValueError, match=field):
        log.record("a", **{field: "x"})


def test_nan_is_refused_before_it_makes_a_line_that_is_no_json(log):
    with pytest.raises(ValueError, match="JSON"):
        log.record("a", value=float("nan"))
    assert verify(log.path) == []


def test_findings_read_well():
    assert ChainFinding(3, "torn", "x").is_tampering is False
    assert ChainFinding(3, "chain_broken", "x").is_tampering is True
