import numpy as np
import polars as pl
import pytest

from quant_assets.domain.optimization import METHODS, Problem, SolverFailedError, on_grid, solve
from quant_assets.domain.optimization.caps import within_caps
from quant_assets.errors import InfeasibleError, NotEnoughReturnsError, UnknownNameError
from quant_assets.settings.manifest import RiskConfig
from quant_assets_tests.unit.alpha.problems import frame, returns, risk, sectors, weights


def test_two_uncorrelated_assets_by_hand():
    # Variances 4/3 and 16/3, covariance 0: w = (σ₂², σ₁²) / (σ₁² + σ₂²) = (0.8, 0.2).
    values = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    solution = solve(frame(values), sectors(2, "a", "b"), risk("min_variance"))
    assert weights(solution) == pytest.approx([0.8, 0.2], abs=1e-6)
    assert solution.cash == pytest.approx(0.0, abs=1e-9)
    # At the size of daily returns the solver stops a little earlier: its default tolerance is absolute in variance.
    small = solve(frame(values / 100), sectors(2, "a", "b"), risk("min_variance"))
    assert weights(small) == pytest.approx([0.8, 0.2], abs=5e-4)


def test_two_correlated_assets_by_hand():
    # x = (2, -1, -1), y = (1, 1, -2): var 3, var 3, cov 1.5 → symmetric, half each.
    # Doubling y: var 3, 12, cov 3 → w₁ = (12 - 3) / (3 + 12 - 6) = 1: the corner.
    x, y = np.array([2.0, -1.0, -1.0]), np.array([1.0, 1.0, -2.0])
    even = solve(frame(np.column_stack([x, y])), sectors(2, "a", "b"), risk("min_variance"))
    corner = solve(frame(np.column_stack([x, 2 * y])), sectors(2, "a", "b"), risk("min_variance"))
    assert weights(even) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert weights(corner) == pytest.approx([1.0, 0.0], abs=1e-4)


@pytest.mark.parametrize("method", ["min_variance", "hrp"])
def test_without_binding_caps_the_answer_is_that_of_a_direct_skfolio_call(method):
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk

    values = returns(10)
    direct = {"min_variance": MeanRisk, "hrp": HierarchicalRiskParity}[method]().fit(values).weights_
    ours = weights(solve(frame(values), sectors(10, "a", "b"), risk(method, 0.9, 0.95)))
    assert np.abs(ours - direct).max() < 1e-10


@pytest.mark.parametrize("method", sorted(METHODS))
def test_caps_hold_exactly_and_everything_is_invested_where_they_allow_it(method):
    solution = solve(frame(returns(12)), sectors(12, "a", "a", "a", "b", "c"), risk(method, 0.15, 0.40))
    values = weights(solution)
    in_a = sum(solution.weights[i] for i, name in sectors(12, "a", "a", "a", "b", "c").items() if name == "a")
    assert values.max() <= 0.15
    assert in_a <= 0.40 + 1e-15
    assert values.sum() + solution.cash == pytest.approx(1.0, abs=1e-12)
    assert solution.cash == pytest.approx(0.0, abs=1e-6)
    assert not solution.diagnostics["cash_forced"]


def test_min_variance_under_caps_is_the_least_variance_among_feasible_weights():
    values, names = returns(6), sectors(6, "a", "b", "c")
    covariance = np.cov(values, rowvar=False)
    found = weights(solve(frame(values), names, risk("min_variance", 0.3, 0.5)))
    rng = np.random.default_rng(0)
    tried = rng.dirichlet(np.ones(6), 200_000)
    sums = np.stack([tried[:, [j, j + 3]].sum(axis=1) for j in range(3)])
    feasible = tried[(tried.max(axis=1) <= 0.3) & (sums.max(axis=0) <= 0.5)]
    assert len(feasible) > 1000
    assert found @ covariance @ found <= np.einsum("ij,jk,ik->i", feasible, covariance, feasible).min()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_three_names_at_15_percent_hold_the_rest_in_cash(method):
    solution = solve(frame(returns(3)), sectors(3, "a", "b", "c"), risk(method, 0.15, 0.40))
    assert weights(solution) == pytest.approx([0.15] * 3, abs=1e-9)
    assert solution.cash == pytest.approx(0.55, abs=1e-9)
    assert solution.diagnostics["cash_forced"]
    assert solution.method == method


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_sector_cap_can_force_cash_too(method):
    solution = solve(frame(returns(10)), sectors(10, "a"), risk(method, 0.15, 0.40))
    assert weights(solution).sum() == pytest.approx(0.40, abs=1e-9)
    assert solution.cash == pytest.approx(0.60, abs=1e-9)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_one_instrument(method):
    assert weights(solve(frame(returns(1)), {101: "a"}, risk(method))) == pytest.approx([1.0], abs=1e-9)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_more_instruments_than_sessions_and_twins_do_not_break_a_method(method):
    values = returns(20, n_sessions=8)
    values[:, 1] = values[:, 0]
    solution = solve(frame(values), sectors(20, "a", "b", "c"), risk(method, 0.2, 0.5))
    assert weights(solution).sum() == pytest.approx(1.0, abs=1e-6)


