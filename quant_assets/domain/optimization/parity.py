"""Methods that share risk instead of minimising it, and those that are put together from others.

Each answers without caps; caps are then kept by filling in proportion, or by the nearest weights where caps overlap.
"""

from dataclasses import dataclass, field

import numpy as np

from quant_assets.domain.optimization.caps import within_caps
from quant_assets.domain.optimization.methods import (
    HierarchicalParity,
    MaxSharpe,
    MinRisk,
    checked_long,
    fitted,
)
from quant_assets.domain.optimization.problem import Optimizer, Problem, Vector

CORE_SHARE = 0.9
"""What `barbell` puts into its core."""
CORE_PART = 0.75
"""The part of the columns, calmest first, that is the core."""

RECENT = 21
"""Sessions that `adaptive` calls now."""
TURBULENT = 1.5
"""Times its usual volatility from which the market counts as turbulent."""


@dataclass(frozen=True, slots=True)
class HierarchicalEqualRisk:
    """Hierarchical equal risk contribution on variance (skfolio), Raffinot (2018)."""

    name: str = "herc"

    def weights(self, problem: Problem) -> Vector:
        """Return the HERC weights under the caps."""
        from skfolio.optimization import HierarchicalEqualRiskContribution

        free = checked_long(fitted(HierarchicalEqualRiskContribution(), problem.returns))
        return free if problem.holds(free) else within_caps(free, problem)


@dataclass(frozen=True, slots=True)
class RiskParity:
    """Every column brings the same share of the variance (skfolio RiskBudgeting).

    Source: Maillard, Roncalli and Teiletche (2010), The Properties of Equally Weighted Risk Contribution Portfolios.
    """

    name: str = "risk_parity"

    def weights(self, problem: Problem) -> Vector:
        """Return the risk parity weights under the caps."""
        from skfolio.optimization import RiskBudgeting

        free = np.maximum(fitted(RiskBudgeting(), problem.returns), 0.0)
        return free if problem.holds(free) else within_caps(free, problem)


@dataclass(frozen=True, slots=True)
class Barbell:
    """A calm core and a wild end, and nothing in between: Taleb's barbell in a long-only form of our own.

    The calmer three quarters of the columns get 90 % by hierarchical risk parity among themselves; the wilder quarter
    shares 10 % equally. With fewer than four columns everything is core.
    """

    name: str = "barbell"
    core: Optimizer = field(default_factory=HierarchicalParity)

    def weights(self, problem: Problem) -> Vector:
        """Return the barbell weights under the caps."""
        n = problem.n
        order = np.argsort(np.round(problem.returns.std(axis=0), 12), kind="stable")
        calm, wild = np.split(order, [int(np.ceil(CORE_PART * n))])
        base = np.zeros(n)
        inside = Problem(problem.returns[:, np.sort(calm)], tuple(np.sort(calm).tolist()), ("",) * len(calm))
        base[np.sort(calm)] = (CORE_SHARE if len(wild) else 1.0) * self.core.weights(inside)
        if len(wild):
            base[wild] = (1.0 - CORE_SHARE) / len(wild)
        return base if problem.holds(base) else within_caps(base, problem)


@dataclass(frozen=True, slots=True)
class Adaptive:
    """A method for each regime of the equally weighted market: see `regime`."""

    name: str = "adaptive"

    def weights(self, problem: Problem) -> Vector:
        """Return the weights of the regime's method under the caps."""
        return self.method(problem).weights(problem)

    @staticmethod
    def method(problem: Problem) -> Optimizer:
        """Return the method of the regime: turbulent → cvar, rising → max_sharpe, else hrp."""
        methods: dict[str, Optimizer] = {
            "turbulent": MinRisk("CVAR", "cvar"),
            "rising": MaxSharpe(),
            "flat": HierarchicalParity(),
        }
        return methods[regime(problem.returns)]


def regime(returns: Vector) -> str:
    """Return `turbulent`, `rising` or `flat`, judged by the equally weighted mean of all columns.

    Turbulent: its volatility over the last 21 sessions is 1.5 times that of all sessions. Rising: its mean return is
    more than its standard error above 0.
    """
    market = returns.mean(axis=1)
    usual = float(market.std())
    if usual <= 0.0:
        return "flat"
    if len(market) > RECENT and float(market[-RECENT:].std()) >= TURBULENT * usual:
        return "turbulent"
    return "rising" if float(market.mean()) > usual / len(market) ** 0.5 else "flat"
