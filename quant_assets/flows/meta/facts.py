"""What a finished meta portfolio says of itself: what `quant run show` and `diff` read, and whose weight is whose."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from quant_assets.domain.comparison import Fate, RunFacts
from quant_assets.domain.reports import track
from quant_assets.domain.reports.data import TRACE
from quant_assets.domain.returns import complete_cases
from quant_assets.domain.run_files import ENVIRONMENT, SLEEVE_RETURNS, SLEEVE_WEIGHTS, WEIGHTS_RECORD
from quant_assets.errors import UnknownNameError
from quant_assets.lakehouse.runs import RunDirectory


@dataclass(frozen=True, slots=True)
class Parts:
    """A weight of a meta portfolio, split over its sleeves."""

    run_id: str
    con_id: int
    symbol: str
    weight: float
    risk_contribution: float | None
    method: str
    sleeves: list[dict[str, Any]]
    """profile, run_id, share, weight in the sleeve, and part = share x weight; the parts sum to the whole weight."""


def meta_facts(run: RunDirectory) -> RunFacts:
    """Return what a meta portfolio says about itself; its files were checked before."""
    inputs, record = run.inputs, run.read_json(WEIGHTS_RECORD)
    weights = {one["con_id"]: one["weight"] for one in record["weights"]}
    shares = [one["share"] for one in record["sleeves"]]
    cases = complete_cases(run.read_frame(SLEEVE_RETURNS))
    earned = track(cases.values, np.array(shares), cases.sessions)
    squares = sum(weight**2 for weight in weights.values())
    return RunFacts(
        run_id=inputs["run_id"],
        session=inputs["session"],
        profile=inputs["profile"],
        tables=inputs["tables"],
        bars={one["con_id"]: (one["symbol"], one["content_id"]) for one in inputs["instruments"]},
        window=inputs["window"],
        config=run.resolved,
        code_version=inputs["code_version"],
        environment=run.read_json(ENVIRONMENT),
        fates={one["con_id"]: Fate(one["symbol"], "selected") for one in record["weights"]},
        weights=weights,
        metrics={
            "method": record["method"],
            "sleeves": ", ".join(f"{one['profile']} {one['share']:z.4%}" for one in record["sleeves"]),
            "positions": sum(abs(weight) >= TRACE for weight in weights.values()),
            "effective_positions": round(record["gross"] ** 2 / squares, 6) if squares else 0.0,
            "net": record["net"],
            "gross": record["gross"],
            "cash": record["cash"],
            "volatility_a_year": earned.volatility,
            "cumulative_return_in_sample": round(earned.growth[-1] - 1.0, 9),
            "deepest_drawdown_in_sample": min(earned.drawdown),
            "warnings": sum(one["severity"] == "warn" for one in record["findings"]),
        },
    )


def parts_of(run: RunDirectory, symbol: str) -> Parts:
    """Split a weight of a meta portfolio over the sleeves that hold the instrument.

    Args:
        run: a meta portfolio that has weights.
        symbol: `EXCHANGE:SYMBOL`, a symbol that only one instrument of the run has, or a con_id.

    Raises:
        UnknownNameError: no sleeve of the run knows such an instrument.
    """
    record = run.read_json(WEIGHTS_RECORD)
    hits = [
        one
        for one in record["weights"]
        if symbol in (one["symbol"], one["symbol"].partition(":")[2], str(one["con_id"]))
    ]
    if len(hits) != 1:
        raise UnknownNameError("instrument of the run", symbol, [one["symbol"] for one in record["weights"]])
    (one,) = hits
    mine = run.read_frame(SLEEVE_WEIGHTS).filter(pl.col("con_id") == one["con_id"])
    held = dict(mine.select("run_id", "weight").iter_rows())
    return Parts(
        run_id=run.inputs["run_id"],
        con_id=one["con_id"],
        symbol=one["symbol"],
        weight=one["weight"],
        risk_contribution=one["risk_contribution"],
        method=record["method"],
        sleeves=[
            {
                "profile": sleeve["profile"],
                "run_id": sleeve["run_id"],
                "share": sleeve["share"],
                "weight": held.get(sleeve["run_id"], 0.0),
                "part": sleeve["share"] * held.get(sleeve["run_id"], 0.0),
            }
            for sleeve in record["sleeves"]
        ],
    )
