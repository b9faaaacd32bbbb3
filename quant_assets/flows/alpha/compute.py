"""A run's numbers, computed from its frozen files. Nothing is written here: steps store it, verify compares it."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.domain.optimization import Solution, on_grid, solve
from quant_assets.domain.returns import (
    ReturnsMatrix,
    certificate,
    closes_matrix,
    complete_cases,
    con_ids,
    returns_matrix,
)
from quant_assets.domain.tables import WEIGHTS
from quant_assets.domain.verification import Finding, exposure, risk_contributions, verify_weights
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.settings.manifest import Profile


@dataclass(frozen=True, slots=True)
class Weighed:
    """Rows of WEIGHTS and everything that is said about them in data/weights.json."""

    frame: pl.DataFrame
    record: dict[str, Any]
    solution: Solution
    findings: list[Finding]


def profile_of(run: RunDirectory) -> Profile:
    """Return the profile that the run was frozen with."""
    return Profile.model_validate({key: value for key, value in run.resolved.items() if key != "profile"})


def label(run: RunDirectory) -> dict[str, Any]:
    """Return the columns that name a run in an index table."""
    return {
        "session": date.fromisoformat(run.inputs["session"]),
        "profile": run.inputs["profile"],
        "run_id": run.run_id,
    }


def bars_of(run: RunDirectory) -> pl.DataFrame:
    """Return session, con_id and adj_close of every frozen instrument."""
    frames = [
        run.read_frame(one["file"]).select(
            pl.from_epoch("timestamp", "s").cast(pl.Date).alias("session"),
            pl.lit(one["con_id"], dtype=pl.Int64).alias("con_id"),
            "adj_close",
        )
        for one in run.inputs["instruments"]
    ]
    return pl.concat(frames)


def compute_returns(run: RunDirectory) -> tuple[ReturnsMatrix, pl.DataFrame]:
    """Return the matrix and its coverage certificate.

    Raises:
        NotEnoughReturnsError: no instrument is fit.
    """
    profile, instruments = profile_of(run), run.inputs["instruments"]
    window = [date.fromisoformat(text) for text in run.inputs["window"]]
    closes = closes_matrix(bars_of(run), window, [one["con_id"] for one in instruments])
    matrix = returns_matrix(
        closes,
        floor_sessions=profile.data.min_sessions_floor,
        max_abs_return=profile.risk.max_abs_return,
        max_missing_fraction=profile.risk.max_missing_fraction,
    )
    symbols = {one["con_id"]: one["symbol"] for one in instruments}
    return matrix, certificate(matrix.verdicts, symbols, **label(run))


def compute_weights(run: RunDirectory, matrix: pl.DataFrame) -> Weighed:
    """Return weights on the grid, judged by the verifier.

    Raises:
        NotEnoughReturnsError: too few sessions on which every instrument has a return.
        InfeasibleError: no method answered.
    """
    risk = profile_of(run).risk
    who = {one["con_id"]: one for one in run.inputs["instruments"]}
    sectors = {con_id: who[con_id]["sector"] or "unknown" for con_id in con_ids(matrix)}
    solution = solve(matrix, sectors, risk)
    values = on_grid(np.array(list(solution.weights.values())))
    weights = dict(zip(solution.weights, map(float, values), strict=True))
    cash = round(1.0 - float(values.sum()), 9) + 0.0
    returns = complete_cases(matrix).values
    contributions = np.round(risk_contributions(values, returns), 9) + 0.0
    findings = verify_weights(weights, cash, returns, sectors, max_weight=risk.max_weight, sector_cap=risk.sector_cap)
    rows = [
        {
            **label(run),
            "con_id": con_id,
            "symbol": who[con_id]["symbol"],
            "method": solution.method,
            "weight": weights[con_id],
            "risk_contribution": None if np.isnan(contribution) else float(contribution),
            "sector": sectors[con_id],
        }
        for con_id, contribution in zip(weights, contributions, strict=True)
    ]
    frame = WEIGHTS.conform(WEIGHTS.frame(rows))
    return Weighed(frame, _record(frame, solution, cash, sectors, findings), solution, findings)


def _record(
    frame: pl.DataFrame, solution: Solution, cash: float, sectors: dict[int, str], findings: list[Finding]
) -> dict[str, Any]:
    weights = dict(frame.select("con_id", "weight").iter_rows())
    sums = exposure(weights, sectors, cash)
    return {
        "method": solution.method,
        "requested": solution.requested,
        "fallbacks": [
            {"method": one.method, "reason": one.reason, "instead": one.instead} for one in solution.fallbacks
        ],
        "cash": cash,
        "net": round(sums.net, 9),
        "gross": round(sums.gross, 9),
        "sectors": {name: round(value, 9) for name, value in sums.sectors.items()},
        "diagnostics": dict(solution.diagnostics),
        "findings": [{"severity": one.severity, "check": one.check, "message": one.message} for one in findings],
        "weights": frame.select("con_id", "symbol", "sector", "weight", "risk_contribution").to_dicts(),
    }
