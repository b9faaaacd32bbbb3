"""From raw rows to valid bars and quarantine: each rule, and that no row is lost or counted twice."""

import math
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain import quality
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS
from quant_assets.domain.validation import validate
from quant_assets_tests.builders import (
    HALF_DAY,
    SESSION,
    hours,
    minute,
    raw_bars,
    references,
    trading,
    vintage,
)

GOOD = [100.0, 100.1, 100.2, 100.3]


def curate(*answers, session=SESSION, reference=None):
    raw = pl.concat(answers)
    found = quality.curate_minutes(raw, session, trading(session), references() if reference is None else reference)
    assert found.valid.height + found.quarantine.height + found.n_superseded == raw.height
    for table, frame in ((CURATED_TWS_1M_BARS, found.valid), (QUARANTINE_TWS_BARS, found.quarantine)):
        failures = validate(table, table.conform(frame))
        assert [failure for failure in failures if failure.examples != ("nan",)] == []
    return found


def rejected(found):
    return found.quarantine.select("rule", "verdict").rows()


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"low": 0.0}, "price_not_positive"),
        ({"close": -1.0, "low": -1.0}, "price_not_positive"),
        ({"high": math.nan}, "price_missing"),
        ({"close": math.nan}, "price_missing"),
        ({"open": math.inf, "high": math.inf}, "price_missing"),
        ({"high": 99.0}, "ohlc_order"),
        ({"low": 101.0}, "ohlc_order"),
        ({"volume": -5.0}, "volume_negative"),
        ({"volume": math.nan}, "volume_negative"),
        ({"bar_count": -5}, "volume_negative"),
        ({"ts": minute(4) + timedelta(seconds=30)}, "off_minute"),
        ({"minute": 390}, "outside_session"),
        ({"minute": -1}, "outside_session"),
    ],
    ids=str,
)
def test_each_rule_on_one_row(row, rule):
    found = curate(raw_bars(GOOD, rows=[{"minute": 4, "close": 100.0, **row}]))
    assert [name for name, _ in rejected(found)] == [rule]
    assert found.valid["close"].to_list() == GOOD
    assert found.quarantine["evidence"].null_count() == 0


def test_a_row_that_breaks_several_rules_names_all_and_is_there_once():
    found = curate(raw_bars(GOOD, rows=[{"minute": 400, "close": -1.0, "volume": -1.0}]))
    assert found.quarantine.select("rule", "rules").rows() == [
        ("price_not_positive", "price_not_positive;outside_session;volume_negative")
    ]


def test_a_bar_without_volume_is_a_bar():
    found = curate(raw_bars(GOOD, rows=[{"minute": 4, "volume": None, "wap": None, "bar_count": None}]))
    assert found.valid.height == 5


def test_after_the_close_of_a_half_day_is_outside():
    found = curate(raw_bars({208: 100.0, 209: 100.1, 210: 100.2}, session=HALF_DAY), session=HALF_DAY)
    assert found.valid.height == 2
    assert rejected(found) == [("outside_session", "not_a_regular_minute")]
    assert found.quarantine["evidence"][0] == "session 14:30 to 18:00 UTC"


def test_equal_duplicates_leave_one_row_without_a_warning():
    found = curate(raw_bars(GOOD, rows=[{"minute": 1, "close": 100.1}]))
    assert rejected(found) == [("duplicate_equal", "repeated_minute")]
    assert set(found.valid["dq_status"]) == {"ok"} or found.valid["dq_status"].to_list().count("warn") <= 1


def test_of_conflicting_duplicates_the_largest_volume_stays_with_a_warning():
    found = curate(raw_bars(GOOD, rows=[{"minute": 3, "close": 100.9, "volume": 5000.0}]))
    assert rejected(found) == [("duplicate_conflicting", "repeated_minute")]
    assert found.valid.select("close", "dq_status").rows()[3] == (100.9, "warn")
    assert found.quarantine["evidence"][0] == (
        "kept row 4: close 100.9 volume 5000.0; this row: close 100.3 volume 1000.0"
    )


def test_of_conflicting_duplicates_with_equal_volume_the_last_sent_stays():
    found = curate(raw_bars(GOOD, rows=[{"minute": 3, "close": 100.9}]))
    assert found.valid["close"].to_list()[3] == 100.9


def test_a_duplicate_without_volume_loses_to_one_with():
    found = curate(raw_bars(GOOD, rows=[{"minute": 3, "close": 100.9, "volume": None}]))
    assert found.valid["close"].to_list() == GOOD


