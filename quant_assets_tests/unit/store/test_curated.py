"""One file per partition: replaced whole, never rewritten with equal content, and clear about what is wrong with it."""

import json
import os
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.clock import ManualClock
from quant_assets.domain.tables import CANDIDATES
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.errors import CorruptFileError, NotPublishedError, ShapeError, StaleInputsError
from quant_assets.lakehouse import listing, manifest
from quant_assets.lakehouse.footer import read_footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.manifest import Manifest
from quant_assets.lakehouse.proof import prove
from quant_assets.lakehouse.reading import plan_reads
from quant_assets.lakehouse.store import CuratedStore, StorageReport
from quant_assets_tests.builders import SESSION, curated_bars, instant, small_rows, small_table
from quant_assets_tests.opening import opened_files

TABLE = small_table()
AT = Partition(SESSION)


@pytest.fixture
def store(tmp_path):
    return CuratedStore(Layout(tmp_path), run_id="r1", clock=ManualClock(instant("2024-01-03 23:00")))


def another(store):
    """A second process: nothing in memory."""
    return CuratedStore(store.layout, run_id="r2", clock=store.clock)


def state(store, partition=AT):
    stat = store.layout.file(TABLE, partition).stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def fates(report):
    return report.rows, report.inserted, report.updated, report.unchanged


def test_what_is_written_is_read(store):
    report = store.write(TABLE, AT, small_rows({2: 2.0, 1: 1.0}))
    assert fates(report) == (2, 2, 0, 0)
    assert report.location == "lakehouse/silver/small/session=2024-01-03/part.parquet"
    assert store.read(TABLE, AT)["con_id"].to_list() == [1, 2]
    assert store.read(TABLE, AT, ["price"]).columns == ["price"]
    assert store.footer(TABLE, AT).content_id == report.content_id == another(store).footer(TABLE, AT).content_id
    assert store.exists(TABLE, AT)


def test_equal_content_is_not_rewritten(store):
    first = store.write(TABLE, AT, small_rows({1: 1.0, 2: None}))
    before = state(store)
    later = small_rows({2: None, 1: 1.0}, batch="b9", at=instant("2024-01-05 09:00"))
    again = another(store).write(TABLE, AT, later)
    assert fates(again) == (2, 0, 0, 2)
    assert again.content_id == first.content_id
    assert state(store) == before
    assert set(store.read(TABLE, AT)["batch_id"]) == {"b1"}


def test_a_changed_partition_is_replaced_and_its_rows_are_counted_by_fate(store):
    store.write(TABLE, AT, small_rows({1: 1.0, 2: 2.0, 3: None}))
    before = state(store)
    report = store.write(TABLE, AT, small_rows({1: 1.0, 2: 2.5, 3: None, 4: 4.0}))
    assert fates(report) == (4, 1, 1, 2)
    assert state(store)[0] != before[0]


def test_rows_that_are_gone_are_gone_and_the_equation_holds(store):
    store.write(TABLE, AT, small_rows({1: 1.0, 2: 2.0}))
    assert fates(store.write(TABLE, AT, small_rows({2: 2.0}))) == (1, 0, 0, 1)
    assert store.read(TABLE, AT)["con_id"].to_list() == [2]


def test_a_report_that_does_not_add_up_cannot_be_made():
    with pytest.raises(AssertionError):
        StorageReport("t", "l", "p", 3, 1, 1, 0, "id")


def test_new_inputs_with_equal_content_are_confirmed_without_touching_the_file(store):
    store.write(TABLE, AT, small_rows({1: 1.0}), inputs={"raw": "a"}, watermark="2024-01-03T22:00:00+00:00")
    before = state(store)
    store.write(TABLE, AT, small_rows({1: 1.0}), inputs={"raw": "b"}, watermark="2024-01-03T23:00:00+00:00")
    assert state(store) == before
    confirmed = another(store).footer(TABLE, AT)
    assert dict(confirmed.inputs) == {"raw": "b"}
    assert confirmed.watermark.startswith("2024-01-03T23:00:00")
    lines = store.layout.manifest(TABLE).read_text().splitlines()
    store.write(TABLE, AT, small_rows({1: 1.0}), inputs={"raw": "b"}, watermark="2024-01-03T23:00:00+00:00")
    assert store.layout.manifest(TABLE).read_text().splitlines() == lines


