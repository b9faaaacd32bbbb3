import numpy as np
import pytest

from quant_assets.domain.optimization import METHODS, Problem, SolverFailedError, solve, stability
from quant_assets.domain.robustness import (
    cvar,
    gap_finding,
    invested_finding,
    lost_findings,
    polytope,
    stability_finding,
)
from quant_assets.domain.verification import Finding, errors, turnover_of, verify_weights
from quant_assets.settings.manifest import RiskConfig
from quant_assets_tests.unit.alpha.problems import frame, returns, weights

FREE = polytope([], 1.0, 6)


@pytest.mark.parametrize("method", ["min_variance", "cvar"])
@pytest.mark.parametrize("cap", [1.0, 0.25])
def test_the_gap_is_small_at_the_optimum_and_large_elsewhere(method, cap):
    values = returns(6)
    found = weights(solve(frame(values), {}, RiskConfig(method=method, max_weight=cap, sector_cap=1.0)))
    allowed = polytope([], cap, 6)
    assert gap_finding(method, found, values, allowed).severity == "info"
    away = gap_finding(method, np.full(6, 1 / 6), values, allowed)
    assert away.severity == "warn"
    assert away.value > 0.01


def test_the_gap_bounds_the_true_distance_by_hand():
    # Variances 1 and 4, no covariance: f(1/2, 1/2) = 1.25, f* = 0.8; the gap is at least 0.45 of 1.25.
    values = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]])
    gap = gap_finding("min_variance", np.array([0.5, 0.5]), values, polytope([], 1.0, 2)).value
    assert gap >= 0.45 / 1.25 - 1e-5
    assert gap_finding("hrp", np.array([0.5, 0.5]), values, FREE).message == "hrp offers none"


def test_cvar_by_hand():
    losses = -np.arange(1.0, 41.0)[:, None]  # returns -1 … -40: the worst 5 % are 39 and 40
    assert cvar(np.array([1.0]), losses) == pytest.approx(39.5)
    assert cvar(np.array([1.0]), losses[:30]) == pytest.approx((30 + 0.5 * 29) / 1.5)  # one and a half sessions


def test_cash_that_no_cap_explains_is_an_error():
    allowed = polytope([(("a", "a", "b"), 0.4)], 0.3, 3)  # a: 0.4, b: 0.3
    assert invested_finding(0.7, allowed, has_turnover=False).severity == "info"
    assert invested_finding(0.6, allowed, has_turnover=False).severity == "error"
    assert invested_finding(0.6, allowed, has_turnover=True).severity == "warn"
    assert invested_finding(0.8, allowed, has_turnover=True).severity == "error"


def test_a_configured_constraint_that_nobody_checked_is_an_error():
    found = lost_findings(
        [Finding("info", "sector_cap", "")], {"sector_cap": True, "cluster_cap": True, "turnover": False}
    )
    assert [(one.severity, one.check, one.message) for one in found] == [
        ("error", "constraint_lost", "cluster_cap is configured, and nothing checked it")
    ]


def check(first: float, second: float, **limits: object) -> list[str]:
    values = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]) / 100
    limits = {"max_weight": 1.0, "sector_cap": 1.0, **limits}
    return [one.check for one in errors(verify_weights({1: first, 2: second}, 0.0, values, {1: "a", 2: "b"}, **limits))]


def test_cluster_caps_and_turnover_are_checked_without_the_optimizers():
    assert check(0.5, 0.5, clusters={1: "x", 2: "x"}, cluster_cap=0.9) == ["cluster_cap"]
    assert check(0.5, 0.5, clusters={1: "x", 2: "y"}, cluster_cap=0.5) == []
    assert check(0.5, 0.5, clusters={1: "x"}, cluster_cap=0.5) == ["cluster_cap"]  # the second has no cluster
    assert check(0.5, 0.5, previous={1: 0.7, 2: 0.3}, max_turnover=0.1) == ["turnover"]
    assert check(0.5, 0.5, previous={1: 0.7, 2: 0.3}, max_turnover=0.2) == []
    assert check(0.5, 0.5, previous=None, max_turnover=0.1) == []


def test_turnover_counts_what_was_sold_out_and_what_is_new():
    assert turnover_of({1: 0.5, 2: 0.5}, {2: 0.4, 3: 0.6}) == pytest.approx(0.5 * (0.5 + 0.1 + 0.6))


def test_stability_is_seeded_and_tells_calm_methods_from_nervous_ones():
    problem = Problem(returns(8), tuple(range(8)), ("a",) * 8)
    for method in ("equal_weight", "min_variance"):
        found = METHODS[method].weights(problem)
        first, second = stability(problem, found, method), stability(problem, found, method)
        assert first == second
        assert stability_finding(first.turnover, 0).severity == "info"
    # Two columns that differ by less than the noise: which of them wins is a coin toss.
    one = returns(1)[:, 0] + 0.01
    twins = Problem(np.column_stack([one, one * 1.0001]), (1, 2), ("a", "a"))
    nervous = stability(twins, METHODS["max_sharpe"].weights(twins), "max_sharpe")
    assert stability_finding(nervous.turnover, nervous.n_failed).severity == "warn"


def test_noisy_problems_without_an_answer_are_counted():
    class Broken:
        name = "min_variance"

        def weights(self, _problem):
            raise SolverFailedError("no")

    problem = Problem(returns(3), (1, 2, 3), ("a",) * 3)
    found = stability(problem, np.full(3, 1 / 3), "min_variance", {"min_variance": Broken()})
    assert found.n_failed == 3
    assert "3 noisy problems" in stability_finding(found.turnover, found.n_failed).message
