"""Sessions through the whole graph: what is published, and what Dagster is told of it.

Answers are counted by hand: six instruments trade each of the 390 minutes of a full session, and 210 minutes of the
half day after Thanksgiving; 2025-11-27 is no session at all.
"""

import base64
import datetime as dt
import re

import dagster as dg
import polars as pl
import pytest

from quant_assets.domain.tables import BY_NAME, WEIGHTS
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.assets.house import ALPHA, DATA, House, metadata

SESSIONS = ["2025-11-26", "2025-11-28", "2025-12-01"]
MINUTE_ROWS = {"2025-11-26": 6 * 390, "2025-11-28": 6 * 210, "2025-12-01": 6 * 390}
PAIRS = [f"{profile}|{session}" for profile in ("calm", "plain") for session in SESSIONS]


def test_a_range_publishes_every_session_and_no_holiday(lived_in: House):
    for asset in DATA:
        assert lived_in.published(asset) == SESSIONS, asset


def test_a_range_over_profiles_and_sessions_publishes_their_product(lived_in: House):
    for asset in ALPHA:
        assert lived_in.published(asset) == PAIRS, asset


@pytest.mark.parametrize("asset", ["raw_tws_bars", "curated_tws_1m_bars", "features_price_1m_v1"])
def test_each_partition_of_a_range_has_its_own_row_count(lived_in: House, asset: str):
    shown = {session: lived_in.last_materialization(asset, session).metadata for session in SESSIONS}
    assert {session: found["dagster/partition_row_count"].value for session, found in shown.items()} == MINUTE_ROWS


def test_row_counts_are_those_of_the_files(lived_in: House):
    for session in SESSIONS:
        for asset in ("curated_tws_1m_bars", "curated_tws_1d_bars", "instruments", "universe"):
            shown = lived_in.last_materialization(asset, session).metadata
            file = lived_in.data / shown["location"].value
            assert shown["dagster/row_count"].value == pl.read_parquet(file).height


def test_the_daily_window_is_as_long_as_the_longest_lookback(lived_in: House):
    shown = lived_in.last_materialization("curated_tws_1d_bars", "2025-12-01").metadata
    assert shown["dagster/row_count"].value == 6 * 30


def test_content_ids_differ_between_sessions(lived_in: House):
    ids = {lived_in.last_materialization("curated_tws_1m_bars", one).metadata["content_id"].value for one in SESSIONS}
    assert len(ids) == len(SESSIONS)


def test_of_a_range_the_data_version_is_the_hash_of_its_content_ids(lived_in: House):
    made = [lived_in.last_materialization("features_price_1m_v1", session) for session in SESSIONS]
    expected = combined_id([one.metadata["content_id"].value for one in made])
    assert {(one.tags or {})["dagster/data_version"] for one in made} == {expected}


def test_of_one_session_the_data_version_is_the_content_id_of_the_file(house: House):
    house.run_data("2025-12-02")
    for asset in ("universe", "curated_tws_1m_bars", "quarantine_tws_bars", "features_price_1m_v1"):
        made = house.last_materialization(asset, "2025-12-02")
        footer = house.work().lake.curated.footer(BY_NAME[asset], Partition.from_key("2025-12-02"))
        assert footer is not None
        assert (made.tags or {})["dagster/data_version"] == made.metadata["content_id"].value == footer.content_id


def test_weights_of_every_profile_add_up_to_the_whole(lived_in: House):
    store = lived_in.work().lake.curated
    for pair in PAIRS:
        weights = store.read(WEIGHTS, Partition.from_key(pair))
        assert weights["weight"].sum() == pytest.approx(1.0, abs=1e-6)
        assert weights["weight"].max() <= 0.5 + 1e-9
    plain = store.read(WEIGHTS, Partition.from_key("plain|2025-12-01"))
    held = plain.filter(pl.col("weight") > 0)["weight"]
    assert held.max() == pytest.approx(held.min(), abs=1e-6)


