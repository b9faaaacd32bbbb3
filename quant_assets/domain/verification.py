"""An independent look at finished weights: NumPy only, no solver, none of the optimizers' code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Severity = Literal["info", "warn", "error"]

TOLERANCE = 1e-6
MAX_CONDITION = 1e10
"""Above this condition number, a covariance says little about some directions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; an `error` means that the weights, or the run, must not be used."""

    severity: Severity
    check: str
    message: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """Sums over weights, as fractions of capital."""

    net: float
    gross: float
    cash: float
    sectors: Mapping[str, float]


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are errors."""
    return [finding for finding in findings if finding.severity == "error"]


def exposure(weights: Mapping[int, float], sectors: Mapping[int, str], cash: float) -> Exposure:
    """Return net, gross and signed sector sums, sectors in alphabetical order."""
    totals: dict[str, float] = {}
    for con_id in sorted(weights):
        name = sectors.get(con_id) or "unknown"
        totals[name] = totals.get(name, 0.0) + weights[con_id]
    values = list(weights.values())
    return Exposure(sum(values), sum(abs(value) for value in values), cash, dict(sorted(totals.items())))


def risk_contributions(weights: npt.NDArray[np.float64], returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return each instrument's share of the portfolio's sample variance; NaN everywhere when the variance is zero.

    Args:
        weights: (n_instruments,)
        returns: (n_sessions, n_instruments) without gaps.
    """
    covariance = np.atleast_2d(np.cov(returns, rowvar=False, ddof=1))
    marginal = covariance @ weights
    variance = float(weights @ marginal)
    return weights * marginal / variance if variance > 0 else np.full(len(weights), np.nan)


def verify_weights(
    weights: Mapping[int, float],
    cash: float,
    returns: npt.NDArray[np.float64],
    sectors: Mapping[int, str],
    *,
    max_weight: float,
    sector_cap: float,
    clusters: Mapping[int, str] | None = None,
    cluster_cap: float = 1.0,
    previous: Mapping[int, float] | None = None,
    max_turnover: float | None = None,
    long_only: bool = True,
    tolerance: float = TOLERANCE,
) -> list[Finding]:
    """Check every constraint of finished weights.

    Args:
        weights: by con_id, in the column order of `returns`.
        cash: the share of capital that is not invested.
        returns: (n_sessions, n_instruments) without gaps: what risk was estimated from.
        sectors: sector per con_id.
        max_weight: cap on |weight| of one instrument.
        sector_cap: cap on the sum of |weights| of one sector.
        clusters: cluster per con_id; None where no cluster cap was asked for.
        cluster_cap: cap on the sum of |weights| of one cluster.
        previous: the weights of the run before, by con_id; None when there is none.
        max_turnover: cap on half the sum of |changes| against `previous`.
        long_only: whether a negative weight is an error.
        tolerance: how far a constraint may be missed.

    Returns:
        One finding per check, in fixed order; those that passed are `info`.
    """
    values = np.array(list(weights.values()), dtype=np.float64)
    if not np.isfinite([*values, cash]).all():
        return [Finding("error", "finite", "a weight or the cash is not a finite number")]
    gross = float(np.abs(values).sum())
    return [
        Finding("info", "finite", f"{len(values)} weights and the cash are finite"),
        _judge("budget", abs(gross + cash - 1.0) <= tolerance, "sum of |weights| plus cash is {:.9f}", gross + cash),
        _judge("cash", cash >= -tolerance, "cash is {:.9f}", cash),
        _judge("long_only", not long_only or values.min() >= -tolerance, "smallest weight is {:.9f}", values.min()),
        _largest(weights, max_weight + tolerance, max_weight),
        _sector(weights, sectors, sector_cap, tolerance),
        *([_cluster(weights, clusters, cluster_cap, tolerance)] if clusters is not None else []),
        *([_turnover(weights, previous, max_turnover, tolerance)] if max_turnover is not None else []),
        _contributions(values, returns, tolerance),
        _condition(returns),
    ]


def _judge(check: str, passed: bool, text: str, value: float) -> Finding:  # noqa: FBT001
    return Finding("info" if passed else "error", check, text.format(value), float(value))


def _largest(weights: Mapping[int, float], limit: float, cap: float) -> Finding:
    con_id = max(weights, key=lambda key: abs(weights[key]))
    value = abs(weights[con_id])
    return _judge("instrument_cap", value <= limit, f"largest weight is {{:.9f}} (con_id {con_id}), cap {cap:g}", value)


def _sector(weights: Mapping[int, float], sectors: Mapping[int, str], cap: float, tolerance: float) -> Finding:
    totals = exposure({key: abs(value) for key, value in weights.items()}, sectors, 0.0).sectors
    name = max(totals, key=lambda key: totals[key])
    text = f"largest sector is {{:.9f}} ({name}), cap {cap:g}".replace("{name}", name)
    return _judge("sector_cap", totals[name] <= cap + tolerance, text, totals[name])


def _cluster(weights: Mapping[int, float], clusters: Mapping[int, str], cap: float, tolerance: float) -> Finding:
    if homeless := [con_id for con_id, value in weights.items() if abs(value) > tolerance and con_id not in clusters]:
        return Finding(
            "error", "cluster_cap", f"con_id {homeless[0]} has weight and no cluster, so no cap holds for it"
        )
    totals = exposure({key: abs(value) for key, value in weights.items()}, clusters, 0.0).sectors
    name = max(totals, key=lambda key: totals[key])
    text = f"largest cluster is {{:.9f}} (cluster {name}), cap {cap:g}"
    return _judge("cluster_cap", totals[name] <= cap + tolerance, text, totals[name])


def turnover_of(weights: Mapping[int, float], previous: Mapping[int, float]) -> float:
    """Return half the sum of |changes| over everything that is or was held."""
    return 0.5 * sum(abs(weights.get(key, 0.0) - previous.get(key, 0.0)) for key in {*weights, *previous})


def _turnover(
    weights: Mapping[int, float], previous: Mapping[int, float] | None, limit: float, tolerance: float
) -> Finding:
    if previous is None:
        return Finding("info", "turnover", "there is no run before, so there is nothing to limit")
    value = turnover_of(weights, previous)
    return _judge("turnover", value <= limit + tolerance, f"turnover is {{:.9f}}, limit {limit:g}", value)


def _contributions(values: npt.NDArray[np.float64], returns: npt.NDArray[np.float64], tolerance: float) -> Finding:
    total = float(risk_contributions(values, returns).sum())
    if np.isnan(total):
        return Finding("warn", "risk_contributions", "the portfolio's sample variance is zero")
    return _judge("risk_contributions", abs(total - 1.0) <= tolerance, "risk contributions sum to {:.9f}", total)


def _condition(returns: npt.NDArray[np.float64]) -> Finding:
    singular = np.linalg.svd(returns - returns.mean(axis=0), compute_uv=False)
    n_instruments = returns.shape[1]
    smallest = singular[n_instruments - 1] if len(singular) >= n_instruments else 0.0
    condition = float((singular[0] / smallest) ** 2) if smallest > 0 else float("inf")
    severity: Severity = "info" if condition <= MAX_CONDITION else "warn"
    return Finding(severity, "condition_number", f"condition number of the covariance is {condition:.3g}", condition)
