"""Rows are hashed anew: what was altered, damaged or lost is named, nothing is built on it, and its mend works."""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Lock

import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.control.audit import read
from quant_assets.control.locks import hold
from quant_assets.control.status import read_status, status_path
from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import (
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    INSTRUMENTS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
    Table,
)
from quant_assets.errors import DamagedSourcesError, DataWrong
from quant_assets.flows import compact
from quant_assets.flows.care import repair_plan
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.certify import certify
from quant_assets.flows.compact import compact_months, due_months, prove_copies
from quant_assets.flows.curate import Curator
from quant_assets.flows.damage import check_sources, damaged_results, set_aside
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.derive import publish_group
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.slate import wipe
from quant_assets.flows.tags import create_tag, verify_tag
from quant_assets.lakehouse import compaction
from quant_assets.lakehouse import damage as damage_of_files
from quant_assets.lakehouse.catalog import read_catalog
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.garbage import Garbage
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore, Lakehouse
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, content

AT = Partition(SESSION)
REBUILD = f"quant lake rebuild --sessions {SESSION}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    lab = Lab(root, symbols=("ARCA:QMKT",))
    lab.run([SESSION])
    with lab.at(after(SESSION)) as work:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], SESSION)
        assert certify(work, SESSION).is_committed
    return root


@pytest.fixture
def lab(published: Path, tmp_path: Path) -> Lab:
    shutil.copytree(published, tmp_path / "lab")
    return Lab(tmp_path / "lab", symbols=("ARCA:QMKT",))


def alter(path: Path, *, keeps_time: bool) -> None:
    """Raise one close by a percent; the footer stays as it was."""
    told = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    rows, stat = pl.read_parquet(path, hive_partitioning=False), path.stat()
    close = pl.when(pl.int_range(pl.len()) == 5).then(pl.col("close") * 1.01).otherwise("close")
    rows.with_columns(close.alias("close")).write_parquet(path, compression="zstd", metadata=told)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns if keeps_time else stat.st_mtime_ns + 1_000_000_000))


def believe(lab: Lab, table: Table, path: Path) -> None:
    """Give the manifest the size and time of an altered file, as an attacker who thinks of everything would."""
    manifest, stat = lab.lake.layout.manifest(table), path.stat()
    name = path.relative_to(lab.lake.layout.lakehouse).as_posix()
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    forged = [
        {**one, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns} if one["path"] == name else one for one in lines
    ]
    manifest.write_text("".join(json.dumps(one, sort_keys=True) + "\n" for one in forged))


def audited(lab: Lab, *, quick: bool = False) -> list[tuple[str, str, str, str]]:
    with lab.at(after(SESSION) + timedelta(hours=2)) as work:
        return [(one.severity, one.table, one.what, one.mend) for one in audit_data(work, quick=quick)]


def batch(lab: Lab) -> Path:
    (path,) = lab.lake.raw.batches(RAW_TWS_BARS, AT)
    return path


def relative(lab: Lab, path: Path) -> str:
    return lab.lake.layout.relative(path)


ALTERED = "its rows are not what its footer says"


def test_a_price_that_was_altered_behind_an_intact_footer_is_the_only_finding(lab):
    path = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT)
    alter(path, keeps_time=True)
    believe(lab, CURATED_TWS_1M_BARS, path)
    assert audited(lab, quick=True) == [], "stats and footers cannot tell"
    told = f"{relative(lab, path)} is damaged: {ALTERED}"
    assert audited(lab) == [("error", CURATED_TWS_1M_BARS.name, told, REBUILD)]


def test_a_quick_audit_hashes_what_is_not_the_file_that_was_committed(lab):
    path = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT)
    alter(path, keeps_time=False)
    told = f"{relative(lab, path)} is damaged: {ALTERED}"
    assert audited(lab, quick=True) == [("error", CURATED_TWS_1M_BARS.name, told, REBUILD)]


