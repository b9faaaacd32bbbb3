"""The data audit names what drifted, what is stale, what nobody owns and what is newly toxic, each with its mend."""

import json
import os
from collections import Counter
from datetime import date, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import (
    ALL,
    BAR_ACCOUNTING,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1M_BARS,
    INSTRUMENTS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    UNIVERSE,
)
from quant_assets.flows.care import DATA_TABLES
from quant_assets.flows.certify import certify
from quant_assets.flows.curate import Curator
from quant_assets.flows.data_audit import audit_data
from quant_assets.flows.derive import publish_group
from quant_assets.flows.slate import DERIVED, wipe
from quant_assets.lakehouse.garbage import Garbage
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after

AT = Partition(SESSION)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path, symbols=("ARCA:QMKT",))
    made.run([SESSION])
    with made.at(after(SESSION)) as work:
        publish_group(work, GROUPS["tv_technicals_1d", "v1"], SESSION)
        assert certify(work, SESSION).is_committed
    return made


def audited(lab):
    with lab.at(after(SESSION) + timedelta(hours=2)) as work:
        return [(one.severity, one.table, one.what, one.mend) for one in audit_data(work)]


def of(lab, table):
    return [(severity, what, mend) for severity, name, what, mend in audited(lab) if name == table]


def test_a_sound_lakehouse_has_nothing_to_report(lab):
    lab.lake.layout.daily_report("QMKT").parent.mkdir(parents=True)
    lab.lake.layout.daily_report("QMKT").write_text("a report is nobody's orphan\n")
    assert audited(lab) == []


def test_an_audit_looks_once_at_what_stands_of_each_table_and_session(lab, monkeypatch):
    asked, proved = Counter(), CuratedStore.proved_footer

    def counted(store, table, partition):
        asked[table.name, partition.session] += 1
        return proved(store, table, partition)

    monkeypatch.setattr(CuratedStore, "proved_footer", counted)
    assert audited(lab) == []
    assert asked == {(table.name, SESSION): 1 for table in DATA_TABLES if table is not CERTIFIED_SESSIONS}


def test_a_revision_with_a_bad_print_is_drift_stale_and_newly_toxic_once(lab):
    raw = lab.lake.raw.read(RAW_TWS_BARS, AT).sort("ts")
    late = raw.slice(100, 5).with_columns(
        batch_id=pl.lit("b9"), request_id=pl.lit("b9-000"), ingested_at=pl.col("ingested_at") + timedelta(hours=1)
    )
    times = pl.when(pl.int_range(pl.len()) == 2).then(100.0).otherwise(1.0)
    spoiled = late.with_columns(pl.col(name) * times for name in ("open", "high", "low", "close"))
    lab.lake.raw.append(RAW_TWS_BARS, AT, spoiled, "b9")
    ((severity, what, mend),) = of(lab, CURATED_TWS_1M_BARS.name)
    assert (severity, what) == ("warn", f"was made from an older raw_tws_bars: {SESSION}")
    assert mend == f"quant flow data --sessions {SESSION}"
    with lab.at(after(SESSION) + timedelta(hours=1)) as work:
        Curator(work).minute_bars(SESSION)
    drifted = of(lab, CURATED_TWS_1M_BARS.name)
    assert [what for _, what, _ in drifted] == [
        f"{SESSION} has drifted from its certificate: 0 rows added, 1 removed, 0 changed"
    ]
    # the audit above has seen the quarantine; what comes after it is new, and told once
    lab.lake.layout.data_audit.unlink()
    ((severity, what, mend), *rest) = [one for one in of(lab, QUARANTINE_TWS_BARS.name) if "drifted" not in one[1]]
    assert not rest
    assert (severity, what) == ("warn", f"bad_print rows that the last audit did not see: 1 in {SESSION}")
    assert mend.startswith(f"quant quarantine list --sessions {SESSION}..{SESSION} --verdict bad_print")
    assert not [one for one in of(lab, QUARANTINE_TWS_BARS.name) if "last audit" in one[1]]


def test_after_a_wipe_every_table_that_should_hold_the_session_is_named(lab):
    with lab.at(after(SESSION)) as work:
        wipe(work, DERIVED)
    found = {table: (what, mend) for _, table, what, mend in audited(lab)}
    assert set(found) == {table.name for table in DATA_TABLES} - {"universe"}
    assert set(found.values()) == {(f"is empty, and lacks 1: {SESSION}", "quant lake rebuild")}


def test_what_lies_between_holes_is_not_part_of_the_mend(lab):
    """Four sessions are missing between two with holes; a range over both would fetch them as well."""
    rows = lab.lake.curated.read(BAR_ACCOUNTING, AT)
    *missing, later = (date(2024, 3, day) for day in (15, 18, 19, 20, 21))
    members = lab.lake.curated.read(UNIVERSE, AT).with_columns(session=pl.lit(later))
    lab.lake.curated.write(UNIVERSE, Partition(later), members)
    for day in (SESSION, later):
        holed = rows.with_columns(
            session=pl.lit(day), kind=pl.lit("unexplained"), reason=pl.lit("unexplained"), minutes=pl.lit(3, pl.Int64)
        )
        lab.lake.curated.write(BAR_ACCOUNTING, Partition(day), holed, watermark="2030-01-01T00:00:00+00:00")
    with lab.at(after(later)) as work:
        found = {one.what: one.mend for one in audit_data(work) if one.table == BAR_ACCOUNTING.name}
    (mend,) = (mend for what, mend in found.items() if "nothing explains" in what)
    assert mend.startswith(f"quant repair --sessions {SESSION}, quant repair --sessions {later}; quant repair accept")
    assert f"lacks 4: {missing[0]}..{missing[-1]}" in found


