"""The methods. skfolio does the numerical work and is fed finished simple returns, never prices.

Each method is first asked without caps: where no cap binds, its answer is exactly that of a direct call of skfolio.
Only where one binds is the capped problem solved.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from quant_assets.domain.optimization.caps import tidy, within_caps
from quant_assets.domain.optimization.feasible import inequalities, turnover_constraints
from quant_assets.domain.optimization.problem import Problem, SolverFailedError, Vector

SOLVER_SLACK = 1e-6
"""How far an iterative solver may miss a constraint before its answer counts as a failure."""

PRECISE = {"tol_gap_abs": 1e-15, "tol_gap_rel": 1e-13, "tol_feas": 1e-10, "max_iter": 500}
"""Clarabel's tolerances for variances of daily returns, which are of the size 1e-4."""


@dataclass(frozen=True, slots=True)
class EqualWeight:
    """The same weight for everybody; what a cap cuts off goes to the others, and what nobody may hold is cash."""

    name: str = "equal_weight"

    def weights(self, problem: Problem) -> Vector:
        """Return 1/n each, capped."""
        return within_caps(np.full(problem.n, 1.0 / problem.n), problem)


@dataclass(frozen=True, slots=True)
class MinRisk:
    """The long-only portfolio of least risk (skfolio MeanRisk); risk is the sample variance unless named otherwise.

    Without binding caps the answer is that of skfolio's defaults, whose tolerance is absolute in variance: at the size
    of daily returns it is right to about 1e-4 of capital, and an instrument at its bound may keep a trace. Under
    binding caps the solver is asked for more, and is right to about 1e-6.

    Caps and the turnover limit are constraints of the problem. Where they leave no room to invest everything, the
    budget is what they allow and the rest is cash: least risk would otherwise be all cash.
    """

    measure: str = "VARIANCE"
    """A name of skfolio's RiskMeasure."""
    name: str = "min_variance"

    def weights(self, problem: Problem) -> Vector:
        """Return the minimum-risk weights under the caps."""
        free = fitted(self._estimator(), problem.returns)
        if problem.holds(free):
            return free
        return tidy(checked(fitted(self._estimator(**self._constraints(problem)), problem.returns), problem), problem)

    def _estimator(self, **options: Any) -> Any:
        from skfolio import RiskMeasure
        from skfolio.optimization import MeanRisk

        return MeanRisk(risk_measure=RiskMeasure[self.measure], **options)

    def _constraints(self, problem: Problem) -> dict[str, Any]:
        options = capped(problem)
        if self.measure == "VARIANCE":
            options["solver_params"] = PRECISE
        if problem.turnover is not None:
            options["add_constraints"] = lambda w: turnover_constraints(problem, w)
        return options


MinVariance = MinRisk
"""The default measure's name."""


@dataclass(frozen=True, slots=True)
class MaxSharpe:
    """The long-only portfolio of the highest sample mean over sample deviation (skfolio MeanRisk, risk-free rate 0).

    Sample means of daily returns are mostly noise: see `weights_stability`. Caps are constraints of the problem; of
    the turnover limit, which is not linear in it, the nearest weights are taken.
    """

    name: str = "max_sharpe"

    def weights(self, problem: Problem) -> Vector:
        """Return the weights of the highest ratio under the caps."""
        if problem.returns.mean(axis=0).max() <= 0:
            raise SolverFailedError("no column has a positive mean return")
        free = fitted(self._estimator(), problem.returns)
        if problem.holds(free):
            return free
        found = fitted(self._estimator(**capped(problem)), problem.returns)
        if problem.turnover is not None and not problem.holds(found, SOLVER_SLACK):
            return within_caps(np.maximum(found, 0.0), problem)
        return tidy(checked(found, problem), problem)

    def _estimator(self, **options: Any) -> Any:
        from skfolio.optimization import MeanRisk, ObjectiveFunction

        return MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RATIO, **options)


def capped(problem: Problem) -> dict[str, Any]:
    """Return the caps as options of skfolio's MeanRisk."""
    a, b = inequalities(problem)
    options: dict[str, Any] = {"max_weights": problem.max_weight, "budget": problem.investable}
    if problem.is_bounded:
        options |= {"min_weights": problem.floors, "max_weights": problem.ceilings}
    return {**options, "left_inequality": a, "right_inequality": b} if len(b) else options


@dataclass(frozen=True, slots=True)
class HierarchicalParity:
    """Hierarchical risk parity on variance (skfolio HierarchicalRiskParity), Pearson distance.

    The instrument cap is skfolio's own while the instruments suffice to invest everything under it. Sector caps,
    which the method does not know, and caps that force cash are kept by capping and redistributing in proportion.
    """

    linkage: Literal["ward", "single", "complete", "average"] = "ward"
    name: str = "hrp"

    def weights(self, problem: Problem) -> Vector:
        """Return the HRP weights under the caps."""
        free = self._fit(problem.returns, 1.0)
        if problem.holds(free):
            return free
        supported = not problem.is_bounded and problem.n * problem.max_weight >= 1.0
        base = checked_long(self._fit(problem.returns, problem.max_weight)) if supported else free
        return within_caps(base, problem)

    def _fit(self, returns: Vector, max_weight: float) -> Vector:
        from skfolio.optimization import HierarchicalRiskParity

        return fitted(HierarchicalRiskParity(max_weights=max_weight, **self._clustering()), returns)

    def _clustering(self) -> dict[str, Any]:
        """Return nothing for skfolio's own default, so that a direct call and ours are the same call."""
        if self.linkage == "ward":
            return {}
        from skfolio.cluster import HierarchicalClustering, LinkageMethod
        from skfolio.seriation import HierarchicalSeriation

        clustering = HierarchicalClustering(linkage_method=LinkageMethod(self.linkage))
        return {"seriation_estimator": HierarchicalSeriation(hierarchical_clustering_estimator=clustering)}


def fitted(estimator: Any, returns: Vector) -> Vector:
    """Fit and return the weights; every way in which the solver can fail becomes one error."""
    import cvxpy
    from skfolio.exceptions import SkfolioError

    try:
        with _quiet():
            weights = estimator.fit(returns).weights_
    except (
        SkfolioError,
        cvxpy.error.SolverError,
        cvxpy.error.DCPError,
        ArithmeticError,
        ValueError,
        RuntimeError,
    ) as error:
        first = (str(error).splitlines() or [""])[0]
        raise SolverFailedError(f"{type(error).__name__}: {first[:200]}") from error
    result = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(result).all():
        raise SolverFailedError("the solver returned weights that are not finite")
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep solver warnings from the console: an inaccurate answer is judged by `checked`, not by its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def checked(weights: Vector, problem: Problem) -> Vector:
    """Return weights that keep the caps and invest what they should, up to the solver's slack.

    Raises:
        SolverFailedError: they do not.
    """
    if not problem.holds(weights, SOLVER_SLACK):
        raise SolverFailedError("the solver's weights break a cap")
    if abs(float(weights.sum()) - problem.investable) > SOLVER_SLACK:
        raise SolverFailedError(f"the solver invested {weights.sum():.9f} instead of {problem.investable:.9f}")
    return weights


def checked_long(weights: Vector) -> Vector:
    """Return weights without a short position.

    Raises:
        SolverFailedError: there is one.
    """
    if weights.min() < 0:
        raise SolverFailedError("the method returned a short position")
    return weights
