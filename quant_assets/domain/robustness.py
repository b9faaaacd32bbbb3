"""A second look at finished weights: is cash explained, how far from the optimum, how stable, is nothing forgotten?

NumPy and SciPy's HiGHS only; the optimizers use another solver, and none of their code is used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_assets.domain.verification import TOLERANCE, Finding, Severity

Vector = npt.NDArray[np.float64]

MAX_GAP = 1e-3
"""Relative distance from the optimum up to which a solver's answer is one."""
MAX_MOVE = 0.10
"""Turnover by 1 % of noise up to which weights count as stable."""
CVAR_BETA = 0.95
_CVAR_CELLS = 200_000
"""Sessions times columns up to which the CVaR problem is solved a second time."""


@dataclass(frozen=True, slots=True)
class Polytope:
    """What weights are allowed: 0 <= w <= upper, A @ w <= b."""

    a: Vector
    b: Vector
    upper: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of every weight."""
        return (0.0, self.upper)


def polytope(groupings: Sequence[tuple[Sequence[object], float]], max_weight: float, n: int) -> Polytope:
    """Return the allowed weights.

    Args:
        groupings: group per column, and the cap on the sum of each group (sectors, clusters, instruments of atoms).
        max_weight: cap on each column.
        n: number of columns.
    """
    rows: list[Vector] = []
    caps: list[float] = []
    for groups, cap in groupings:
        for name in sorted(set(map(str, groups))):
            rows.append(np.array([float(str(group) == name) for group in groups]))
            caps.append(cap)
    return Polytope(np.array(rows).reshape(len(rows), n), np.array(caps), max_weight)


def invested_finding(total: float, allowed: Polytope, *, has_turnover: bool) -> Finding:
    """Check that everything is invested that the caps allow; a turnover limit may explain more cash."""
    from scipy.optimize import linprog

    n = allowed.a.shape[1]
    a, b = np.vstack([allowed.a, np.ones(n)]), np.append(allowed.b, 1.0)
    most = -float(linprog(-np.ones(n), A_ub=a, b_ub=b, bounds=allowed.bounds, method="highs").fun)
    short = most - total
    text = f"{total:.9f} of capital is given to methods, the caps allow {most:.9f}"
    severity: Severity = "info" if abs(short) <= TOLERANCE else "warn" if has_turnover and short > 0 else "error"
    return Finding(severity, "invested", text, total)


def gap_finding(method: str, weights: Vector, returns: Vector, allowed: Polytope) -> Finding:
    """Bound how much better any allowed weights with the same sum could be.

    `min_variance`: the Frank-Wolfe gap max over s of ∇f(w)·(w - s), which is at least f(w) - f*, Jaggi (2013).
    `cvar`: the distance to the optimum of the linear program of Rockafellar and Uryasev, solved by HiGHS.
    The others minimise nothing, or nothing convex, under their caps.
    """
    total = float(weights.sum())
    if method not in {"min_variance", "cvar"} or total <= 0:
        return Finding("info", "duality_gap", f"{method} offers none")
    if method == "cvar" and returns.size > _CVAR_CELLS:
        return Finding("info", "duality_gap", f"not computed for {returns.shape[0]} sessions x {returns.shape[1]}")
    gap = _wolfe_gap(weights, returns, allowed) if method == "min_variance" else _cvar_gap(weights, returns, allowed)
    severity: Severity = "info" if gap <= MAX_GAP else "warn"
    return Finding(severity, "duality_gap", f"at most {max(gap, 0.0):.3g} of the {method} objective is left", gap)


def _wolfe_gap(weights: Vector, returns: Vector, allowed: Polytope) -> float:
    from scipy.optimize import linprog

    covariance = np.atleast_2d(np.cov(returns, rowvar=False, ddof=1))
    gradient = 2.0 * covariance @ weights
    variance = float(weights @ covariance @ weights)
    if variance <= 0.0:
        return 0.0
    unit = gradient / np.abs(gradient).max()
    answer = linprog(
        unit,
        A_ub=allowed.a if len(allowed.b) else None,
        b_ub=allowed.b if len(allowed.b) else None,
        A_eq=np.ones((1, len(weights))),
        b_eq=[weights.sum() - TOLERANCE],
        bounds=allowed.bounds,
        method="highs",
    )
    best = float(answer.fun) * float(np.abs(gradient).max()) if answer.status == 0 else float(gradient @ weights)
    return (float(gradient @ weights) - best) / variance


def cvar(weights: Vector, returns: Vector, beta: float = CVAR_BETA) -> float:
    """Return the mean loss of the worst (1 - beta) of the sessions; the session at the edge counts in part."""
    losses = np.sort(-(returns @ weights))[::-1]
    tail = (1.0 - beta) * len(losses)
    whole = int(np.floor(tail + 1e-9))
    rest = (tail - whole) * losses[whole] if whole < len(losses) and tail > whole else 0.0
    return float((losses[:whole].sum() + rest) / tail)


def _cvar_gap(weights: Vector, returns: Vector, allowed: Polytope) -> float:
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye, hstack, vstack

    t, n = returns.shape
    cost = np.concatenate([np.zeros(n), [1.0], np.full(t, 1.0 / ((1.0 - CVAR_BETA) * t))])
    tail = hstack([csr_matrix(-returns), csr_matrix(-np.ones((t, 1))), -eye(t)])
    caps = hstack([csr_matrix(allowed.a), csr_matrix((len(allowed.b), 1 + t))])
    answer = linprog(
        cost,
        A_ub=vstack([tail, caps]) if len(allowed.b) else tail,
        b_ub=np.concatenate([np.zeros(t), allowed.b]),
        A_eq=np.concatenate([np.ones(n), np.zeros(1 + t)])[None],
        b_eq=[weights.sum() - TOLERANCE],
        bounds=[allowed.bounds] * n + [(None, None)] + [(0.0, None)] * t,
        method="highs",
    )
    held = cvar(weights, returns)
    return (held - float(answer.fun)) / abs(held) if answer.status == 0 and held else 0.0


def stability_finding(turnover: float, n_failed: int) -> Finding:
    """Judge how far 1 % of noise on the returns moves the weights."""
    text = f"1 % of noise on the returns moves {turnover:.2%} of capital" + (
        f", and {n_failed} noisy problems had no answer" if n_failed else ""
    )
    severity: Severity = "info" if turnover <= MAX_MOVE and not n_failed else "warn"
    return Finding(severity, "weights_stability", text, turnover)


def lost_findings(findings: Sequence[Finding], configured: Mapping[str, bool]) -> list[Finding]:
    """Return an error for every configured constraint that no check looked at.

    Args:
        findings: what was checked.
        configured: check → whether the configuration asks for it.
    """
    checked = {one.check for one in findings}
    lost = [name for name, asked in configured.items() if asked and name not in checked]
    return [Finding("error", "constraint_lost", f"{name} is configured, and nothing checked it") for name in lost]
