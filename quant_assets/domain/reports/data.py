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
class Scored:
    """One instrument's score: who it stands with, whether it was selected, and the terms that sum to ln score."""

    symbol: str
    verdict: str
    reason: str
    score: float
    cluster: int
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """How candidates became a selection, and a selection became atoms."""

    scored: Sequence[Scored]
    """The highest score first."""
    weights: Mapping[str, float]
    ladder: Sequence[Mapping[str, Any]]
    clusters: Mapping[str, float]
    """Weight per cluster."""
    cluster_cap: float
    atoms: Sequence[Mapping[str, Any]]
    costs: Mapping[str, Any] | None
    cash_idle: float
    """Capital given to atoms that hold nothing now."""

    @property
    def n_selected(self) -> int:
        """How many were selected."""
        return sum(one.verdict == "selected" for one in self.scored)

    @property
    def members(self) -> list[tuple[int, list[str], float]]:
        """Clusters with their members and their weight, the heaviest first."""
        found: dict[int, list[str]] = {}
        for one in self.scored:
            found.setdefault(one.cluster, []).append(one.symbol.partition(":")[2] or one.symbol)
        rows = [(name, sorted(who), self.clusters.get(str(name), 0.0)) for name, who in found.items()]
        return sorted(rows, key=lambda row: (-row[2], row[0]))

    @property
    def is_plain(self) -> bool:
        """Whether every atom is long only, so that atoms and instruments are the same."""
        return all("-long_only-" in one["atom"] for one in self.atoms)


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
class Tree:
    """Ward's tree over the instruments of the returns matrix: leaves in an order in which no branches cross."""

    symbols: Sequence[str]
    """By number of the leaf."""
    order: Sequence[int]
    merges: Sequence[tuple[int, int, float]]
    """Two nodes and the height at which they join; the k-th merge makes node n_leaves + k."""
    clusters: Sequence[int]
    """By number of the leaf."""


@dataclass(frozen=True, slots=True)
class Held:
    """1-minute bars of a frozen instrument that quarantine held back inside the window."""

    symbol: str
    rule: str
    verdict: str
    n_rows: int
    n_sessions: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one instrument has its weight, in a line: what raised it, what cost it, and what its bars are."""

    symbol: str
    weight: float
    atoms: Sequence[str]
    score: float
    rank: int
    n_scored: int
    best: str
    """Metric whose term cost least."""
    worst: str
    """Metric whose term cost most."""
    caps: Sequence[str]
    """Caps that bind."""
    bars_id: str
    n_requests: int


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
    choice: Choice
    sectors: Mapping[str, float]
    correlation: Correlation
    tree: Tree | None
    """None where it would be too large to read."""
    track: Track
    n_matrix_sessions: int
    excluded: Sequence[Excluded]
    quality: Sequence[Quality]
    quarantined: Sequence[Held]
    bias: Mapping[str, Any] | None
    """See `bias_meter`; None in runs that were frozen without one."""
    walked: Mapping[str, Any] | None
    """The newest backtest of this very profile when the run was frozen: backtest, inputs, plan and record."""
    whys: Sequence[Reason]
    certificate: str
    """Id of the session's certificate; empty where the run keeps none."""
    degraded: Sequence[str]
    """Frozen instruments that the certificate names as degraded, with the minutes that they lost."""
    n_requests: int
    """TWS requests behind the frozen bars; 0 where the run keeps no record of them."""
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

    @property
    def degraded_told(self) -> str:
        """Who is degraded, and what that means here; empty where nobody is."""
        if not self.degraded:
            return ""
        return (
            f"Degraded, says the session's certificate, for minutes that quarantine took or nothing explains: "
            f"{'; '.join(self.degraded)}. Weights rest on daily bars, which TWS serves apart from the minutes."
        )

    @cached_property
    def held(self) -> list[Position]:
        """Positions with more than a trace of weight, the largest first."""
        return sorted(
            (one for one in self.positions if abs(one.weight) >= TRACE), key=lambda one: (-one.weight, one.con_id)
        )

    @property
    def cash_forced(self) -> float:
        """Capital that the caps leave no room for."""
        return self.cash - self.choice.cash_idle

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
