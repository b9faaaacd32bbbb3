"""The weights of a run: solved over atoms, flattened to instruments, looked at twice. Nothing is written here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.allocation import Question, allocate, question_of
from quant_assets.domain.costs import SCHEDULES, Costs, estimate
from quant_assets.domain.optimization import Solution, stability
from quant_assets.domain.returns import complete_cases
from quant_assets.domain.robustness import (
    gap_finding,
    invested_finding,
    lost_findings,
    polytope,
    stability_finding,
)
from quant_assets.domain.synthesis import atoms_of
from quant_assets.domain.tables import WEIGHTS
from quant_assets.domain.verification import (
    Finding,
    exposure,
    risk_contributions,
    turnover_of,
    verify_weights,
)
from quant_assets.flows.alpha.compute import label, profile_of
from quant_assets.lakehouse.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Weighed:
    """Rows of WEIGHTS and everything that is said about them in data/weights.json."""

    frame: pl.DataFrame
    record: dict[str, Any]
    solution: Solution
    findings: list[Finding]


def compute_weights(
    run: RunDirectory, matrix: pl.DataFrame, selected: pl.DataFrame, streams: pl.DataFrame, rows: pl.DataFrame
) -> Weighed:
    """Return weights on the grid, judged by the verifier.

    Args:
        run: the run.
        matrix: its returns matrix.
        selected: rows of SELECTION.
        streams: the synthetic returns.
        rows: rows of SYNTHETIC_RETURNS.

    Raises:
        NotEnoughReturnsError: too few sessions on which every atom has a return.
        InfeasibleError: no method answered, or nothing keeps the turnover limit.
    """
    question = _question(run, selected, streams, rows)
    found = allocate(question)
    solution, weights, cash = found.solution, found.weights, found.cash
    findings = [
        *_constraint_findings(question, weights, cash, matrix),
        *_solver_findings(question, solution, found.atom_weights),
    ]
    findings += lost_findings(findings, _configured(question))
    in_order = {con_id: weights[con_id] for con_id in question.instruments}
    frame = weights_frame(run, in_order, _instrument_returns(question, matrix), question.sectors, solution.method)
    record = weights_record(frame, solution, cash, question.sectors, findings)
    record["clusters"] = _clusters(question, weights, cash)
    record["cash_idle"] = round(cash - record["cash_forced"], 9) + 0.0
    record["atoms"] = [
        {"atom": atom.name, "con_id": atom.con_id, "live": atom.live, "weight": found.by_atom[atom.name]}
        for atom in question.atoms
    ]
    record["costs"] = _costs(run, question, weights)
    return Weighed(frame, record, solution, findings)


def _question(run: RunDirectory, selected: pl.DataFrame, streams: pl.DataFrame, rows: pl.DataFrame) -> Question:
    sectors = {one["con_id"]: one["sector"] or "unknown" for one in run.inputs["instruments"]}
    known = selected.filter(pl.col("cluster").is_not_null()).select("con_id", "cluster")
    held = run.inputs.get("previous")
    return question_of(
        streams,
        {atom.name: atom for atom in atoms_of(rows)},
        sectors=sectors,
        clusters={con_id: str(cluster) for con_id, cluster in known.iter_rows()},
        risk=profile_of(run).risk,
        previous=None if held is None else {int(key): value for key, value in held["weights"].items()},
    )


def _instrument_returns(question: Question, matrix: pl.DataFrame) -> npt.NDArray[np.float64]:
    return complete_cases(matrix.select("session", *map(str, question.instruments))).values


def _constraint_findings(
    question: Question, weights: dict[int, float], cash: float, matrix: pl.DataFrame
) -> list[Finding]:
    risk = question.risk
    return verify_weights(
        weights,
        cash,
        _instrument_returns(question, matrix),
        question.sectors,
        max_weight=risk.max_weight,
        sector_cap=risk.sector_cap,
        clusters=question.clusters if risk.cluster_cap < 1.0 else None,
        cluster_cap=risk.cluster_cap,
        previous=question.previous,
        max_turnover=risk.max_turnover,
        long_only=all(atom.direction == "LONG" for atom in question.all_atoms),
    )


def _configured(question: Question) -> dict[str, bool]:
    """Return which constraints the profile asks for, by the check that has to look at them."""
    return {
        "budget": True,
        "instrument_cap": True,
        "sector_cap": True,
        "cluster_cap": question.risk.cluster_cap < 1.0,
        "turnover": question.risk.max_turnover is not None,
    }


def _solver_findings(question: Question, solution: Solution, values: npt.NDArray[np.float64]) -> list[Finding]:
    """Look at the solver's answer over atoms: is everything invested, how far from the optimum, how stable."""
    problem = solution.problem
    assert problem is not None
    risk, n = question.risk, len(question.atoms)
    groupings: list[tuple[list[Any], float]] = [(list(question.by_atom(question.sectors).values()), risk.sector_cap)]
    groupings += [(list(question.by_atom(question.clusters).values()), risk.cluster_cap)]
    if len(set(question.owners.values())) < n:
        groupings += [(list(question.owners.values()), risk.max_weight)]
    allowed = polytope(groupings, risk.max_weight, n)
    again = stability(problem, values, solution.method)
    has_turnover = problem.turnover is not None
    gap = (
        Finding("info", "duality_gap", "not computed under a turnover limit")
        if has_turnover
        else gap_finding(solution.method, values, problem.returns, allowed)
    )
    return [
        invested_finding(float(values.sum()), allowed, has_turnover=has_turnover),
        gap,
        stability_finding(again.turnover, again.n_failed),
    ]


