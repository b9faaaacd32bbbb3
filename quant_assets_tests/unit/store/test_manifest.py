"""The manifest is only an index: whatever happens to it, the files' own footers say the same."""

import json

import pytest

from quant_assets.clock import ManualClock
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.lines import GrowingLines
from quant_assets.lakehouse.store import CuratedStore
from quant_assets_tests.builders import SESSION, instant, small_rows, small_table

TABLE = small_table()
DAYS = [SESSION.replace(day=day) for day in (3, 4, 5)]


@pytest.fixture
def store(tmp_path):
    made = fresh(Layout(tmp_path))
    for day in DAYS:
        made.write(
            TABLE, Partition(day), small_rows({1: 1.0}, session=day), inputs={"raw": str(day)}, watermark="2024-01-09"
        )
    return made


def fresh(layout):
    return CuratedStore(layout, run_id="r", clock=ManualClock(instant("2024-01-10 12:00")))


def lines(store):
    return store.layout.manifest(TABLE).read_text().splitlines()


def test_reindex_writes_what_was_appended(store):
    appended = [json.loads(line) for line in lines(store)]
    store.layout.manifest(TABLE).unlink()
    assert store.reindex(TABLE) == 3
    assert [json.loads(line) for line in lines(store)] == appended


def test_without_a_manifest_footers_answer(store):
    expected = [store.footer(TABLE, Partition(day)) for day in DAYS]
    store.layout.manifest(TABLE).unlink()
    assert [fresh(store.layout).footer(TABLE, Partition(day)) for day in DAYS] == expected
    assert [store.footer(TABLE, Partition(day)) for day in DAYS] == expected


def test_a_line_counts_only_while_its_file_is_the_same(store):
    other = fresh(Layout(store.layout.data / "elsewhere"))
    other.write(TABLE, Partition(DAYS[0]), small_rows({1: 7.0, 2: 8.0}))
    source, target = (s.layout.file(TABLE, Partition(DAYS[0])) for s in (other, store))
    target.write_bytes(source.read_bytes())
    assert store.footer(TABLE, Partition(DAYS[0])).content_id == other.footer(TABLE, Partition(DAYS[0])).content_id


@pytest.mark.parametrize("kept", [1, 4, 9, 10, 60, -2])
def test_a_torn_last_line_costs_nothing(store, kept):
    path = store.layout.manifest(TABLE)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:2]) + whole[2][:kept])
    reader = fresh(store.layout)
    assert [reader.footer(TABLE, Partition(day)).inputs["raw"] for day in DAYS] == [str(day) for day in DAYS]
    reader.write(TABLE, Partition(DAYS[0]), small_rows({1: 5.0}), watermark="2024-01-09")
    for one in (reader, fresh(store.layout)):
        assert one.footer(TABLE, Partition(DAYS[0])).n_rows == 1
        assert one.read(TABLE, Partition(DAYS[0]))["price"].to_list() == [5.0]
        assert one.footer(TABLE, Partition(DAYS[2])) is not None


@pytest.mark.parametrize("left", [b"\0" * 300, b'{"bytes": 12\0\0\0', b"\0\n\0\0"])
@pytest.mark.parametrize("ends", [b"", b"\n"])
def test_zeros_that_a_power_cut_left_cost_nothing(store, left, ends):
    path = store.layout.manifest(TABLE)
    path.write_bytes(path.read_bytes() + left + ends)
    store.write(TABLE, Partition(DAYS[0]), small_rows({1: 5.0}), watermark="2024-01-09")
    for one in (store, fresh(store.layout)):
        assert one.footer(TABLE, Partition(DAYS[0])).n_rows == 1
        assert [one.footer(TABLE, Partition(day)).inputs["raw"] for day in DAYS[1:]] == [str(day) for day in DAYS[1:]]
        assert len(one.manifest(TABLE).entries()) == 4
    assert store.damaged_manifest(TABLE) is None
    assert store.manifest(TABLE).drop_superseded() == 1
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize(
    "garbage", [b"hello\n", b"{}\n", b"[1, 2]\n", b"\xff\xfe\n", b'{"path": 3}\n', b"null\n", b"\0hello\n"]
)
def test_an_unreadable_line_is_named_with_its_mend_every_time(store, garbage):
    path = store.layout.manifest(TABLE)
    path.write_bytes(path.read_bytes() + garbage)
    reader = fresh(store.layout)
    for _ in range(2):
        with pytest.raises(CorruptFileError, match="quant lake reindex") as caught:
            reader.footer(TABLE, Partition(DAYS[0]))
        assert str(path) in str(caught.value)
        assert "line 4" in str(caught.value)
    assert reader.reindex(TABLE) == 3
    assert reader.footer(TABLE, Partition(DAYS[0])) is not None


