import json
import os
import stat
import threading
from datetime import UTC, datetime

import pytest

from quant_assets.clock import ManualClock
from quant_assets.control.status import read_status, status_path, write_status
from quant_assets.errors import CorruptFileError, DiskFullError, UnsafeNameError

NOW = datetime(2024, 1, 2, 21, 0, tzinfo=UTC)


def test_round_trip_and_the_exact_file(tmp_path):
    written = write_status(
        "migration",
        tmp_path,
        "verification",
        clock=ManualClock(NOW),
        health_check="ok",
        candidate_count=50,
        lock_id="abc",
        can_resume=True,
    )
    assert json.loads((tmp_path / "migration_status.json").read_text()) == {
        "phase": "verification",
        "last_update": "2024-01-02T21:00:00.000000Z",
        "health_check": "ok",
        "candidate_count": 50,
        "lock_id": "abc",
        "can_resume": True,
        "paused_since": None,
    }
    assert read_status("migration", tmp_path) == written
    assert not written.is_complete


def test_a_stage_that_never_ran_has_no_status(tmp_path):
    assert read_status("migration", tmp_path) is None


def test_only_complete_opens_the_gate(tmp_path):
    assert write_status("m", tmp_path, "complete", clock=ManualClock(NOW)).is_complete


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"phase": "nearly", "last_update": "2024-01-02T21:00:00Z"}'])
def test_a_broken_file_is_named_with_its_mend(tmp_path, text):
    status_path("m", tmp_path).write_text(text)
    with pytest.raises(CorruptFileError, match=r"m_status\.json.*`quant flow data` writes it anew"):
        read_status("m", tmp_path)


def test_a_reader_never_sees_half_a_status(tmp_path):
    write_status("m", tmp_path, "ingestion", clock=ManualClock(NOW))
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            write_status("m", tmp_path, "ingestion", clock=ManualClock(NOW), lock_id="x" * 5_000)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(300):
            assert read_status("m", tmp_path).phase == "ingestion"
    finally:
        stop.set()
        writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["m_status.json"]


def test_when_it_cannot_be_written_the_old_one_stands(tmp_path, monkeypatch):
    write_status("m", tmp_path, "ingestion", clock=ManualClock(NOW))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError):
        write_status("m", tmp_path, "complete", clock=ManualClock(NOW))
    monkeypatch.undo()
    assert read_status("m", tmp_path).phase == "ingestion"
    assert [path.name for path in tmp_path.iterdir()] == ["m_status.json"]


def test_the_file_and_its_place_in_the_directory_are_on_disk(tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync

    def watched(descriptor):
        flushed.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", watched)
    write_status("m", tmp_path, "complete", clock=ManualClock(NOW))
    assert flushed == ["file", "directory"]


def test_unsafe_stage_names_are_refused(tmp_path):
    with pytest.raises(UnsafeNameError):
        status_path("../x", tmp_path)
