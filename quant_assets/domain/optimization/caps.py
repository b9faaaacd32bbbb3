"""Caps kept in proportion: scale proportions up to a total while no instrument and no sector exceeds its cap.

Cluster caps overlap with sectors, and turnover is about other weights than these; where one of them binds, the answer
is the nearest weights that keep everything.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from quant_assets.domain.optimization.problem import TIGHT, Problem, Vector


def within_caps(base: Vector, problem: Problem) -> Vector:
    """Cap `base` and give what was cut off to the others in proportion, until nothing is left or nobody has room.

    Args:
        base: non-negative proportions; they need not sum to 1. An instrument with 0 stays at 0.
        problem: the caps.

    Returns:
        Weights in the proportions of `base` wherever no cap binds. They sum to `problem.investable`, or to less
        when the room left belongs to instruments with 0. What keeps the caps already comes back unchanged.

    Raises:
        SolverFailedError: no weights near `base` could be found under overlapping caps.
    """
    if problem.is_nested:
        return _filled(base, problem)
    plain = _filled(base, replace(problem, clusters=(), owners=(), turnover=None, lower=(), upper=(), extra=()))
    if problem.holds(plain) and abs(float(plain.sum()) - problem.investable) <= TIGHT:
        return plain
    from quant_assets.domain.optimization.feasible import nearest

    return tidy(nearest(plain, problem), problem)


def _filled(base: Vector, problem: Problem) -> Vector:
    """Fill instruments and sectors in proportion."""
    if problem.holds(base) and abs(float(base.sum()) - problem.investable) <= len(base) * np.finfo(float).eps:
        return base
    weights = np.zeros(problem.n)
    open_sectors = dict(problem.members)
    remaining = problem.investable
    while open_sectors:
        where = np.concatenate(list(open_sectors.values()))
        weights[where] = _level(base[where], remaining, problem.max_weight)
        over = [name for name, members in open_sectors.items() if weights[members].sum() > problem.sector_cap]
        if not over:
            break
        for name in over:
            members = open_sectors.pop(name)
            weights[members] = _level(base[members], problem.sector_cap, problem.max_weight)
            remaining -= problem.sector_cap
    return _trimmed(weights, problem)


def _level(base: Vector, total: float, cap: float) -> Vector:
    """Return min(cap, factor x base) with the factor that makes the sum `total`, or as near as the caps allow."""
    weights = np.zeros_like(base)
    free: npt.NDArray[np.bool_] = base > 0
    remaining = max(total, 0.0)
    while free.any() and remaining > 0:
        trial = base[free] * (remaining / base[free].sum())
        if (trial <= cap).all():
            weights[free] = trial
            break
        full = np.flatnonzero(free)[trial > cap]
        weights[full] = cap
        free[full] = False
        remaining -= cap * len(full)
    return weights


def _trimmed(weights: Vector, problem: Problem) -> Vector:
    """Remove the last bits by which floating point can exceed a cap."""
    result = np.clip(weights, problem.floors, problem.ceilings)
    for one in problem.limits:
        if (total := one.of(result)) > one.cap:
            result[one.where] *= one.cap / total
    return result


def tidy(weights: Vector, problem: Problem) -> Vector:
    """Move a solver's answer, which keeps the caps only up to its tolerance, onto them exactly."""
    return weights if problem.holds(weights, 0.0) else _trimmed(weights, problem)
