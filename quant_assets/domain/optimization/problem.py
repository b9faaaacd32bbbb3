"""What an optimizer is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

TIGHT = 1e-12
"""Caps that are exceeded by less than this are not exceeded."""


class SolverFailedError(Exception):
    """One method could not answer; the chain records it and asks the next one."""


@dataclass(frozen=True)
class Problem:
    """Long-only allocation of capital 1 among instruments.

    `returns`: (n_sessions, n_instruments) simple returns without gaps. `sectors`: one name per instrument.
    """

    returns: Vector
    con_ids: tuple[int, ...]
    sectors: tuple[str, ...]
    max_weight: float = 1.0
    sector_cap: float = 1.0

    @property
    def n(self) -> int:
        """Number of instruments."""
        return len(self.con_ids)

    @cached_property
    def members(self) -> dict[str, npt.NDArray[np.int64]]:
        """Positions of the instruments of each sector, sectors in alphabetical order."""
        names = np.array(self.sectors, dtype=object)
        return {name: np.flatnonzero(names == name) for name in sorted(set(self.sectors))}

    @cached_property
    def investable(self) -> float:
        """The largest share of capital that the caps allow to be invested; the rest must be cash."""
        room = sum(min(self.sector_cap, len(where) * self.max_weight) for where in self.members.values())
        return min(1.0, room)

    def holds(self, weights: Vector, tolerance: float = TIGHT) -> bool:
        """Return whether weights are finite, long-only and below both caps."""
        if not np.isfinite(weights).all() or weights.min() < -tolerance or weights.max() > self.max_weight + tolerance:
            return False
        return all(weights[where].sum() <= self.sector_cap + tolerance for where in self.members.values())


class Optimizer(Protocol):
    """One method. Equal problems give equal weights: no randomness, no state."""

    @property
    def name(self) -> str:
        """What `risk.method` calls it."""
        ...

    def weights(self, problem: Problem) -> Vector:
        """Return weights that keep the caps and sum to `problem.investable`.

        Raises:
            SolverFailedError: this method has no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fallback:
    """A method that failed, why, and who was asked instead."""

    method: str
    reason: str
    instead: str


@dataclass(frozen=True, slots=True)
class Solution:
    """Weights by con_id, the method that found them, and how it went."""

    weights: dict[int, float]
    cash: float
    method: str
    requested: str
    fallbacks: tuple[Fallback, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