def test_rows_out_of_order_are_put_in_place_and_marked():
    found = curate(raw_bars({0: 100.0, 2: 100.2, 1: 100.1, 3: 100.3}))
    assert found.valid["ts"].is_sorted() or found.valid.sort("ts")["close"].to_list() == GOOD
    marked = dict(found.valid.select("ts", "dq_status").iter_rows())
    assert [marked[minute(i)] for i in range(4)] == ["ok", "warn", "ok", "ok"]
    assert found.n_reordered == 1


def test_a_toxic_price_goes_with_its_evidence():
    found = curate(raw_bars([100.0, 0.01, 100.0, 100.0]), reference=references(c101=100.0))
    assert rejected(found) == [("toxic_price", "bad_print")]
    assert "0.01" in found.quarantine["evidence"][0]


def test_one_spike_does_not_cost_the_instrument_its_session():
    found = curate(raw_bars([100.0] * 200 + [1e6] + [100.0] * 189), reference=references(c101=100.0))
    assert found.valid.height == 389


def test_superseded_rows_are_counted_and_keep_the_first_knowledge():
    old = raw_bars(GOOD)
    later = hours().closes_at + timedelta(days=2)
    new = raw_bars([100.0, 100.15], request="b2-000", ingested_at=later)
    found = curate(old, new)
    assert found.n_superseded == 2
    known = dict(found.valid.select("ts", "known_at").iter_rows())
    assert known[minute(0)] == known[minute(2)] == old["ingested_at"][0]
    assert known[minute(1)] == later
    basis = dict(found.valid.select("ts", "known_basis").iter_rows())
    assert [basis[minute(i)] for i in range(4)] == ["observed", "assumed", "observed", "observed"]


def test_a_backfilled_session_says_assumed():
    found = curate(raw_bars(GOOD, ingested_at=hours().closes_at + timedelta(days=90)))
    assert set(found.valid["known_basis"]) == {"assumed"}


def test_no_rows_give_two_empty_frames():
    found = curate(raw_bars([]))
    assert found.valid.is_empty()
    assert found.quarantine.is_empty()
    assert (found.n_superseded, found.n_reordered) == (0, 0)


def test_the_same_rows_in_two_batches_are_judged_as_in_one():
    once = curate(raw_bars(GOOD))
    again = curate(raw_bars(GOOD), raw_bars(GOOD, request="b2-000", ingested_at=hours().closes_at + timedelta(days=1)))
    columns = list(CURATED_TWS_1M_BARS.content_columns)
    assert once.valid.select(columns).sort("ts").equals(again.valid.select(columns).sort("ts"))


# ------------------------------------------------------------ counting


def test_rules_are_counted():
    found = curate(raw_bars(GOOD, rows=[{"minute": 390}, {"minute": 391}, {"minute": 4, "low": 0.0}]))
    assert quality.rule_counts(found.quarantine) == {"outside_session": 2, "price_not_positive": 1}


# ------------------------------------------------------------ daily


@pytest.mark.parametrize(
    "broken",
    [
        {"low": 0.0},
        {"high": 1.0},
        {"adj_close": math.nan},
        {"close": math.inf, "high": math.inf},
        {"volume": -1.0},
        {"bar_count": -2},
    ],
    ids=str,
)
def test_unsound_daily_rows_are_told_apart_and_the_rest_can_be_published(broken):
    window = vintage({date(2024, 1, 2): 10.0, SESSION: 11.0}, SESSION).with_columns(
        pl.col("close").alias("adj_close"), as_of_session=pl.lit(SESSION), known_at="ingested_at"
    )
    last = pl.col("session") == SESSION
    spoiled = window.with_columns(
        pl.when(last).then(value).otherwise(name).alias(name) for name, value in broken.items()
    )
    sound, rest = quality.sound_daily(spoiled.cast({"bar_count": pl.Int64}))
    assert (sound.height, rest.height) == (1, 1)
    expected = pl.DataFrame({"con_id": sound["con_id"].unique(), "n_expected": 4})
    finished = quality.finish_daily(sound, expected, "1")
    assert finished["coverage"].to_list() == [0.25]
    from quant_assets.domain.tables import CURATED_TWS_1D_BARS

    assert validate(CURATED_TWS_1D_BARS, CURATED_TWS_1D_BARS.conform(finished)) == []