def test_equal_weight_gives_what_a_cap_cuts_off_to_the_others():
    # Sector a: 3 of 4 names, capped at 0.5: 1/6 each. b takes what is left, up to its own cap.
    names = {101: "a", 102: "a", 103: "a", 104: "b"}
    assert weights(solve(frame(returns(4)), names, risk("equal_weight", 0.5, 0.5))) == pytest.approx(
        [1 / 6] * 3 + [0.5]
    )
    capped = solve(frame(returns(4)), names, risk("equal_weight", 0.3, 0.5))
    assert weights(capped) == pytest.approx([1 / 6] * 3 + [0.3])
    assert capped.cash == pytest.approx(0.2)


def test_capping_keeps_proportions_where_no_cap_binds():
    problem = Problem(np.zeros((1, 4)), (1, 2, 3, 4), ("a", "b", "c", "d"), max_weight=0.4)
    assert within_caps(np.array([0.7, 0.15, 0.1, 0.05]), problem) == pytest.approx([0.4, 0.3, 0.2, 0.1])


class Broken:
    def __init__(self, name: str) -> None:
        self.name = name

    def weights(self, _problem):
        raise SolverFailedError("it broke")


def test_a_failing_method_falls_back_and_every_fallback_is_an_event():
    methods = {**METHODS, "min_variance": Broken("min_variance"), "hrp": Broken("hrp")}
    solution = solve(frame(returns(4)), sectors(4, "a", "b"), risk("min_variance"), methods=methods)
    assert (solution.requested, solution.method) == ("min_variance", "equal_weight")
    assert [(one.method, one.instead) for one in solution.fallbacks] == [
        ("min_variance", "hrp"),
        ("hrp", "equal_weight"),
    ]
    assert weights(solution) == pytest.approx([0.25] * 4)


def test_nobody_answering_is_an_error_that_names_all_failures():
    methods = {name: Broken(name) for name in METHODS}
    with pytest.raises(InfeasibleError, match=r"hrp: it broke; equal_weight: it broke"):
        solve(frame(returns(4)), sectors(4, "a"), risk("hrp"), methods=methods)


def test_a_solver_that_raises_becomes_a_fallback(monkeypatch):
    import cvxpy
    from skfolio.optimization import MeanRisk

    def fail(*_: object, **__: object):
        raise cvxpy.error.SolverError("numerical trouble")

    monkeypatch.setattr(MeanRisk, "fit", fail)
    solution = solve(frame(returns(4)), sectors(4, "a", "b"), risk("min_variance"))
    assert solution.method == "hrp"
    assert solution.fallbacks[0].reason == "SolverError: numerical trouble"


def test_unknown_methods_are_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="hrp"):
        solve(frame(returns(2)), {}, RiskConfig.model_construct(method="hpr", max_weight=1.0, sector_cap=1.0))


def test_nulls_are_left_out_by_session_and_counted():
    values = returns(3)
    holed = values.copy()
    holed[:10, 1] = np.nan
    gaps = frame(holed).with_columns(pl.col("102").fill_nan(None))
    solution = solve(gaps, sectors(3, "a", "b", "c"), risk("hrp"))
    assert weights(solution) == pytest.approx(
        weights(solve(frame(values[10:]), sectors(3, "a"), risk("hrp"))), abs=1e-15
    )
    assert (solution.diagnostics["n_sessions"], solution.diagnostics["n_complete_sessions"]) == (200, 190)
    with pytest.raises(NotEnoughReturnsError):
        solve(gaps.with_columns(pl.lit(None, pl.Float64).alias("101")), {}, risk("hrp"))


def test_equal_questions_get_equal_answers():
    for method in METHODS:
        ask = frame(returns(9)), sectors(9, "a", "b", "c"), risk(method, 0.2, 0.4)
        assert solve(*ask) == solve(*ask)


def test_rounding_to_the_grid_keeps_the_sum():
    thirds = on_grid(np.array([1 / 3, 1 / 3, 1 / 3]))
    assert thirds.tolist() == [0.333333334, 0.333333333, 0.333333333]
    assert on_grid(np.array([0.15, 0.15, 0.15])).tolist() == [0.15, 0.15, 0.15]
    assert on_grid(np.array([1e-12, 1.0 - 1e-12])).tolist() == [0.0, 1.0]


def test_capped_min_variance_by_hand_to_1e_6():
    # Independent variances 1 : 4 : 16, the first capped at 0.5: the rest splits 0.5 as 4 : 1.
    signs = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)])
    values = signs * np.array([1.0, 2.0, 4.0]) / 100
    found = weights(solve(frame(values), sectors(3, "a", "b", "c"), risk("min_variance", 0.5, 1.0)))
    assert found == pytest.approx([0.5, 0.4, 0.1], abs=1e-6)
