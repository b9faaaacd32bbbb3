"""What a report shows, as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from quant_assets.domain.verification import Finding

TRACE = 1e-5
"""Weights below this are what an iterative solver leaves at a bound; reports count them and do not list them."""


@dataclass(frozen=True, slots=True)
class Position:
    """One weight."""

    con_id: int
    symbol: str
    long_name: str
    sector: str
    weight: float
    risk_contribution: float | None


@dataclass(frozen=True, slots=True)
class Excluded:
    """One instrument without a weight, the stage that left it out, and why."""

    symbol: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Quality:
    """How much is known about one frozen instrument."""

    symbol: str
    n_sessions: int
    n_returns: int
    missing_fraction: float
    first_session: str
    last_session: str
    n_warnings: int
    known_basis: str


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation matrix whose neighbours are alike."""

    symbols: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Track:
    """What the frozen weights would have made of the sessions that they were estimated from."""

    sessions: Sequence[date]
    growth: Sequence[float]
    drawdown: Sequence[float]
    volatility: float
    """Standard deviation of simple returns per year of 252 sessions."""


@dataclass(frozen=True)
class ReportData:
    """Everything in a report; no time of making, so that equal runs have equal reports."""

    run_id: str
    session: str
    profile: str
    description: str
    requested: str
    method: str
    fallbacks: Sequence[Mapping[str, str]]
    cash: float
    net: float
    gross: float
    max_weight: float
    sector_cap: float
    positions: Sequence[Position]
    sectors: Mapping[str, float]
    correlation: Correlation
    track: Track
    n_matrix_sessions: int
    excluded: Sequence[Excluded]
    quality: Sequence[Quality]
    stale: Sequence[str]
    stale_policy: str
    known_basis: str
    is_pit: bool
    findings: Sequence[Finding]
    tables: Mapping[str, Mapping[str, Any]]
    merkle_root: str
    code_version: str
    environment: Mapping[str, Any]

    @property
    def is_synthetic(self) -> bool:
        """Whether any instrument says of itself that it is synthetic."""
        return any("(synthetic)" in position.long_name.lower() for position in self.positions)

    @cached_property
    def held(self) -> list[Position]:
        """Positions with more than a trace of weight, the largest first."""
        return sorted(
            (one for one in self.positions if abs(one.weight) >= TRACE), key=lambda one: (-one.weight, one.con_id)
        )

    @property
    def effective_positions(self) -> float:
        """How many equal positions would be as concentrated: invested capital squared over the sum of squares."""
        squares = sum(one.weight**2 for one in self.positions)
        return self.gross**2 / squares if squares else 0.0

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Kinds of exclusion with their counts, the biggest first."""
        kinds = Counter(part.split(":")[0] for one in self.excluded for part in one.reason.split(";") if part)
        return sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