def weights_frame(
    run: RunDirectory,
    weights: Mapping[int, float],
    returns: npt.NDArray[np.float64],
    sectors: Mapping[int, str],
    method: str,
) -> pl.DataFrame:
    """Return rows of WEIGHTS, in the order of the weights; `returns` has a column for each of them."""
    symbols = {one["con_id"]: one["symbol"] for one in run.inputs["instruments"]}
    contributions = np.round(risk_contributions(np.array(list(weights.values())), returns), 9) + 0.0
    rows = [
        {
            **label(run),
            "con_id": con_id,
            "symbol": symbols[con_id],
            "method": method,
            "weight": weight,
            "risk_contribution": None if np.isnan(contribution) else float(contribution),
            "sector": sectors[con_id],
        }
        for (con_id, weight), contribution in zip(weights.items(), contributions, strict=True)
    ]
    return WEIGHTS.conform(WEIGHTS.frame(rows))


def weights_record(
    frame: pl.DataFrame, solution: Solution, cash: float, sectors: Mapping[int, str], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Return what data/weights.json says of any weights, those of a meta portfolio included."""
    sums = exposure(dict(frame.select("con_id", "weight").iter_rows()), sectors, cash)
    return {
        "method": solution.method,
        "requested": solution.requested,
        "fallbacks": [
            {"method": one.method, "reason": one.reason, "instead": one.instead} for one in solution.fallbacks
        ],
        "cash": cash,
        "cash_forced": round(solution.cash, 9) + 0.0,
        "net": round(sums.net, 9),
        "gross": round(sums.gross, 9),
        "sectors": {name: round(value, 9) for name, value in sums.sectors.items()},
        "diagnostics": dict(solution.diagnostics),
        "findings": [{"severity": one.severity, "check": one.check, "message": one.message} for one in findings],
        "weights": frame.select("con_id", "symbol", "sector", "weight", "risk_contribution").to_dicts(),
    }


def _clusters(question: Question, weights: Mapping[int, float], cash: float) -> dict[str, float]:
    sizes = {con_id: abs(weight) for con_id, weight in weights.items()}
    return {name: round(value, 9) for name, value in exposure(sizes, question.clusters, cash).sectors.items()}


def _costs(run: RunDirectory, question: Question, weights: dict[int, float]) -> dict[str, Any] | None:
    """Estimate what going to these weights costs, from the run before where it is frozen, else from cash."""
    config = profile_of(run).costs
    if config.schedule == "none":
        return None
    schedule = SCHEDULES[config.schedule]
    before = question.previous or {}
    changes = {key: weights.get(key, 0.0) - before.get(key, 0.0) for key in sorted({*weights, *before})}
    prices = {
        one["con_id"]: float(run.read_frame(one["file"])["close"][-1])
        for one in run.inputs["instruments"]
        if one["currency"] == schedule.currency
    }
    costs: Costs = estimate(schedule, config.capital, changes, prices)
    return {
        "schedule": costs.schedule,
        "currency": schedule.currency,
        "capital": costs.capital,
        "from": run.inputs["previous"]["run_id"] if question.previous is not None else "cash",
        "turnover": round(turnover_of(weights, before), 9),
        "total": round(costs.total, 6),
        "fraction": round(costs.fraction, 9),
        "by_con_id": {str(key): round(value, 6) for key, value in costs.by_instrument.items()},
        "unpriced": list(costs.unpriced),
    }
