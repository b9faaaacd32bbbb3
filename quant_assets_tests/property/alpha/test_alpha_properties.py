import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.domain.optimization import Problem, on_grid, solve
from quant_assets.domain.optimization.caps import within_caps
from quant_assets.domain.returns import closes_matrix, returns_matrix, simple_returns
from quant_assets.domain.verification import errors, verify_weights
from quant_assets.errors import NotEnoughReturnsError
from quant_assets.lakehouse.content import content_id
from quant_assets.settings.manifest import RiskConfig
from quant_assets_tests.unit.alpha import scenario

prices = st.floats(0.01, 1e5, allow_nan=False)
caps = st.sampled_from([0.05, 0.1, 0.15, 1 / 3, 0.5, 0.9, 1.0])


@st.composite
def price_tables(draw, gaps=True):
    n_sessions, n = draw(st.integers(3, 12)), draw(st.integers(1, 5))
    cell = st.one_of(st.none(), prices) if gaps else prices
    rows = st.lists(cell, min_size=n_sessions, max_size=n_sessions)
    return scenario.weekdays(n_sessions), [draw(rows) for _ in range(n)]


def bars(sessions, columns):
    rows = [
        (session, con_id, close)
        for con_id, column in enumerate(columns, start=1)
        for session, close in zip(sessions, column, strict=True)
        if close is not None
    ]
    return pl.DataFrame(rows, schema={"session": pl.Date, "con_id": pl.Int64, "adj_close": pl.Float64}, orient="row")


@given(price_tables(gaps=False))
def test_returns_then_compounding_gives_the_closes_back(table):
    sessions, columns = table
    closes = closes_matrix(bars(sessions, columns), sessions, range(1, len(columns) + 1))
    back = simple_returns(closes).drop("session").to_numpy() + 1
    first = closes.drop("session").to_numpy()[0]
    assert first * np.cumprod(back, axis=0) == pytest.approx(closes.drop("session").to_numpy()[1:], rel=1e-9)


@given(price_tables())
def test_a_return_exists_exactly_where_both_closes_do(table):
    sessions, columns = table
    closes = closes_matrix(bars(sessions, columns), sessions, range(1, len(columns) + 1))
    present = closes.drop("session").to_numpy()
    expected = ~np.isnan(present[1:]) & ~np.isnan(present[:-1])
    assert (~np.isnan(simple_returns(closes).drop("session").to_numpy()) == expected).all()


@given(price_tables(), st.integers(2, 12), st.floats(0, 0.9))
def test_verdicts_partition_the_instruments_and_do_not_depend_on_the_others(table, floor, max_missing):
    sessions, columns = table
    limits = {"floor_sessions": floor, "max_abs_return": 5.0, "max_missing_fraction": max_missing}
    asked = list(range(1, len(columns) + 1))
    closes = closes_matrix(bars(sessions, columns), sessions, asked)
    try:
        result = returns_matrix(closes, **limits)
    except NotEnoughReturnsError:
        return
    kept = result.verdicts.filter(pl.col("reason") == "")["con_id"].to_list()
    dropped = result.verdicts.filter(pl.col("reason") != "")["con_id"].to_list()
    assert sorted(kept + dropped) == asked
    assert kept == result.con_ids
    alone = returns_matrix(closes.select("session", str(kept[0])), **limits)
    assert alone.matrix.equals(result.matrix.select("session", str(kept[0])))


@given(price_tables(), st.randoms())
def test_the_matrix_and_its_content_id_do_not_depend_on_row_order(table, random):
    sessions, columns = table
    frame = bars(sessions, columns)
    order = list(range(frame.height))
    random.shuffle(order)
    asked = range(1, len(columns) + 1)
    closes, again = closes_matrix(frame, sessions, asked), closes_matrix(frame[order], sessions[::-1], asked)
    assert closes.equals(again)
    assert content_id(closes, closes.columns, ["session"]) == content_id(again, closes.columns, ["session"])


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12), caps, caps, st.data())
def test_redistribution_keeps_caps_totals_and_order(base, max_weight, sector_cap, data):
    n = len(base)
    names = tuple(data.draw(st.sampled_from("abc")) for _ in range(n))
    problem = Problem(np.zeros((1, n)), tuple(range(n)), names, max_weight, sector_cap)
    weights = within_caps(np.array(base) / sum(base), problem)
    assert problem.holds(weights, 0.0) or problem.holds(weights)
    assert weights.sum() == pytest.approx(problem.investable, abs=1e-9)
    for members in problem.members.values():
        order = np.argsort(np.array(base)[members], kind="stable")
        assert (np.diff(weights[members][order]) >= -1e-12).all()
    assert within_caps(weights, problem) == pytest.approx(weights, abs=1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["equal_weight", "min_variance", "hrp"]),
    st.integers(2, 15),
    st.integers(0, 10**6),
    caps,
    caps,
    st.integers(1, 4),
)
def test_weights_of_every_method_satisfy_their_caps(method, n, seed, max_weight, sector_cap, n_sectors):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, rng.uniform(0.002, 0.05, n), (60, n)) + rng.normal(0, 0.01, (60, 1))
    sectors = {i: f"sector {i % n_sectors}" for i in range(1, n + 1)}
    frame = pl.DataFrame({"session": scenario.weekdays(60), **{str(i): values[:, i - 1] for i in sectors}})
    risk = RiskConfig(method=method, max_weight=max_weight, sector_cap=sector_cap)
    solution = solve(frame, sectors, risk)
    assert solution.fallbacks == ()
    stored = on_grid(np.array(list(solution.weights.values())))
    weights = dict(zip(solution.weights, map(float, stored), strict=True))
    cash = 1.0 - float(stored.sum())
    problems = errors(verify_weights(weights, cash, values, sectors, max_weight=max_weight, sector_cap=sector_cap))
    assert problems == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_grid_moves_no_weight_by_a_step_and_keeps_the_sum(values):
    weights = np.array(values)
    rounded = on_grid(weights)
    assert np.abs(rounded - weights).max() < 1.0001e-9
    assert round(rounded.sum() * 1e9) == round(weights.sum() * 1e9)
    assert on_grid(rounded).tolist() == rounded.tolist()
