"""Breaks of a price basis, against daily windows written by hand."""

from datetime import date

import polars as pl
import pytest

from quant_assets.domain.breaks import REAL_MOVES, on_one_basis, price_breaks, told_apart
from quant_assets_tests.builders import CALENDAR

DAYS = CALENDAR.window(date(2024, 1, 10), 12)


def window(closes, volumes=None, con_id=101, **columns):
    """Return a window that ends on the last of DAYS; each day opens at its close."""
    days = DAYS[-len(closes) :]
    rows = {"session": days, "open": closes, "close": closes, "volume": volumes or [1000.0] * len(closes), **columns}
    floats = dict.fromkeys(("open", "close", "volume"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=floats).with_columns(con_id=pl.lit(con_id, pl.Int64))


def places(frame):
    return [DAYS.index(session) for session in price_breaks(frame)["session"]]


def test_a_level_that_stays_with_the_volume_of_a_reverse_split_is_a_break():
    """From 0.88 to 78, with 130 of usually 1,000 shares."""
    frame = window([0.88] * 8 + [78.0] * 4, [1000.0] * 8 + [130.0] * 4)
    assert places(frame) == [8]
    row = price_breaks(frame).row(0, named=True)
    assert row["price_ratio"] == pytest.approx(78 / 0.88)
    assert row["evidence"].startswith(f"close 0.88 before, open 78.0 and close 78.0 on {DAYS[8]}, 88.6364 times")
    assert "volume 130.0 of usually 1000.0" in row["evidence"]


def test_the_newest_session_is_a_break_before_anything_later_is_known():
    frame = window([0.88] * 11 + [78.0], [1000.0] * 11 + [130.0])
    assert places(frame) == [11]


def test_a_later_window_tells_the_same_of_a_break_as_the_one_that_ended_with_it():
    closes, volumes = [0.88] * 8 + [78.0, 77.0, 75.0, 76.0], [1000.0] * 8 + [130.0] * 4
    for last in range(8, 12):
        ended = window(closes, volumes).head(last + 1)
        assert places(ended) == [8]


def test_a_fall_with_as_many_dollars_as_ever_is_a_break():
    """A hundred for one, not adjusted: a hundredth of the price, a hundred times the shares."""
    assert places(window([500.0] * 8 + [5.0] * 4, [1000.0] * 8 + [100_000.0] * 4)) == [8]


@pytest.mark.parametrize("factor", [0.4, 1.6, 0.5, 2.0, 5.9, 1 / 5.9])
@pytest.mark.parametrize("shares", [0.1, 1.0, 30.0])
def test_a_move_within_the_bound_is_no_break_whatever_the_volume(factor, shares):
    """A biotech that loses 60 % overnight, and a fund that gains as much."""
    assert places(window([10.0] * 8 + [10.0 * factor] * 4, [1000.0] * 8 + [1000.0 * shares] * 4)) == []


def test_a_move_beyond_the_bound_with_real_trading_is_real():
    assert places(window([1.0] * 8 + [8.0] * 4, [1000.0] * 8 + [90_000.0] * 4)) == []
    assert places(window([80.0] * 8 + [1.0] * 4, [1000.0] * 8 + [500_000.0] * 4)) == []


def test_a_move_inside_the_session_is_no_break():
    """It opens where the day before closed."""
    frame = window([1.0] * 8 + [8.0] * 4, [1000.0] * 8 + [100.0] * 4)
    opened = pl.when(pl.col("session") == DAYS[8]).then(1.0).otherwise("open")
    assert places(frame.with_columns(opened.alias("open"))) == []


@pytest.mark.parametrize("level", [100.0, 0.01])
def test_a_bad_print_of_a_day_is_no_break_and_neither_is_the_way_back(level):
    assert places(window([1.0] * 8 + [level] + [1.0] * 3, [1000.0] * 8 + [10.0] + [1000.0] * 3)) == []


def test_without_a_usual_volume_nobody_is_accused():
    assert places(window([1.0] * 8 + [80.0] * 4, [None] * 12)) == []
    assert places(window([0.88, 78.0], [None, 100.0])) == []


def test_one_instrument_is_not_compared_with_the_next():
    frame = pl.concat([window([1.0] * 4, con_id=1), window([100.0] * 4, [1.0] * 4, con_id=2)])
    assert places(frame) == []


def test_a_class_has_its_own_bound():
    closes, volumes = [1.0] * 8 + [2.5] * 4, [1000.0] * 8 + [100.0] * 4
    assert places(window(closes, volumes, max_jump=[2.0] * 12)) == [8]
    assert places(window(closes, volumes, max_jump=[3.0] * 12)) == []


def test_what_is_on_one_basis_is_what_no_error_marks():
    frame = window([1.0, 2.0, 3.0], dq_status=["error", "ok", "warn"])
    assert on_one_basis(frame)["close"].to_list() == [2.0, 3.0]


def spoken(place, ratio, con_id=101, close_before=None):
    """Return a person's word about the break at a place of DAYS."""
    rows = [(con_id, DAYS[place], ratio, close_before, "anna: a buyout")]
    return pl.DataFrame(rows, schema=REAL_MOVES, orient="row")


def test_a_word_tells_its_own_break_apart_and_no_other():
    """Up from 1 to 20 on the seventh day and to 400 on the tenth; somebody knows of the second."""
    frame = window([1.0] * 6 + [20.0] * 3 + [400.0] * 3, [1000.0] * 6 + [100.0] * 3 + [4.0] * 3)
    unexplained, real = told_apart(price_breaks(frame), spoken(9, 20.0))
    assert unexplained["session"].to_list() == [DAYS[6]]
    assert real.select("session", "note").rows() == [(DAYS[9], "anna: a buyout")]


@pytest.mark.parametrize(("told", "is_it"), [(20.3, True), (19.7, True), (20.5, False), (0.05, False)])
def test_a_word_is_about_a_move_of_its_size(told, is_it):
    frame = window([1.0] * 8 + [20.0] * 4, [1000.0] * 8 + [100.0] * 4)
    unexplained, real = told_apart(price_breaks(frame), spoken(8, told))
    assert (unexplained.is_empty(), real.is_empty()) == (is_it, not is_it)


@pytest.mark.parametrize(
    ("told", "served", "is_it"),
    [
        ((0.31, 6.40), (0.03, 0.64), True),  # ten for one since: 20.645 became 21.333
        ((0.90, 18.20), (0.02, 0.36), True),  # fifty for one: 20.222 became 18
        ((0.03, 0.64), (0.31, 6.40), True),  # one for ten
        ((0.31, 6.40), (0.03, 0.90), False),  # 30 times, and of such cents 25.6 at the least
        ((0.31, 6.40), (0.0275, 0.64), False),  # no price in whole cents: it is what it says
        ((31.0, 640.0), (31.0, 655.0), False),  # 2.3 % more, of prices that cents hardly round
    ],
)
def test_prices_that_a_split_rounded_to_cents_anew_are_the_same_move(told, served, is_it):
    frame = window([served[0]] * 8 + [served[1]] * 4, [1000.0] * 8 + [40.0] * 4)
    word = spoken(8, told[1] / told[0], close_before=told[0])
    unexplained, real = told_apart(price_breaks(frame), word)
    assert (unexplained.is_empty(), real.is_empty()) == (is_it, not is_it)


def test_a_word_on_another_instrument_or_day_explains_nothing():
    found = price_breaks(window([1.0] * 8 + [20.0] * 4, [1000.0] * 8 + [100.0] * 4))
    for word in (spoken(8, 20.0, con_id=102), spoken(9, 20.0), None):
        unexplained, real = told_apart(found, word)
        assert unexplained.equals(found)
        assert real.is_empty()
