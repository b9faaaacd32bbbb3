"""Meta portfolio: finished runs as sleeves, each a stream of returns, weighed against each other and flattened.

A sleeve's return of a session is what its weights over atoms would have earned: in sample, like everything that weights
are estimated from. Shares of sleeves become weights of instruments; where two sleeves hold against each other, the part
that cancels out is cash. Caps are about the flattened weights, and are constraints of the problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_assets.domain.optimization import Limit, Solution, on_grid, solve
from quant_assets.domain.robustness import Polytope
from quant_assets.settings.manifest import RiskConfig, SleeveConfig

_DIGITS = 9
_FREE = {"max_weight": 1.0, "sector_cap": 1.0, "cluster_cap": 1.0, "max_turnover": None}


@dataclass(frozen=True, slots=True)
class Sleeve:
    """One finished run: what it holds, and the bounds of its share."""

    run_id: str
    profile: str
    weights: Mapping[int, float]
    """Signed, by con_id."""
    bounds: SleeveConfig


@dataclass(frozen=True, slots=True)
class Blend:
    """Shares of sleeves, and the weights of instruments that they come to; Σ|weights| + cash = 1."""

    solution: Solution
    shares: tuple[float, ...]
    """In the order of the sleeves, on the grid."""
    weights: dict[int, float]
    cash: float
    limits: tuple[Limit, ...]


def stream(streams: pl.DataFrame, atoms: Mapping[str, float]) -> pl.DataFrame:
    """Return what weights over atoms earned: session, value; null where an atom with weight has no return.

    Args:
        streams: synthetic returns: `session`, then one column per atom.
        atoms: weight by atom name.
    """
    held = {name: weight for name, weight in atoms.items() if weight}
    if not held:
        return streams.select("session", pl.lit(0.0).alias("value"))
    value = pl.sum_horizontal([pl.col(name) * weight for name, weight in held.items()])
    known = pl.all_horizontal([pl.col(name).is_not_null() for name in held])
    return streams.select("session", pl.when(known).then(value).alias("value"))


def joined(streams: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Join the streams of sleeves on sessions: `session` ascending, then one column per sleeve, named from 1.

    A session that one sleeve lacks is null there; risk is then estimated on the sessions that all of them have.
    """
    wide = streams[0].select("session", pl.col("value").alias("1"))
    for place, one in enumerate(streams[1:], start=2):
        column = one.select("session", pl.col("value").alias(str(place)))
        wide = wide.join(column, on="session", how="full", coalesce=True)
    return wide.sort("session")


def blend(returns: pl.DataFrame, sleeves: Sequence[Sleeve], sectors: Mapping[int, str], risk: RiskConfig) -> Blend:
    """Weigh sleeves and flatten them.

    Args:
        returns: as `joined` returns it, columns in the order of `sleeves`.
        sleeves: the sleeves.
        sectors: sector per con_id.
        risk: the method; `max_weight` and `sector_cap` hold after flattening, and there are no clusters of sleeves.

    Raises:
        NotEnoughReturnsError: too few sessions that all sleeves have.
        InfeasibleError: the least shares do not fit under the caps, or no method answered.
    """
    limits = flat_limits(sleeves, sectors, risk)
    solution = solve(
        returns,
        {},
        risk.model_copy(update=_FREE),
        bounds={place: (one.bounds.min_weight, one.bounds.max_weight) for place, one in enumerate(sleeves, start=1)},
        extra=limits,
    )
    shares = tuple(on_grid(np.array(list(solution.weights.values()))).tolist())
    ids = sorted({con_id for one in sleeves for con_id in one.weights})
    weights = {con_id: _flat(con_id, shares, sleeves) for con_id in ids}
    cash = round(1.0 - sum(abs(value) for value in weights.values()), _DIGITS) + 0.0
    return Blend(solution, shares, weights, cash, limits)


def _flat(con_id: int, shares: Sequence[float], sleeves: Sequence[Sleeve]) -> float:
    parts = (share * one.weights.get(con_id, 0.0) for share, one in zip(shares, sleeves, strict=True))
    return round(sum(parts), _DIGITS) + 0.0


def flat_limits(sleeves: Sequence[Sleeve], sectors: Mapping[int, str], risk: RiskConfig) -> tuple[Limit, ...]:
    """Return the caps on flattened weights as limits on shares, leaving out those that cannot bind.

    What two sleeves hold against each other counts with both signs here, so that the limits are on the safe side.
    """
    where = np.arange(len(sleeves), dtype=np.int64)
    instruments: dict[int, np.ndarray] = {}
    totals: dict[str, np.ndarray] = {}
    for place, one in enumerate(sleeves):
        for con_id, weight in one.weights.items():
            name = sectors.get(con_id) or "unknown"
            instruments.setdefault(con_id, np.zeros(len(sleeves)))[place] += abs(weight)
            totals.setdefault(name, np.zeros(len(sleeves)))[place] += abs(weight)
    found = [
        *(Limit("instrument", str(key), where, risk.max_weight, held) for key, held in sorted(instruments.items())),
        *(Limit("sector", key, where, risk.sector_cap, held) for key, held in sorted(totals.items())),
    ]
    return tuple(one for one in found if one.coefficients is not None and one.coefficients.max() > one.cap)


def allowed(sleeves: Sequence[Sleeve], limits: Sequence[Limit]) -> Polytope:
    """Return the shares that bounds and caps allow, for the second look at the solver's answer."""
    n = len(sleeves)
    rows = [*np.eye(n), *-np.eye(n), *(one.coefficients for one in limits if one.coefficients is not None)]
    tops = (
        [one.bounds.max_weight for one in sleeves]
        + [-one.bounds.min_weight for one in sleeves]
        + [one.cap for one in limits]
    )
    return Polytope(np.array(rows).reshape(len(tops), n), np.array(tops), 1.0)
