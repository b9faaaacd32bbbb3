"""Publish only what passes: a bad session stays missing, is named, and reaches nobody.

QENE lists on Monday 2025-03-17. Of a universe with no other instrument, Friday 03-14 cannot be good: TWS has no bar of
it, and no daily history either.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.domain.tables import CURATED_TWS_1M_BARS, RAW_TWS_BARS
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.assets.house import DATA, House, failures, metadata, sentences

BAD, GOOD = "2025-03-14", ["2025-03-17", "2025-03-18"]
DOWNSTREAM = ("curated_tws_1m_bars", "quarantine_tws_bars", "curated_tws_1d_bars", "features_price_1m_v1")


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house that ran the days around the listing; tests only read it."""
    with House(tmp_path_factory.mktemp("late"), symbols=["NASDAQ:QENE"]) as one:
        one.run(DATA, BAD, GOOD[-1])
        yield one


def test_the_good_sessions_of_the_range_are_published_and_the_bad_one_is_not(late: House):
    assert late.published("raw_tws_bars") == late.published("raw_tws_daily_bars") == GOOD


def test_the_run_fails_and_names_the_session_and_the_reason(late: House):
    run = late.runs[0]
    assert not run.success
    assert dict(failures(run)) == {
        "raw_tws_bars": f"1 of 3 partitions of raw_tws_bars were not published: {BAD} "
        f"(TWS has no bar of any instrument on {BAD}).",
        "raw_tws_daily_bars": f"1 of 3 partitions of raw_tws_daily_bars were not published: {BAD} "
        f"(no daily history reaches back to {BAD}).",
    }


def test_the_check_fails_and_names_the_session(late: House):
    found = {
        check.check_name: check
        for check in late.runs[0].get_asset_check_evaluations()
        if check.asset_key == dg.AssetKey("raw_tws_bars")
    }
    assert not found["not_empty"].passed
    assert found["not_empty"].severity is dg.AssetCheckSeverity.ERROR
    assert found["not_empty"].description == f"{BAD}: TWS has no bar of any instrument on {BAD}"
    assert found["every_request_settled"].passed, "a firm no is an answer"


def test_nothing_downstream_of_it_runs(late: House):
    for asset in DOWNSTREAM:
        assert late.published(asset) == [], asset
    assert late.published("instruments") == [BAD, *GOOD], "what does not depend on bars goes on"


def test_a_good_session_beside_a_bad_one_has_its_own_metadata_and_version(late: House):
    made = late.last_materialization("raw_tws_bars", GOOD[0])
    assert made.metadata["dagster/row_count"].value == 390
    assert (made.tags or {})["dagster/data_version"] == made.metadata["content_id"].value


def test_a_run_that_holds_a_degraded_instrument_says_so(tmp_path: Path):
    """Of QTEB quarantine takes 40 of 390 minutes, more than 5 %; QMKT is sound, so the session is certified."""
    session = "2025-11-26"
    with House(tmp_path, symbols=["ARCA:QMKT", "NASDAQ:QTEB"]) as house:
        house.run_data(session)
        raw, at = house.work().lake.raw, Partition.from_key(session)
        mine = raw.read(RAW_TWS_BARS, at).filter(pl.col("symbol") == "QTEB").sort("ts").head(40)
        later = mine.with_columns(
            (pl.col("low") - 1).alias("high"),  # below the low: such a bar cannot be
            (pl.col("ingested_at") + timedelta(hours=1)).alias("ingested_at"),
            pl.lit("late").alias("batch_id"),
            pl.lit("late-000").alias("request_id"),
        )
        raw.append(RAW_TWS_BARS, at, later, "late")
        house.run_data(session)
        house.run(["candidates", "snapshots"], f"calm|{session}")
        shown = house.last_materialization("snapshots", f"calm|{session}").metadata
    assert shown["degraded"].value == "QTEB 40 of 390 minutes"


def test_the_good_sessions_go_on_without_being_fetched_again(tmp_path: Path):
    with House(tmp_path, symbols=["NASDAQ:QENE"]) as house:
        house.run(DATA, BAD, GOOD[-1])
        again = house.run_data(*GOOD)
        asked = {found["tws_requests"] for _, _, found in metadata(again) if "tws_requests" in found}
        assert asked == {0}
        for asset in DOWNSTREAM:
            assert house.published(asset) == GOOD
        assert house.run(["curated_tws_1m_bars", "quarantine_tws_bars"], BAD).success is False


def test_a_bad_session_is_mended_by_what_was_missing(tmp_path: Path):
    with House(tmp_path, symbols=["NASDAQ:QENE"]) as house:
        assert not house.run(DATA, BAD).success
        house.name_symbols(["NASDAQ:QENE", "ARCA:QMKT"])
        house.run_data(BAD)
        assert house.published("features_price_1m_v1") == [BAD]
        assert house.last_materialization("raw_tws_bars", BAD).metadata["dagster/row_count"].value == 390


