"""Bronze: batches are added and never touched; what a partition says does not depend on how it is cut."""

import os
import shutil
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.errors import CorruptFileError, ShapeError, UnsafeNameError
from quant_assets.lakehouse.bronze_rules import broken_rules
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import RawStore
from quant_assets_tests.builders import SESSION, instant, small_rows, small_table
from quant_assets_tests.opening import opened_files

TABLE = small_table(zone="bronze", key=("session", "con_id", "batch_id"), append_only=True)
AT = Partition(SESSION)


@pytest.fixture
def store(tmp_path):
    return RawStore(Layout(tmp_path))


def other(tmp_path, *batches):
    made = RawStore(Layout(tmp_path / "other"))
    for number, rows in enumerate(batches):
        made.append(TABLE, AT, rows, f"x{number}")
    return made


def test_batches_are_files_and_are_read_together(store):
    report = store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    store.append(TABLE, AT, small_rows({2: 2.0}, batch="b2"), "b2")
    assert (report.rows, report.inserted) == (1, 1)
    assert [file.name for file in store.batches(TABLE, AT)] == ["b1.parquet", "b2.parquet"]
    assert store.read(TABLE, AT).height == 2
    assert store.read(TABLE, AT, ["price"]).columns == ["price"]
    assert store.partitions(TABLE) == [AT]


def test_a_batch_is_never_overwritten(store):
    store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    path = store.batches(TABLE, AT)[0]
    before = path.read_bytes(), path.stat().st_ino
    with pytest.raises(FileExistsError, match="never overwritten"):
        store.append(TABLE, AT, small_rows({1: 9.0}), "b1")
    store.append(TABLE, AT, small_rows({1: 9.0}), "b2")
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_one_batch_of_several_partitions_is_a_file_in_each(store):
    later = Partition(SESSION + timedelta(days=1))
    reports = store.append_all(TABLE, {AT: small_rows({1: 1.0, 2: 2.0}), later: small_rows({3: 3.0})}, "b1")
    assert [(one.partition, one.rows, one.inserted) for one in reports] == [(AT.key, 2, 2), (later.key, 1, 1)]
    assert [file.name for file in (*store.batches(TABLE, AT), *store.batches(TABLE, later))] == ["b1.parquet"] * 2
    assert [store.n_rows(TABLE, one) for one in (AT, later)] == [2, 1]
    assert [one.content_id for one in reports] == [store.content_id(TABLE, one) for one in (AT, later)]


def test_a_batch_id_that_is_taken_in_one_partition_adds_nothing_to_the_others(store):
    later = Partition(SESSION + timedelta(days=1))
    store.append(TABLE, later, small_rows({1: 1.0}), "b1")
    with pytest.raises(FileExistsError, match="never overwritten"):
        store.append_all(TABLE, {AT: small_rows({1: 1.0}), later: small_rows({2: 2.0})}, "b1")
    with pytest.raises(ShapeError):
        store.append_all(TABLE, {AT: small_rows({1: 1.0}), later: small_rows({2: 2.0}).drop("price")}, "b2")
    assert store.batches(TABLE, AT) == []
    assert store.n_rows(TABLE, later) == 1


def test_a_batch_without_partitions_leaves_no_trace(store, tmp_path):
    assert store.append_all(TABLE, {}, "b1") == ()
    assert list(tmp_path.rglob("*")) == []


def test_names_of_batches_cannot_leave_the_directory(store):
    with pytest.raises(UnsafeNameError):
        store.append(TABLE, AT, small_rows({1: 1.0}), "../b1")


def test_the_content_id_does_not_depend_on_batching(store, tmp_path):
    one, two = small_rows({1: 1.0, 2: None}), small_rows({3: -0.0}, batch="b2")
    store.append(TABLE, AT, pl.concat([one, two]), "b1")
    apart = other(tmp_path, two, one)
    assert store.content_id(TABLE, AT) == apart.content_id(TABLE, AT)


