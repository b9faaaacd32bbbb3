"""Garbage: what goes, what stays and why; nothing that a snapshot, a run or a tag names, and never a batch of bronze."""

import contextlib
import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Event

import polars as pl
import pytest

from quant_assets.control import locks
from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.domain.tables import RAW_TWS_BARS as RAW
from quant_assets.domain.tables import SNAPSHOTS
from quant_assets.errors import LockHeldError
from quant_assets.lakehouse.compaction import compact
from quant_assets.lakehouse.copies import MonthCopies
from quant_assets.lakehouse.garbage import Garbage
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.leftovers import leftovers
from quant_assets.lakehouse.references import References
from quant_assets.lakehouse.runs import RunDirectory, StageCache
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import SESSION, curated_bars, instant, raw_bars

AT = Partition(SESSION)
TABLES = (BARS, RAW, SNAPSHOTS)
NOW = 2_000_000_000.0
OLD = 1_500_000_000


@pytest.fixture
def lake(tmp_path):
    made = Lakehouse(Layout(tmp_path / "data"))
    made.curated.write(BARS, AT, curated_bars([1.0, 2.0]))
    made.raw.append(RAW, AT, raw_bars([1.0, 2.0]), "b1")
    return made


def garbage(lake, older_than_s=86400.0):
    return Garbage(lake, TABLES, NOW, older_than_s)


def leftover(directory, age=OLD):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ".staged-0123456789ab-part.parquet"
    path.write_bytes(b"half")
    os.utime(path, (age, age))
    return path


def run(lake, name, *, finished=False, age=OLD, inputs=None):
    path = lake.layout.runs / name
    (path / "config").mkdir(parents=True)
    if inputs is not None:
        (path / "config" / "inputs.json").write_text(json.dumps(inputs))
    if finished:
        (path / "manifest.json").write_text("{}")
    for one in [*path.rglob("*"), path]:
        os.utime(one, (age, age))
    return path


def snapshot_of(lake, run_id):
    row = {
        "session": SESSION,
        "profile": "p",
        "run_id": run_id,
        "merkle_root": "0" * 64,
        "n_instruments": 1,
        "n_sessions": 1,
        "stale_policy": "fail",
        "known_basis": "observed",
        "is_pit": True,
        "created_at": instant("2024-01-03 23:00"),
    }
    lake.curated.write(
        SNAPSHOTS, Partition(SESSION, "p"), SNAPSHOTS.frame([{k: v for k, v in row.items() if k in SNAPSHOTS.schema}])
    )


def tag(lake, name, **said):
    path = lake.layout.metadata / "tags" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": name, "created_at": "2024-01-04T00:00:00+00:00", "tables": {}, **said}))
    return path


def between_survey_and_lock(monkeypatch, meanwhile):
    """Let something happen once, after the survey and before the first lock is held."""
    hold, waiting = locks.hold, [meanwhile]

    def held(*args, **options):
        while waiting:
            waiting.pop()()
        return hold(*args, **options)

    monkeypatch.setattr("quant_assets.lakehouse.garbage.hold", held)


def everything(lake):
    return {
        path: path.read_bytes() for path in lake.layout.data.rglob("*") if path.is_file() and ".lock" not in path.name
    }


def test_leftovers_of_killed_writers_go_and_young_ones_stay(lake):
    old = leftover(lake.layout.directory(BARS, AT))
    young = leftover(lake.layout.directory(BARS, Partition(date(2024, 1, 4))), age=NOW - 60)
    bronze = leftover(lake.layout.directory(RAW, AT))
    status = leftover(lake.layout.lakehouse)
    batches = lake.raw.batches(RAW, AT)
    removed = garbage(lake).collect()
    assert [item.path for item in removed] == [lake.layout.relative(one) for one in (status, bronze, old)]
    assert (old.exists(), young.exists(), bronze.exists()) == (False, True, False)
    assert [path.is_file() for path in batches] == [True]


