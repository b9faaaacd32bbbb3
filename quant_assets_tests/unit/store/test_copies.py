"""Month copies: equal to the session files, preferred only while they are, and never missed when they are gone."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.domain.tables import RAW_TWS_BARS
from quant_assets.errors import CorruptCopyError, CorruptFileError
from quant_assets.lakehouse import compaction, copies, pages
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore, curated
from quant_assets_tests.builders import curated_bars
from quant_assets_tests.opening import opened_files

MAY = [date(2024, 5, day) for day in (29, 30, 31)]
JUNE = [date(2024, 6, day) for day in (3, 4, 5)]
DAYS = [*MAY, *JUNE]
EVERY = [Partition(day) for day in DAYS]
IDS = (101, 102, 205)


def bars(session, ids=IDS, shift=0.0):
    parts = [
        curated_bars(
            [100.0 + con_id + minute + session.day / 100 + shift for minute in range(5)], session=session, con_id=con_id
        )
        for con_id in ids
    ]
    return pl.concat(parts)


@pytest.fixture
def plain(tmp_path):
    """Sessions of two months, no copies."""
    store = CuratedStore(Layout(tmp_path / "data"))
    for day in DAYS:
        store.write(BARS, Partition(day), bars(day))
    return store


@pytest.fixture
def store(plain):
    """The same with a copy of each month, one instrument to a row group."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "_GROUP_ROWS", 1)
        for month in ("2024-05", "2024-06"):
            compaction.compact(plain, BARS, month)
    return CuratedStore(plain.layout)


def read_files(store, partitions=EVERY):
    """The independent answer: each session's file, read whole by Polars itself."""
    files = [store.layout.file(BARS, partition) for partition in partitions]
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])


def test_readers_answer_from_copies_what_the_session_files_hold(store):
    whole = read_files(store)
    assert store.read_many(BARS, EVERY).equals(whole)
    assert store.read_many(BARS, EVERY, con_ids=[102]).equals(whole.filter(pl.col("con_id") == 102))
    some = store.read_many(BARS, EVERY[1:5], ["ts", "close"], [101, 205])
    inside = whole.filter(pl.col("session").is_between(DAYS[1], DAYS[4]) & pl.col("con_id").is_in([101, 205]))
    assert some.equals(inside.select("ts", "close"))
    assert store.read_many(BARS, EVERY, con_ids=[]).is_empty()
    assert store.read_many(BARS, EVERY, con_ids=[1, 103, 999]).equals(BARS.empty())
    assert store.read_many(BARS, [*EVERY, Partition(date(2024, 6, 6))]).equals(whole), "a session that is missing"


def test_a_wide_read_in_order_takes_the_session_files_and_one_without_order_the_copies(store):
    whole = read_files(store)
    with opened_files() as opened:
        assert store.read_many(BARS, EVERY).equals(whole)
        assert not [path for path in opened() if path.is_relative_to(store.layout.copies)]
        opened.clear()
        found = store.read_many(BARS, EVERY, in_order=False)
        assert {path.parent.name for path in opened()} == {BARS.name}, "copies only"
    assert found.sort("session", "con_id", "ts").equals(whole)


def test_many_instruments_in_one_row_group_are_told_apart(plain):
    compaction.compact(plain, BARS, "2024-05")
    metadata = pq.read_metadata(plain.layout.copy(BARS, "2024-05"))
    assert metadata.num_row_groups == 1
    expected = read_files(plain, EVERY[:3])
    for ids in ([102], [101, 205], [205, 102]):
        found = plain.read_many(BARS, EVERY[:3], ["ts", "close"], ids)
        assert found.equals(expected.filter(pl.col("con_id").is_in(ids)).select("ts", "close"))


def test_one_instrument_and_month_open_one_file_and_a_year_as_many_as_months(store):
    with opened_files() as opened:
        store.read_many(BARS, EVERY[:3], con_ids=[102])
        assert set(opened()) == {store.layout.copy(BARS, "2024-05")}
        opened.clear()
        store.read_many(BARS, EVERY, con_ids=[102])
        assert set(opened()) == {store.layout.copy(BARS, month) for month in ("2024-05", "2024-06")}
        opened.clear()
        store.read_many(BARS, EVERY, con_ids=[102])
        assert len(opened()) == 2, "the second time, the indexes are known and each copy is opened once"


