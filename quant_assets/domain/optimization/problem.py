"""What an optimizer is asked, and what it answers."""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Limit:
    """The weights at some positions together are at most `cap`, each times its coefficient where there are any."""

    kind: str
    name: str
    where: npt.NDArray[np.int64]
    cap: float
    coefficients: Vector | None = None
    """Not negative; None counts every weight as it is."""

    def of(self, weights: Vector) -> float:
        """Return what the cap is about."""
        part = weights[self.where]
        return float(part.sum() if self.coefficients is None else self.coefficients @ part)


@dataclass(frozen=True, slots=True)
class Turnover:
    """How far the flattened weights may be from the ones held before: Σ|exposures @ w - previous| <= room.

    `exposures`: (n_instruments, n) what one unit of each weight holds of each instrument. `gone`: the sum of
    |weights| held in instruments that are no longer there, and have to be sold. `limit`: half the sum of all changes.
    """

    exposures: Vector
    previous: Vector
    gone: float
    limit: float

    @property
    def room(self) -> float:
        """What may be bought and sold of the instruments that are there."""
        return 2.0 * self.limit - self.gone

    def of(self, weights: Vector) -> float:
        """Return the turnover of weights: half the sum of all changes."""
        return 0.5 * (float(np.abs(self.exposures @ weights - self.previous).sum()) + self.gone)


@dataclass(frozen=True)
class Problem:
    """Long-only allocation of capital 1 among columns: instruments, or atoms of instruments.

    `returns`: (n_sessions, n) simple returns without gaps. `sectors`, `clusters`: one name per column; no clusters
    means that no cluster cap applies. `owners`: the instrument of each column where several columns share one.
    `lower`, `upper`: bounds of single columns; empty means 0 and `max_weight`. `extra`: further caps on sums.
    """

    returns: Vector
    con_ids: tuple[int, ...]
    sectors: tuple[str, ...]
    max_weight: float = 1.0
    sector_cap: float = 1.0
    clusters: tuple[str, ...] = ()
    cluster_cap: float = 1.0
    owners: tuple[int, ...] = ()
    turnover: Turnover | None = None
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()
    extra: tuple[Limit, ...] = ()

    @property
    def n(self) -> int:
        """Number of instruments."""
        return len(self.con_ids)

    @property
    def is_bounded(self) -> bool:
        """Whether single columns have bounds of their own."""
        return bool(self.lower or self.upper)

    @cached_property
    def floors(self) -> Vector:
        """The least weight of each column."""
        return np.array(self.lower) if self.lower else np.zeros(self.n)

    @cached_property
    def ceilings(self) -> Vector:
        """The largest weight of each column."""
        return np.minimum(self.upper, self.max_weight) if self.upper else np.full(self.n, self.max_weight)

    @cached_property
    def members(self) -> dict[str, npt.NDArray[np.int64]]:
        """Positions of the instruments of each sector, sectors in alphabetical order."""
        return _positions(self.sectors)

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """Caps on sums that can bind at all: of sectors, of clusters, and of columns that share an instrument."""
        found = [Limit("sector", name, where, self.sector_cap) for name, where in self.members.items()]
        found += [Limit("cluster", name, where, self.cluster_cap) for name, where in _positions(self.clusters).items()]
        found += [
            Limit("instrument", name, where, self.max_weight)
            for name, where in _positions(self.owners).items()
            if len(where) > 1
        ]
        return (*(one for one in found if min(1.0, len(one.where) * self.max_weight) > one.cap), *self.extra)

    @property
    def is_nested(self) -> bool:
        """Whether only instruments and sectors are capped, which proportional filling solves exactly."""
        return self.turnover is None and not self.is_bounded and all(one.kind == "sector" for one in self.limits)

    @cached_property
    def investable(self) -> float:
        """The largest share of capital that the caps allow to be invested; the rest must be cash.

        Raises:
            InfeasibleError: the turnover limit, or the bounds of columns, leave no weights at all.
        """
        if not self.is_nested:
            from quant_assets.domain.optimization.feasible import most_invested

            return most_invested(self)
        room = sum(min(self.sector_cap, len(where) * self.max_weight) for where in self.members.values())
        return min(1.0, room)

    def holds(self, weights: Vector, tolerance: float = TIGHT) -> bool:
        """Return whether weights are finite, long-only, below all caps and within the turnover limit."""
        if not np.isfinite(weights).all():
            return False
        if (weights < self.floors - tolerance).any() or (weights > self.ceilings + tolerance).any():
            return False
        if any(one.of(weights) > one.cap + tolerance for one in self.limits):
            return False
        return self.turnover is None or self.turnover.of(weights) <= self.turnover.limit + tolerance


def _positions(names: Sequence[object]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the positions of each name, names sorted."""
    found: dict[object, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    ordered = sorted(found.items(), key=lambda item: str(item[0]))
    return {str(name): np.array(where, dtype=np.int64) for name, where in ordered}


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
    problem: Problem | None = field(default=None, compare=False, repr=False)
    """What was asked."""