def test_leftovers_are_found_wherever_writers_write(lake):
    layout = lake.layout
    left = {
        leftover(layout.table(SNAPSHOTS).parent / "reports"),
        leftover(layout.staging / "staged" / f"session={SESSION}"),
        leftover(layout.export(SESSION)),
        leftover(layout.backtests / "b1" / "config"),
        leftover(layout.dvc("r1")),
        leftover(layout.cache / "objects" / "ab"),
    }
    for locks_of in (layout.locks, layout.runs / ".locks", layout.backtests / ".locks"):
        note = leftover(locks_of).rename(locks_of / f"tws.holder.{'0123456789abcdef' * 2}.tmp")
        left.add(note)
    stays = [layout.locks / "tws.holder.json", layout.export(SESSION) / "mine.tmp", layout.history / ".staged-x"]
    for one in stays:
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_text("{}")
        os.utime(one, (OLD, OLD))
    assert set(leftovers(layout)) == left
    assert {item.path for item in garbage(lake).collect() if item.kind == "leftover"} == set(map(layout.relative, left))
    assert leftovers(layout) == []
    assert all(one.exists() for one in stays)


@pytest.mark.parametrize("older_than_s", [0.0, 86400.0])
def test_what_a_writer_of_bronze_is_writing_is_never_taken_away(lake, monkeypatch, older_than_s):
    """Its lock tells, whatever the clock says of the file."""
    monkeypatch.setattr("quant_assets.lakehouse.garbage._WAIT_S", 0.1)
    path, writing = leftover(lake.layout.directory(RAW, AT)), Event()

    def write():
        with locks.hold(f"{RAW.name}.commit", lake.layout.locks):
            writing.set()
            assert done.wait(30)

    done = Event()
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(write)
        assert writing.wait(30)
        with pytest.raises(LockHeldError, match=f"{RAW.name}.commit"):
            garbage(lake, older_than_s).collect()
        assert path.exists()
        done.set()
        written.result()
    garbage(lake, older_than_s).collect()
    assert not path.exists()


def test_a_dry_survey_changes_nothing(lake):
    leftover(lake.layout.directory(BARS, AT))
    run(lake, "half")
    before = everything(lake)
    assert {(item.kind, item.goes) for item in garbage(lake).survey()} >= {("leftover", True), ("run", True)}
    assert everything(lake) == before


def test_a_stale_copy_goes_and_a_current_one_stays(lake):
    compact(lake.curated, BARS, "2024-01")
    path = lake.layout.copy(BARS, "2024-01")
    assert garbage(lake).collect() == []
    assert path.is_file()
    lake.curated.write(BARS, AT, curated_bars([3.0]))
    (gone,) = [item for item in garbage(lake).collect() if item.kind == "copy"]
    assert ("2024-01-03" in gone.why, path.exists()) == (True, False)


def test_unfinished_runs_go_unless_somebody_names_them(lake):
    names = {"half": False, "done": True, "young": True, "shown": True, "tagged": True, "sleeve": True}
    run(lake, "half")
    run(lake, "done", finished=True, inputs={"sleeves": ["sleeve"]})
    run(lake, "young", age=NOW - 60)
    run(lake, "shown")
    run(lake, "tagged")
    run(lake, "sleeve", inputs={"run_id": "sleeve"})
    snapshot_of(lake, "shown")
    tag(lake, "release", runs=["tagged"])
    survey = {item.path.rsplit("/", 1)[1]: item for item in garbage(lake).survey() if item.kind == "run"}
    assert {name: not item.goes for name, item in survey.items()} == names
    assert [survey[name].why.split(":")[0] for name in ("done", "young", "shown", "tagged", "sleeve")] == [
        "finished",
        "young",
        "a snapshot names it",
        "a tag or another run names it",
        "a tag or another run names it",
    ]
    garbage(lake).collect()
    assert {path.name for path in lake.layout.runs.glob("[!.]*")} == {name for name, stays in names.items() if stays}


def test_a_run_that_is_gone_on_with_stays_however_old_its_first_file_is(lake):
    half = run(lake, "half", inputs={})
    (half / "weights.parquet").write_bytes(b"just written")
    os.utime(half / "weights.parquet", (NOW - 60, NOW - 60))
    (survey,) = [item for item in garbage(lake).survey() if item.kind == "run"]
    assert (survey.goes, survey.why) == (False, "young: its writer may live")
    assert garbage(lake).collect() == []
    assert half.is_dir()