def test_checks_that_are_declared_are_checks_that_are_yielded(lived_in: House):
    yielded = sorted(
        (check.asset_key.to_user_string(), check.check_name)
        for run in lived_in.runs[:2]
        for check in run.get_asset_check_evaluations()
    )
    declared = sorted(
        (key.asset_key.to_user_string(), key.name)
        for key in lived_in.definitions.resolve_asset_graph().asset_check_keys
        if key.asset_key.to_user_string() in {*DATA, *ALPHA}
    )
    assert yielded == declared
    assert len(declared) >= 3 * len((*DATA, *ALPHA))


def test_every_blocking_check_of_a_good_range_passes(lived_in: House):
    checks = lived_in.runs[0].get_asset_check_evaluations()
    assert [check.check_name for check in checks if check.blocking and not check.passed] == []


def test_weights_and_selection_show_what_was_looked_at_after_the_solve(lived_in: House):
    found = {
        (one.asset_key.to_user_string(), one.check_name): one
        for run in lived_in.runs
        for one in run.get_asset_check_evaluations()
    }
    verified = found["weights", "verified"]
    assert verified.passed
    assert verified.blocking
    assert {"cluster_cap", "duality_gap", "weights_stability"} <= set(verified.metadata)
    for key in (("weights", "no_fallback"), ("weights", "robust"), ("selection", "not_relaxed")):
        assert not found[key].blocking


def test_an_old_session_alone_leaves_the_presence_of_the_latest_one_failed(lived_in: House):
    checks = lived_in.runs[0].get_asset_check_evaluations()
    latest = next(check for check in checks if check.check_name == "latest_session_present")
    assert not latest.passed
    assert latest.severity is dg.AssetCheckSeverity.WARN
    assert latest.metadata["newest_published"].value == "2025-12-01"


