"""From the streams of atoms to the weights of instruments: what a run, a fold of a backtest and a test all compute."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.optimization import Solution, Turnover, on_grid, solve
from quant_assets.domain.synthesis import Atom, flatten
from quant_assets.settings.manifest import RiskConfig

_DIGITS = 9
"""Weights of instruments are stored to this many digits, the grid of the weights of atoms."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be weighed: the kept atoms in column order, and what is known about their instruments."""

    streams: pl.DataFrame
    """`session`, then one column per atom, named by its place from 1."""
    atoms: tuple[Atom, ...]
    all_atoms: tuple[Atom, ...]
    sectors: Mapping[int, str]
    clusters: Mapping[int, str]
    previous: Mapping[int, float] | None
    """The weights held before, by con_id; known only where the profile limits turnover."""
    risk: RiskConfig

    @property
    def instruments(self) -> list[int]:
        """Every selected instrument, ascending."""
        return sorted({atom.con_id for atom in self.all_atoms})

    def by_atom(self, values: Mapping[int, str]) -> dict[int, str]:
        """Return what is known per instrument by the place of the atom."""
        return {place: values[atom.con_id] for place, atom in enumerate(self.atoms, start=1)}

    @property
    def owners(self) -> dict[int, int]:
        """The instrument of each atom by its place."""
        return {place: atom.con_id for place, atom in enumerate(self.atoms, start=1)}

    @property
    def turnover(self) -> Turnover | None:
        """The turnover limit, where there is one and something to compare with."""
        if self.risk.max_turnover is None or self.previous is None:
            return None
        exposures = np.array(
            [[atom.exposure if atom.con_id == con_id else 0.0 for atom in self.atoms] for con_id in self.instruments]
        )
        held = np.array([self.previous.get(con_id, 0.0) for con_id in self.instruments])
        gone = sum(abs(weight) for con_id, weight in self.previous.items() if con_id not in set(self.instruments))
        return Turnover(exposures, held, gone, self.risk.max_turnover)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Weights on the grid: of atoms, and flattened to instruments; Σ|weights| + cash = 1."""

    solution: Solution
    atom_weights: npt.NDArray[np.float64]
    by_atom: dict[str, float]
    weights: dict[int, float]
    """Signed, by con_id ascending; every selected instrument is there."""
    cash: float


def question_of(
    streams: pl.DataFrame,
    atoms: Mapping[str, Atom],
    *,
    sectors: Mapping[int, str],
    clusters: Mapping[int, str],
    risk: RiskConfig,
    previous: Mapping[int, float] | None = None,
) -> Question:
    """Put the question.

    Args:
        streams: synthetic returns: `session`, then one column per kept atom.
        atoms: every atom by its name.
        sectors: sector per con_id.
        clusters: cluster per con_id.
        risk: method and caps.
        previous: the weights held before, by con_id; None where nothing was held or nobody asks.
    """
    names = [name for name in streams.columns if name != "session"]
    return Question(
        streams=streams.rename({name: str(place) for place, name in enumerate(names, start=1)}),
        atoms=tuple(atoms[name] for name in names),
        all_atoms=tuple(sorted(atoms.values(), key=lambda atom: atom.con_id)),
        sectors=sectors,
        clusters=clusters,
        previous=previous,
        risk=risk,
    )


def allocate(question: Question) -> Allocation:
    """Solve over atoms, and flatten to instruments through the live signals.

    Raises:
        NotEnoughReturnsError: too few sessions on which every atom has a return.
        InfeasibleError: no method answered, or nothing keeps the turnover limit.
    """
    solution = solve(
        question.streams,
        question.by_atom(question.sectors),
        question.risk,
        clusters=question.by_atom(question.clusters),
        owners=question.owners,
        turnover=question.turnover,
    )
    atom_weights = on_grid(np.array(list(solution.weights.values())))
    by_atom = {atom.name: float(weight) for atom, weight in zip(question.atoms, atom_weights, strict=True)}
    flat = flatten(by_atom, question.all_atoms)
    weights = {con_id: round(flat[con_id], _DIGITS) + 0.0 for con_id in question.instruments}
    cash = round(1.0 - sum(abs(value) for value in weights.values()), _DIGITS) + 0.0
    return Allocation(solution, atom_weights, by_atom, weights, cash)
