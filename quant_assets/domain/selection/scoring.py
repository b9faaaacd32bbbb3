"""Scores: score = exp(Σ wᵢ ln pᵢ), each pᵢ the cross-sectional rank of a metric.

A product of probabilities forgives nothing: who is last in one metric cannot be saved by being first in another, as
a sum would allow. Ranks make metrics of any unit comparable and take the sting out of outliers. The weights are
scaled to a sum of 1, so that a score is a weighted geometric mean in (0, 1] and a threshold means the same whatever
the number of metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_assets.domain.selection.metrics import METRICS, Matrix

_DIGITS = 9
"""Significant digits that ranks and records look at: linear algebra differs beyond them between processors."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores and the terms that they are made of; one entry per instrument in each array."""

    values: Matrix
    weights: Mapping[str, float]
    """Metric → weight, summing to 1; metrics that nobody has are left out."""
    metrics: Mapping[str, Matrix]
    probabilities: Mapping[str, Matrix]

    def terms(self, place: int) -> dict[str, dict[str, Any]]:
        """Return value, p, weight and term = weight x ln p per metric; the terms sum to ln score."""
        return {
            name: {
                "value": _plain(self.metrics[name][place]),
                "p": _plain(self.probabilities[name][place]),
                "weight": _plain(weight),
                "term": _plain(weight * np.log(self.probabilities[name][place])),
            }
            for name, weight in self.weights.items()
        }


def scores(metrics: Mapping[str, Matrix], weights: Mapping[str, float]) -> Scores:
    """Score every instrument.

    Args:
        metrics: metric → one value per instrument; NaN counts as the worst, and a metric that is NaN for everybody
            says nothing and is left out.
        weights: metric → weight, not negative.

    Returns:
        The scores, in (0, 1]. When no metric is known, everybody scores 1.
    """
    used = {name: weight for name, weight in weights.items() if weight > 0 and not np.isnan(metrics[name]).all()}
    total = sum(used.values())
    shares = {name: used[name] / total for name in sorted(used)}
    found = {name: probabilities(metrics[name], higher_is_better=METRICS[name].higher_is_better) for name in shares}
    n = len(next(iter(metrics.values())))
    logs = sum((shares[name] * np.log(found[name]) for name in shares), np.zeros(n))
    return Scores(rounded(np.exp(logs)), shares, {name: metrics[name] for name in shares}, found)


def probabilities(values: Matrix, *, higher_is_better: bool) -> Matrix:
    """Turn values into p ∈ (0, 1]: the mean rank, the worst being 1, over the number of instruments.

    Ties share their mean rank. NaN is the worst.
    """
    signed = rounded(values if higher_is_better else -values)
    signed = np.where(np.isnan(signed), -np.inf, signed)
    _, place, count = np.unique(signed, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2.0
    return np.asarray(ranks[place] / len(values))


def rounded(values: Matrix) -> Matrix:
    """Round to nine significant digits."""
    magnitude = np.floor(np.log10(np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)))
    power = 10.0 ** (_DIGITS - 1 - magnitude)
    return np.where(np.isfinite(values), np.round(values * power) / power, values)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{_DIGITS}g}") + 0.0