def test_only_the_asked_row_group_is_decoded(store, monkeypatch):
    asked = []
    original = copies._row_groups
    monkeypatch.setattr(
        copies,
        "_row_groups",
        lambda share, stream, groups, names: asked.append((groups, names)) or original(share, stream, groups, names),
    )
    expected = read_files(store, EVERY[:3]).filter(pl.col("con_id") == 102).select("symbol", "close")
    assert store.read_many(BARS, EVERY[:3], ["symbol", "close"], [102]).equals(expected)
    assert asked == [([1], ["symbol"])], "of text, one row group is decoded; numbers are not decoded at all"


@pytest.mark.parametrize("group_rows", [1, 100])
def test_of_numbers_only_the_bytes_of_the_asked_instrument_are_read(plain, monkeypatch, group_rows):
    monkeypatch.setattr(compaction, "_GROUP_ROWS", group_rows)
    compaction.compact(plain, BARS, "2024-05")
    sizes, original = [], os.preadv
    monkeypatch.setattr(
        pages.os,
        "preadv",
        lambda fd, into, at: (
            sizes.extend(len(one) for one in into if isinstance(one, memoryview)) or original(fd, into, at)
        ),
    )
    expected = read_files(plain, EVERY[:3]).filter(pl.col("con_id") == 205).select("ts", "close", "bar_count")
    assert plain.read_many(BARS, EVERY[:3], expected.columns, [205]).equals(expected)
    assert sizes == [15 * 8] * 3


def test_columns_that_are_written_otherwise_are_decoded(plain, monkeypatch):
    original = pq.ParquetWriter
    for changed in ({"compression": "ZSTD"}, {"use_dictionary": True}, {"data_page_size": 8}):
        monkeypatch.setattr(pq, "ParquetWriter", lambda *args, _c=changed, **kw: original(*args, **(kw | _c)))
        compaction.compact(plain, BARS, "2024-05")
        expected = read_files(plain, EVERY[:3]).filter(pl.col("con_id") == 102).select("ts", "close")
        assert plain.read_many(BARS, EVERY[:3], ["ts", "close"], [102]).equals(expected), changed


@pytest.mark.parametrize("is_known", [False, True], ids=["never read", "read before"])
def test_a_page_of_numbers_that_is_none_costs_no_answer(store, caplog, is_known):
    path = store.layout.copy(BARS, "2024-05")
    asked = {"columns": ["ts", "close", "volume"], "con_ids": [102]}
    expected = store.read_many(BARS, EVERY, **asked) if is_known else None
    metadata, stat = pq.read_metadata(path), path.stat()
    place = next(at for at in range(metadata.num_columns) if metadata.schema.column(at).name == "close")
    data = bytearray(path.read_bytes())
    start = metadata.row_group(1).column(place).data_page_offset
    data[start : start + 8] = bytes(8)
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = store.read_many(BARS, EVERY, **asked)
    assert found.equals(read_files(store).filter(pl.col("con_id") == 102).select(found.columns))
    assert expected is None or found.equals(expected)
    assert f"{path}" in caplog.text, "the session files answered, and it is said why"


def test_nulls_are_decoded(plain):
    rows = bars(MAY[0]).with_columns(pl.when(pl.col("con_id") == 102).then(None).otherwise("volume").alias("volume"))
    plain.write(BARS, Partition(MAY[0]), rows)
    compaction.compact(plain, BARS, "2024-05")
    for ids in ([101], [102], [102, 205]):
        expected = read_files(plain, EVERY[:3]).filter(pl.col("con_id").is_in(ids)).select("ts", "volume")
        assert plain.read_many(BARS, EVERY[:3], ["ts", "volume"], ids).equals(expected)


def test_without_copies_the_files_of_the_asked_sessions_are_opened_and_no_other(plain):
    with opened_files() as opened:
        plain.read_many(BARS, EVERY[1:3], con_ids=[102])
        assert opened() == [plain.layout.file(BARS, partition) for partition in EVERY[1:3]]


def test_no_reader_opens_a_file_behind_pythons_back(store, monkeypatch):
    for module, name in ((pl, "scan_parquet"), (pl, "read_parquet"), (pq, "ParquetFile"), (pq, "read_metadata")):
        original = getattr(module, name)

        def watched(source, *args, _original=original, **kwargs):
            sources = source if isinstance(source, list) else [source]
            assert all(hasattr(one, "fileno") for one in sources), sources
            return _original(source, *args, **kwargs)

        monkeypatch.setattr(module, name, watched)
    copies._load.cache_clear()
    assert store.read_many(BARS, EVERY, con_ids=[102]).height == 5 * len(DAYS)
    assert store.read_many(BARS, EVERY).height == 15 * len(DAYS)
    shutil.rmtree(store.layout.copies)
    assert store.read_many(BARS, EVERY, con_ids=[102]).height == 5 * len(DAYS)
    assert store.read(BARS, EVERY[0]).height == 15