def test_an_old_run_that_is_frozen_again_stays_until_its_snapshot_names_it(lake):
    """Everything is written already, and the row of `snapshots` comes after the lock of the run is free."""
    half, done = run(lake, "half", inputs={}), run(lake, "done", finished=True, inputs={})
    for path in (half, done):
        with RunDirectory(path).writing():
            pass
    assert {path.name for path in (half, done) if path.stat().st_mtime > OLD} == {"half"}
    now = Garbage(lake, TABLES, half.stat().st_mtime + 60, 86400.0)
    assert [item for item in now.collect() if item.kind == "run"] == []
    later = Garbage(lake, TABLES, half.stat().st_mtime + 86460, 86400.0)
    assert [item.path for item in later.collect() if item.kind == "run"] == [lake.layout.relative(half)]


@pytest.mark.parametrize("who", ["tag", "run", "snapshot", "writer"])
def test_a_run_that_somebody_took_up_since_the_survey_stays(lake, monkeypatch, who):
    half = run(lake, "half")
    taken_up = {
        "tag": lambda: tag(lake, "release", runs=["half"]),
        "run": lambda: run(lake, "meta", finished=True, inputs={"sleeves": ["half"]}),
        "snapshot": lambda: snapshot_of(lake, "half"),
        "writer": lambda: os.utime(half / "config", (NOW - 60, NOW - 60)),
    }
    between_survey_and_lock(monkeypatch, taken_up[who])
    assert [item for item in garbage(lake).collect() if item.kind == "run"] == []
    assert half.is_dir()


def test_leftovers_are_removed_under_the_lock_of_those_who_write_there(lake):
    """A writer that is at work may be slow: its file is old, and its lock says that it lives."""
    inside = {
        (lake.layout.runs / ".locks", "half"): leftover(run(lake, "half", finished=True) / "config"),
        (lake.layout.backtests / ".locks", "b1"): leftover(lake.layout.backtests / "b1"),
        (lake.layout.locks, "staged.commit"): leftover(lake.layout.staging / "staged" / f"session={SESSION}"),
        (lake.layout.locks, f"{BARS.name}.commit"): leftover(lake.layout.directory(BARS, AT)),
        (lake.layout.locks, f"{BARS.name}.copies"): leftover(lake.layout.copies / BARS.name),
        (lake.layout.locks, f"{RAW.name}.commit"): lake.layout.manifest(RAW).with_name(
            f".staged-0123456789ab-{RAW.name}.jsonl"
        ),
    }
    for path in inside.values():
        path.write_bytes(b"half")
        os.utime(path, (OLD, OLD))
    asked = []

    def held(name, directory, **_):
        asked.append((directory, name))
        return contextlib.nullcontext()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_assets.lakehouse.garbage.hold", held)
        garbage(lake).collect()
    assert set(asked) == set(inside)
    assert not [path for path in inside.values() if path.exists()]


def test_what_tags_and_runs_name_is_read_once_however_much_goes(lake, monkeypatch):
    tag(lake, "release", tables={})
    for name in ("one", "two", "three"):
        run(lake, name, inputs={"run_id": name})
    run(lake, "done", finished=True, inputs={"tables": {}})
    for value in (3.0, 4.0):
        lake.curated.write(BARS, AT, curated_bars([value]))
    read, text = Counter(), Path.read_text

    def counted(path, *args, **options):
        read[path.name] += path.name in ("inputs.json", "release.json")
        return text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    gone = Counter(item.kind for item in garbage(lake).collect())
    assert gone == {"run": 3, "manifest": 1}
    assert +read == {"inputs.json": 4, "release.json": 1}


def test_of_a_copy_that_goes_no_other_copy_is_looked_at(lake, monkeypatch):
    days = [date(2024, 1, 16), date(2024, 2, 15), date(2024, 3, 15)]
    for value in (1.0, 2.0):
        for day in days:
            lake.curated.write(BARS, Partition(day), curated_bars([value], session=day))
            if value == 1.0:
                compact(lake.curated, BARS, f"{day:%Y-%m}")
    looked, index = Counter(), MonthCopies.index

    def counted(copies, table, month):
        looked[month] += 1
        return index(copies, table, month)

    monkeypatch.setattr(MonthCopies, "index", counted)
    assert [item.kind for item in garbage(lake).collect()].count("copy") == 3
    assert looked == {"2024-01": 2, "2024-02": 2, "2024-03": 2}, "once for the survey, once under the lock"


