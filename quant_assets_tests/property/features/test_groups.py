"""What holds for features whatever the bars are."""

import math
import statistics

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.features import GROUPS, LABELS, forward_returns, technicals_1d, volume_1m
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION, curated_bars
from quant_assets_tests.unit.features.makers import daily_bars, with_volumes

MINUTES = CALENDAR.minutes([SESSION])
volumes = st.lists(
    st.just("gap") | st.none() | st.sampled_from([0.0, 1.0, 100.0]) | st.floats(0, 1e12), min_size=1, max_size=60
)
closes = st.lists(st.none() | st.floats(0.5, 5000.0), min_size=1, max_size=90)
days = st.lists(st.sampled_from([10.0, 11.0]) | st.floats(1, 500), min_size=1, max_size=120)


def naive(series):
    """The definitions of the volume features, minute by minute."""
    rows = []
    for m, volume in enumerate(series):
        if volume == "gap":
            continue
        there = [v for v in series[m - 19 : m + 1] if v not in ("gap", None)] if m >= 19 else None
        row = dict.fromkeys(("vol_ma_20", "vol_zscore_20", "vol_percentile_20", "n_missing_volume_in_window_20"))
        if there is not None:
            row["n_missing_volume_in_window_20"] = 20 - len(there)
            row["vol_ma_20"] = math.fsum(there) / len(there) if there else None
            if volume is not None:
                row["vol_percentile_20"] = sum(v <= volume for v in there) / len(there)
                if len(set(there)) > 1:
                    row["vol_zscore_20"] = (volume - statistics.fmean(there)) / statistics.stdev(there)
        rows.append(row)
    return rows


@settings(max_examples=80, deadline=None)
@given(volumes)
def test_volume_features_equal_a_plain_recomputation(series):
    found = volume_1m(with_volumes(series), MINUTES).sort("ts").to_dicts()
    for row, expected in zip(found, naive(series), strict=True):
        for name, value in expected.items():
            if value is None:
                assert row[name] is None, name
            else:
                assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@settings(max_examples=60, deadline=None)
@given(volumes, st.integers(1, 60))
def test_volume_features_up_to_t_are_those_of_a_frame_that_ends_at_t(series, cut):
    whole, start = (volume_1m(with_volumes(part), MINUTES).sort("ts") for part in (series, series[:cut]))
    assert whole.head(start.height).equals(start)


@settings(max_examples=60, deadline=None)
@given(closes, st.sampled_from([SESSION, HALF_DAY]))
def test_labels_compound_back_to_the_later_close(series, session):
    bars = curated_bars(series, session=session)
    labels = forward_returns(bars, CALENDAR.minutes([session]))
    assert labels.height == 3 * bars.height
    close_at = dict(bars.select("ts", "close").rows())
    for ts, value, matures in labels.select("ts", "forward_return", "matures_ts").iter_rows():
        assert (value is None) == (matures not in close_at)
        assert value is None or close_at[ts] * (1 + value) == pytest.approx(close_at[matures], rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(closes, st.integers(1, 90))
def test_labels_that_have_matured_do_not_change(series, cut):
    whole, start = (
        forward_returns(curated_bars(part), MINUTES).sort("horizon", "ts") for part in (series, series[:cut])
    )
    if start.is_empty():
        return
    known = pl.col("matures_ts") <= start["ts"].max()
    assert whole.filter(known).equals(start.filter(known))


@settings(max_examples=40, deadline=None)
@given(days, st.integers(1, 120))
def test_technicals_of_a_session_are_those_of_a_window_that_ends_with_it(series, cut):
    window = daily_bars(series, spread=0.25)
    whole, start = technicals_1d(window), technicals_1d(window.head(cut))
    assert whole.head(start.height).equals(start)


@settings(max_examples=40, deadline=None)
@given(days)
def test_technicals_keep_their_bounds_and_ratings_know_no_currency(series):
    window = daily_bars(series, spread=0.25)
    scaled = window.with_columns(pl.col("open", "high", "low", "close") * 4.0)
    one, other = technicals_1d(window), technicals_1d(scaled)
    names = [name for name in one.columns if name not in ("ao", "macd", "macd_signal")]
    assert one.select(names).drop("con_id").equals(other.select(names).drop("con_id"))  # a power of two rounds nothing
    for column in GROUPS["tv_technicals_1d", "v1"].table.columns:
        there = one[column.name].drop_nulls()
        assert column.ge is None or there.is_empty() or there.min() >= column.ge
        assert column.le is None or there.is_empty() or there.max() <= column.le


@settings(max_examples=30, deadline=None)
@given(closes, closes, st.integers(0, 99))
def test_other_instruments_and_row_order_change_no_value(one, other, seed):
    alone = curated_bars(one)
    mixed = pl.concat([alone, curated_bars(other, con_id=102)]).sample(fraction=1.0, shuffle=True, seed=seed)
    for group in (GROUPS["volume_1m", "v1"], LABELS["v1"]):
        key = list(group.table.key)
        together = group.compute(mixed, MINUTES).filter(pl.col("con_id") == 101).sort(key)
        assert together.equals(group.compute(alone, MINUTES).sort(key))