@pytest.fixture(params=[0, 64], ids=["while the copies are read", "before"])
def looked(request, monkeypatch):
    """When the session files are looked at: for many sessions it is done beside the reading."""
    monkeypatch.setattr(curated, "_SOON", request.param)


@pytest.mark.usefixtures("looked")
def test_a_session_that_was_published_again_is_read_from_its_own_file(store):
    store.write(BARS, Partition(DAYS[1]), bars(DAYS[1], shift=7.0))
    with opened_files() as opened:
        found = store.read_many(BARS, EVERY, con_ids=[102])
        assert store.layout.file(BARS, Partition(DAYS[1])) in opened()
        assert store.layout.file(BARS, Partition(DAYS[0])) not in opened()
    assert found.equals(read_files(store).filter(pl.col("con_id") == 102)), "in the order of the sessions"
    assert store.read_many(BARS, EVERY).equals(read_files(store))
    month = compaction.months(store, BARS)[0]
    assert (month.state, str(DAYS[1]) in month.why) == ("stale", True)


@pytest.mark.usefixtures("looked")
def test_a_copy_never_makes_up_for_the_file_of_another_session(store):
    shutil.copy(store.layout.file(BARS, EVERY[0]), store.layout.file(BARS, EVERY[1]))
    for con_ids in ([102], None):
        with pytest.raises(CorruptFileError, match=f"session={DAYS[1]}.*curated_tws_1m_bars.{DAYS[0]}"):
            store.read_many(BARS, EVERY, con_ids=con_ids)


@pytest.mark.usefixtures("looked")
def test_a_session_that_was_withdrawn_is_not_answered_from_a_copy(store):
    store.layout.file(BARS, Partition(DAYS[0])).unlink()
    assert store.read_many(BARS, EVERY, con_ids=[102])["session"].unique().sort().to_list() == DAYS[1:]


@pytest.mark.usefixtures("looked")
def test_a_file_that_cannot_be_looked_at_is_not_answered_from_a_copy(store):
    directory = store.layout.file(BARS, Partition(DAYS[0])).parent
    shutil.rmtree(directory)
    directory.symlink_to(directory)
    with pytest.raises(OSError, match=str(DAYS[0])):
        store.read_many(BARS, EVERY, con_ids=[102])
    assert store.read_many(BARS, EVERY[1:], con_ids=[102]).height == 5 * len(EVERY[1:]), "the others are"


@pytest.mark.usefixtures("looked")
def test_a_session_that_is_newer_than_the_copy_is_added(store):
    newer = date(2024, 6, 6)
    store.write(BARS, Partition(newer), bars(newer))
    partitions = [*EVERY, Partition(newer)]
    assert store.read_many(BARS, partitions).equals(read_files(store, partitions))
    assert [month.state for month in compaction.months(store, BARS)] == ["current", "behind"]


@pytest.mark.usefixtures("looked")
def test_a_file_that_was_restored_from_a_backup_is_still_the_one_that_was_copied(store):
    file = store.layout.file(BARS, EVERY[0])
    os.utime(file, ns=(1, 1))
    with opened_files() as opened:
        assert store.read_many(BARS, EVERY[:3], con_ids=[102]).height == 15
        assert store.layout.file(BARS, EVERY[1]) not in opened()
    assert compaction.months(store, BARS)[0].state == "current"


AT_THE_END = """
import atexit, sys, threading
from datetime import date
from pathlib import Path
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.store import CuratedStore, curated

curated._SOON = 0
store = CuratedStore(Layout(Path(sys.argv[1])))

def tell():
    print(store.read_many(BARS, store.partitions(BARS), ["close"], [102])["close"].to_list(), flush=True)

def outlive():
    threading.main_thread().join()
    tell()

atexit.register(tell)
threading.Thread(target=outlive).start()
"""


