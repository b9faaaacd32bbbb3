"""Strategy atoms: an instrument, a logic, a direction and a timescale, as a return stream of its own.

An atom's return of a session is the instrument's when the logic held it, which was decided at the close before, and 0
when it did not. A short atom earns the inverted return, and cannot lose more than everything. Weights of atoms become
weights of instruments through the atoms' live signals: what an atom does not hold now is cash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.tables import SYNTHETIC_RETURNS
from quant_assets.errors import NotEnoughReturnsError
from quant_assets.settings.manifest import AtomConfig

Matrix = npt.NDArray[np.float64]

SIGN = {"LONG": 1.0, "SHORT": -1.0}
REVERSION_Z = 1.0
"""Standard deviations from its mean beyond which `reversion` expects a way back."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One way to trade one instrument."""

    con_id: int
    logic: str
    direction: str
    timescale: int
    n_active: int
    live: int
    reason: str

    @property
    def name(self) -> str:
        """The atom's id, and its column in the synthetic returns."""
        return f"{self.con_id}-{self.logic}-{self.direction}-{self.timescale}"

    @property
    def exposure(self) -> float:
        """What one unit of weight holds of the instrument now: 1, 0 or -1."""
        return SIGN[self.direction] * self.live


@dataclass(frozen=True, slots=True)
class Synthesis:
    """Returns of the kept atoms (`session`, then one column per atom), and all atoms in order."""

    matrix: pl.DataFrame
    atoms: tuple[Atom, ...]

    @property
    def kept(self) -> list[Atom]:
        """The atoms of the matrix, in its column order."""
        return [atom for atom in self.atoms if not atom.reason]


def synthesize(
    returns: pl.DataFrame, log_closes: Matrix, instruments: Sequence[int], configs: Sequence[AtomConfig]
) -> Synthesis:
    """Make every configured atom of every selected instrument.

    Args:
        returns: `session`, then a column of simple returns for (at least) each of `instruments`.
        log_closes: (n_sessions + 1, n) logarithms of closes, one column per instrument; the first row is the close
            that the first return starts from.
        instruments: con_ids.
        configs: logic, direction and timescale of the atoms.

    Raises:
        NotEnoughReturnsError: no atom ever held anything.
    """
    streams: dict[str, Matrix] = {}
    atoms = []
    values = returns.select(map(str, instruments)).to_numpy().astype(np.float64)
    signals = {one: signal(log_closes, one) for one in configs}
    for place, con_id in enumerate(instruments):
        for one in configs:
            held = signals[one][:, place]
            atom, stream = _atom(con_id, one, held, values[:, place])
            atoms.append(atom)
            if not atom.reason:
                streams[atom.name] = stream
    if not streams:
        raise NotEnoughReturnsError(
            f"None of {len(atoms)} atoms ever held anything.",
            "Shorten synthesis.atoms[].timescale, lengthen data.lookback_sessions, or add a long_only atom.",
        )
    columns = [pl.Series(name, stream).fill_nan(None) for name, stream in streams.items()]
    return Synthesis(returns.select("session").with_columns(columns), tuple(atoms))


def _atom(con_id: int, config: AtomConfig, held: Matrix, returns: Matrix) -> tuple[Atom, Matrix]:
    stream = np.where(np.isnan(returns), np.nan, held[:-1] * directed(returns, config.direction))
    known = stream[~np.isnan(stream)]
    n_active = int((held[:-1][~np.isnan(stream)] > 0).sum())
    reason = "never_active" if not n_active else "zero_variance" if known.min() == known.max() else ""
    timescale = 0 if config.logic == "long_only" else config.timescale
    atom = Atom(con_id, config.logic, config.direction, timescale, n_active, int(held[-1]), reason)
    return atom, stream


def directed(returns: Matrix, direction: str) -> Matrix:
    """Return what a direction earns: the return, or its inversion with a loss of at most 100 %."""
    return returns if direction == "LONG" else np.maximum(0.0 - returns, -1.0)