def test_minutes_that_nothing_explains_and_a_certificate_beyond_the_limits_are_named(lab):
    rows = lab.lake.curated.read(BAR_ACCOUNTING, AT)
    lost = rows.with_columns(kind=pl.lit("unexplained"), reason=pl.lit("unexplained"), minutes=pl.lit(3, pl.Int64))
    spoiled = pl.concat([rows.with_columns(minutes=pl.lit(387, pl.Int64)), lost])
    lab.lake.curated.write(BAR_ACCOUNTING, AT, spoiled, watermark="2030-01-01T00:00:00+00:00")
    ((severity, what, mend),) = [one for one in of(lab, BAR_ACCOUNTING.name) if "drifted" not in one[1]]
    assert (severity, what) == ("warn", f"3 minutes that nothing explains in {SESSION} (QMKT 3)")
    assert mend.startswith(
        f"quant repair --sessions {SESSION}; quant repair accept --session S --symbol EXCHANGE:SYMBOL"
    )
    with lab.at(after(SESSION)) as work:
        assert certify(work, SESSION).is_committed
    lab.lakehouse = {"max_unexplained": 0.001}
    ((severity, what, _),) = of(lab, "certified_sessions")
    assert (severity, "0.77% of the expected minutes" in what) == ("warn", True)


def reject(lab, place):
    """Put one bar of the session into quarantine, and nothing else."""
    row = lab.lake.raw.read(RAW_TWS_BARS, AT).sort("ts").slice(place, 1)
    told = row.with_columns(verdict=pl.lit("bad_print"), rule=pl.lit("toxic_price"))
    text = told.with_columns(rules=pl.lit("toxic_price"), evidence=pl.lit(""), transform_version=pl.lit("2"))
    broke = [name for name in QUARANTINE_TWS_BARS.schema.names() if name.startswith("broke_")]
    frame = text.with_columns(pl.lit(name == "broke_toxic_price").alias(name) for name in broke)
    mark = f"2030-01-01T00:{place // 10:02}:00+00:00"
    lab.lake.curated.write(QUARANTINE_TWS_BARS, AT, frame.select(QUARANTINE_TWS_BARS.schema.names()), watermark=mark)


def test_a_row_that_takes_the_place_of_a_released_one_is_new(lab):
    """One bad print goes and another comes: as many as before, and not the same."""

    def rejected(place):
        reject(lab, place)
        return [what for _, what, _ in of(lab, QUARANTINE_TWS_BARS.name) if "last audit" in what]

    assert rejected(100) == [f"bad_print rows that the last audit did not see: 1 in {SESSION}"]
    assert rejected(100) == []
    assert rejected(201) == [f"bad_print rows that the last audit did not see: 1 in {SESSION}"]


def test_a_peek_leaves_news_to_whoever_reads_the_next_audit(lab, monkeypatch):
    reject(lab, 100)
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))

    def news(*options):
        told = CliRunner().invoke(cli, ["audit", "data", "--json", *options], catch_exceptions=False)
        return [one["what"] for one in json.loads(told.stdout) if "last audit" in one["what"]]

    told = [f"bad_print rows that the last audit did not see: 1 in {SESSION}"]
    assert [news("--peek"), news("--peek"), news(), news(), news("--peek")] == [told, told, told, [], []]


def test_the_mend_of_leftovers_mends_them(lab):
    places = (
        lab.lake.layout.directory(RAW_TWS_BARS, Partition(SESSION)),
        lab.lake.layout.staging / "staged_tws_bars" / f"session={SESSION}",
        lab.lake.layout.export(SESSION),
        lab.lake.layout.backtests / "b1",
    )
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / ".staged-0123456789ab-x").write_bytes(b"half")
        os.utime(place / ".staged-0123456789ab-x", (0, 0))

    def told():
        return [(what.split()[0], mend) for _, what, mend in of(lab, "") if "beside their places" in what]

    assert told() == [("4", "quant lake gc, which removes those older than a day")]
    Garbage(lab.lake, ALL, 4e9, 86400.0).collect()
    assert told() == []


def test_files_that_no_partition_owns_are_named(lab):
    zone = lab.lake.layout.table(INSTRUMENTS)
    strange = [
        zone / f"session={SESSION}" / "copy of part.parquet",
        zone / "notes.txt",
        zone.parent / "old_table" / "session=2024-03-14" / "part.parquet",
    ]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (found,) = [one for one in audited(lab) if "owns" in one[2]]
    assert found[2].startswith("3 files that no partition of any table owns")
    assert all(lab.lake.layout.relative(path) in found[2] for path in strange)
    assert found[3] == "move them out of data/lakehouse"


def test_an_unreadable_file_is_an_error_and_stops_no_other_finding(lab):
    lab.lake.layout.file(QUARANTINE_TWS_BARS, AT).write_bytes(b"no parquet")
    (error,) = [one for one in audited(lab) if one[0] == "error"]
    path = f"lakehouse/silver/quarantine_tws_bars/session={SESSION}/part.parquet"
    assert (error[1], error[2].startswith(f"{path} is damaged: ")) == (QUARANTINE_TWS_BARS.name, True)
    assert error[3] == f"quant lake rebuild --sessions {SESSION}"