@pytest.fixture
def orphaned(store, monkeypatch):
    """A partition whose writer was killed between the rename and its line of the manifest."""
    store.write(TABLE, AT, small_rows({1: 1.0, 2: 2.0}), inputs={"raw": "a"})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("quant_assets.lakehouse.manifest.Manifest.append", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(TABLE, AT, small_rows({1: 5.0}), inputs={"raw": "b"})
    return another(store)


@pytest.fixture
def hashed(monkeypatch):
    """The files that are hashed to be proved."""
    found: list[Path] = []
    monkeypatch.setattr(
        "quant_assets.lakehouse.proof.prove",
        lambda table, file, said: found.append(file) or prove(table, file, said),
    )
    return found


@pytest.mark.parametrize("mend", ["write", "indexed_footer"])
def test_a_line_that_a_killed_writer_did_not_write_is_written_once_its_file_is_proved(orphaned, hashed, mend):
    again = {
        "write": lambda store: store.write(TABLE, AT, small_rows({1: 5.0}), inputs={"raw": "b"}),
        "indexed_footer": lambda store: store.indexed_footer(TABLE, AT),
    }[mend]
    before, manifest = state(orphaned), orphaned.layout.manifest(TABLE)
    again(orphaned)
    assert (state(orphaned), hashed.count(orphaned.layout.file(TABLE, AT))) == (before, len(hashed))
    first, second = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert (first["n_rows"], second["n_rows"], second["inputs"]) == (2, 1, {"raw": "b"})
    assert (second["mtime_ns"], second["bytes"]) == state(orphaned)[1:]
    hashed.clear()
    lines = manifest.read_bytes()
    again(another(orphaned))
    assert (another(orphaned).proved_footer(TABLE, AT).n_rows, hashed) == (1, [])
    assert manifest.read_bytes() == lines


def test_no_line_is_written_about_rows_that_are_not_what_their_footer_says(orphaned):
    file, manifest = orphaned.layout.file(TABLE, AT), orphaned.layout.manifest(TABLE)
    footer, lines = read_footer(file), manifest.read_bytes()
    small_rows({1: 6.0}).write_parquet(file, metadata=footer.to_metadata())
    with pytest.raises(CorruptFileError, match="rows are not what its footer says"):
        orphaned.indexed_footer(TABLE, AT)
    assert manifest.read_bytes() == lines


@pytest.mark.parametrize(
    ("standing", "offered"),
    [
        ("2024-01-03T22:00:01+00:00", "2024-01-03T22:00:00+00:00"),
        ("2024-01-03T22:00:00.000001+00:00", "2024-01-03T22:00:00+00:00"),
        ("2024-01-03T22:00:00.5+00:00", "2024-01-03T22:00:00.250000+00:00"),
        ("2024-01-03T22:00:00.000001+00:00", "2024-01-03T22:00:00Z"),
        ("2024-01-03T22:00:00+00:00", "2024-01-03T22:30:00+01:00"),
        ("2024-01-03T22:00:00+00:00", ""),
    ],
)
def test_content_from_older_inputs_is_refused_however_the_instants_are_written(store, standing, offered):
    store.write(TABLE, AT, small_rows({1: 1.0}), watermark=standing)
    before = state(store)
    with pytest.raises(StaleInputsError, match="nothing was written") as caught:
        store.write(TABLE, AT, small_rows({1: 2.0}), watermark=offered)
    assert caught.value.exit_code == 65
    assert state(store) == before
    store.write(TABLE, AT, small_rows({1: 2.0}), watermark=standing)
    assert store.read(TABLE, AT)["price"].to_list() == [2.0]


@pytest.mark.parametrize(
    ("standing", "offered"),
    [
        ("2024-01-03T22:00:00+00:00", "2024-01-03T22:00:00.000000+00:00"),
        ("2024-01-03T22:00:00Z", "2024-01-03T22:00:00.000001+00:00"),
        ("2024-01-03T22:30:00+01:00", "2024-01-03T21:45:00+00:00"),
        ("", "2024-01-03T22:00:00+00:00"),
    ],
)
def test_equal_and_newer_inputs_are_accepted_however_the_instants_are_written(store, standing, offered):
    store.write(TABLE, AT, small_rows({1: 1.0}), watermark=standing)
    store.write(TABLE, AT, small_rows({1: 2.0}), watermark=offered)
    assert store.read(TABLE, AT)["price"].to_list() == [2.0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.drop("price"),
        lambda frame: frame.with_columns(extra=1),
        lambda frame: frame.with_columns(pl.col("con_id").cast(pl.Int32)),
        lambda frame: pl.concat([frame, frame]),
        lambda frame: frame.with_columns(batch_id=pl.lit(None, dtype=pl.String)),
    ],
)
def test_a_frame_of_another_shape_is_refused_and_nothing_is_written(store, spoil):
    with pytest.raises(ShapeError):
        store.write(TABLE, AT, spoil(small_rows({1: 1.0})))
    assert not store.exists(TABLE, AT)
    assert not list(store.layout.lakehouse.rglob("*.parquet"))