def test_a_thread_that_outlives_the_main_one_is_answered_and_so_is_the_end_of_the_process(store):
    command = [sys.executable, "-c", AT_THE_END, str(store.layout.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = read_files(store).filter(pl.col("con_id") == 102)["close"].to_list()
    assert done.stdout.splitlines() == [str(expected)] * 2, done.stderr


@pytest.mark.usefixtures("looked")
def test_a_colon_in_the_name_of_a_relative_root_is_no_scheme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = CuratedStore(Layout(Path("lake:v2")))
    for day in DAYS:
        store.write(BARS, Partition(day), bars(day))
    compaction.compact(store, BARS, "2024-05")
    assert compaction.months(store, BARS)[0].state == "current"
    assert store.read_many(BARS, EVERY, con_ids=[102]).equals(read_files(store).filter(pl.col("con_id") == 102))
    store.write(BARS, EVERY[0], bars(DAYS[0], shift=7.0))
    assert store.read_many(BARS, EVERY, con_ids=[102]).equals(read_files(store).filter(pl.col("con_id") == 102))


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 5000])
def test_a_damaged_copy_costs_no_answer(store, damage):
    store.layout.copy(BARS, "2024-05").write_bytes(damage)
    assert store.read_many(BARS, EVERY, con_ids=[102]).equals(read_files(store).filter(pl.col("con_id") == 102))
    assert compaction.months(store, BARS)[0].state == "foreign"
    compaction.compact(store, BARS, "2024-05")
    assert compaction.months(store, BARS)[0].state == "current"


def test_rotten_pages_of_a_copy_cost_no_answer(store):
    path = store.layout.copy(BARS, "2024-05")
    data = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    assert store.read_many(BARS, EVERY, con_ids=[101]).equals(read_files(store).filter(pl.col("con_id") == 101))


def test_all_copies_can_be_deleted(store):
    before = store.read_many(BARS, EVERY)
    shutil.rmtree(store.layout.copies)
    assert store.read_many(BARS, EVERY).equals(before)
    assert [month.state for month in compaction.months(store, BARS)] == ["absent", "absent"]


def test_what_is_written_wrongly_is_never_put_in_place(store, monkeypatch):
    path = store.layout.copy(BARS, "2024-05")
    before = path.read_bytes()
    original = pq.ParquetWriter.write_table

    def wrong(self, table, **options):
        close = table.schema.get_field_index("close")
        changed = pl.Series(table["close"].to_pylist()) + 1e-9
        return original(self, table.set_column(close, table.schema.field(close), changed.to_arrow()), **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", wrong)
    with pytest.raises(CorruptCopyError, match=r"2024-05-29 differs"):
        compaction.compact(store, BARS, "2024-05")
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".staged-*"))


def test_a_session_file_that_is_not_what_its_footer_says_is_not_copied(store):
    file = store.layout.file(BARS, EVERY[0])
    other = bars(DAYS[0], shift=1.0)
    metadata = pl.read_parquet_metadata(file)
    other.write_parquet(file, metadata={"quant_assets": metadata["quant_assets"]})
    before = store.layout.copy(BARS, "2024-05").read_bytes()
    with pytest.raises(CorruptFileError, match="not what its footer says"):
        compaction.compact(store, BARS, "2024-05")
    assert store.layout.copy(BARS, "2024-05").read_bytes() == before


def test_a_session_file_that_was_altered_since_is_blamed_and_not_its_copy(store):
    index, file = store.copies.index(BARS, "2024-05"), store.layout.file(BARS, EVERY[0])
    metadata = pl.read_parquet_metadata(file)
    bars(DAYS[0], shift=1.0).write_parquet(file, metadata={"quant_assets": metadata["quant_assets"]})
    with pytest.raises(CorruptFileError, match="not what its footer says"):
        compaction.prove(store, BARS, store.layout.copy(BARS, "2024-05"), dict(index.sources))


def test_the_proof_finds_a_row_too_many(store, tmp_path):
    path = store.layout.copy(BARS, "2024-05")
    index = store.copies.index(BARS, "2024-05")
    frame = pl.read_parquet(path, hive_partitioning=False)
    foreign = frame.head(1).with_columns(pl.lit(date(2024, 5, 28)).alias("session"))
    more = tmp_path / "more.parquet"
    pl.concat([frame, foreign]).write_parquet(more)
    with pytest.raises(CorruptCopyError, match="46 rows, its session files 45"):
        compaction.prove(store, BARS, more, dict(index.sources))
    compaction.prove(store, BARS, path, dict(index.sources))


def rewrite(store, day, shift=0.0):
    """Let another file take a session's place, as a rebuild does after the first was moved away."""
    file = store.layout.file(BARS, Partition(day))
    file.unlink()
    store.write(BARS, Partition(day), bars(day, shift=shift))
    os.utime(file, ns=(1, 1))


