"""Labels against values worked out by hand."""

import polars as pl
import pytest

from quant_assets.domain.features import HORIZONS, forward_returns
from quant_assets.domain.tables import LABELS_TWS_RETURNS
from quant_assets.domain.validation import validate
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION, curated_bars, minute


def compute(*bars, sessions=(SESSION,), **options):
    frame = forward_returns(pl.concat(bars), CALENDAR.minutes(sessions), **options)
    assert validate(LABELS_TWS_RETURNS, LABELS_TWS_RETURNS.conform(frame)) == []
    return frame.sort("con_id", "horizon", "ts")


def label(frame, number, horizon, session=SESSION):
    found = frame.filter((pl.col("ts") == minute(number, session)) & (pl.col("horizon") == horizon))
    return found.select("forward_return", "matures_ts").row(0)


def test_a_label_compares_the_close_with_the_one_at_the_horizon():
    frame = compute(curated_bars([100.0 + i for i in range(390)]))
    assert frame.height == 390 * len(HORIZONS)
    assert label(frame, 0, 5) == (pytest.approx(105 / 100 - 1), minute(5))
    assert label(frame, 10, 60) == (pytest.approx(170 / 110 - 1), minute(70))


def test_a_horizon_that_leaves_the_session_has_no_label():
    frame = compute(curated_bars([100.0 + i for i in range(390)]))
    assert label(frame, 384, 5) == (pytest.approx(489 / 484 - 1), minute(389))
    assert label(frame, 385, 5) == (None, None)
    assert label(frame, 329, 60)[0] is not None
    assert label(frame, 330, 60) == (None, None)
    nulls = frame.group_by("horizon").agg(pl.col("forward_return").null_count()).sort("horizon")
    assert nulls.rows() == [(5, 5), (20, 20), (60, 60)]


def test_a_half_day_ends_early():
    frame = compute(curated_bars([50.0 + i for i in range(210)], session=HALF_DAY), sessions=[HALF_DAY])
    assert label(frame, 204, 5, HALF_DAY)[0] is not None
    assert label(frame, 205, 5, HALF_DAY) == (None, None)


def test_the_minute_at_the_horizon_needs_a_bar():
    closes = [100.0] * 30
    closes[12] = None
    frame = compute(curated_bars(closes))
    assert label(frame, 7, 5) == (None, minute(12))  # it could have been known, and there was nothing
    assert label(frame, 8, 5) == (0.0, minute(13))
    assert frame.filter(pl.col("ts") == minute(12)).is_empty()


def test_instruments_and_sessions_do_not_touch_each_other():
    from datetime import date

    days = [date(2024, 1, 2), SESSION]
    parts = [curated_bars([10.0 * i + day.day] * 390, session=day, con_id=i) for day in days for i in (101, 102)]
    frame = compute(*parts, sessions=days)
    assert frame["forward_return"].drop_nulls().unique().to_list() == [0.0]
    assert frame.height == 4 * 390 * 3


def test_horizons_are_a_matter_of_configuration():
    frame = compute(curated_bars([1.0, 2.0, 4.0]), horizons=(1, 2))
    assert frame.filter(pl.col("ts") == minute(0)).select("horizon", "forward_return").rows() == [(1, 1.0), (2, 3.0)]
