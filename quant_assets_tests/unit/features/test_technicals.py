"""Daily technicals against plain loops, hand-worked cases, and TradingView's edge rules."""

from datetime import date

import polars as pl
import pytest

from quant_assets.domain.features import technicals_1d
from quant_assets.domain.tables import TV_TECHNICALS_1D
from quant_assets.domain.validation import validate
from quant_assets_tests.unit.features.makers import LAST, daily_bars, walk
from quant_assets_tests.unit.features.plain import technicals as plain_technicals

NAMES = [
    "recommend_all", "recommend_ma", "recommend_other", "rsi", "adx", "ao", "cci20", "stoch_k", "stoch_d", "macd",
    "macd_signal", "volatility_d", "perf_w", "perf_1m",
]  # fmt: skip


def compute(window):
    frame = technicals_1d(window)
    assert validate(TV_TECHNICALS_1D, TV_TECHNICALS_1D.conform(frame)) == []
    return frame.sort("con_id", "session")


def assert_plain(window):
    found = compute(window)
    for (con_id,), bars in window.sort("session").partition_by("con_id", as_dict=True).items():
        mine = found.filter(pl.col("con_id") == con_id).to_dicts()
        for row, expected in zip(mine, plain_technicals(bars.to_dicts()), strict=True):
            for name in NAMES:
                what = (con_id, row["session"], name, row[name], expected[name])
                assert (row[name] is None) == (expected[name] is None), what
                assert row[name] is None or row[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9), what


@pytest.mark.parametrize("seed", range(3))
def test_every_value_of_every_session_equals_plain_loops(seed):
    long, short = walk(280, seed, scale=0.01 + 0.02 * seed), walk(40, 100 + seed)
    one = daily_bars(long[0], opens=long[1], volumes=long[2], spread=0.05)
    other = daily_bars(short[0], opens=short[1], volumes=short[2], con_id=102, spread=0.2)
    assert_plain(pl.concat([other, one]).sample(fraction=1.0, shuffle=True, seed=seed))


def test_real_bars_equal_plain_loops(shared_data):
    quotes = pl.read_csv(shared_data / "golden" / "indicators" / "quotes.csv", try_parse_dates=True)
    rows = quotes.rename({"date": "session"}).with_columns(
        pl.col("volume").cast(pl.Float64), pl.lit(1, dtype=pl.Int64).alias("con_id"), pl.lit("SPY").alias("symbol")
    )
    assert_plain(rows)


def test_a_steady_rise_is_bought_by_every_average_and_sold_by_nobody():
    row = compute(daily_bars([100.0 + i for i in range(260)], spread=0.5)).row(-1, named=True)
    # 12 averages and VWMA lie below the price; the Hull average of a straight line is the line itself: neutral;
    # cloud: conversion close - 4, base close - 12.5, spans of 26 bars before close - 34.25 and close - 51.5: buy
    assert row["recommend_ma"] == pytest.approx(14 / 15)
    # levels that do not move say nothing: rsi, stochastic, cci, adx, ao, momentum, macd and its signal, Williams;
    # the stochastic of a flat rsi is unknown and does not count against the trend; above the trend the bears have no
    # power to lose; the ultimate oscillator stands at 100 · 1 / 1.5, below 70
    assert row["recommend_other"] == 0.0
    assert row["recommend_all"] == pytest.approx(7 / 15)
    assert row["rsi"] == 100.0
    assert row["adx"] == pytest.approx(100.0)
    assert row["stoch_k"] == pytest.approx(100 * 13.5 / 14)
    assert row["ao"] == pytest.approx((34 - 5) / 2)
    assert row["perf_w"] == pytest.approx(100 * (359 / 354 - 1))  # five sessions in seven days


def test_a_flat_market_has_no_opinion():
    row = compute(daily_bars([37.13] * 260)).row(-1, named=True)
    assert (row["recommend_ma"], row["recommend_other"], row["recommend_all"]) == (0.0, 0.0, 0.0)
    assert row["rsi"] == 100.0  # nothing fell
    assert (row["stoch_k"], row["cci20"], row["adx"]) == (None, None, None)  # there is no range to divide by
    assert row["volatility_d"] == 0.0
    assert row["perf_1m"] == pytest.approx(0.0)


def test_performance_starts_at_the_open_of_the_newest_bar_that_is_old_enough():
    # 2024-03-15 is a Friday; seven days before is Friday 03-08, thirty days before is Wednesday 02-14
    closes, opens = [100.0] * 30, [50.0 + i for i in range(30)]
    window = daily_bars(closes, opens=opens)
    at = {row["session"]: row["open"] for row in window.to_dicts()}
    row = compute(window).row(-1, named=True)
    assert row["perf_w"] == pytest.approx(100 * (100 / at[date(2024, 3, 8)] - 1))
    assert row["perf_1m"] == pytest.approx(100 * (100 / at[date(2024, 2, 14)] - 1))


def test_performance_takes_the_bar_before_a_holiday():
    # seven days before Tuesday 2024-02-27 is Tuesday 02-20; 02-26 minus seven is Monday 02-19, a holiday: Friday 02-16
    window = daily_bars([100.0] * 20, opens=[50.0 + i for i in range(20)], last=date(2024, 2, 26))
    at = {row["session"]: row["open"] for row in window.to_dicts()}
    assert compute(window).row(-1, named=True)["perf_w"] == pytest.approx(100 * (100 / at[date(2024, 2, 16)] - 1))


def test_a_young_instrument_has_what_its_bars_allow():
    rows = compute(daily_bars([10.0, 11.0], spread=1.0)).to_dicts()
    assert rows[0]["volatility_d"] == pytest.approx(100 * 2 / 9)  # no close before: high - low
    assert rows[1]["volatility_d"] == pytest.approx(100 * 2 / 10)
    assert all(rows[1][name] is None for name in NAMES if name != "volatility_d")


def test_a_volume_that_is_unknown_silences_one_voter_only():
    closes, opens, volumes = walk(60, 3)
    window = daily_bars(closes, opens=opens, volumes=volumes, spread=0.1)
    holed = window.with_columns(pl.when(pl.col("session") < LAST).then("volume").alias("volume"))
    one, other = compute(window).row(-1, named=True), compute(holed).row(-1, named=True)
    assert one["recommend_other"] == other["recommend_other"]
    assert other["recommend_ma"] is not None


def test_rows_say_who_made_them_and_on_which_prices():
    frame = compute(daily_bars([1.0] * 5))
    assert frame.select("producer", "price_basis", "feature_version").unique().rows() == [("local", "splits", "v1")]
