"""Requests for the impossible: one sentence with the mend, a failed run, and nothing written.

Dagster itself accepts most of these; the bodies refuse them.
"""

import json

import dagster as dg
import pytest

from quant_assets_tests.assets.house import ALPHA, DATA, House, failures, manifest

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
CLOSED = "2025-11-27 is no session: the exchange is closed that day. Nearest sessions: 2025-11-26, 2025-11-28."
REVERSED = "is no session: the range is reversed or holds no session; write the earlier one first."


def run_with_tags(house: House, asset: str, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    """Run as a program does that builds tags itself: Dagster checks nothing of them."""
    return house.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey(asset)],
        instance=house.instance,
        raise_on_error=False,
        tags=tags,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


@pytest.mark.parametrize("asset", DATA)
def test_every_asset_of_the_data_cycle_refuses_a_holiday(house: House, asset: str):
    run = run_with_tags(house, asset, {"dagster/partition": "2025-11-27"})
    assert [text for _, text in failures(run)] == [CLOSED]
    assert house.published(asset) == []


@pytest.mark.parametrize("asset", ALPHA)
def test_every_asset_of_the_alpha_cycle_refuses_a_holiday(house: House, asset: str):
    run = run_with_tags(house, asset, {"dagster/partition": "calm|2025-11-27"})
    assert [text for _, text in failures(run)] == [CLOSED]
    assert house.published(asset) == []


@pytest.mark.parametrize(
    ("asset", "first", "last", "told"),
    [
        ("universe", "2025-12-01", "2025-11-26", f"2025-12-01..2025-11-26 {REVERSED}"),
        ("universe", "2025-11-27", "2025-11-28", CLOSED),
        ("universe", "2025-11-26", "2025-11-27", CLOSED),
        ("candidates", "calm|2025-12-01", "calm|2025-11-26", f"calm|2025-12-01..calm|2025-11-26 {REVERSED}"),
        ("candidates", "plain|2025-12-01", "calm|2025-12-01", f"plain|2025-12-01..calm|2025-12-01 {REVERSED}"),
        ("weights", "calm|2025-11-27", "calm|2025-11-28", CLOSED),
    ],
)
def test_a_reversed_range_or_one_that_ends_on_a_holiday_is_refused(
    house: House, asset: str, first: str, last: str, told: str
):
    run = run_with_tags(house, asset, {START: first, END: last})
    assert not run.success
    assert [text for _, text in failures(run)] == [told]
    assert house.published(asset) == []


def test_a_session_that_has_not_closed_is_refused(house: House):
    calendar, now = house.work().calendar, house.work().clock.now()
    latest = calendar.latest(now)
    future = next(day for day in calendar.all_sessions if day > now.date())
    run = run_with_tags(house, "universe", {"dagster/partition": str(future)})
    assert [text for _, text in failures(run)] == [
        f"Session {future} has not closed yet; the latest one that can be asked for is {latest}."
    ]


def test_dagster_s_own_door_is_closed_to_a_holiday_too(house: House):
    with pytest.raises(dg.DagsterUnknownPartitionError, match="2025-11-27"):
        house.run(["universe"], "2025-11-27")


def test_an_empty_universe_says_where_to_add_instruments(house: House):
    house.name_symbols([])
    run = house.run(DATA, "2025-12-01")
    ((step, text),) = failures(run)
    assert step == "universe"
    assert text.startswith("The universe of 2025-12-01 is empty")
    assert "configs/lists" in text
    assert house.published("raw_tws_bars") == []


@pytest.mark.parametrize(
    ("symbols", "told"),
    [
        (["ARCA:QMKT", "ARCA:NOPE"], "list:short: TWS knows no such instrument: ARCA:NOPE."),
        (["ARCA:../../etc"], "'../../etc' is not a legal symbol"),
    ],
)
def test_an_impossible_symbol_is_named(house: House, symbols: list[str], told: str):
    house.name_symbols(symbols)
    ((step, text),) = failures(house.run(["universe"], "2025-12-01"))
    assert step == "universe"
    assert told in text
    assert house.published("universe") == []


def test_a_list_that_does_not_exist_is_named_with_the_nearest_one(house: House):
    (house.configs / "lists" / "short.yaml").rename(house.configs / "lists" / "shirt.yaml")
    ((_, text),) = failures(house.run(["universe"], "2025-12-01"))
    assert text == "There is no symbol list 'short'. Did you mean 'shirt'? Known: shirt."


def test_a_profile_that_was_taken_away_since_the_ui_loaded_is_named(house: House):
    """The partitions of a loaded code location outlive an edit of the manifest."""
    house.definitions.resolve_asset_graph()
    edited = manifest()
    del edited["profiles"]["calm"]
    (house.configs / "manifest.json").write_text(json.dumps(edited | {"default_profile": "plain"}))
    ((_, text),) = failures(house.run(["candidates"], "calm|2025-12-01"))
    assert text == "There is no active profile 'calm'. Known: plain."


def test_a_manifest_that_was_broken_since_the_ui_loaded_is_named_with_the_line(house: House):
    house.definitions.resolve_asset_graph()
    path = house.configs / "manifest.json"
    path.write_text('{\n  "profiles": {,\n')
    ((_, text),) = failures(house.run(["universe"], "2025-12-01"))
    assert text.startswith(f"{path}, line 2: not valid JSON")


@pytest.mark.parametrize(
    ("asset", "partition", "missing"),
    [
        ("raw_tws_bars", "2025-12-01", "universe[2025-12-01] is not published"),
        ("instruments", "2025-12-01", "raw_instruments[2025-12-01] is not published"),
        ("features_price_1m_v1", "2025-12-01", "curated_tws_1m_bars[2025-12-01] is not published"),
        ("candidates", "calm|2025-12-01", "universe[2025-12-01] is not published"),
        ("snapshots", "calm|2025-12-01", "candidates[calm|2025-12-01] is not published"),
        ("weights", "calm|2025-12-01", "snapshots[calm|2025-12-01] is not published"),
    ],
)
def test_an_asset_without_its_upstream_says_what_is_missing_and_how_to_get_it(
    house: House, asset: str, partition: str, missing: str
):
    ((_, text),) = failures(house.run([asset], partition))
    assert missing in text
    assert "quant flow" in text
    assert house.published(asset) == []