def test_a_copy_is_proven_by_an_equal_file_whenever_that_was_written(store):
    index = store.copies.index(BARS, "2024-05")
    rewrite(store, DAYS[0])
    assert compaction.months(store, BARS)[0].state == "current"
    compaction.prove(store, BARS, store.layout.copy(BARS, "2024-05"), dict(index.sources))


def test_when_rows_became_known_is_no_content_and_an_equal_file_proves_the_copy(store):
    index = store.copies.index(BARS, "2024-05")
    file = store.layout.file(BARS, EVERY[0])
    file.unlink()
    store.write(BARS, EVERY[0], bars(DAYS[0]).with_columns(pl.col("known_at") + timedelta(hours=1)))
    assert store.read_many(BARS, EVERY[:3], ["close"], [102]).height == 15
    compaction.prove(store, BARS, store.layout.copy(BARS, "2024-05"), dict(index.sources))


def test_an_equal_file_does_not_prove_a_copy_with_other_rows(store, tmp_path):
    index = store.copies.index(BARS, "2024-05")
    rewrite(store, DAYS[0])
    other = tmp_path / "other.parquet"
    changed = pl.when(pl.col("session") == DAYS[0]).then(pl.col("close") + 1e-9).otherwise("close").alias("close")
    pl.read_parquet(store.layout.copy(BARS, "2024-05"), hive_partitioning=False).with_columns(changed).write_parquet(
        other
    )
    with pytest.raises(CorruptCopyError, match="2024-05-29 differs"):
        compaction.prove(store, BARS, other, dict(index.sources))


def test_a_session_that_gets_other_rows_while_its_month_is_copied_ends_the_compaction(store, monkeypatch):
    before, write = store.layout.copy(BARS, "2024-05").read_bytes(), compaction._write

    def overtaken(*args):
        rows = write(*args)
        rewrite(store, DAYS[0], shift=1.0)
        return rows

    monkeypatch.setattr(compaction, "_write", overtaken)
    with pytest.raises(CorruptCopyError, match="2024-05-29 was published again meanwhile"):
        compaction.compact(store, BARS, "2024-05")
    assert store.layout.copy(BARS, "2024-05").read_bytes() == before


def test_a_copy_records_the_content_ids_that_it_was_made_from(store):
    said = json.loads(pq.read_metadata(store.layout.copy(BARS, "2024-05")).metadata[copies.KEY.encode()])
    ids = {day: source["content_id"] for day, source in said["sources"].items()}
    assert ids == {str(day): store.footer(BARS, Partition(day)).content_id for day in MAY}


def test_blocks_of_instruments_bound_the_memory_and_change_nothing(store, monkeypatch):
    before = pl.read_parquet(store.layout.copy(BARS, "2024-05"), hive_partitioning=False)
    monkeypatch.setattr(compaction, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(compaction, "_GROUP_ROWS", 1)
    made = compaction.compact(store, BARS, "2024-05")
    assert made.rows == before.height
    assert pl.read_parquet(store.layout.copy(BARS, "2024-05"), hive_partitioning=False).equals(before)


def test_a_leftover_of_a_killed_compaction_is_removed_and_is_no_copy(store):
    leftover = store.layout.copies / BARS.name / ".staged-0123456789ab-month=2024-05.parquet"
    leftover.write_bytes(b"half")
    assert [month.state for month in compaction.months(store, BARS)] == ["current", "current"]
    compaction.compact(store, BARS, "2024-05")
    assert not leftover.exists()


def test_bronze_is_never_copied(store):
    assert not copies.has_copies(RAW_TWS_BARS)
    assert compaction.months(store, RAW_TWS_BARS) == []


def test_the_rows_of_one_instrument_ascend_without_the_sort(store):
    found = store.read_many(BARS, EVERY, ["con_id", "ts"], in_order=False)
    assert found.sort("con_id", "ts").equals(read_files(store).select("con_id", "ts").sort("con_id", "ts"))
    for con_id in IDS:
        assert found.filter(pl.col("con_id") == con_id)["ts"].is_sorted()


def test_sessions_far_apart_and_in_any_order(store):
    asked = [EVERY[4], EVERY[0], EVERY[4]]
    assert store.read_many(BARS, asked).equals(read_files(store, [EVERY[0], EVERY[4]]))
    beyond = Partition(DAYS[-1] + timedelta(days=400))
    assert store.read_many(BARS, [beyond, *asked]).height == 30
