"""How much of the weights is the data, and how much is its noise: the same question asked of slightly other returns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from quant_assets.domain.optimization.chain import METHODS
from quant_assets.domain.optimization.problem import Optimizer, Problem, SolverFailedError, Vector

NOISE = 0.01
"""Standard deviation of the noise, in standard deviations of each column."""
DRAWS = 3
SEED = 20_240_102


@dataclass(frozen=True, slots=True)
class Stability:
    """The largest turnover between the weights and those of the noisy returns, and how often no answer came."""

    turnover: float
    n_failed: int


def stability(problem: Problem, weights: Vector, method: str, methods: Mapping[str, Optimizer] = METHODS) -> Stability:
    """Ask a method again with 1 % noise on the returns, three times, from a fixed seed.

    Args:
        problem: the question.
        weights: the answer.
        method: who gave it.
        methods: the registry.
    """
    rng = np.random.default_rng(SEED)
    scale = NOISE * problem.returns.std(axis=0)
    moved, n_failed = [0.0], 0
    for _ in range(DRAWS):
        noisy = replace(problem, returns=problem.returns + scale * rng.standard_normal(problem.returns.shape))
        try:
            moved.append(0.5 * float(np.abs(methods[method].weights(noisy) - weights).sum()))
        except SolverFailedError:
            n_failed += 1
    return Stability(max(moved), n_failed)