def test_lines_of_another_process_are_seen_without_reading_the_old_ones_again(store):
    reader = fresh(store.layout)
    assert reader.footer(TABLE, Partition(DAYS[0])).n_rows == 1
    fresh(store.layout).write(TABLE, Partition(DAYS[0]), small_rows({1: 1.0, 2: 2.0}), watermark="2024-01-09")
    assert reader.footer(TABLE, Partition(DAYS[0])).n_rows == 2


def test_a_manifest_that_another_process_rebuilt_is_read_anew(store):
    reader = fresh(store.layout)
    reader.footer(TABLE, Partition(DAYS[0]))
    fresh(store.layout).reindex(TABLE)
    store.layout.file(TABLE, Partition(DAYS[1])).unlink()
    assert reader.footer(TABLE, Partition(DAYS[1])) is None
    assert reader.footer(TABLE, Partition(DAYS[2])).n_rows == 1


def test_a_manifest_that_is_replaced_while_it_is_looked_back_into_is_read_anew(store, monkeypatch):
    """What was known of other files is what the manifest before said."""
    monkeypatch.setattr("quant_assets.lakehouse.lines._BLOCK", 64)
    reader = fresh(store.layout)
    assert reader.footer(TABLE, Partition(DAYS[2])).inputs == {"raw": str(DAYS[2])}
    refresh, replaced = GrowingLines.refresh, []

    def then_replaced(lines):
        found = refresh(lines)
        if lines is reader.manifest(TABLE)._lines and not replaced:
            replaced.append(True)
            other = fresh(store.layout)
            for day in (DAYS[2], DAYS[1]):
                rows = small_rows({1: 1.0}, session=day)
                other.write(TABLE, Partition(day), rows, inputs={"raw": "confirmed"}, watermark="2024-01-09")
            other.manifest(TABLE).drop_superseded()
        return found

    monkeypatch.setattr(GrowingLines, "refresh", then_replaced)
    assert reader.footer(TABLE, Partition(DAYS[1])).inputs == {"raw": "confirmed"}
    assert reader.footer(TABLE, Partition(DAYS[2])).inputs == {"raw": "confirmed"}
    assert reader.footer(TABLE, Partition(DAYS[0])).inputs == {"raw": str(DAYS[0])}


def test_reindex_names_a_file_that_cannot_be_read_and_keeps_the_old_manifest(store):
    before = lines(store)
    store.layout.file(TABLE, Partition(DAYS[1])).write_bytes(b"gone")
    with pytest.raises(CorruptFileError, match="session=2024-01-04"):
        store.reindex(TABLE)
    assert lines(store) == before


def test_reindex_sweeps_what_a_killed_reindex_left(store):
    leftover = store.layout.manifest(TABLE).with_name(".staged-0123456789ab-small.jsonl")
    leftover.write_text("half")
    store.reindex(TABLE)
    assert not leftover.exists()


def test_what_another_table_is_writing_beside_is_left_alone(store):
    """The manifests of all tables share a directory, and each table has a lock of its own."""
    path = store.layout.manifest(TABLE)
    others = [path.with_name(f".staged-0123456789ab-{name}.jsonl") for name in ("other", "not-small", "smaller")]
    for one in others:
        one.write_text("being written")
    store.reindex(TABLE)
    assert [one.exists() for one in others] == [True, True, True]