def test_superseded_lines_go_and_those_that_a_tag_or_a_run_names_stay(lake):
    first = lake.curated.footer(BARS, AT).content_id
    second = lake.curated.write(BARS, AT, curated_bars([3.0])).content_id
    third = lake.curated.write(BARS, AT, curated_bars([4.0])).content_id
    release = tag(lake, "release", tables={BARS.name: {str(SESSION): first}})
    run(lake, "done", finished=True, inputs={"tables": {BARS.name: {"content_id": second}}})
    assert References(lake).ids() >= {first, second}
    assert [item for item in garbage(lake).collect() if item.kind == "manifest"] == []
    release.unlink()
    (gone,) = [item for item in garbage(lake).collect() if item.kind == "manifest"]
    assert gone.lines == 1
    lines = lake.layout.manifest(BARS).read_text().splitlines()
    assert [json.loads(line)["content_id"] for line in lines] == [second, third]
    assert Lakehouse(lake.layout).curated.footer(BARS, AT).content_id == third


def half_of(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def other_json(path):
    path.write_text("[]")


def a_directory(path):
    path.unlink()
    path.mkdir()


def no_text(path):
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [half_of, emptied, other_json, a_directory, no_text])
@pytest.mark.parametrize("who", ["tag", "run"])
def test_what_a_damaged_tag_or_run_may_name_stays_until_it_is_mended(lake, who, damage):
    first = lake.curated.footer(BARS, AT).content_id
    lake.curated.write(BARS, AT, curated_bars([3.0]))
    half = run(lake, "half")
    said = {"tables": {BARS.name: {str(SESSION): first}}}
    path = (
        tag(lake, "b", **said)
        if who == "tag"
        else run(lake, "done", finished=True, inputs=said) / "config" / "inputs.json"
    )
    whole = path.read_bytes()
    damage(path)
    lines = lake.layout.manifest(BARS).read_bytes()
    told = (
        "tag b cannot be read: restore it from a backup, or give it up with `quant lake tag delete b`"
        if who == "tag"
        else "the inputs of run done cannot be read: restore config/inputs.json from a backup, "
        "or move the run's directory away"
    )
    survey = {(item.kind, item.path.rsplit("/", 1)[1]): item for item in garbage(lake).survey()}
    assert [
        (survey[one].goes, survey[one].why, survey[one].lines)
        for one in (("run", "half"), ("manifest", f"{BARS.name}.jsonl"))
    ] == [(False, told, 0)] * 2
    assert garbage(lake).doubts() == [told]
    assert garbage(lake).collect() == []
    assert (half.is_dir(), lake.layout.manifest(BARS).read_bytes()) == (True, lines)
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(whole)
    assert garbage(lake).doubts() == []
    assert [item.kind for item in garbage(lake).collect()] == ["run"], "and the line that is named stays"


def test_a_finished_run_without_its_inputs_may_have_named_anything(lake):
    half = run(lake, "half")
    (run(lake, "done", finished=True, inputs={"sleeves": ["half"]}) / "config" / "inputs.json").unlink()
    assert garbage(lake).collect() == []
    assert half.is_dir()


def test_an_unfinished_run_does_not_stay_for_its_own_damaged_inputs(lake):
    emptied(run(lake, "half", inputs={"run_id": "half"}) / "config" / "inputs.json")
    os.utime(lake.layout.runs / "half" / "config" / "inputs.json", (OLD, OLD))
    other = run(lake, "other")
    assert [item.path.rsplit("/", 1)[1] for item in garbage(lake).collect()] == ["half"]
    assert other.is_dir()