def test_a_flipped_byte_is_found_in_silver(lab):
    path = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT)
    stat, text = path.stat(), bytearray(path.read_bytes())
    text[len(text) * 2 // 5] ^= 0xFF
    path.write_bytes(text)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    ((severity, table, what, mend),) = audited(lab)
    assert (severity, table, mend) == ("error", CURATED_TWS_1M_BARS.name, REBUILD)
    assert what.startswith(f"{relative(lab, path)} is damaged: ")


def test_bronze_that_was_altered_is_named_and_nothing_is_built_or_tagged_on_it(lab):
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        create_tag(work, "whole")
    path = batch(lab)
    alter(path, keeps_time=True)
    believe(lab, RAW_TWS_BARS, path)
    ((severity, table, what, mend),) = audited(lab)
    assert (severity, table, what) == ("error", RAW_TWS_BARS.name, f"{relative(lab, path)} is damaged: {ALTERED}")
    assert mend.startswith("restore it from a backup")
    with lab.at(after(SESSION) + timedelta(hours=3)) as work:
        with pytest.raises(DamagedSourcesError, match=f"{path.name} is damaged"):
            check_sources(work, [SESSION])
        with pytest.raises(DamagedSourcesError, match=f"{path.name} is damaged"):
            create_tag(work, "altered")
        assert not (work.layout.metadata / "tags" / "altered.json").exists()
        found = {(one.table, one.verdict) for one in verify_tag(work, "whole") if one.verdict != "same"}
    assert found == {(RAW_TWS_BARS.name, "damaged")}


def test_a_batch_whose_arrival_was_moved_is_damaged(lab):
    """When a row arrived is in no content id, and every view of the past stands on it."""
    path = batch(lab)
    told = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    rows = pl.read_parquet(path, hive_partitioning=False)
    rows.with_columns(pl.col("ingested_at") - timedelta(days=1)).write_parquet(path, metadata=told)
    ((_, table, what, _),) = audited(lab)
    assert (table, "became known at other times" in what) == (RAW_TWS_BARS.name, True)


def test_a_batch_that_was_replaced_with_its_footer_is_not_the_one_that_was_committed(lab):
    path = batch(lab)
    told = json.loads(pq.read_metadata(path).metadata[b"quant_assets"])
    rows = pl.read_parquet(path, hive_partitioning=False).with_columns(pl.col("close") * 1.01)
    told["content_id"] = content_id(rows.select(RAW_TWS_BARS.content_columns), RAW_TWS_BARS.content_columns, ())
    rows.write_parquet(path, metadata={"quant_assets": json.dumps(told)})
    found = [(table, what) for severity, table, what, _ in audited(lab) if severity == "error"]
    assert found == [
        (RAW_TWS_BARS.name, f"{relative(lab, path)} is damaged: it is not the batch that the manifest tells of")
    ]


def test_a_rebuild_on_altered_bronze_ends_before_it_touches_anything(lab, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    alter(batch(lab), keeps_time=True)
    alter(lab.lake.layout.file(CURATED_TWS_1M_BARS, AT), keeps_time=True)
    before = {path: path.read_bytes() for path in lab.lake.layout.lakehouse.rglob("*.parquet")}
    told = CliRunner().invoke(cli, ["lake", "rebuild"])
    assert isinstance(told.exception, DamagedSourcesError)
    assert {path: path.read_bytes() for path in lab.lake.layout.lakehouse.rglob("*.parquet")} == before


# ------------------------------------------------------------ B2


def test_what_was_altered_does_not_stand_and_the_next_run_computes_it_again(lab):
    path, whole = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT), content(lab.lake)
    sound = pl.read_parquet(path, hive_partitioning=False)
    alter(path, keeps_time=False)
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        assert repair_plan(work, SESSION, SESSION).missing == [SESSION]
        told = refresh_catalog(work, full=True)["tables"][CURATED_TWS_1M_BARS.name]
        assert (told["health"], told["unreadable_files"]) == ("RED", [relative(lab, path)])
        Curator(work).minute_bars(SESSION)
    assert pl.read_parquet(path, hive_partitioning=False).equals(sound)
    assert content(lab.lake) == whole
    assert audited(lab) == []
    with lab.at(after(SESSION) + timedelta(hours=3)) as work:
        assert repair_plan(work, SESSION, SESSION).missing == []


def test_a_restored_file_with_equal_rows_stands_and_is_not_written_again(lab):
    path = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT)
    os.utime(path, ns=(1, 1))
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        Curator(work).minute_bars(SESSION)
        assert repair_plan(work, SESSION, SESSION).missing == []
    assert path.stat().st_mtime_ns == 1
    assert audited(lab) == []