def test_the_content_id_does_not_depend_on_equal_rows_that_came_twice(store, tmp_path):
    rows = small_rows({1: 1.0, 2: 2.0})
    store.append(TABLE, AT, rows, "b1")
    again = other(tmp_path, rows, small_rows({2: 2.0}, batch="b7", at=instant("2024-01-09 10:00")))
    assert store.content_id(TABLE, AT) == again.content_id(TABLE, AT)
    revised = other(tmp_path / "revised", rows, small_rows({2: 2.1}, batch="b7"))
    assert store.content_id(TABLE, AT) != revised.content_id(TABLE, AT)


def test_an_equal_row_twice_in_one_batch_counts_once(store, tmp_path):
    table = small_table(zone="bronze", key=("session", "con_id", "batch_id"))
    twice = pl.concat([small_rows({1: 1.0}), small_rows({1: 1.0}, batch="b2")])
    store.append(table, AT, twice, "b1")
    assert store.content_id(table, AT) == other(tmp_path, small_rows({1: 1.0})).content_id(TABLE, AT)


def test_the_input_id_changes_with_every_batch_and_opens_nothing(store):
    store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    first = store.input_id(TABLE, AT)
    store.append(TABLE, AT, small_rows({1: 1.0}, batch="b2"), "b2")
    with opened_files() as opened:
        assert store.input_id(TABLE, AT) != first
    assert opened() == []
    assert store.input_id(TABLE, Partition(SESSION.replace(day=9))) == RawStore(store.layout).input_id(
        small_table(name="x"), AT
    )


def test_the_watermark_is_the_newest_arrival_however_precise(store):
    assert store.watermark(TABLE, AT) == ""
    times = ["2024-01-03 22:00:00", "2024-01-03 22:00:00.000001", "2024-01-03 21:59:59.999999"]
    for number, text in enumerate(times):
        store.append(TABLE, AT, small_rows({1: 1.0}, batch=f"b{number}", at=instant(text)), f"b{number}")
    assert store.watermark(TABLE, AT) == "2024-01-03T22:00:00.000001+00:00"


def test_no_batch_is_an_empty_frame_of_the_right_shape(store):
    assert store.read(TABLE, AT).schema == TABLE.schema
    assert store.read(TABLE, AT, ["price"]).schema == {"price": pl.Float64}
    assert store.content_id(TABLE, AT) == other(store.layout.data).content_id(TABLE, AT)


def test_a_frame_of_another_shape_is_refused(store):
    with pytest.raises(ShapeError):
        store.append(TABLE, AT, small_rows({1: 1.0}).drop("price"), "b1")
    assert store.batches(TABLE, AT) == []


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda _: b"", lambda raw: os.urandom(len(raw))])
def test_a_damaged_batch_is_named_and_only_reading_it_fails(store, damage):
    store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    path = store.batches(TABLE, AT)[0]
    path.write_bytes(damage(path.read_bytes()))
    for ask in (lambda: store.read(TABLE, AT), lambda: RawStore(store.layout).watermark(TABLE, AT)):
        with pytest.raises(CorruptFileError, match="backup, or be fetched again after moving it aside") as caught:
            ask()
        assert str(path) in str(caught.value)
    day = Partition(SESSION.replace(day=4))
    store.append(TABLE, day, small_rows({1: 1.0}, session=day.session), "b1")
    assert store.read(TABLE, day).height == 1


def test_a_foreign_parquet_in_bronze_is_named(store):
    store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    stray = store.layout.directory(TABLE, AT) / "stray.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(stray)
    with pytest.raises(CorruptFileError, match=r"stray\.parquet"):
        store.read(TABLE, AT)


def test_broken_rules_are_named_with_rows_and_judged_once_per_set_of_batches(store):
    store.append(TABLE, AT, small_rows({1: 1.0}), "b1")
    assert broken_rules(store, TABLE, AT) == ()
    identity = store.content_id(TABLE, AT)
    store.append(TABLE, AT, small_rows({-7: 1.0, 8: 1.0, -9: 1.0}, batch="b2"), "b2")
    (told,) = broken_rules(store, TABLE, AT)
    assert told == "con_id: gt fails in 2 rows, such as -9, -7"
    both = store.content_id(TABLE, AT)
    assert both != identity
    with opened_files() as opened:
        assert broken_rules(store, TABLE, AT) == (told,)
        assert store.content_id(TABLE, AT) == both
    assert opened() == []
    store.layout.content(TABLE, AT).unlink()
    assert broken_rules(store, TABLE, AT) == (told,), "a note can be lost"