def test_a_tag_that_is_damaged_between_survey_and_lock_keeps_everything(lake, monkeypatch):
    lake.curated.write(BARS, AT, curated_bars([3.0]))
    half, lines = run(lake, "half"), lake.layout.manifest(BARS).read_bytes()
    release = tag(lake, "b")
    between_survey_and_lock(monkeypatch, lambda: emptied(release))
    assert garbage(lake).collect() == []
    assert (half.is_dir(), lake.layout.manifest(BARS).read_bytes()) == (True, lines)


def test_a_manifest_without_garbage_is_not_rewritten(lake):
    path = lake.layout.manifest(BARS)
    before = path.stat()
    garbage(lake).collect()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_notes_of_batches_go_when_the_batches_are_others(lake):
    lake.raw.append(RAW, AT, raw_bars([5.0], first=7, request="b2-000"), "b2")
    said = lake.raw.content_id(RAW, AT)
    note = lake.layout.content(RAW, AT)
    assert note.is_file()
    assert garbage(lake).collect() == []
    lake.raw.append(RAW, AT, raw_bars([6.0], first=9, request="b3-000"), "b3")
    assert [item.kind for item in garbage(lake).collect()] == ["cache"]
    assert (note.exists(), lake.raw.content_id(RAW, AT) == said) == (False, False)


def test_bronze_and_session_files_are_never_touched(lake):
    run(lake, "half")
    leftover(lake.layout.directory(BARS, AT))
    files = {path: path.stat().st_mtime_ns for path in lake.layout.lakehouse.rglob("[!.]*.parquet")}
    garbage(lake, older_than_s=0).collect()
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_the_content_of_several_batches_is_hashed_once(lake, monkeypatch):
    lake.raw.append(RAW, AT, raw_bars([5.0], first=7, request="b2-000"), "b2")
    said = lake.raw.content_id(RAW, AT)
    whole = pl.concat([raw_bars([1.0, 2.0]), raw_bars([5.0], first=7, request="b2-000")])
    fresh = Lakehouse(Layout(lake.layout.data / "other"))
    fresh.raw.append(RAW, AT, whole.with_columns(pl.lit("one").alias("batch_id")), "one")
    assert said == fresh.raw.content_id(RAW, AT), "the same rows, however they are cut"
    monkeypatch.setattr(type(lake.raw), "read", None)
    assert Lakehouse(lake.layout).raw.content_id(RAW, AT) == said


def test_results_of_stages_go_when_no_run_has_asked_for_them_in_a_month(lake):
    cache = StageCache(lake.layout.cache)
    assert not [item for item in garbage(lake).survey() if item.kind == "stage"]
    old = cache.put("returns", {"of": "old"}, {"a": b"old alone", "b": b"shared"})
    new = cache.put("returns", {"of": "new"}, {"a": b"new alone", "b": b"shared"})
    for path in cache.path.rglob("*"):
        os.utime(path, (OLD, OLD))
    entries = {key: cache.path / "entries" / "returns" / f"{key}.json" for key in (old, new)}
    os.utime(entries[new], (NOW - 29 * 86400, NOW - 29 * 86400))
    survey = {item.path.rsplit("/", 1)[1]: item for item in garbage(lake).survey() if item.kind == "stage"}
    alone, shared = (hashlib.sha256(one).hexdigest() for one in (b"old alone", b"shared"))
    assert {name for name, item in survey.items() if item.goes} == {f"{old}.json", alone}
    assert (survey[shared].why, survey[alone].why) == ("an entry names it", "no entry that stays names it")
    assert "29 days ago" in survey[f"{new}.json"].why
    assert len(garbage(lake).collect()) == 2
    assert (cache.get("returns", old), cache.get("returns", new)) == (None, {"a": b"new alone", "b": b"shared"})


def test_a_result_that_is_served_is_young_again_and_one_that_is_listed_is_not(lake):
    cache = StageCache(lake.layout.cache)
    key = cache.put("returns", {"of": "it"}, {"a": b"data"})
    path = cache.path / "entries" / "returns" / f"{key}.json"
    os.utime(path, (OLD, OLD))
    assert cache.entries()["state"].to_list() == ["whole"]
    assert path.stat().st_mtime == OLD
    assert cache.get("returns", key) == {"a": b"data"}
    assert path.stat().st_mtime > OLD