@pytest.mark.parametrize("table", [CURATED_TWS_1M_BARS, CURATED_TWS_1D_BARS])
def test_what_even_size_and_time_hide_is_set_aside_and_computed_again(lab, table):
    path, whole = lab.lake.layout.file(table, AT), content(lab.lake)
    sound = pl.read_parquet(path, hive_partitioning=False)
    alter(path, keeps_time=True)
    believe(lab, table, path)
    forged = path.read_bytes()
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        curator = Curator(work)
        curator.minute_bars(SESSION)
        curator.daily_bars(SESSION)
        assert path.read_bytes() == forged, "nothing but its rows tells"
        set_aside(work, damaged_results(work, [SESSION]))
        assert not path.exists()
        curator.minute_bars(SESSION)
        curator.daily_bars(SESSION)
        (aside,) = (one for one in work.layout.aside.rglob("*") if one.is_file())
        assert aside.read_bytes() == forged
        (told,) = [one for one in read(work.layout.audit) if one["event"] == "set_aside"]
        assert told["path"] == relative(lab, path)
    assert pl.read_parquet(path, hive_partitioning=False).equals(sound)
    assert content(lab.lake) == whole
    assert audited(lab) == []


# ------------------------------------------------------------ misplaced


@pytest.fixture
def misplaced(lab, tmp_path):
    """The lab with another session's file in the place of its own; that one was made from newer answers."""
    path = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT)
    before = SESSION - timedelta(days=1)
    rows = pl.read_parquet(path, hive_partitioning=False)
    moved = rows.with_columns(pl.lit(before).alias("session"), pl.col("ts", "known_at") - timedelta(days=1))
    other = CuratedStore(Layout(tmp_path / "other"))
    other.write(CURATED_TWS_1M_BARS, Partition(before), moved, watermark="2030-01-01T00:00:00Z")
    shutil.copy(other.layout.file(CURATED_TWS_1M_BARS, Partition(before)), path)
    return lab, path, rows


def test_a_file_of_another_session_is_damage_and_is_computed_again(misplaced):
    lab, path, rows = misplaced
    why = f"it is the file of {CURATED_TWS_1M_BARS.name}[{SESSION - timedelta(days=1)}]"
    told = ("error", CURATED_TWS_1M_BARS.name, f"{relative(lab, path)} is damaged: {why}", REBUILD)
    assert told in audited(lab)
    assert told in audited(lab, quick=True)
    with lab.at(after(SESSION) + timedelta(hours=3)) as work:
        entry = refresh_catalog(work, full=True)["tables"][CURATED_TWS_1M_BARS.name]
        assert (entry["health"], entry["unreadable_files"]) == ("RED", [relative(lab, path)])
        with pytest.raises(DataWrong, match=re.escape(why)):
            create_tag(work, "misplaced")
        assert repair_plan(work, SESSION, SESSION).missing == [SESSION]
        Curator(work).minute_bars(SESSION)
    assert pl.read_parquet(path, hive_partitioning=False).equals(rows)
    assert audited(lab) == []


def test_a_rebuild_moves_a_file_of_another_session_aside(misplaced):
    lab, path, rows = misplaced
    foreign = path.read_bytes()
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        set_aside(work, damaged_results(work, [SESSION]))
        (aside,) = (one for one in work.layout.aside.rglob("*") if one.is_file())
        assert aside.read_bytes() == foreign
        Curator(work).minute_bars(SESSION)
    assert pl.read_parquet(path, hive_partitioning=False).equals(rows)
    assert audited(lab) == []


def test_a_batch_of_another_session_is_damage(lab):
    path = batch(lab)
    moved = lab.lake.layout.batch(RAW_TWS_BARS, Partition(SESSION - timedelta(days=1)), path.stem)
    moved.parent.mkdir()
    shutil.copy(path, moved)
    found = [(table, what) for severity, table, what, _ in audited(lab) if severity == "error"]
    told = f"{relative(lab, moved)} is damaged: it is the file of {RAW_TWS_BARS.name}[{SESSION}]"
    assert found == [(RAW_TWS_BARS.name, told)]


# ------------------------------------------------------------ lost batches