def signal(log_closes: Matrix, config: AtomConfig) -> Matrix:
    """Return 1 where an atom holds after a close and 0 where it does not, or cannot know.

    Row k looks at closes up to and including row k. LONG: `momentum` holds after a rise over `timescale` sessions,
    `trend` above the mean of as many closes, `reversion` a standard deviation below it. SHORT mirrors each.

    Args:
        log_closes: (n_sessions + 1, n)
        config: the atom.
    """
    if config.logic == "long_only":
        return np.ones_like(log_closes)
    span, sign = config.timescale, SIGN[config.direction]
    result = np.zeros_like(log_closes)
    if len(log_closes) <= span:
        return result
    if config.logic == "momentum":
        result[span:] = sign * (log_closes[span:] - log_closes[:-span]) > 0
        return result
    windows = np.lib.stride_tricks.sliding_window_view(log_closes, span, axis=0)
    away = log_closes[span - 1 :] - windows.mean(axis=-1)
    if config.logic == "trend":
        result[span - 1 :] = sign * away > 0
    else:
        spread = windows.std(axis=-1)
        result[span - 1 :] = (-sign * away >= REVERSION_Z * spread) & (spread > 0)
    return result


def flatten(weights: Mapping[str, float], atoms: Sequence[Atom]) -> dict[int, float]:
    """Turn weights of atoms into weights of instruments: weight x direction x live signal, netted per instrument.

    Args:
        weights: by atom name; an atom without one holds nothing.
        atoms: all atoms; every instrument of theirs is in the answer.

    Returns:
        Signed weights by con_id, in the order in which the atoms name them.
    """
    held = dict.fromkeys((atom.con_id for atom in atoms), 0.0)
    for atom in atoms:
        held[atom.con_id] += weights.get(atom.name, 0.0) * atom.exposure
    return {con_id: value + 0.0 for con_id, value in held.items()}


def sign_problems(synthetic: pl.DataFrame, returns: pl.DataFrame, atoms: Sequence[Atom]) -> list[str]:
    """Return atoms that move the wrong way in some session: a long one against its instrument, a short one with it.

    This looks at finished streams only: where an atom's return is not 0, its sign must be that of the instrument's
    return times the direction, and only the clip may make it smaller.
    """
    problems = []
    for atom in atoms:
        mine = synthetic.get_column(atom.name).to_numpy()
        expected = np.clip(SIGN[atom.direction] * returns.get_column(str(atom.con_id)).to_numpy(), -1.0, None)
        wrong = ~np.isnan(mine) & (mine != 0) & (mine != expected)
        if wrong.any():
            problems.append(f"{atom.name} moves the wrong way in {int(wrong.sum())} sessions")
    return problems


def composition(
    synthesis: Synthesis, symbols: Mapping[int, str], *, session: date, profile: str, run_id: str
) -> pl.DataFrame:
    """Return the composition map as rows of SYNTHETIC_RETURNS."""
    rows = [
        {
            "session": session,
            "profile": profile,
            "run_id": run_id,
            "atom": atom.name,
            "con_id": atom.con_id,
            "symbol": symbols[atom.con_id],
            "logic": atom.logic,
            "direction": atom.direction,
            "timescale": atom.timescale,
            "verdict": "dropped" if atom.reason else "kept",
            "reason": atom.reason,
            "n_active": atom.n_active,
            "live": atom.live,
        }
        for atom in synthesis.atoms
    ]
    return SYNTHETIC_RETURNS.conform(SYNTHETIC_RETURNS.frame(rows))


def atoms_of(rows: pl.DataFrame) -> tuple[Atom, ...]:
    """Return the atoms of a stored composition map, in its order."""
    fields = ("con_id", "logic", "direction", "timescale", "n_active", "live", "reason")
    return tuple(Atom(**{name: row[name] for name in fields}) for row in rows.iter_rows(named=True))
