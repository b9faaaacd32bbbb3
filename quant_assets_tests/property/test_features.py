"""Price features equal a plain recomputation, and never look ahead."""

import math
import statistics

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain import features
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION, curated_bars

closes = st.lists(st.none() | st.floats(0.5, 5000.0), min_size=1, max_size=60)


def naive(series):
    """Every value from its definition, with nothing but loops."""
    rows = []
    ret_1 = [
        series[m] / series[m - 1] - 1 if m and series[m] is not None and series[m - 1] is not None else None
        for m in range(len(series))
    ]
    for m, close in enumerate(series):
        if close is None:
            continue
        row = {}
        for k in (1, 5, 20):
            row[f"ret_{k}"] = close / series[m - k] - 1 if m >= k and series[m - k] is not None else None
        for k in (5, 20):
            window = series[m - k + 1 : m + 1] if m >= k - 1 else None
            there = [x for x in window if x is not None] if window is not None else []
            row[f"ma_{k}"] = math.fsum(there) / len(there) if there else None
            row[f"n_missing_in_window_{k}"] = None if window is None else k - len(there)
        returns = [x for x in ret_1[m - 19 : m + 1] if x is not None] if m >= 20 else []
        row["vol_20"] = statistics.stdev(returns) if len(returns) > 1 else None
        rows.append(row)
    return rows


def compute(series, session=SESSION, con_id=101):
    bars = curated_bars(series, session=session, con_id=con_id)
    return features.price_1m(bars, CALENDAR.minutes([session])).sort("ts")


def assert_close(found, expected):
    assert found.height == len(expected)
    for got, want in zip(found.to_dicts(), expected, strict=True):
        for name, value in want.items():
            if value is None:
                assert got[name] is None, name
            else:
                assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@settings(max_examples=80, deadline=None)
@given(closes, st.sampled_from([SESSION, HALF_DAY]))
def test_features_equal_a_plain_recomputation(series, session):
    assert_close(compute(series, session), naive(series))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 5000), st.floats(1e-5, 1e-2), st.integers(0, 99))
def test_whole_sessions_of_small_moves_equal_a_plain_recomputation(start, scale, seed):
    import random

    draw = random.Random(seed)
    series = [start]
    for _ in range(389):
        series.append(round(series[-1] * (1 + draw.gauss(0, scale)), 4) or 0.01)
    assert_close(compute(series), naive(series))


@settings(max_examples=60, deadline=None)
@given(closes, st.data())
def test_values_up_to_t_are_those_of_a_frame_that_ends_at_t(series, data):
    cut = data.draw(st.integers(1, len(series)))
    whole, start = compute(series), compute(series[:cut])
    assert whole.head(start.height).equals(start)


@settings(max_examples=40, deadline=None)
@given(closes, closes, st.integers(0, 99))
def test_other_instruments_and_row_order_change_no_value(one, other, seed):
    bars = pl.concat([curated_bars(one), curated_bars(other, con_id=102)]).sample(fraction=1.0, shuffle=True, seed=seed)
    together = features.price_1m(bars, CALENDAR.minutes([SESSION])).filter(pl.col("con_id") == 101).sort("ts")
    assert together.equals(compute(one))