def test_a_lost_batch_is_named_stops_a_rebuild_and_is_on_record_when_it_is_fetched_again(lab):
    path, rows = batch(lab), lab.lake.raw.read(RAW_TWS_BARS, AT)
    path.unlink()
    (error,) = [one for one in audited(lab) if one[0] == "error"]
    assert error[1:3] == (RAW_TWS_BARS.name, f"{relative(lab, path)} is gone")
    assert "quant lake reindex raw_tws_bars" in error[3]
    assert "as_of" in error[3]
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        with pytest.raises(DamagedSourcesError, match=f"{path.name} is gone"):
            check_sources(work, [SESSION])
        work.lake.raw.append(RAW_TWS_BARS, AT, rows, "again")
        work.lake.raw.append(RAW_TWS_BARS, AT, rows, "again2")
        (told,) = [one for one in read(work.layout.audit) if one["event"] == "batches_gone"]
        assert (told["session"], told["paths"]) == (str(SESSION), [path.relative_to(work.layout.lakehouse).as_posix()])
    assert [one[2] for one in audited(lab) if one[0] == "error"] == [f"{relative(lab, path)} is gone"]


def test_garbage_collection_keeps_the_witness_of_a_lost_batch_and_reindex_accepts_the_loss(lab, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    path = batch(lab)
    path.unlink()
    Garbage(lab.lake, (RAW_TWS_BARS,), 4e9, 0.0).collect()
    assert [one[2] for one in audited(lab) if one[0] == "error"] == [f"{relative(lab, path)} is gone"]
    told = CliRunner().invoke(cli, ["lake", "reindex", RAW_TWS_BARS.name], catch_exceptions=False)
    assert f"{path.name} is gone, and nothing tells of it any more" in told.stdout
    (accepted,) = [one for one in read(lab.lake.layout.audit) if one["event"] == "loss_accepted"]
    assert accepted["paths"] == [path.relative_to(lab.lake.layout.lakehouse).as_posix()]
    assert [one for one in audited(lab) if one[0] == "error"] == []


def test_what_was_wiped_by_word_is_no_loss(lab):
    with lab.at(after(SESSION)) as work:
        wipe(work, ["bronze", "discovery"], "irreplaceable")
    assert [one for one in audited(lab) if one[0] == "error"] == []


# ------------------------------------------------------------ copies and manifests


def test_a_month_copy_that_was_rewritten_answers_for_nothing(lab):
    with lab.at(after(SESSION)) as work:
        compact_months(work, due_months(work))
    path = lab.lake.layout.copy(CURATED_TWS_1M_BARS, "2024-03")
    alter(path, keeps_time=False)
    assert lab.lake.curated.copies.divide(CURATED_TWS_1M_BARS, [AT]).shares == ()
    told = "the month copy of 2024-03 answers for nothing: it is not the file that was made and proven"
    assert audited(lab) == [("warn", CURATED_TWS_1M_BARS.name, told, "quant lake compact --month 2024-03")]
    with lab.at(after(SESSION) + timedelta(hours=3)) as work:
        (due,) = [one for one in due_months(work) if one.table is CURATED_TWS_1M_BARS]
        assert (due.state, due.why) == ("foreign", "it is not the file that was made and proven")
        compact_months(work, [due])
    assert len(lab.lake.curated.copies.divide(CURATED_TWS_1M_BARS, [AT]).shares) == 1


def test_an_audit_proves_copies_and_its_mend_makes_them_anew(lab):
    with lab.at(after(SESSION)) as work:
        compact_months(work, due_months(work))
    path = lab.lake.layout.copy(CURATED_TWS_1M_BARS, "2024-03")
    alter(path, keeps_time=True)
    stat = path.stat()
    path.with_suffix(".json").write_text(json.dumps({"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}))
    ((severity, table, what, mend),) = audited(lab)
    assert (severity, table, mend) == ("error", CURATED_TWS_1M_BARS.name, "quant lake compact --month 2024-03")
    session = relative(lab, lab.lake.layout.file(CURATED_TWS_1M_BARS, AT))
    assert what == f"the month copy of 2024-03 answers reads with other rows: {SESSION} differs from {session}"
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        due = due_months(work, "2024-03")
        assert [one.table for one in due] == [CURATED_TWS_1M_BARS]
        compact_months(work, due)
    assert audited(lab) == []


def test_a_session_that_was_lost_and_computed_again_leaves_its_copy_proven(lab):
    with lab.at(after(SESSION)) as work:
        compact_months(work, due_months(work))
    lab.lake.layout.file(CURATED_TWS_1M_BARS, AT).unlink()
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        Curator(work).minute_bars(SESSION)
        assert due_months(work) == []
        assert {one.why for one in prove_copies(work)} == {"1 sessions are equal"}
        assert due_months(work, "2024-03") == []
    assert audited(lab) == []


@pytest.mark.parametrize("table", [INSTRUMENTS, QUARANTINE_TWS_BARS, RAW_TWS_BARS])
def test_a_damaged_manifest_is_one_finding_and_its_files_are_whole(lab, table):
    manifest = lab.lake.layout.manifest(table)
    manifest.write_text(manifest.read_text()[:-60] + '\n{"garbage"\n')
    ((severity, name, what, mend),) = audited(lab)
    assert (severity, name, mend) == ("error", table.name, f"quant lake reindex {table.name}")
    assert what.startswith(f"{relative(lab, manifest)} is damaged, and no file is: line ")
    lab.lake.raw.reindex(table)
    assert audited(lab) == []


# ------------------------------------------------------------ published meanwhile


@pytest.mark.parametrize("is_made_anew", [True, False])
def test_a_copy_is_not_blamed_for_a_session_that_is_published_while_it_is_proven(lab, monkeypatch, is_made_anew):
    with lab.at(after(SESSION)) as work:
        compact_months(work, due_months(work))
    prove, table = compact.prove, FEATURES_PRICE_1M_V1

    def overtaken(store, of, *args):
        if of is table and not changed:
            changed.append(of)
            republish(lab, *RETURNS)
            if is_made_anew:
                compaction.compact(Lakehouse(Layout(lab.root / "data")).curated, table, "2024-03")
        prove(store, of, *args)

    monkeypatch.setattr(compact, "prove", overtaken)
    changed = []
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        (proof,) = [one for one in prove_copies(work) if one.table == table.name]
    assert changed
    assert proof.equal
    assert proof.why.startswith("1 sessions are equal" if is_made_anew else "not served")


def republish(lab: Lab, table: Table, changed: pl.Expr) -> None:
    """Another process publishes a partition anew, from other inputs."""
    store = Lakehouse(Layout(lab.root / "data")).curated
    footer = store.footer(table, AT)
    rows = store.read(table, AT).with_columns(changed)
    store.write(table, AT, rows, inputs={"bars": "others"}, watermark=footer.watermark)


RETURNS = (FEATURES_PRICE_1M_V1, pl.col("ret_1") * 2)
MEMBERS = (UNIVERSE, pl.lit("default;other").alias("profiles"))


@pytest.fixture
def meanwhile(lab, monkeypatch):
    """Let something happen once, as soon as the first file is hashed: by then every footer has been looked up."""
    events, one_at_a_time, real = [], Lock(), damage_of_files._proved

    def proved(item):
        with one_at_a_time:
            while events:
                events.pop()()
        return real(item)

    monkeypatch.setattr(damage_of_files, "_proved", proved)
    return events


def test_what_is_published_while_files_are_hashed_is_not_called_damaged(lab, meanwhile):
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        meanwhile.append(lambda: republish(lab, *RETURNS))
        assert damaged_results(work, [SESSION]) == []
        meanwhile.append(lambda: republish(lab, *MEMBERS))
        check_sources(work, [SESSION])
    assert meanwhile == []


def test_what_is_altered_after_it_was_published_anew_is_damaged(lab, meanwhile):
    path = lab.lake.layout.file(FEATURES_PRICE_1M_V1, AT)

    def tamper() -> None:
        republish(lab, *RETURNS)
        told = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
        rows = pl.read_parquet(path, hive_partitioning=False).with_columns(pl.col("ret_1") + 1)
        rows.write_parquet(path, metadata=told)

    meanwhile.append(tamper)
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        (found,) = damaged_results(work, [SESSION])
    assert str(found) == f"{relative(lab, path)} is damaged: {ALTERED}"


@pytest.mark.parametrize("happens", ["published anew", "removed"])
def test_what_is_sound_or_gone_by_the_time_it_would_go_is_not_set_aside(lab, happens):
    path = lab.lake.layout.file(FEATURES_PRICE_1M_V1, AT)
    sound = pl.read_parquet(path, hive_partitioning=False)
    path.write_bytes(b"no Parquet")
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        found = damaged_results(work, [SESSION])
        assert [one.path for one in found] == [relative(lab, path)]
        path.unlink()
        if happens == "published anew":
            Lakehouse(Layout(lab.root / "data")).curated.write(FEATURES_PRICE_1M_V1, AT, sound)
        assert set_aside(work, found) == []
        assert path.exists() == (happens == "published anew")
        assert not work.layout.aside.exists()
        assert [one for one in read(work.layout.audit) if one["event"] == "set_aside"] == []


# ------------------------------------------------------------ tags


@pytest.fixture
def quant(lab, monkeypatch):
    """Run a command in a process' place; a refusal is raised."""
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    return lambda *words: CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)


def test_a_damaged_tag_is_an_error_garbage_collection_warns_of_it_and_it_can_be_given_up(lab, quant):
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        create_tag(work, "b")
    path = lab.lake.layout.tag("b")
    path.write_bytes(path.read_bytes()[:200])
    ((_, table, what, mend),) = [one for one in audited(lab) if one[0] == "error"]
    assert what.startswith(f"{relative(lab, path)} is damaged: no tag: ")
    assert (table, mend) == ("", "restore it from a backup, or give it up with `quant lake tag delete b`")
    told = quant("lake", "gc", "--json")
    assert told.stderr.strip() == (
        "warning: what it may name stays: tag b cannot be read: "
        "restore it from a backup, or give it up with `quant lake tag delete b`"
    )
    assert json.loads(told.stdout) == []
    assert [one["status"] for one in read(lab.lake.layout.audit) if one["event"] == "garbage_collected"] == ["warn"]
    assert quant("lake", "tag", "delete", "b", "--yes").stdout == "b is forgotten\n"
    assert [one for one in audited(lab) if one[0] == "error"] == []
    assert quant("lake", "gc").stderr == ""


# ------------------------------------------------------------ what is no file


def a_directory(path: Path) -> Path:
    path.unlink()
    path.mkdir()
    return path


def a_pipe(path: Path) -> Path:
    path.unlink()
    os.mkfifo(path)
    return path


NO_FILE = "it is no regular file"


@pytest.mark.parametrize(("put", "quick"), [(a_directory, False), (a_directory, True), (a_pipe, False)])
def test_what_is_no_file_in_the_place_of_one_is_damage_and_is_set_aside(lab, put, quick):
    path = put(lab.lake.layout.file(CURATED_TWS_1M_BARS, AT))
    errors = [one for one in audited(lab, quick=quick) if one[0] == "error"]
    told = f"{relative(lab, path)} is damaged: {NO_FILE}"
    assert errors == [("error", CURATED_TWS_1M_BARS.name, told, REBUILD)]
    with lab.at(after(SESSION)) as work:
        entry = refresh_catalog(work)["tables"][CURATED_TWS_1M_BARS.name]
        assert (entry["unreadable_files"], entry["conditions"]) == ([relative(lab, path)], {str(SESSION): "degraded"})
        assert [one.path for one in set_aside(work, damaged_results(work, [SESSION]))] == [relative(lab, path)]
    assert not path.exists()
    (aside,) = lab.lake.layout.aside.rglob("part.parquet.*")
    assert not aside.is_file()


def test_curating_a_session_anew_moves_a_directory_aside_that_stands_in_its_place(lab):
    path, before = lab.lake.layout.file(CURATED_TWS_1M_BARS, AT), content(lab.lake)
    (a_directory(path) / "note.txt").write_text("of somebody")
    lab.run([SESSION])
    assert (path.is_file(), content(lab.lake)) == (True, before)
    (aside,) = lab.lake.layout.aside.rglob("part.parquet.*")
    assert (aside / "note.txt").read_text() == "of somebody"


def test_a_directory_in_the_place_of_what_was_observed_is_damage_and_its_witness_stays(lab):
    path = a_directory(lab.lake.layout.file(UNIVERSE, AT))
    ((table, what, mend),) = [one[1:] for one in audited(lab) if one[0] == "error"]
    assert (table, what) == (UNIVERSE.name, f"{relative(lab, path)} is damaged: {NO_FILE}")
    assert mend.startswith("restore it from a backup, to the same path")
    with lab.at(after(SESSION)) as work, pytest.raises(DamagedSourcesError, match=NO_FILE):
        check_sources(work, [SESSION])
    Garbage(lab.lake, (UNIVERSE,), 4e9, 0.0).collect()
    path.rmdir()
    assert [one[2] for one in audited(lab) if one[0] == "error"] == [f"{relative(lab, path)} is gone"]


@pytest.fixture
def refused(quant):
    """Run a command that has to end with the code of wrong data; returns its sentence."""

    def run(*words: str) -> str:
        with pytest.raises(DataWrong) as told:
            quant(*words)
        assert told.value.exit_code == 65
        return str(told.value)

    return run


def test_a_directory_in_the_place_of_a_manifest_is_one_finding_and_reindex_mends_it(lab, quant, refused):
    path, name = lab.lake.layout.manifest(CURATED_TWS_1M_BARS), CURATED_TWS_1M_BARS.name
    before, rows = content(lab.lake), lab.lake.curated.footer(CURATED_TWS_1M_BARS, AT).n_rows
    a_directory(path)
    ((severity, table, what, mend),) = audited(lab)
    assert (severity, table, mend) == ("error", name, f"quant lake reindex {name}")
    assert what == f"{relative(lab, path)} is damaged, and no file is: Is a directory"
    entry = json.loads(quant("status", "--json").stdout)["tables"][name]
    assert (entry["rows"], entry["unreadable_files"]) == (rows, [relative(lab, path)])
    assert refused("audit", "data").endswith(f"Mend: quant lake reindex {name}.")
    with pytest.raises(DataWrong, match=r"Is a directory.*quant lake reindex"):
        Lakehouse(lab.lake.layout).curated.footer(CURATED_TWS_1M_BARS, AT)
    assert "1 files" in quant("lake", "reindex", name).stdout
    assert [one for one in audited(lab) if one[0] == "error"] == []
    assert content(Lakehouse(lab.lake.layout)) == before


def test_a_commit_into_a_directory_in_the_place_of_a_manifest_names_the_mend(lab):
    a_directory(lab.lake.layout.manifest(RAW_TWS_BARS))
    rows = lab.lake.raw.read(RAW_TWS_BARS, AT)
    with pytest.raises(DataWrong, match=r"Is a directory.*quant lake reindex"):
        Lakehouse(lab.lake.layout).raw.append(RAW_TWS_BARS, AT, rows, "more")


@pytest.mark.parametrize("name", ["overrides.jsonl", "audit.jsonl"])
def test_a_directory_in_the_place_of_a_file_of_record_is_told_and_nothing_is_curated(lab, quant, refused, name):
    path = {"overrides.jsonl": lab.lake.layout.overrides, "audit.jsonl": lab.lake.layout.audit}[name]
    path.unlink(missing_ok=True)
    path.mkdir()
    assert name in refused("audit", "verify")
    assert f"{name} cannot be read: Is a directory" in refused("quarantine", "log")
    assert f"{name} cannot be read: Is a directory" in refused("audit", "data")
    assert str(SESSION) in quant("status").stdout
    with lab.at(after(SESSION) + timedelta(hours=1)) as work, pytest.raises(DataWrong, match="cannot be read"):
        Curator(work).minute_bars(SESSION)


def test_a_directory_in_the_place_of_the_catalog_names_its_mend(lab, quant):
    quant("lake", "catalog")
    path = a_directory(lab.lake.layout.catalog)
    with pytest.raises(DataWrong, match=r"catalog\.json is unreadable \(Is a directory\)\. .*`quant lake catalog`"):
        read_catalog(lab.lake.layout)
    a_directory(lab.lake.layout.catalog_state)
    quant("lake", "catalog")
    assert read_catalog(lab.lake.layout)["tables"][UNIVERSE.name]["rows"] == 1
    assert path.is_file()
    assert "catalog.json" in " ".join(one.name for one in lab.lake.layout.aside.rglob("*"))


# ------------------------------------------------------------ what nobody committed


def test_a_file_in_bronze_that_was_never_committed_is_told_as_that_and_moving_it_away_mends_it(lab, refused, quant):
    path = batch(lab).with_name("foo.parquet")
    path.write_text("hi\n")
    told = f"{relative(lab, path)} was never committed"
    assert [one for one in audited(lab) if one[0] == "error"] == [("error", RAW_TWS_BARS.name, told, "move it away")]
    assert refused("audit", "data") == f"{RAW_TWS_BARS.name}: {told}. Mend: move it away."
    sentence = f"{path} is unreadable (it was never committed). Move it away."
    assert refused("lake", "reindex", RAW_TWS_BARS.name) == sentence
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        with pytest.raises(DataWrong) as stopped:
            Curator(work).minute_bars(SESSION)
        assert str(stopped.value) == sentence
        with pytest.raises(DamagedSourcesError, match=r"foo\.parquet was never committed\. Mend: move it away\."):
            check_sources(work, [SESSION])
        with pytest.raises(DamagedSourcesError, match=r"foo\.parquet was never committed"):
            create_tag(work, "t")
    path.unlink()
    assert [one for one in audited(lab) if one[0] == "error"] == []
    assert "1 files" in quant("lake", "reindex", RAW_TWS_BARS.name).stdout


@pytest.mark.parametrize("has_line", [True, False])
def test_a_damaged_batch_has_to_come_from_a_backup_also_where_its_writer_died_before_its_line(lab, has_line):
    path = batch(lab)
    path.write_text("hi\n")
    if not has_line:
        lab.lake.layout.manifest(RAW_TWS_BARS).write_text("")
    ((what, mend),) = [one[2:] for one in audited(lab) if one[0] == "error"]
    assert what.startswith(f"{relative(lab, path)} is damaged: ")
    assert mend.startswith("restore it from a backup, to the same path")


def test_a_promoted_batch_has_the_name_of_a_batch(tmp_path):
    """What a killed promotion put in place has no line yet."""
    table, at = RAW_TWS_BARS, AT
    layout = Layout(tmp_path)
    path = layout.batch(table, at, "live-20240314-0123456789ab")
    path.parent.mkdir(parents=True)
    path.write_text("hi\n")
    with pytest.raises(DataWrong, match="has to come from a backup"):
        Lakehouse(layout).raw.read(table, at)


# ------------------------------------------------------------ the status of the ingestion


def test_a_damaged_status_is_one_line_of_quant_status_and_flow_data_writes_it_anew(lab, quant):
    path = status_path("ingestion", lab.lake.layout.lakehouse)
    path.write_text('{"phase": "comp')
    sentence = f"{path} is unreadable (JSONDecodeError"
    told = quant("status")
    assert f"the state of the ingestion is unknown: {sentence}" in told.stdout
    assert told.stdout.count("`quant flow data` writes it anew") == 1
    assert CURATED_TWS_1M_BARS.name in told.stdout
    ingestion = json.loads(quant("status", "--json").stdout)["ingestion"]
    assert ingestion["unreadable"].startswith(sentence)
    assert (ingestion["phase"], ingestion["is_running"], ingestion["is_complete"]) == (None, False, False)
    assert quant("pause").stdout.startswith("ingestion is not running; the next run waits")
    assert quant("resume").stdout == "ingestion is not running; the next run does not wait\n"
    requests = len(lab.lake.raw.batches(RAW_TWS_REQUESTS, AT))
    quant("flow", "data", "--session", str(SESSION))
    assert len(lab.lake.raw.batches(RAW_TWS_REQUESTS, AT)) == requests, "nothing had to be asked"
    status = read_status("ingestion", lab.lake.layout.lakehouse)
    assert (status.phase, status.health_check, status.paused_since) == ("complete", "ok", None)
    assert json.loads(quant("status", "--json").stdout)["ingestion"]["unreadable"] == ""


def test_while_somebody_asks_the_status_is_left_to_them_and_they_are_seen_to_run(lab, quant):
    path = status_path("ingestion", lab.lake.layout.lakehouse)
    path.write_text("")
    with lab.at(after(SESSION)) as work, hold("tws", lab.lake.layout.locks, owner={"run": "r", "stage": "ingestion"}):
        with ThreadPoolExecutor(1) as others:
            others.submit(TwsGate(work.settings).mend_status).result()
        assert path.read_text() == ""
        assert json.loads(quant("status", "--json").stdout)["ingestion"]["is_running"] is True
        assert quant("resume").stdout == "ingestion goes on\n"


def test_a_status_that_can_be_read_or_was_never_there_is_left_alone(lab):
    path = status_path("ingestion", lab.lake.layout.lakehouse)
    before = path.read_bytes()
    with lab.at(after(SESSION)) as work:
        TwsGate(work.settings).mend_status()
        assert path.read_bytes() == before
        path.unlink()
        TwsGate(work.settings).mend_status()
        assert not path.exists()
        path.mkdir()
        TwsGate(work.settings).mend_status()
    assert read_status("ingestion", lab.lake.layout.lakehouse).is_complete
