"""Folds, holding, attribution and measures: worked by hand, and properties of the sums."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.backtest import (
    Account,
    Plan,
    Prices,
    attributed,
    chained,
    hold,
    measures,
    plan_folds,
    prices_of,
    without_returns,
)
from quant_assets.domain.costs import SCHEDULES
from quant_assets.errors import ConfigurationError
from quant_assets_tests.unit.alpha import scenario
from quant_assets_tests.unit.backtest.history import CALENDAR, bars

IBKR = SCHEDULES["ibkr_fixed_us"]
DAYS = CALENDAR.between(date(2024, 1, 2), date(2024, 4, 30))


def folds(first, last, **plan):
    return plan_folds(DAYS, first, last, Plan(**plan))


def test_months_begin_with_their_first_session_and_are_decided_two_closes_before():
    found = folds(date(2024, 2, 15), date(2024, 4, 10))
    assert [(one.known, one.traded, one.earns[0], one.earns[-1]) for one in found] == [
        (date(2024, 2, 13), date(2024, 2, 14), date(2024, 2, 15), date(2024, 2, 29)),
        (date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 28)),
        (date(2024, 3, 27), date(2024, 3, 28), date(2024, 4, 1), date(2024, 4, 10)),
    ]


def test_weeks_numbers_embargo_and_purge():
    weekly = folds(date(2024, 3, 5), date(2024, 3, 19), rebalance="weekly")
    assert [one.earns[0] for one in weekly] == [date(2024, 3, 5), date(2024, 3, 11), date(2024, 3, 18)]
    every = folds(date(2024, 3, 5), date(2024, 3, 12), rebalance="4", embargo=0)
    assert [(one.known, one.traded, one.earns[0]) for one in every] == [
        (date(2024, 3, 4), date(2024, 3, 4), date(2024, 3, 5)),
        (date(2024, 3, 8), date(2024, 3, 8), date(2024, 3, 11)),
    ]
    far = folds(date(2024, 3, 5), date(2024, 3, 12), rebalance="100", embargo=2, purge=3)
    assert (far[0].known, far[0].traded) == (date(2024, 2, 26), date(2024, 3, 4))


@given(
    st.integers(0, 60),
    st.integers(1, 60),
    st.sampled_from(["monthly", "weekly", "1", "3", "17"]),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_folds_cover_every_session_once_and_never_know_what_they_earn(start, length, rebalance, embargo, purge):
    first, last = DAYS[7 + start % 60], DAYS[min(len(DAYS) - 1, 7 + start % 60 + length)]
    found = folds(first, last, rebalance=rebalance, embargo=embargo, purge=purge)
    assert [day for one in found for day in one.earns] == [day for day in DAYS if first <= day <= last]
    for one in found:
        begin = DAYS.index(one.earns[0])
        assert DAYS.index(one.traded) == begin - 1
        assert DAYS.index(one.known) == begin - 1 - embargo - purge


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"rebalance": "daily"}, "no rhythm"),
        ({"rebalance": "0"}, "no rhythm"),
        ({"embargo": -1}, "not be negative"),
        ({"window": "all"}, "no window"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan, says):
    with pytest.raises(ConfigurationError, match=says):
        Plan(**plan)


def test_sessions_outside_the_history_are_refused():
    with pytest.raises(ConfigurationError, match="where history has not begun"):
        folds(DAYS[1], DAYS[5])
    with pytest.raises(ConfigurationError, match="no session of the history"):
        folds(date(2025, 1, 2), date(2025, 2, 2))


def market(returns, closes=None):
    """Return prices of sessions D0 (before anything is earned), D1, …"""
    moves = np.array([[np.nan] * len(returns[0]), *returns], dtype=float)
    quoted = np.full(moves.shape, 100.0) if closes is None else np.array(closes, dtype=float)
    return Prices(tuple(DAYS[: len(moves)]), tuple(range(1, len(returns[0]) + 1)), moves, quoted)


def test_weights_drift_by_hand():
    found = hold(
        market([[0.10, 0.0], [0.10, -0.5]]),
        [(DAYS[1:3], {1: 0.5, 2: 0.25})],
        capital=1.0,
        schedule=None,
        slippage_bps=0.0,
    )
    # 1.05 after the first session, of which 0.55 and 0.25; then 0.055 - 0.125 is lost of 1.05
    assert found.gross == pytest.approx([0.05, -0.07 / 1.05])
    assert found.after[0] == pytest.approx([0.55 / 1.05, 0.25 / 1.05])
    assert found.after[1] == pytest.approx([0.605 / 0.98, 0.125 / 0.98])
    assert found.net.tolist() == found.gross.tolist()


def test_an_account_tells_on_the_way_what_it_held_by_a_day():
    account = Account(market([[0.10, 0.0], [0.10, -0.5], [0.0, 0.0]]), capital=1.0, schedule=None, slippage_bps=0.0)
    assert account.held_after(DAYS[3]) is None, "nothing has passed"
    account.hold(DAYS[1:3], {1: 0.5, 2: 0.25})
    assert account.held_after(DAYS[0]) is None
    assert account.held_after(DAYS[1]) == pytest.approx({1: 0.55 / 1.05, 2: 0.25 / 1.05})
    drifted = pytest.approx({1: 0.605 / 0.98, 2: 0.125 / 0.98})
    assert account.held_after(DAYS[2]) == account.held_after(DAYS[9]) == drifted
    account.hold(DAYS[3:4], {2: 1.0})
    assert account.held_after(DAYS[2]) == drifted, "a later trade changes nothing of before"
    assert account.held_after(DAYS[3]) == {2: 1.0}
    assert account.told().turnover == pytest.approx((0.375, 0.5 * (0.605 / 0.98 + 1.0 - 0.125 / 0.98)))


def test_trades_pay_commission_and_slippage_on_the_difference_to_what_drifted():
    found = hold(
        market([[0.10, 0.0], [0.0, 0.0]], [[50, 20], [55, 20], [55, 20]]),
        [([DAYS[1]], {1: 1.0}), ([DAYS[2]], {1: 0.5, 2: 0.5})],
        capital=10_000.0,
        schedule=IBKR,
        slippage_bps=20.0,
    )
    assert found.turnover == (0.5, 0.5)  # half of what is bought from cash; then half a portfolio changes sides
    assert found.slippage == (pytest.approx(0.002), pytest.approx(0.002))
    assert found.commission[0] == pytest.approx(1.0 / 10_000)  # 200 shares x 0.005
    worth = 10_000 * (1 - 0.0021) * 1.10
    # 0.5 of it sold at 55, 0.5 of it bought at 20: 99.8 shares are the minimum, 274.4 are 1.372
    assert found.commission[1] == pytest.approx((1.0 + 0.005 * 0.5 * worth / 20) / worth)
    assert found.net[0] == pytest.approx(1.10 * (1 - 0.0021) - 1)
    assert found.net[1] == pytest.approx(-(found.commission[1] + found.slippage[1]))
    assert found.gross.tolist() == [pytest.approx(0.10), 0.0]


def test_a_missing_price_is_no_return_and_is_counted_where_something_is_held():
    found = hold(
        market([[np.nan, np.nan], [0.2, 0.0]]), [(DAYS[1:3], {1: 1.0})], capital=1.0, schedule=None, slippage_bps=0.0
    )
    assert found.gross.tolist() == [0.0, pytest.approx(0.2)]
    assert found.n_unpriced == 1


def test_a_short_position_that_takes_everything_ends_the_account():
    found = hold(
        market([[1.5], [0.1]]),
        [(DAYS[1:2], {1: -1.0}), (DAYS[2:3], {1: 1.0})],
        capital=1.0,
        schedule=IBKR,
        slippage_bps=5.0,
    )
    assert found.is_ruined
    assert found.gross.tolist() == [-1.0, 0.0]
    assert found.net[1] == 0.0


def test_without_a_decision_nothing_is_traded():
    one = hold(
        market([[0.1], [0.1]]), [(DAYS[1:2], {1: 0.5}), (DAYS[2:3], None)], capital=1.0, schedule=IBKR, slippage_bps=5.0
    )
    other = hold(market([[0.1], [0.1]]), [(DAYS[1:3], {1: 0.5})], capital=1.0, schedule=IBKR, slippage_bps=5.0)
    assert one.net.tolist() == other.net.tolist()
    assert one.turnover == (0.25, 0.0)


moves = st.lists(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3), min_size=4, max_size=12)


@given(moves, st.data())
def test_the_parts_sum_to_the_net_return_session_by_session(rows, data):
    prices, cut_at = market(rows), data.draw(st.integers(1, len(rows) - 1))
    spans = [DAYS[1 : 1 + cut_at], DAYS[1 + cut_at : 1 + len(rows)]]
    shares = st.tuples(*[st.floats(0, 1 / 3)] * 3)

    def portfolio(draw):
        return hold(
            prices,
            [(span, dict(enumerate(draw(), start=1))) for span in spans],
            capital=1e5,
            schedule=IBKR,
            slippage_bps=5.0,
        )

    mine = portfolio(lambda: data.draw(shares))
    chosen, pool = portfolio(lambda: (0.5, 0.5, 0.0)), portfolio(lambda: (1 / 3,) * 3)
    parts = attributed(mine, chosen, pool)
    assert sum(parts.values()) == pytest.approx(mine.net, abs=1e-15)
    assert sum(one.sum() for one in parts.values()) == pytest.approx(mine.net.sum(), abs=1e-14)
    assert (parts["costs"] <= 1e-16).all()
    growth = np.prod(1 + mine.gross)
    invested = (1 - mine.commission[0] - mine.slippage[0]) * (1 - mine.commission[1] - mine.slippage[1])
    assert np.prod(1 + mine.net) == pytest.approx(growth * invested)


@given(moves)
def test_one_instrument_held_alone_earns_its_own_return(rows):
    column = np.array(rows)[:, :1]
    found = hold(
        market(column.tolist()), [(DAYS[1 : 1 + len(rows)], {1: 1.0})], capital=1.0, schedule=None, slippage_bps=0.0
    )
    assert found.gross == pytest.approx(column[:, 0])
    assert found.after[:, 0] == pytest.approx(np.ones(len(rows)))


def test_prices_look_back_over_gaps_and_take_commissions_from_unadjusted_closes():
    prices = scenario.closes(10, 2)
    prices[4, 0] = np.nan
    frame = bars(prices=prices)
    sessions = frame["session"].unique().sort().to_list()
    found = prices_of(frame.with_columns(close=frame["adj_close"] * 2), sessions)
    assert np.isnan(found.returns[0]).all()
    assert np.isnan(found.returns[4, 0])
    assert found.returns[5, 0] == pytest.approx(prices[5, 0] / prices[3, 0] - 1)
    assert found.closes[4, 0] == pytest.approx(2 * prices[3, 0])


def test_parts_on_other_price_bases_are_joined_without_a_return_between_them():
    one = Prices((DAYS[0],), (1, 2), np.array([[0.1, 0.2]]), np.array([[10.0, 20.0]]))
    other = Prices((DAYS[1],), (2, 3), np.array([[0.3, 0.4]]), np.array([[5.0, 6.0]]))
    found = chained([one, other])
    assert found.con_ids == (1, 2, 3)
    assert np.nan_to_num(found.returns, nan=-9).tolist() == [[0.1, 0.2, -9], [-9, 0.3, 0.4]]


def test_a_return_across_an_unexplained_break_is_none_and_the_others_stay():
    frame = bars(prices=scenario.closes(10, 2))
    sessions = frame["session"].unique().sort().to_list()
    laid = prices_of(frame, sessions)
    con_id = laid.con_ids[1]
    broken = pl.DataFrame({"con_id": [con_id, 999], "session": [sessions[4], sessions[5]]})
    found = without_returns(laid, broken)
    assert np.argwhere(np.isnan(found.returns) & ~np.isnan(laid.returns)).tolist() == [[4, 1]]
    assert np.array_equal(found.closes, laid.closes)


def test_measures_by_hand():
    found = measures(np.array([0.10, -0.20, 0.05, 0.0]))
    assert found.total == pytest.approx(1.1 * 0.8 * 1.05 - 1)
    assert found.cagr == pytest.approx((1.1 * 0.8 * 1.05) ** 63 - 1)
    mean, deviation = -0.0125, np.sqrt((0.1125**2 + 0.1875**2 + 0.0625**2 + 0.0125**2) / 3)
    assert found.volatility == pytest.approx(deviation * 252**0.5)
    assert found.sharpe == pytest.approx(mean / deviation * 252**0.5)
    assert found.sortino == pytest.approx(mean / 0.1 * 252**0.5)  # the root of 0.04 / 4
    assert found.max_drawdown == pytest.approx(-0.20)
    assert found.hit_rate == 0.5
    assert (found.best, found.worst) == (0.10, -0.20)


def test_measures_of_next_to_nothing():
    flat = measures(np.zeros(3))
    assert (flat.sharpe, flat.sortino, flat.cagr, flat.max_drawdown) == (None, None, 0.0, 0.0)
    single = measures(np.array([0.01]))
    assert (single.volatility, single.sharpe) == (None, None)
    assert measures(np.array([-1.0, 0.0])).cagr == -1.0
    assert measures(np.array([-0.5, 0.2])).max_drawdown == pytest.approx(
        -0.5
    )  # from the start, not from the first close
