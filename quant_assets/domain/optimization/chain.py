"""The registry of methods and the fallback chain."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from quant_assets.domain.optimization.methods import EqualWeight, HierarchicalParity, MaxSharpe, MinRisk
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
from quant_assets.domain.returns import CompleteCases, complete_cases
from quant_assets.errors import InfeasibleError, UnknownNameError
from quant_assets.settings.manifest import RiskConfig

_ALL: tuple[Optimizer, ...] = (
    EqualWeight(),
    MinRisk(),
    HierarchicalParity(),
    HierarchicalEqualRisk(),
    RiskParity(),
    MaxSharpe(),
    MinRisk("CVAR", "cvar"),
    Barbell(),
    Adaptive(),
)

METHODS: Mapping[str, Optimizer] = {optimizer.name: optimizer for optimizer in _ALL}
"""Every method by the name that `risk.method` uses."""

FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "min_variance": ("hrp", "equal_weight"),
    "hrp": ("equal_weight",),
    "herc": ("hrp", "equal_weight"),
    "risk_parity": ("hrp", "equal_weight"),
    "max_sharpe": ("min_variance", "hrp", "equal_weight"),
    "cvar": ("min_variance", "hrp", "equal_weight"),
    "barbell": ("hrp", "equal_weight"),
    "adaptive": ("hrp", "equal_weight"),
    "equal_weight": (),
}
"""Who is asked when a method fails, in order: ever less is estimated."""


def solve(
    returns: pl.DataFrame,
    sectors: Mapping[int, str],
    risk: RiskConfig,
    *,
    clusters: Mapping[int, str] | None = None,
    owners: Mapping[int, int] | None = None,
    turnover: Turnover | None = None,
    bounds: Mapping[int, tuple[float, float]] | None = None,
    extra: Sequence[Limit] = (),
    methods: Mapping[str, Optimizer] = METHODS,
) -> Solution:
    """Find weights by `risk.method`, or by its fallbacks.

    Args:
        returns: a returns matrix: `session`, then one column per con_id; nulls are allowed, see `complete_cases`.
        sectors: sector per con_id; the empty name counts as a sector of its own.
        risk: method and caps.
        clusters: cluster per con_id; None leaves the cluster cap out.
        owners: where columns are atoms, the instrument of each; the instrument cap then holds for their sum.
        turnover: the weights held before and how far to go from them; None for no limit.
        bounds: least and largest weight per con_id, where single columns have their own.
        extra: further caps on sums of columns.
        methods: the registry; tests pass failing ones.

    Returns:
        Weights of every instrument of the matrix, not rounded. Weights + cash = 1. When the caps do not allow all
        capital to be invested (3 instruments at 15 %), the rest is cash and `diagnostics["cash_forced"]` says so.

    Raises:
        UnknownNameError: there is no such method.
        NotEnoughReturnsError: too few sessions on which every instrument has a return.
        InfeasibleError: no method answered, or nothing keeps the turnover limit.
    """
    if risk.method not in methods:
        raise UnknownNameError("method", risk.method, methods)
    cases = complete_cases(returns)
    problem = replace(
        _problem(cases, sectors, risk, clusters, owners, turnover),
        lower=tuple(bounds[con_id][0] for con_id in cases.con_ids) if bounds else (),
        upper=tuple(bounds[con_id][1] for con_id in cases.con_ids) if bounds else (),
        extra=tuple(extra),
    )
    chain = [methods[name] for name in (risk.method, *FALLBACKS.get(risk.method, ("equal_weight",)))]
    weights, method, fallbacks = _first_answer(problem, chain)
    cash = max(0.0, 1.0 - float(weights.sum()))
    return Solution(
        weights=dict(zip(problem.con_ids, map(float, weights), strict=True)),
        cash=cash,
        method=method,
        requested=risk.method,
        fallbacks=tuple(fallbacks),
        diagnostics=_diagnostics(problem, cases, method),
        problem=problem,
    )


def _problem(
    cases: CompleteCases,
    sectors: Mapping[int, str],
    risk: RiskConfig,
    clusters: Mapping[int, str] | None,
    owners: Mapping[int, int] | None,
    turnover: Turnover | None,
) -> Problem:
    return Problem(
        returns=cases.values,
        con_ids=tuple(cases.con_ids),
        sectors=tuple(sectors.get(con_id) or "unknown" for con_id in cases.con_ids),
        max_weight=risk.max_weight,
        sector_cap=risk.sector_cap,
        clusters=tuple(clusters[con_id] for con_id in cases.con_ids) if clusters else (),
        cluster_cap=risk.cluster_cap,
        owners=tuple(owners[con_id] for con_id in cases.con_ids) if owners else (),
        turnover=turnover,
    )


def _first_answer(problem: Problem, chain: Sequence[Optimizer]) -> tuple[np.ndarray, str, list[Fallback]]:
    fallbacks: list[Fallback] = []
    for position, optimizer in enumerate(chain):
        try:
            weights = np.maximum(optimizer.weights(problem), 0.0)
        except SolverFailedError as error:
            instead = chain[position + 1].name if position + 1 < len(chain) else "nobody"
            fallbacks.append(Fallback(optimizer.name, str(error), instead))
        else:
            return weights, optimizer.name, fallbacks
    tried = "; ".join(f"{fallback.method}: {fallback.reason}" for fallback in fallbacks)
    raise InfeasibleError(f"No method found weights ({tried}).", "Look at the returns, or loosen the caps in risk.")


def _diagnostics(problem: Problem, cases: CompleteCases, method: str) -> dict[str, object]:
    told = {"regime": regime(problem.returns)} if method == "adaptive" else {}
    return {
        **told,
        "n_instruments": problem.n,
        "n_sessions": cases.n_sessions,
        "n_complete_sessions": len(cases.sessions),
        "investable": problem.investable,
        "cash_forced": problem.investable < 1.0,
    }