def test_rows_in_order_and_once_take_a_shorter_way_to_the_same_content_id(store, tmp_path):
    in_order = small_rows({1: 1.0, 2: 2.0, 3: None})
    said = store.append(TABLE, AT, in_order, "b1").content_id
    columns = list(TABLE.content_columns)
    assert said == content_id(in_order.select(columns).unique(), columns, columns), "that of the long way"
    otherwise = small_table(zone="bronze", key=("session", "con_id", "batch_id"), sort_by=("batch_id", "con_id"))
    shuffled = pl.concat(
        [small_rows({3: None}), small_rows({1: 1.0, 2: 2.0}, batch="b2"), small_rows({1: 1.0}, batch="b3")]
    )
    assert RawStore(Layout(tmp_path / "other")).append(otherwise, AT, shuffled, "x").content_id == said


def test_notes_that_can_neither_be_read_nor_written_fail_no_read(store):
    """Whatever stands in their place: to do without them costs computing again."""
    for value, batch in ((1.0, "b1"), (2.0, "b2")):
        store.append(TABLE, AT, small_rows({int(value): value}, batch=batch), batch)
    said = store.content_id(TABLE, AT)
    shutil.rmtree(store.layout.contents)
    store.layout.contents.write_text("no directory")
    assert store.content_id(TABLE, AT) == said
    assert broken_rules(store, TABLE, AT) == ()


def test_a_batch_whose_writer_was_killed_gets_its_line_with_the_next_one(store, monkeypatch):
    """A batch without a line is missed by nobody once it is lost; beside it lie a torn one and a copy that is none."""

    def killed(*_):
        raise KeyboardInterrupt

    first, second, third, fourth, torn = (f"20240315T22000000000{n}Z-0000000{n}" for n in range(5))
    with monkeypatch.context() as patch:
        patch.setattr("quant_assets.lakehouse.manifest.Manifest.append", killed)
        with pytest.raises(KeyboardInterrupt):
            store.append(TABLE, AT, small_rows({1: 1.0}), first)
    assert store.manifest(TABLE).entries() == []
    shutil.copy(store.layout.batch(TABLE, AT, first), store.layout.batch(TABLE, AT, "copy"))
    store.layout.batch(TABLE, AT, torn).write_bytes(b"PAR1")
    told = []
    again = RawStore(store.layout, on_gone=lambda *gone: told.append(gone))
    for batch in (second, third):
        again.append(TABLE, AT, small_rows({2: 2.0}), batch)
    names = [one.path.rpartition("/")[2] for one in store.manifest(TABLE).entries()]
    assert sorted(names) == [f"{batch}.parquet" for batch in (first, second, third)]
    store.layout.batch(TABLE, AT, first).unlink()
    RawStore(store.layout, on_gone=lambda *gone: told.append(gone)).append(TABLE, AT, small_rows({3: 3.0}), fourth)
    assert [(partition, [path.rpartition("/")[2] for path in paths]) for _, partition, paths in told] == [
        (AT, [f"{first}.parquet"])
    ]


def test_a_batch_that_was_altered_keeps_the_line_that_tells_of_it(store):
    said = store.append(TABLE, AT, small_rows({1: 1.0}), "b1").content_id
    other = RawStore(Layout(store.layout.data / "other"))
    other.append(TABLE, AT, small_rows({1: 9.0, 2: 9.0}), "b1")
    file = store.layout.batch(TABLE, AT, "b1")
    file.write_bytes(other.layout.batch(TABLE, AT, "b1").read_bytes())
    again = RawStore(store.layout)
    again.append(TABLE, AT, small_rows({3: 3.0}), "b2")
    assert again.manifest(TABLE).remembered(file).content_id == said
    assert len(again.manifest(TABLE).entries()) == 2
