"""Volume features against values worked out by hand."""

import math
import statistics
from datetime import date

import polars as pl
import pytest

from quant_assets.domain.features import volume_1m
from quant_assets.domain.tables import FEATURES_VOLUME_1M_V1
from quant_assets.domain.validation import validate
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION
from quant_assets_tests.unit.features.makers import with_volumes

NAMES = ("vol_ma_20", "vol_zscore_20", "vol_percentile_20", "n_missing_volume_in_window_20")


def compute(*bars, sessions=(SESSION,)):
    frame = volume_1m(pl.concat(bars), CALENDAR.minutes(sessions))
    assert validate(FEATURES_VOLUME_1M_V1, FEATURES_VOLUME_1M_V1.conform(frame)) == []
    return frame.sort("con_id", "ts")


def values(frame, minute):
    """The four features of one expected minute of SESSION."""
    at = CALENDAR.minutes([SESSION]).filter(pl.col("minute") == minute)["ts"][0]
    return frame.filter(pl.col("ts") == at).select(NAMES).row(0)


def test_a_full_window_of_one_to_twenty():
    frame = compute(with_volumes(range(1, 22)))
    assert values(frame, 18) == (None, None, None, None)
    mean, score, share, missing = values(frame, 19)
    assert mean == pytest.approx(10.5)
    assert score == pytest.approx(9.5 / math.sqrt(35))  # the sample variance of 1 … 20 is 20·21/12
    assert (share, missing) == (1.0, 0)
    assert values(frame, 20)[0] == pytest.approx(11.5)  # the first minute has left the window


def test_minutes_without_a_bar_or_a_volume_are_left_out_and_counted():
    volumes = [*range(1, 20), 5, 7]
    volumes[3], volumes[4] = "gap", None
    frame = compute(with_volumes(volumes))
    there = [v for v in volumes[:20] if v not in ("gap", None)]
    mean, score, share, missing = values(frame, 19)
    assert mean == pytest.approx(statistics.fmean(there))
    assert score == pytest.approx((5 - statistics.fmean(there)) / statistics.stdev(there))
    assert share == pytest.approx(4 / 18)  # 1, 2, 3 and itself; 4 and 5 are not there
    assert missing == 2
    assert frame.height == 20  # no row for the minute without a bar


def test_a_bar_without_a_volume_has_the_mean_but_no_place_in_it():
    mean, score, share, missing = values(compute(with_volumes([*[10] * 10, *[20] * 9, None])), 19)
    assert mean == pytest.approx((100 + 180) / 19)
    assert (score, share, missing) == (None, None, 1)


def test_equal_volumes_have_no_score_even_after_a_huge_print():
    frame = compute(with_volumes([3e15, *[0.1] * 40]))
    assert values(frame, 19)[1] == pytest.approx((0.1 - 1.5e14) / statistics.stdev([3e15, *[0.1] * 19]))
    assert [values(frame, m)[1] for m in range(20, 41)] == [None] * 21
    assert values(frame, 20)[0] == pytest.approx(0.1, rel=1e-12)
    assert values(frame, 20)[2] == 1.0


def test_a_volume_of_zero_is_a_volume():
    assert values(compute(with_volumes([0] * 20)), 19) == (0.0, None, 1.0, 0)


def test_one_bar_in_a_window_has_no_deviation():
    mean, score, share, missing = values(compute(with_volumes([*["gap"] * 19, 8])), 19)
    assert (mean, score, share, missing) == (8.0, None, 1.0, 19)


def test_windows_stay_inside_their_session_and_their_instrument():
    days = [date(2023, 12, 29), date(2024, 1, 2), SESSION]
    parts = [with_volumes([1000] * 30, session=day, con_id=con_id) for day in days for con_id in (101, 102)]
    frame = compute(*parts, sessions=days)
    assert frame.group_by("session", "con_id").agg(pl.col("vol_ma_20").null_count())["vol_ma_20"].to_list() == [19] * 6
    other = compute(with_volumes(range(30)), with_volumes([7] * 30, con_id=102))
    assert other.filter(pl.col("con_id") == 101).equals(compute(with_volumes(range(30))))


def test_a_half_day_counts_like_any_other():
    frame = compute(with_volumes(range(1, 211), session=HALF_DAY), sessions=[HALF_DAY])
    assert frame.height == 210
    assert frame["vol_ma_20"][-1] == pytest.approx(200.5)


def test_no_bars_give_no_rows():
    assert compute(with_volumes([])).is_empty()


def test_blocks_do_not_show(monkeypatch):
    from quant_assets.domain.features import volume

    whole = compute(with_volumes([(7 * i) % 31 for i in range(100)]))
    monkeypatch.setattr(volume, "_BLOCK", 7)
    assert compute(with_volumes([(7 * i) % 31 for i in range(100)])).equals(whole)
