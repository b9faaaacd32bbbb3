"""Price features against values worked out by hand."""

import statistics
from datetime import date

import polars as pl
import pytest

from quant_assets.domain import features
from quant_assets.domain.tables import FEATURES_PRICE_1M_V1
from quant_assets.domain.validation import validate
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION, curated_bars

CLOSES = [100.0 + i for i in range(25)]
GAPPED = [None if i in (7, 8) else close for i, close in enumerate(CLOSES)]


def compute(*bars, sessions=(SESSION,)):
    frame = features.price_1m(pl.concat(bars), CALENDAR.minutes(sessions))
    assert validate(FEATURES_PRICE_1M_V1, FEATURES_PRICE_1M_V1.conform(frame)) == []
    return frame.sort("con_id", "ts")


@pytest.fixture(scope="module")
def gapped():
    rows = compute(curated_bars(GAPPED)).to_dicts()
    return dict(zip([i for i, close in enumerate(GAPPED) if close is not None], rows, strict=True))


def test_a_minute_without_a_bar_has_no_row(gapped):
    assert len(gapped) == 23
    assert 7 not in gapped


def test_returns_count_expected_minutes(gapped):
    assert gapped[0]["ret_1"] is None
    assert gapped[1]["ret_1"] == pytest.approx(101 / 100 - 1, rel=1e-12)
    assert gapped[9]["ret_1"] is None  # minute 8 has no bar
    assert gapped[9]["ret_5"] == pytest.approx(109 / 104 - 1, rel=1e-12)
    assert gapped[12]["ret_5"] is None  # minute 7
    assert gapped[4]["ret_5"] is None  # the window is not full
    assert gapped[20]["ret_20"] == pytest.approx(120 / 100 - 1, rel=1e-12)
    assert gapped[19]["ret_20"] is None


def test_means_are_null_until_full_and_average_the_bars_that_exist(gapped):
    assert gapped[3]["ma_5"] is None
    assert gapped[4]["ma_5"] == pytest.approx(102.0)
    assert gapped[9]["ma_5"] == pytest.approx((105 + 106 + 109) / 3)
    assert gapped[19]["ma_20"] == pytest.approx((sum(range(100, 120)) - 107 - 108) / 18)
    assert gapped[18]["ma_20"] is None


def test_missing_minutes_are_counted(gapped):
    assert gapped[3]["n_missing_in_window_5"] is None
    assert gapped[6]["n_missing_in_window_5"] == 0
    assert gapped[9]["n_missing_in_window_5"] == 2
    assert gapped[12]["n_missing_in_window_5"] == 1
    assert gapped[13]["n_missing_in_window_5"] == 0
    assert gapped[19]["n_missing_in_window_20"] == 2


def test_volatility_is_the_sample_deviation_of_the_returns_that_exist(gapped):
    returns = [CLOSES[i] / CLOSES[i - 1] - 1 for i in range(1, 21) if i not in (7, 8, 9)]
    assert gapped[20]["vol_20"] == pytest.approx(statistics.stdev(returns), rel=1e-9)
    assert gapped[19]["vol_20"] is None


def test_a_gap_at_the_open_keeps_windows_on_the_clock():
    rows = compute(curated_bars([None, None, *CLOSES[:5]])).to_dicts()
    assert rows[0]["ma_5"] is None  # minute 2
    assert rows[2]["ma_5"] == pytest.approx(101.0)  # minute 4: three bars
    assert rows[2]["n_missing_in_window_5"] == 2


def test_a_flat_session_has_no_volatility_and_no_negative_one():
    rows = compute(curated_bars([37.13] * 390))
    assert rows["vol_20"].drop_nulls().to_list() == [0.0] * 370
    assert rows["ma_20"].drop_nulls().to_list() == pytest.approx([37.13] * 371, rel=1e-12)


def test_the_last_minute_of_a_half_day_counts_like_any_other():
    rows = compute(curated_bars([50.0 + i for i in range(210)], session=HALF_DAY), sessions=[HALF_DAY])
    last = rows.row(-1, named=True)
    assert rows.height == 210
    assert last["ret_1"] == pytest.approx(259 / 258 - 1)
    assert last["n_missing_in_window_20"] == 0


def test_instruments_do_not_touch_each_other():
    one, other = curated_bars(CLOSES), curated_bars([7.0, None, 7.5], con_id=102)
    together = compute(other, one)
    assert together.filter(pl.col("con_id") == 101).equals(compute(one))
    assert together.filter(pl.col("con_id") == 102)["ret_1"].to_list() == [None, None]


def test_sessions_do_not_touch_each_other():
    days = [date(2024, 1, 2), SESSION]
    parts = [curated_bars(CLOSES, session=day) for day in days]
    rows = compute(*parts, sessions=days)
    first = rows.filter(pl.col("ts") == rows.filter(pl.col("session") == SESSION)["ts"].min())
    assert first.select("ret_1", "ma_5", "vol_20").row(0) == (None, None, None)


@pytest.mark.parametrize("cut", [1, 5, 9, 20, 24])
def test_cutting_the_future_changes_no_value(cut):
    whole = compute(curated_bars(GAPPED))
    start = compute(curated_bars(GAPPED[:cut]))
    assert whole.head(start.height).equals(start)


def test_no_bars_give_no_rows():
    assert compute(curated_bars([])).is_empty()
