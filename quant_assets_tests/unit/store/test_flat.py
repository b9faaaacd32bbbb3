"""What a run costs does not grow with history: counted in files and directories opened, not in time."""

import json
import shutil
import sys
from dataclasses import replace
from datetime import date, timedelta

import pytest

from quant_assets.domain.tables import BY_NAME, RAW_TWS_DAILY_BARS
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.curate import Curator
from quant_assets.flows.derive import publish_group
from quant_assets.flows.ingest.vintages import FULL_EVERY, vintages_near
from quant_assets.lakehouse import manifest as manifest_module
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore, RawStore
from quant_assets_tests.builders import SESSION, small_rows, small_table
from quant_assets_tests.opening import opened_files
from quant_assets_tests.unit.flows.lab import PER_MINUTE, Lab, after
from quant_assets_tests.unit.flows.lab import SESSION as LAB_SESSION

TABLE = small_table()
_SCANNED: list[list[str]] = []
sys.addaudithook(
    lambda event, arguments: [one.append(str(arguments[0])) for one in _SCANNED] if event == "os.scandir" else None
)


@pytest.fixture
def scanned():
    record: list[str] = []
    _SCANNED.append(record)
    yield record
    _SCANNED.remove(record)


def history(root, n_sessions):
    """A store whose manifest and directories tell of many sessions; each has the same little file."""
    store = CuratedStore(Layout(root))
    store.write(TABLE, Partition(SESSION), small_rows({1: 1.0}))
    file, path = store.layout.file(TABLE, Partition(SESSION)), store.layout.manifest(TABLE)
    line = json.loads(path.read_text())
    lines = []
    for number in range(1, n_sessions):
        partition = Partition(SESSION - timedelta(days=number))
        copy = store.layout.file(TABLE, partition)
        copy.parent.mkdir(parents=True)
        shutil.copy(file, copy)
        stat = copy.stat()
        name = copy.relative_to(store.layout.lakehouse).as_posix()
        own = {"path": name, "partition": partition.key, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        lines.append(json.dumps({**line, **own}, sort_keys=True) + "\n")
    path.write_text("".join(reversed(lines)) + path.read_text())
    return CuratedStore(store.layout)


@pytest.mark.parametrize("n_sessions", [10, 2500])
def test_a_footer_is_one_line_of_the_manifest_however_long_it_is(tmp_path, n_sessions, monkeypatch):
    store = history(tmp_path, n_sessions)
    parsed = []
    original = manifest_module.Entry.from_line
    monkeypatch.setattr(manifest_module.Entry, "from_line", lambda line: parsed.append(line) or original(line))
    with opened_files("") as opened:
        assert store.footer(TABLE, Partition(SESSION)).partition == str(SESSION)
        assert opened() == [store.layout.manifest(TABLE)]
        assert store.footer(TABLE, Partition(SESSION - timedelta(days=n_sessions - 1))).n_rows == 1
        assert set(opened()) == {store.layout.manifest(TABLE)}
    assert len(parsed) == 2


@pytest.mark.parametrize("n_sessions", [10, 2500])
def test_the_newest_partition_is_found_without_looking_into_the_others(tmp_path, n_sessions, scanned):
    store = history(tmp_path, n_sessions)
    scanned.clear()
    assert store.newest(TABLE) == Partition(SESSION)
    assert store.newest(TABLE, until=SESSION - timedelta(days=5)) == Partition(SESSION - timedelta(days=5))
    assert len(scanned) == 2 * 3, "the table's directory, the session's, and whether it has profiles; twice"
    assert store.newest(small_table(name="never")) is None


@pytest.mark.parametrize("n_vintages", [80, 2500])
def test_the_vintages_near_a_session_are_found_without_looking_into_the_others(tmp_path, n_vintages, scanned):
    """A vintage per session: those before the newest session are as many as it takes, however many there are."""
    with Lab(tmp_path).at(after(LAB_SESSION)) as work:
        listed = work.calendar.window(LAB_SESSION, n_vintages)
        root = work.layout.table(RAW_TWS_DAILY_BARS)
        for day in listed:
            (root / f"vintage={day}").mkdir(parents=True)
            (root / f"vintage={day}" / "a.parquet").touch()
        scanned.clear()
        assert vintages_near(work, listed[-1]) == listed[-FULL_EVERY:]
        assert len(scanned) <= 1 + FULL_EVERY
        assert vintages_near(work, listed[40])[:FULL_EVERY] == listed[41 - FULL_EVERY : 41]
        (root / f"vintage={listed[-1]}" / "a.parquet").unlink()
        assert vintages_near(work, listed[-1]) == listed[-1 - FULL_EVERY : -1], "an empty directory is no vintage"


def test_the_newest_line_about_a_file_counts_and_a_torn_one_does_not(tmp_path):
    store = CuratedStore(Layout(tmp_path))
    store.write(TABLE, Partition(SESSION), small_rows({1: 1.0}))
    second = store.write(TABLE, Partition(SESSION), small_rows({1: 2.0})).content_id
    path = store.layout.manifest(TABLE)
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[-1][:150] + "\n")
    assert CuratedStore(store.layout).footer(TABLE, Partition(SESSION)).content_id == second


def test_a_run_that_changes_nothing_opens_the_same_files_after_a_longer_history(tmp_path):
    lab = Lab(tmp_path)
    lab.run([LAB_SESSION])
    counts = {}
    for n_sessions in (60, 240):
        grow(lab, n_sessions)
        again(lab)  # older vintages are another input: once, there is something to compute
        counts[n_sessions] = again(lab)
    (written, short), (written_later, long) = counts[60], counts[240]
    assert (written, written_later) == (0, 0)
    assert 0 < len(long) == len(short)


def again(lab):
    """Run the data cycle's derived part; return the rows that were written, and what was opened in the lakehouse."""
    with lab.at(after(LAB_SESSION)) as work, opened_files("") as opened:
        curator = Curator(work)
        done = [Adjuster(work).publish(LAB_SESSION), *curator.minute_bars(LAB_SESSION), curator.daily_bars(LAB_SESSION)]
        done += [publish_group(work, group, LAB_SESSION) for group in PER_MINUTE]
        inside = [path for path in opened() if path.is_relative_to(work.layout.lakehouse) and "locks" not in path.parts]
    return sum(one.report.inserted + one.report.updated for one in done), inside


def grow(lab, n_sessions):
    """Give the lakehouse older sessions by copying what there is: bronze, silver and gold, vintages too."""
    store = RawStore(lab.lake.layout)
    for directory in sorted(lab.lake.layout.lakehouse.glob("*/*/*=*")):
        label, _, day = directory.name.partition("=")
        if date.fromisoformat(day) != LAB_SESSION:
            continue
        manifest, copied = store.manifest(BY_NAME[directory.parent.name]), []
        for older in (LAB_SESSION - timedelta(days=number) for number in range(1, n_sessions)):
            target = directory.with_name(f"{label}={older}")
            if not target.exists():
                shutil.copytree(directory, target)
                copied += [
                    (target / file.name, replace(manifest.lookup(file), partition=str(older)))
                    for file in directory.glob("*.parquet")
                ]
        newer = manifest.path.read_text()
        manifest.append(copied, "2024-03-15T02:00:00Z")
        manifest.path.write_text(manifest.path.read_text().removeprefix(newer) + newer)
