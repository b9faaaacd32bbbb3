"""The methods beyond minimum variance and HRP, and the constraints that overlap: each against an independent answer."""

import numpy as np
import pytest

from quant_assets.domain.optimization import METHODS, Problem, Solution, Turnover, regime, solve
from quant_assets.domain.robustness import cvar
from quant_assets.domain.verification import risk_contributions
from quant_assets.errors import InfeasibleError, NotEnoughReturnsError
from quant_assets.settings.manifest import RiskConfig
from quant_assets_tests.unit.alpha.problems import frame, returns, sectors, weights


def risk(method: str, **limits: float) -> RiskConfig:
    return RiskConfig(method=method, **{"max_weight": 1.0, "sector_cap": 1.0, "cluster_cap": 1.0, **limits})


def asked(
    method: str, values: np.ndarray, *, clusters: str = "", turnover: Turnover | None = None, **limits: float
) -> Solution:
    n = values.shape[1]
    named = {101 + k: clusters[k] for k in range(n)} if clusters else None
    return solve(frame(values), sectors(n, "a", "b", "c"), risk(method, **limits), clusters=named, turnover=turnover)


@pytest.mark.parametrize("method", ["herc", "risk_parity", "max_sharpe", "cvar"])
def test_without_binding_caps_the_answer_is_that_of_a_direct_skfolio_call(method):
    from skfolio import RiskMeasure
    from skfolio.optimization import HierarchicalEqualRiskContribution, MeanRisk, ObjectiveFunction, RiskBudgeting

    direct = {
        "herc": HierarchicalEqualRiskContribution(),
        "risk_parity": RiskBudgeting(),
        "max_sharpe": MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RATIO),
        "cvar": MeanRisk(risk_measure=RiskMeasure.CVAR),
    }[method]
    values = returns(8)
    assert np.abs(weights(asked(method, values)) - direct.fit(values).weights_).max() < 1e-10


def test_risk_parity_brings_equal_contributions():
    values = returns(7)
    assert risk_contributions(weights(asked("risk_parity", values)), values) == pytest.approx([1 / 7] * 7, abs=1e-4)


def test_max_sharpe_of_two_uncorrelated_columns_by_hand():
    # Means 1 and 1, variances 1 and 4, no covariance: w in proportion to mean over variance, 0.8 and 0.2.
    signs = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    assert weights(asked("max_sharpe", signs + 1.0)) == pytest.approx([0.8, 0.2], abs=1e-4)


def test_max_sharpe_without_a_positive_mean_falls_back_on_record():
    solution = asked("max_sharpe", returns(4) - 0.05)
    assert solution.method == "min_variance"
    assert solution.fallbacks[0].reason == "no column has a positive mean return"


def test_cvar_is_the_least_on_a_fine_grid_of_two_columns():
    values = returns(2, n_sessions=100)
    found = cvar(weights(asked("cvar", values)), values)
    grid = [cvar(np.array([x, 1 - x]), values) for x in np.linspace(0, 1, 2001)]
    assert found == pytest.approx(min(grid), abs=1e-7)


def test_barbell_by_hand():
    values = returns(8) * np.array([9, 1, 1, 1, 1, 1, 1, 8.0])  # the first and the last are the wild quarter
    found = weights(asked("barbell", values))
    assert found[[0, 7]] == pytest.approx([0.05, 0.05])
    core = weights(asked("hrp", values[:, 1:7]))
    assert found[1:7] == pytest.approx(0.9 * core)
    assert weights(asked("barbell", values[:, :3])).sum() == pytest.approx(1.0)


def test_adaptive_asks_the_method_of_the_regime():
    rng = np.random.default_rng(8)
    flat = rng.normal(0, 0.01, (300, 5))
    flat -= flat.mean(axis=0)
    turbulent = flat.copy()
    turbulent[-21:] *= 4.0
    regimes = {"flat": (flat, "hrp"), "rising": (flat + 0.002, "max_sharpe"), "turbulent": (turbulent, "cvar")}
    for name, (values, method) in regimes.items():
        solution = asked("adaptive", values)
        assert regime(values) == solution.diagnostics["regime"] == name
        assert weights(solution) == pytest.approx(weights(asked(method, values)), abs=1e-12)
    assert regime(np.zeros((30, 2))) == "flat"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_overlapping_caps_hold_and_everything_is_invested(method):
    solution = asked(method, returns(12), clusters="xxxxyyyyzzzz", max_weight=0.2, sector_cap=0.45, cluster_cap=0.4)
    values = weights(solution)
    by_cluster = values.reshape(3, 4).sum(axis=1)
    by_sector = [values[k::3].sum() for k in range(3)]
    assert max(by_cluster) <= 0.4 + 1e-9
    assert max(by_sector) <= 0.45 + 1e-9
    assert values.max() <= 0.2 + 1e-9
    assert values.sum() == pytest.approx(1.0, abs=1e-6)
    assert solution.fallbacks == ()


def test_a_cluster_cap_by_hand():
    # Variances 1, 1, 4 without covariance want 4/9, 4/9, 1/9; the first two together may have 0.6.
    signs = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]) * np.array([1.0, 1.0, 2.0]) / 100
    assert weights(asked("min_variance", signs, clusters="xxy", cluster_cap=0.6)) == pytest.approx(
        [0.3, 0.3, 0.4], abs=1e-6
    )
    assert weights(asked("equal_weight", signs, clusters="xxy", cluster_cap=0.6)) == pytest.approx(
        [0.3, 0.3, 0.4], abs=1e-5
    )