@pytest.mark.parametrize(
    ("asset", "partition", "name"),
    [
        ("curated_tws_1m_bars", "2025-12-01", "coverage_heat_map"),
        ("curated_tws_1m_bars", "2025-12-01", "accounting_heat_map"),
        ("weights", "plain|2025-12-01", "weights_chart"),
    ],
)
def test_pictures_are_png_files_of_some_size(lived_in: House, asset: str, partition: str, name: str):
    text = lived_in.last_materialization(asset, partition).metadata[name].value
    found = re.fullmatch(r"!\[.*\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert found
    png = base64.b64decode(found[1])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.rstrip().endswith(b"IEND\xaeB`\x82")
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    assert width >= 300
    assert height >= 150
    assert len(text) < 300_000


def test_only_bars_are_shown_with_the_picture_of_bars(lived_in: House):
    shown = lived_in.last_materialization("quarantine_tws_bars", "2025-12-01").metadata
    assert "coverage_heat_map" not in shown


def test_the_newest_partition_of_a_range_carries_the_picture(lived_in: House):
    older = lived_in.last_materialization("curated_tws_1m_bars", "2025-11-26").metadata
    assert "coverage_heat_map" not in older


def test_a_second_run_asks_nothing_and_rewrites_nothing(house: House):
    house.run_data("2025-11-28", "2025-12-01")
    house.run_alpha("2025-12-01")
    before = house.files()
    again = house.run_data("2025-11-28", "2025-12-01")
    house.run_alpha("2025-12-01")
    assert house.files() == before
    assert any(name.endswith("features_price_1m_v1/session=2025-12-01/part.parquet") for name in before)
    asked = [found["tws_requests"] for _, _, found in metadata(again) if "tws_requests" in found]
    assert asked == [0] * 8, "four assets of two sessions"
    assert {found["inserted"] + found["updated"] for _, _, found in metadata(again)} == {0}


def test_the_first_run_says_how_often_it_asked(lived_in: House):
    shown = {asset: found["tws_requests"] for asset, _, found in metadata(lived_in.runs[0]) if "tws_requests" in found}
    assert shown["raw_tws_bars"] == 6, "one week-long request per instrument covers the three sessions"
    assert shown["raw_tws_daily_bars"] == 2 * 6, "two price bases per instrument, one window each"
    assert (shown["universe"], shown["raw_instruments"]) == (6, 0), "by name; what one is told serves both"


def test_the_first_run_says_what_it_planned_and_how_long_that_was_to_take(lived_in: House):
    shown = {asset: found for asset, _, found in metadata(lived_in.runs[0]) if "planned_requests" in found}
    assert {asset: found["planned_requests"] for asset, found in shown.items()} == {
        "raw_tws_bars": 6,
        "raw_tws_daily_bars": 2 * 6,
    }
    for found in shown.values():
        assert found["pacing_eta_s"] == 0.0, "so few requests wait for no budget"
        assert found["took_s"] > 0


@pytest.mark.parametrize(
    ("asset", "of_the_second_profile"),
    [("returns_matrix", "cache"), ("selection", "cache"), ("synthetic_returns", "cache"), ("weights", "computed")],
)
def test_what_two_profiles_share_is_computed_once_and_says_so(lived_in: House, asset: str, of_the_second_profile: str):
    """`plain` differs from `calm` in the method alone."""
    for session in SESSIONS:
        shown = {one: lived_in.last_materialization(asset, f"{one}|{session}").metadata for one in ("calm", "plain")}
        assert shown["calm"]["origin"].value == "computed"
        assert shown["plain"]["origin"].value == of_the_second_profile


def test_an_instrument_has_a_report_beside_the_catalog(lived_in: House):
    assert lived_in.run(["catalog"]).success
    files = sorted((lived_in.data / "lakehouse" / "gold" / "reports").glob("*_daily_report.csv"))
    assert len(files) == 6
    said = pl.read_csv(files[0], try_parse_dates=True)
    assert said.filter(pl.col("session") == dt.date(2025, 11, 28))["minutes"].to_list() == [210]
    assert said["weight_calm"].drop_nulls().len() == len(SESSIONS)
    assert {"weight_calm", "weight_plain", "return", "quarantined"} <= set(said.columns)


def test_a_second_look_rewrites_nothing(lived_in: House):
    for report in (lived_in.data / "lakehouse" / "gold" / "reports").glob("*_daily_report.csv"):
        report.unlink()
    assert lived_in.run(["catalog"]).success
    before = {path: path.stat().st_mtime_ns for path in (lived_in.data / "lakehouse").rglob("*") if path.is_file()}
    assert any(path.name == "catalog_state.json" for path in before)
    assert lived_in.run(["catalog"]).success
    after = {path: path.stat().st_mtime_ns for path in (lived_in.data / "lakehouse").rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before.get(path)} == set()


def test_the_catalog_counts_the_rows_of_every_table(lived_in: House):
    assert lived_in.run(["catalog"]).success
    event = lived_in.instance.get_latest_materialization_event(dg.AssetKey("catalog"))
    assert event is not None
    assert event.asset_materialization is not None
    rows = event.asset_materialization.metadata["rows_by_table"].value
    assert f"| curated_tws_1m_bars | {sum(MINUTE_ROWS.values())} |" in rows


def test_month_copies_are_made_proven_and_shown(lived_in: House):
    """Minutes of two months; bars, two groups of features and labels have copies."""
    result = lived_in.run(["month_copies"])
    assert result.success
    (checked,) = result.get_asset_check_evaluations()
    assert (checked.check_name, checked.passed, checked.metadata["copies"].value) == ("copies_equal", True, 8)
    event = lived_in.instance.get_latest_materialization_event(dg.AssetKey("month_copies"))
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert shown["made"].value == 8
    assert "| curated_tws_1m_bars | 2025-11 |" in shown["copies"].value
    copies = sorted((lived_in.data / "lakehouse" / "_copies" / "curated_tws_1m_bars").glob("*.parquet"))
    assert [pl.read_parquet(one).height for one in copies] == [6 * 390 + 6 * 210, 6 * 390]
    assert lived_in.run(["month_copies"]).success
    again = lived_in.instance.get_latest_materialization_event(dg.AssetKey("month_copies"))
    assert again is not None
    assert again.asset_materialization is not None
    assert again.asset_materialization.metadata["made"].value == 0