def test_bars_without_an_answer_in_the_ledger_are_not_curated(house: House):
    house.run_data("2025-12-01")
    before = house.files()
    (ledger,) = (house.data / "lakehouse/bronze/raw_tws_requests/session=2025-12-01").glob("*.parquet")
    ledger.unlink()
    run = house.run(["curated_tws_1m_bars", "features_price_1m_v1"], "2025-12-01")
    assert not run.success
    assert "6 instruments are open" in sentences(run)
    assert "raw_tws_bars[2025-12-01] is not published" in sentences(run)
    before.pop(str(ledger.relative_to(house.data)))
    assert house.files() == before


def test_a_revised_upstream_recomputes_what_stands_on_it(house: House):
    """One minute of one instrument arrives again with another close, as after a correction by the exchange."""
    house.run_data("2025-12-01")
    partition = Partition.from_key("2025-12-01")
    versions = {name: house.last_materialization(name, partition.key).metadata["content_id"].value for name in DATA}
    raw = house.work().lake.raw
    bars = raw.read(RAW_TWS_BARS, partition)
    one = bars.filter(pl.col("con_id") == bars["con_id"][0]).sort("ts").slice(100, 1)
    batch = house.work().new_batch_id()
    corrected = one.with_columns(
        (pl.col("high") + 0.01).alias("high"),
        (pl.col("high") + 0.01).alias("close"),
        (pl.col("ingested_at") + timedelta(hours=1)).alias("ingested_at"),
        pl.lit(batch).alias("batch_id"),
    )
    raw.append(RAW_TWS_BARS, partition, corrected, batch)

    again = house.run_data("2025-12-01")

    shown = {asset: found for asset, _, found in metadata(again)}
    changed = {name for name in DATA if shown[name]["content_id"] != versions[name]}
    stands_on_it = {"curated_tws_1m_bars", "features_price_1m_v1", "labels_tws_returns"}
    assert changed == {"raw_tws_bars", *stands_on_it, "certified_sessions"}
    curated = shown["curated_tws_1m_bars"]
    assert (curated["inserted"], curated["updated"], curated["unchanged"]) == (0, 1, 6 * 390 - 1)
    stored = house.work().lake.curated.read(CURATED_TWS_1M_BARS, partition)
    row = stored.filter(pl.col("con_id") == one["con_id"][0], pl.col("ts") == one["ts"][0])
    assert row["close"].to_list() == corrected["close"].to_list()


@pytest.mark.parametrize("damage", [b"", b"not parquet at all" * 100], ids=["emptied", "overwritten"])
def test_a_corrupt_file_is_named_with_its_mend_and_takes_nothing_with_it(house: House, damage: bytes):
    house.run_data("2025-12-01")
    file = house.data / "lakehouse/silver/curated_tws_1m_bars/session=2025-12-01/part.parquet"
    sound = file.read_bytes()
    before = house.files()
    file.write_bytes(damage)

    run = house.run(["features_price_1m_v1"], "2025-12-01")

    assert not run.success
    assert f"{file} is unreadable" in sentences(run)
    assert "moves the file aside and computes it again" in sentences(run)
    untouched = {name: stamp for name, stamp in before.items() if not name.endswith(str(file.relative_to(house.data)))}
    assert untouched.items() <= house.files().items()

    file.rename(file.with_suffix(".aside"))
    house.run_data("2025-12-01")
    assert file.stat().st_size == pytest.approx(len(sound), rel=0.05)
    assert house.files().items() >= {n: s for n, s in untouched.items() if "features_price" in n}.items()


def test_a_corrupt_bronze_batch_fails_its_session_and_stays_where_it_is(house: House):
    house.run_data("2025-11-28", "2025-12-01")
    (file,) = (house.data / "lakehouse/bronze/raw_tws_bars/session=2025-12-01").glob("*.parquet")
    file.write_bytes(b"PAR1")
    run = house.run(["raw_tws_bars", "curated_tws_1m_bars"], "2025-11-28", "2025-12-01")
    assert not run.success
    assert f"1 of 2 partitions of raw_tws_bars were not published: 2025-12-01 ({file} is unreadable" in sentences(run)
    assert file.read_bytes() == b"PAR1"


@pytest.mark.parametrize("one", ["curated_tws_1m_bars", "quarantine_tws_bars"])
def test_either_of_two_tables_that_are_made_together_can_be_named_alone(house: House, one: str):
    """A message's mend says `--select curated_tws_1m_bars`, so that has to work."""
    house.run_data("2025-12-01")
    run = house.run([one], "2025-12-01")
    assert run.success
    assert {check.asset_key.to_user_string() for check in run.get_asset_check_evaluations()} == {one}
    shown = {asset for asset, _, _ in metadata(run)}
    assert shown == {"curated_tws_1m_bars", "quarantine_tws_bars", "bar_accounting", "dq_metrics"}, (
        "what was written is told"
    )