def test_min_variance_under_a_cluster_cap_is_the_least_among_feasible_weights():
    values = returns(6)
    covariance = np.cov(values, rowvar=False)
    found = weights(asked("min_variance", values, clusters="xxxyyz", cluster_cap=0.4, max_weight=0.3))
    tried = np.random.default_rng(0).dirichlet(np.ones(6), 300_000)
    sums = np.column_stack([tried[:, :3].sum(axis=1), tried[:, 3:5].sum(axis=1), tried[:, 5]])
    feasible = tried[(tried.max(axis=1) <= 0.3) & (sums.max(axis=1) <= 0.4)]
    assert len(feasible) > 1000
    assert found @ covariance @ found <= np.einsum("ij,jk,ik->i", feasible, covariance, feasible).min()


@pytest.mark.parametrize("method", ["equal_weight", "min_variance", "hrp"])
def test_two_clusters_at_25_percent_force_half_into_cash(method):
    solution = asked(method, returns(6), clusters="xxxyyy", cluster_cap=0.25)
    assert weights(solution).sum() == pytest.approx(0.5, abs=1e-6)
    assert solution.cash == pytest.approx(0.5, abs=1e-6)
    assert solution.diagnostics["cash_forced"]


def test_atoms_of_one_instrument_share_its_cap():
    values = returns(4)
    owners = {101: 1, 102: 1, 103: 2, 104: 3}
    for method in METHODS:
        solution = solve(frame(values), {}, risk(method, max_weight=0.4), owners=owners)
        found = weights(solution)
        assert found[:2].sum() <= 0.4 + 1e-9, method
        assert found.sum() == pytest.approx(1.0, abs=1e-6), method


def held(*values: float, gone: float = 0.0, limit: float = 0.1) -> Turnover:
    return Turnover(np.eye(len(values)), np.array(values), gone, limit)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_turnover_stays_within_its_limit(method):
    values = returns(5)
    turnover = held(1.0, 0.0, 0.0, 0.0, 0.0)
    solution = asked(method, values, turnover=turnover)
    assert turnover.of(weights(solution)) <= 0.1 + 1e-6
    assert weights(solution).sum() == pytest.approx(1.0, abs=1e-6)


def test_turnover_goes_as_far_as_it_may_in_the_right_direction():
    # From (1, 0) towards equal weights with a turnover of 0.1: 0.1 of capital is moved.
    assert weights(asked("equal_weight", returns(2), turnover=held(1.0, 0.0))) == pytest.approx([0.9, 0.1], abs=1e-5)
    signs = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]) / 100  # wants 0.8 and 0.2
    assert weights(asked("min_variance", signs, turnover=held(0.5, 0.5))) == pytest.approx([0.6, 0.4], abs=1e-5)
    free = weights(asked("min_variance", signs))
    assert weights(asked("min_variance", signs, turnover=held(0.75, 0.25))) == pytest.approx(free, abs=1e-12)


def test_turnover_by_hand_counts_what_has_to_be_sold():
    turnover = held(0.5, 0.3, gone=0.2, limit=0.4)
    assert turnover.of(np.array([0.4, 0.6])) == pytest.approx(0.5 * (0.1 + 0.3 + 0.2))
    assert turnover.room == pytest.approx(0.6)
    shorts = Turnover(np.array([[1.0, -1.0]]), np.array([0.2]), 0.0, 0.1)  # two atoms of one instrument
    assert shorts.of(np.array([0.5, 0.1])) == pytest.approx(0.1)


def test_what_left_is_sold_first_and_too_much_of_it_is_infeasible():
    solution = asked("equal_weight", returns(2), turnover=held(0.4, 0.4, gone=0.2, limit=0.2))
    assert weights(solution) == pytest.approx([0.5, 0.5], abs=1e-6)
    some = asked("equal_weight", returns(2), turnover=held(0.4, 0.4, gone=0.2, limit=0.15))
    assert weights(some) == pytest.approx([0.45, 0.45], abs=1e-5)  # sells 0.2, may buy only 0.1: the rest is cash
    assert some.cash == pytest.approx(0.1, abs=1e-5)
    with pytest.raises(InfeasibleError, match=r"turnover of 5\.00%, 20\.00% of capital being in instruments that left"):
        asked("equal_weight", returns(2), turnover=held(0.4, 0.4, gone=0.2, limit=0.05))


def test_caps_that_the_weights_before_break_are_kept_or_the_question_is_infeasible():
    turnover = held(1.0, 0.0, 0.0, limit=0.5)
    assert weights(asked("hrp", returns(3), turnover=turnover, max_weight=0.6))[0] <= 0.6
    with pytest.raises(InfeasibleError, match="max_turnover"):
        asked("hrp", returns(3), turnover=held(1.0, 0.0, 0.0, limit=0.1), max_weight=0.6)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_constant_column_and_a_singular_covariance_end_in_weights(method):
    values = returns(4, n_sessions=60)
    values[:, 3] = values[:, 0] + values[:, 1]
    found = weights(asked(method, values))
    assert found.sum() == pytest.approx(1.0, abs=1e-6)
    assert found.min() >= 0


@pytest.mark.parametrize("method", sorted(METHODS))
def test_all_nan_is_an_error_and_not_a_portfolio(method):
    with pytest.raises(NotEnoughReturnsError):
        solve(frame(np.full((50, 2), np.nan)).fill_nan(None), {}, risk(method))


def test_limits_that_cannot_bind_are_not_constraints():
    problem = Problem(np.zeros((3, 3)), (1, 2, 3), ("a", "b", "c"), 0.2, 0.5, ("x", "x", "y"), 0.4)
    assert problem.limits == ()
    assert problem.is_nested
    assert problem.investable == pytest.approx(0.6)