def test_an_unpublished_partition_says_how_to_publish_it(store):
    with pytest.raises(
        NotPublishedError, match=r"small\[2024-01-03\] is not published. Run `dagster asset materialize"
    ):
        store.read(TABLE, AT)
    assert store.footer(TABLE, AT) is None
    assert store.read_many(TABLE, [AT]).is_empty()


# ------------------------------------------------------------ what can be wrong with a file


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path):
    raw = bytearray(path.read_bytes())
    raw[4:64] = os.urandom(60)
    path.write_bytes(raw)


def foreign(path):
    pl.DataFrame({"a": [1]}).write_parquet(path)


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not parquet at all, but long enough to look at its end")


@pytest.mark.parametrize("damage", [truncate, foreign, empty, text])
def test_a_damaged_file_names_itself_and_its_mend(store, damage):
    store.write(TABLE, AT, small_rows({1: 1.0}))
    path = store.layout.file(TABLE, AT)
    damage(path)
    for ask in (
        lambda: another(store).footer(TABLE, AT),
        lambda: store.footer(TABLE, AT),
        lambda: store.read(TABLE, AT),
    ):
        with pytest.raises(
            CorruptFileError, match=r"quant lake rebuild --sessions|Materialize the partition again"
        ) as caught:
            ask()
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 65


def test_damaged_pages_are_found_when_they_are_read(store):
    store.write(TABLE, AT, small_rows({i: float(i) for i in range(1, 400)}))
    scribble(store.layout.file(TABLE, AT))
    with pytest.raises(CorruptFileError):
        store.read(TABLE, AT)


@pytest.mark.parametrize("damage", [truncate, foreign, scribble, empty])
def test_a_damaged_derived_file_is_replaced_by_the_next_write(store, damage):
    store.write(TABLE, AT, small_rows({1: 1.0}))
    damage(store.layout.file(TABLE, AT))
    store.write(TABLE, AT, small_rows({1: 2.0}))
    assert another(store).read(TABLE, AT)["price"].to_list() == [2.0]


def test_a_file_of_an_older_release_says_so(store):
    store.write(TABLE, AT, small_rows({1: 1.0}))
    with pytest.raises(CorruptFileError, match="not those of small in this release"):
        store.read(small_table(columns=TABLE.columns[:-1]), AT)


@pytest.fixture(params=[shutil.copy, shutil.copy2], ids=["a new time", "its own time"])
def misplaced(request, store):
    """Three sessions, and the file of the first one where the second has to be; that one knew more."""
    for day, watermark in zip(WEEK, ("2024-06-01T00:00Z", "2024-05-01T00:00Z", "2024-05-01T00:00Z"), strict=True):
        store.write(BARS, Partition(day), curated_bars([1.0, 2.0], session=day), watermark=watermark)
    first, second, _ = (store.layout.file(BARS, Partition(day)) for day in WEEK)
    sound = pl.read_parquet(second, hive_partitioning=False)
    request.param(first, second)
    return CuratedStore(store.layout), second, sound


WEEK = [date(2024, 3, 12), date(2024, 3, 13), date(2024, 3, 14)]
ELSEWHERE = re.escape("(it is the file of curated_tws_1m_bars[2024-03-12])")


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_file_of_another_partition_is_refused_by_every_read_and_names_itself(misplaced, has_manifest):
    store, file, _ = misplaced
    if not has_manifest:
        store.layout.manifest(BARS).unlink()
    at, every = Partition(WEEK[1]), [Partition(day) for day in WEEK]
    for ask in (
        lambda: store.footer(BARS, at),
        lambda: store.proved_footer(BARS, at),
        lambda: store.read(BARS, at),
        lambda: store.read(BARS, at, ["close"]),
        lambda: store.read_many(BARS, [at], con_ids=[101]),
        lambda: store.read_many(BARS, every),
        lambda: store.read_many(BARS, every, ["close"], [101]),
        lambda: plan_reads(store, BARS, WEEK, None),
        lambda: store.reindex(BARS),
    ):
        with pytest.raises(CorruptFileError, match=ELSEWHERE) as told:
            ask()
        assert told.value.path == file
    assert store.read_many(BARS, [every[0], every[2]]).height == 4


