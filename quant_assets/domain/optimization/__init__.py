"""From returns to weights: one interface for every method, caps that hold exactly, and fallbacks that are recorded.

`solve` tries the configured method and then its fallback chain; whoever answers first wins, and every failure on the
way is an event in the answer. What the caps do not allow to be invested is held in cash, explicitly:
weights plus cash is 1.
"""

from quant_assets.domain.optimization.chain import FALLBACKS, METHODS, solve
from quant_assets.domain.optimization.grid import GRID, on_grid
from quant_assets.domain.optimization.methods import EqualWeight, HierarchicalParity, MaxSharpe, MinRisk, MinVariance
from quant_assets.domain.optimization.parity import Adaptive, Barbell, HierarchicalEqualRisk, RiskParity, regime
from quant_assets.domain.optimization.problem import (
    Fallback,
    Limit,
    Optimizer,
    Problem,
    Solution,
    SolverFailedError,
    Turnover,
)
from quant_assets.domain.optimization.stability import Stability, stability

__all__ = [
    "FALLBACKS",
    "GRID",
    "METHODS",
    "Adaptive",
    "Barbell",
    "EqualWeight",
    "Fallback",
    "HierarchicalEqualRisk",
    "HierarchicalParity",
    "Limit",
    "MaxSharpe",
    "MinRisk",
    "MinVariance",
    "Optimizer",
    "Problem",
    "RiskParity",
    "Solution",
    "SolverFailedError",
    "Stability",
    "Turnover",
    "on_grid",
    "regime",
    "solve",
    "stability",
]
