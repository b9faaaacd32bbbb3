from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.returns import (
    certificate,
    closes_matrix,
    complete_cases,
    returns_matrix,
    simple_returns,
)
from quant_assets.errors import NotEnoughReturnsError, ShapeError

DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5)]
LIMITS = {"floor_sessions": 3, "max_abs_return": 5.0, "max_missing_fraction": 0.5}


def bars(**columns):
    """Return bars from con_id → adjusted closes; None has no bar."""
    rows = [
        (day, int(name[1:]), close)
        for name, values in columns.items()
        for day, close in zip(DAYS, values, strict=True)
        if close is not None
    ]
    return pl.DataFrame(rows, schema={"session": pl.Date, "con_id": pl.Int64, "adj_close": pl.Float64}, orient="row")


def matrix(instruments, days=DAYS, **columns):
    return closes_matrix(bars(**columns), days, instruments)


def test_simple_returns_by_hand():
    returns = simple_returns(matrix([1], _1=[100.0, 110.0, 99.0, 99.0]))
    assert returns["session"].to_list() == DAYS[1:]
    assert returns["1"].to_list() == pytest.approx([0.10, -0.10, 0.0])


def test_a_gap_is_never_filled_it_nulls_both_returns_beside_it():
    returns = simple_returns(matrix([1], _1=[100.0, None, 120.0, 132.0]))
    assert returns["1"].to_list() == [None, None, pytest.approx(0.1)]


def test_the_youngest_instrument_does_not_shorten_the_history_of_the_others():
    returns = simple_returns(matrix([1, 2], _1=[1.0, 2.0, 4.0, 8.0], _2=[None, None, 5.0, 6.0]))
    assert returns.height == 3
    assert returns["1"].to_list() == [1.0, 1.0, 1.0]


def test_a_session_that_nobody_has_is_still_a_row():
    returns = simple_returns(matrix([1], _1=[100.0, None, 110.0, 121.0]))
    assert returns["session"].to_list() == DAYS[1:]


def test_sessions_and_instruments_come_from_the_caller_not_from_the_bars():
    closes = matrix([2, 1, 3], days=DAYS[1:], _1=[1.0, 2.0, 3.0, 4.0], _2=[1.0, 1.0, 1.0, 1.0], _9=[7.0] * 4)
    assert closes.columns == ["session", "1", "2", "3"]
    assert closes["session"].to_list() == DAYS[1:]
    assert closes["3"].null_count() == 3


def test_unusable_prices_are_missing_not_zero():
    closes = matrix([1], _1=[0.0, float("nan"), float("inf"), 5.0])
    assert closes["1"].to_list() == [None, None, None, 5.0]


def test_two_bars_in_one_session_are_refused():
    twice = pl.concat([bars(_1=[1.0] * 4), bars(_1=[2.0] * 4)])
    with pytest.raises(ShapeError, match="two bars in one session"):
        closes_matrix(twice, DAYS, [1])


def test_sessions_out_of_order_are_refused():
    with pytest.raises(ShapeError, match="ascending"):
        simple_returns(matrix([1], _1=[1.0, 2.0, 3.0, 4.0]).reverse())


def test_each_fate_has_its_reason_and_costs_nobody_else_anything():
    result = returns_matrix(
        matrix(
            [1, 2, 3, 4, 5, 6, 7],
            _1=[100.0, 110.0, 99.0, 99.0],
            _2=[1.0, 7.1, 7.0, 7.2],  # +610 % in one session
            _3=[5.0, 5.0, 5.0, 5.0],
            _4=[None, None, 5.0, 6.0],
            _5=[1.0, None, 2.0, 3.0],  # 2 of 3 returns missing
            _6=[7.0, 7.7, None, 9.0],
        ),
        **LIMITS,
    )
    assert result.con_ids == [1]
    assert dict(result.verdicts.select("con_id", "reason").rows()) == {
        1: "",
        2: "extreme: return +6.1, limit ±5",
        3: "zero_variance",
        4: "too_short: 2 of 3 sessions;missing: 66.7% of returns, limit 50.0%;zero_variance",
        5: "missing: 66.7% of returns, limit 50.0%;zero_variance",
        6: "missing: 66.7% of returns, limit 50.0%;zero_variance",
        7: "too_short: 0 of 3 sessions;missing: 100.0% of returns, limit 50.0%;no_returns",
    }
    assert result.matrix["1"].to_list() == pytest.approx([0.10, -0.10, 0.0])


def test_a_crash_to_nothing_is_an_extreme_return_only_beyond_the_limit():
    closes = matrix([1], _1=[100.0, 1.0, 2.0, 3.0])
    assert returns_matrix(closes, **LIMITS).con_ids == [1]
    with pytest.raises(NotEnoughReturnsError, match=r"extreme: return \+1, limit ±0\.5|extreme: return -0\.99"):
        returns_matrix(closes, **{**LIMITS, "max_abs_return": 0.5})


def test_missing_exactly_at_the_limit_is_kept():
    closes = matrix([1], _1=[None, 100.0, 110.0, 99.0])
    assert returns_matrix(closes, floor_sessions=3, max_abs_return=5, max_missing_fraction=1 / 3).con_ids == [1]


def test_no_instrument_left_is_an_error_with_a_mend():
    with pytest.raises(NotEnoughReturnsError, match=r"None of 1 instruments.*zero_variance.*quant flow data"):
        returns_matrix(matrix([1], _1=[5.0] * 4), **LIMITS)


def test_complete_cases_lose_sessions_and_no_instrument():
    result = returns_matrix(matrix([1, 2], _1=[1.0, 2.0, 3.0, 5.0], _2=[None, 4.0, 5.0, 7.0]), **LIMITS)
    cases = complete_cases(result.matrix)
    assert cases.con_ids == [1, 2]
    assert cases.sessions == DAYS[2:]
    assert cases.n_sessions == 3
    assert cases.values == pytest.approx(np.array([[0.5, 0.25], [2 / 3, 0.4]]))


def test_too_few_complete_cases_name_who_misses_most():
    half = pl.DataFrame({"session": DAYS, "1": [0.1, 0.2, None, None], "2": [None, None, None, 0.1]})
    with pytest.raises(NotEnoughReturnsError, match=r"Only 0 of 4 sessions.*con_id 2 \(3\), 1 \(2\)"):
        complete_cases(half)


def test_the_certificate_has_a_row_per_instrument_with_its_span():
    result = returns_matrix(matrix([1, 2], _1=[None, 100.0, 110.0, 99.0], _2=[5.0] * 4), **LIMITS)
    rows = certificate(
        result.verdicts, {1: "NYSE:A", 2: "NYSE:B"}, session=DAYS[-1], profile="p", run_id="r"
    ).to_dicts()
    assert [(row["symbol"], row["verdict"], row["n_returns"], row["first_session"]) for row in rows] == [
        ("NYSE:A", "kept", 2, DAYS[1]),
        ("NYSE:B", "dropped", 3, DAYS[0]),
    ]