def test_a_damaged_manifest_hides_no_file_of_another_partition(misplaced):
    store, _, _ = misplaced
    store.layout.manifest(BARS).write_text('{"garbage"\n')
    with pytest.raises(CorruptFileError, match=ELSEWHERE):
        store.read(BARS, Partition(WEEK[1]))
    assert store.read(BARS, Partition(WEEK[0])).height == 2


def test_a_file_of_another_partition_is_replaced_by_the_right_one_however_much_it_knew(misplaced):
    store, file, sound = misplaced
    report = store.write(BARS, Partition(WEEK[1]), sound, watermark="2024-05-01T00:00Z")
    assert (report.inserted, report.updated, report.unchanged) == (2, 0, 0)
    assert pl.read_parquet(file, hive_partitioning=False).equals(sound)
    assert store.read(BARS, Partition(WEEK[1])).equals(sound)


def test_a_file_of_another_table_or_profile_is_told_apart(store):
    store.write(CANDIDATES, Partition(WEEK[0], "one"), CANDIDATES.empty())
    target = store.layout.file(CANDIDATES, Partition(WEEK[0], "two"))
    target.parent.mkdir(parents=True)
    shutil.copy(store.layout.file(CANDIDATES, Partition(WEEK[0], "one")), target)
    with pytest.raises(CorruptFileError, match=re.escape("candidates[one|2024-03-12]")):
        store.footer(CANDIDATES, Partition(WEEK[0], "two"))
    bars = store.layout.file(BARS, Partition(WEEK[0]))
    bars.parent.mkdir(parents=True)
    shutil.copy(target, bars)
    with pytest.raises(CorruptFileError, match=re.escape("candidates[one|2024-03-12]")):
        store.footer(BARS, Partition(WEEK[0]))


def test_leftovers_of_killed_writers_are_swept_by_the_next_write(store):
    store.write(TABLE, AT, small_rows({1: 1.0}))
    leftover = store.layout.directory(TABLE, AT) / ".staged-0123456789ab-part.parquet"
    leftover.write_bytes(b"half")
    assert store.partitions(TABLE) == [AT]
    store.write(TABLE, AT, small_rows({1: 2.0}))
    assert not leftover.exists()


def test_a_write_that_fails_half_way_leaves_what_stood(store, monkeypatch):
    store.write(TABLE, AT, small_rows({1: 1.0}))
    before = state(store)

    def fail(self, target, **_):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(KeyboardInterrupt):
        store.write(TABLE, AT, small_rows({1: 2.0}))
    assert state(store) == before
    assert [path.name for path in store.layout.directory(TABLE, AT).iterdir()] == ["part.parquet"]


# ------------------------------------------------------------ who opens what


@pytest.fixture
def opened():
    with opened_files() as found:
        yield found


def test_readers_open_the_files_that_they_need_and_no_other(store, opened):
    days = [SESSION + timedelta(days=i) for i in range(30)]
    for day in days:
        store.write(TABLE, Partition(day), small_rows({1: 1.0}, session=day))
    opened.clear()
    reader = another(store)
    wanted = [Partition(day) for day in days[3:5]]
    assert reader.read_many(TABLE, wanted).height == 2
    assert opened() == [reader.layout.file(TABLE, partition) for partition in wanted]


def test_footers_and_partition_lists_open_no_file_at_all(store, opened):
    days = [SESSION + timedelta(days=i) for i in range(30)]
    for day in days:
        store.write(TABLE, Partition(day), small_rows({1: 1.0}, session=day))
    opened.clear()
    reader = another(store)
    assert [partition.session for partition in reader.partitions(TABLE)] == days
    assert all(reader.footer(TABLE, Partition(day)) for day in days)
    assert opened() == []


