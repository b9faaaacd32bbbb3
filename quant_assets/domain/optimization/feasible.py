"""Overlapping caps: how much can be invested under them, and which allowed weights are nearest to wanted ones."""

from typing import Any

import numpy as np

from quant_assets.domain.optimization.problem import Problem, SolverFailedError, Vector
from quant_assets.errors import InfeasibleError

_DIGITS = 12
"""To which a linear program's answer is rounded: caps have few digits, and 0.25 twice is 0.5."""


def inequalities(problem: Problem) -> tuple[Vector, Vector]:
    """Return A and b of `A @ w <= b` for the caps on sums; no rows when none can bind."""
    rows = np.zeros((len(problem.limits), problem.n))
    for number, one in enumerate(problem.limits):
        rows[number, one.where] = 1.0 if one.coefficients is None else one.coefficients
    return rows, np.array([one.cap for one in problem.limits])


def most_invested(problem: Problem) -> float:
    """Return the largest sum of weights that all caps and the turnover limit allow, at most 1.

    Raises:
        InfeasibleError: no weights keep the turnover limit, or the bounds of columns.
    """
    from scipy.optimize import linprog

    a, b, extra = _polytope(problem)
    room = np.append(np.ones(problem.n), np.zeros(extra))
    own = zip(problem.floors.tolist(), problem.ceilings.tolist(), strict=True)
    bounds: list[tuple[float, float | None]] = [*own, *([(0.0, None)] * extra)]
    a, b = np.vstack([a, room]), np.append(b, 1.0)
    answer = linprog(-room, A_ub=a, b_ub=b, bounds=bounds, method="highs")
    if answer.status != 0:
        raise InfeasibleError(*_why(problem))
    return min(1.0, round(float(-answer.fun), _DIGITS))


def _why(problem: Problem) -> tuple[str, str]:
    turnover = problem.turnover
    limit = (
        f" and a turnover of {turnover.limit:.2%}, {turnover.gone:.2%} of capital being in instruments that left"
        if turnover
        else ""
    )
    bounds = " and the least weights that are asked for" if problem.lower else ""
    mend = "Raise risk.max_turnover for this run, or loosen the caps in risk."
    if bounds:
        mend = "Lower sleeves.*.min, or loosen the caps in risk."
    return f"No weights keep the caps{bounds}{limit}.", mend


def _polytope(problem: Problem) -> tuple[Vector, Vector, int]:
    """Return A and b over weights and, for turnover, one absolute change per instrument; and the number of those."""
    a, b = inequalities(problem)
    turnover = problem.turnover
    if turnover is None:
        return a, b, 0
    k = len(turnover.previous)
    identity, none = np.eye(k), np.zeros((len(a), k))
    rows = [
        np.hstack([a, none]),
        np.hstack([turnover.exposures, -identity]),
        np.hstack([-turnover.exposures, -identity]),
        np.append(np.zeros(problem.n), np.ones(k))[None],
    ]
    return np.vstack(rows), np.concatenate([b, turnover.previous, -turnover.previous, [turnover.room]]), k


def constraints(problem: Problem, w: Any) -> list[Any]:
    """Return the caps on sums and the turnover limit as constraints of CVXPY on a variable of weights."""
    a, b = inequalities(problem)
    found = [a @ w <= b] if len(b) else []
    return [*found, *turnover_constraints(problem, w)]


def turnover_constraints(problem: Problem, w: Any) -> list[Any]:
    """Return the turnover limit alone."""
    if problem.turnover is None:
        return []
    cp = _cvxpy()
    return [cp.norm1(problem.turnover.exposures @ w - problem.turnover.previous) <= problem.turnover.room]


def nearest(wanted: Vector, problem: Problem) -> Vector:
    """Return the allowed weights of least squared distance to wanted ones, with everything invested that may be.

    Raises:
        SolverFailedError: the solver has no answer.
    """
    cp = _cvxpy()
    w = cp.Variable(problem.n)
    allowed = [w >= problem.floors, w <= problem.ceilings, cp.sum(w) == problem.investable, *constraints(problem, w)]
    question = cp.Problem(cp.Minimize(cp.sum_squares(w - wanted)), allowed)
    try:
        question.solve(solver=cp.CLARABEL)
    except (cp.error.SolverError, ArithmeticError, ValueError) as error:
        raise SolverFailedError(f"no weights near the wanted ones: {error}") from error
    if w.value is None or not np.isfinite(w.value).all() or not problem.holds(w.value, 1e-6):
        raise SolverFailedError(f"no weights near the wanted ones keep the caps ({question.status})")
    return np.asarray(w.value, dtype=np.float64)


def _cvxpy() -> Any:
    """Return CVXPY, whose atoms its own annotations do not know."""
    import cvxpy

    return cvxpy
