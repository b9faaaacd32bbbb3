"""Weights are stored on a grid, because linear algebra differs in its last digits between processors."""

import numpy as np

from quant_assets.domain.optimization.problem import Vector

GRID = 1e-9
"""One step of stored weights."""

_STEPS = 1_000_000_000


def on_grid(weights: Vector) -> Vector:
    """Round weights to the grid so that their sum is the rounded sum: what rounding moved goes where it moved least.

    Each weight moves by less than one step. Ties are resolved by position.
    """
    scaled = np.asarray(weights, dtype=np.float64) * _STEPS
    units = np.rint(scaled)
    surplus = round(float(units.sum() - np.rint(scaled.sum())))
    if surplus:
        rounded_by = (units - scaled) * np.sign(surplus)
        moved = np.argsort(-rounded_by, kind="stable")[: abs(surplus)]
        units[moved] -= np.sign(surplus)
    return units / _STEPS + 0.0