def test_partitions_of_profiles_and_strange_directories(store):
    table = small_table(name="of_profiles", partition_by="session_profile", key=("session", "con_id"))
    wanted = [Partition(SESSION, "b"), Partition(SESSION, "a"), Partition(SESSION + timedelta(days=1), "a")]
    for partition in wanted:
        store.write(table, partition, small_rows({1: 1.0}, session=partition.session))
    root = store.layout.table(table)
    (root / "session=2024-01-03.bad" / "profile=a").mkdir(parents=True)
    (root / "session=2024-01-03.bad" / "profile=a" / "part.parquet").write_bytes(b"")
    (root / "session=2024-02-01").mkdir()
    (root / "notes.txt").write_text("")
    assert store.partitions(table) == sorted(wanted)
    assert store.partitions(small_table(name="never")) == []


@pytest.mark.parametrize("profile", ["", "a"])
def test_a_table_is_listed_while_its_directories_are_removed(store, monkeypatch, profile):
    """A wipe takes the locks of those who write; listing takes none."""
    by = "session_profile" if profile else "session"
    table = small_table(name="wiped", partition_by=by, key=("session", "con_id"))
    days = [SESSION + timedelta(days=i) for i in range(3)]
    for day in days:
        store.write(table, Partition(day, profile), small_rows({1: 1.0}, session=day))
    real, gone = listing._has_files, [store.layout.directory(table, Partition(day)) for day in days[1:]]

    def meanwhile(path):
        while gone:
            shutil.rmtree(gone.pop())
        return real(path)

    monkeypatch.setattr(listing, "_has_files", meanwhile)
    assert store.newest(table) == Partition(days[0], profile)
    for day in days[1:]:
        store.write(table, Partition(day, profile), small_rows({1: 1.0}, session=day))
        gone.append(store.layout.directory(table, Partition(day)))
    assert store.partitions(table) == [Partition(days[0], profile)]


def test_a_data_directory_with_an_equals_sign_in_its_name_is_no_trouble(tmp_path):
    store = CuratedStore(Layout(tmp_path / "session=x" / "lake"))
    store.write(TABLE, AT, small_rows({1: 1.0}))
    assert store.partitions(TABLE) == [AT]


def test_dates_of_partitions_are_those_of_the_directories(store):
    for day in (date(2024, 1, 10), date(2024, 1, 9)):
        store.write(TABLE, Partition(day), small_rows({1: 1.0}, session=day))
    assert [partition.key for partition in store.partitions(TABLE)] == ["2024-01-09", "2024-01-10"]


@pytest.mark.parametrize("has_line", [True, False], ids=["with its line", "before its line"])
@pytest.mark.parametrize("step", ["_remembered", "read_footer"])
def test_a_commit_while_a_file_is_proved_is_no_damage(store, monkeypatch, step, has_line):
    """Another process commits right after one step of the look; its line in the manifest may come a moment later."""
    before = store.write(TABLE, AT, small_rows({1: 1.0})).content_id
    if step == "read_footer":  # which is asked of what is not the file that was committed
        os.utime(store.layout.file(TABLE, AT), ns=(1, 1))
    owner = Manifest if step == "_remembered" else manifest
    look, append, made = getattr(owner, step), Manifest.append, []

    def looked(*args):
        found = look(*args)
        if not made:
            made.append("begun")
            with monkeypatch.context() as patch:
                patch.setattr(Manifest, "append", append if has_line else lambda *_: None)
                made.append(another(store).write(TABLE, AT, small_rows({1: 2.0}), watermark="2024-02-01").content_id)
        return found

    monkeypatch.setattr(owner, step, looked)
    assert store.proved_footer(TABLE, AT).content_id in (before, made[1])
    assert store.proved_footer(TABLE, AT).content_id == made[1] != before


@pytest.mark.parametrize("step", ["footer", "read"])
@pytest.mark.parametrize("n_commits", [1, 3])
def test_rows_and_what_is_known_of_them_are_of_one_state(store, monkeypatch, step, n_commits):
    """Another process commits after each of the first looks."""
    said = {store.write(TABLE, AT, small_rows({1: 0.0})).content_id: 0.0}
    ask, prices = getattr(CuratedStore, step), iter(range(1, n_commits + 1))

    def asked(self, *args):
        found = ask(self, *args)
        if self is store and (price := next(prices, None)):
            said[another(store).write(TABLE, AT, small_rows({1: float(price)})).content_id] = float(price)
        return found

    monkeypatch.setattr(CuratedStore, step, asked)
    frame, footer = store.read_standing(TABLE, AT)
    assert frame["price"].to_list() == [said[footer.content_id]]
    assert len(said) == n_commits + 1


def test_what_is_not_published_has_no_rows_to_stand(store):
    with pytest.raises(NotPublishedError):
        store.read_standing(TABLE, AT)
