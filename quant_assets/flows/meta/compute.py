"""The weights of a meta portfolio from its frozen sleeves. Nothing is written here: steps store it, verify compares."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.domain.meta import Blend, Sleeve, allowed, blend
from quant_assets.domain.optimization import stability
from quant_assets.domain.returns import closes_matrix, complete_cases, simple_returns
from quant_assets.domain.robustness import gap_finding, invested_finding, lost_findings, stability_finding
from quant_assets.domain.run_files import SLEEVE_RETURNS, SLEEVE_WEIGHTS
from quant_assets.domain.verification import Finding, verify_weights
from quant_assets.flows.alpha.compute import bars_of, profile_of
from quant_assets.flows.alpha.weigh import weights_frame, weights_record
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.settings.manifest import SleeveConfig


@dataclass(frozen=True, slots=True)
class Blended:
    """Rows of WEIGHTS, what data/weights.json says about them, and the findings."""

    frame: pl.DataFrame
    record: dict[str, Any]
    findings: list[Finding]


def compute_blend(run: RunDirectory) -> Blended:
    """Return flattened weights on the grid, judged by the verifier.

    Raises:
        NotEnoughReturnsError: too few sessions that all sleeves have.
        InfeasibleError: the least shares do not fit under the caps, or no method answered.
    """
    risk, sleeves = profile_of(run).risk, sleeves_of(run)
    sectors = {one["con_id"]: one["sector"] or "unknown" for one in run.inputs["instruments"]}
    found = blend(run.read_frame(SLEEVE_RETURNS), sleeves, sectors, risk)
    matrix = instrument_returns(run, sorted(found.weights))
    findings = verify_weights(
        found.weights,
        found.cash,
        matrix,
        sectors,
        max_weight=risk.max_weight,
        sector_cap=risk.sector_cap,
        long_only=all(weight >= 0 for one in sleeves for weight in one.weights.values()),
    )
    findings += [_shares_finding(found, sleeves), *_solver_findings(found, sleeves)]
    findings += lost_findings(findings, dict.fromkeys(("budget", "instrument_cap", "sector_cap", "shares"), True))
    frame = weights_frame(run, found.weights, matrix, sectors, found.solution.method)
    return Blended(frame, _record(frame, found, sleeves, sectors, findings), findings)


def sleeves_of(run: RunDirectory) -> list[Sleeve]:
    """Return the frozen sleeves, in the order of their columns."""
    held = run.read_frame(SLEEVE_WEIGHTS)
    bounds = {one.profile or name: one for name, one in profile_of(run).sleeves.items()}
    return [
        Sleeve(
            run_id=one["run_id"],
            profile=one["profile"],
            weights=dict(held.filter(pl.col("run_id") == one["run_id"]).select("con_id", "weight").iter_rows()),
            bounds=bounds.get(one["profile"], SleeveConfig()),
        )
        for one in run.inputs["sleeves"]
    ]


def instrument_returns(run: RunDirectory, ids: list[int]) -> np.ndarray:
    """Return the returns of instruments on the sessions that all of them have; (n_sessions, n)."""
    window = [date.fromisoformat(text) for text in run.inputs["window"]]
    return complete_cases(simple_returns(closes_matrix(bars_of(run), window, ids)), min_fraction=0.0).values


def _shares_finding(found: Blend, sleeves: list[Sleeve]) -> Finding:
    """Look at the shares without the optimizers' code: within their bounds, and together no more than everything."""
    slack = 1e-6
    broken = [
        f"{one.profile} has {share:.6f}, bounds {one.bounds.min_weight:g} to {one.bounds.max_weight:g}"
        for one, share in zip(sleeves, found.shares, strict=True)
        if not one.bounds.min_weight - slack <= share <= one.bounds.max_weight + slack
    ]
    if broken or sum(found.shares) > 1 + slack:
        return Finding("error", "shares", "; ".join(broken) or f"shares sum to {sum(found.shares):.9f}")
    return Finding("info", "shares", f"{len(sleeves)} shares keep their bounds and sum to {sum(found.shares):.9f}")


def _solver_findings(found: Blend, sleeves: list[Sleeve]) -> list[Finding]:
    problem = found.solution.problem
    assert problem is not None
    shares, room = np.array(found.shares), allowed(sleeves, found.limits)
    again = stability(problem, shares, found.solution.method)
    return [
        invested_finding(float(shares.sum()), room, has_turnover=False),
        gap_finding(found.solution.method, shares, problem.returns, room),
        stability_finding(again.turnover, again.n_failed),
    ]


def _record(
    frame: pl.DataFrame, found: Blend, sleeves: list[Sleeve], sectors: dict[int, str], findings: list[Finding]
) -> dict[str, Any]:
    return {
        **weights_record(frame, found.solution, found.cash, sectors, findings),
        "sleeves": [
            {
                "run_id": one.run_id,
                "profile": one.profile,
                "share": share,
                "min": one.bounds.min_weight,
                "max": one.bounds.max_weight,
                "gross": round(sum(abs(weight) for weight in one.weights.values()), 9),
            }
            for one, share in zip(sleeves, found.shares, strict=True)
        ],
    }
