"""The whole alpha cycle as one function of the past: screen, returns, selection, synthesis, optimisation.

A strategy is handed a `Past` and nothing else. What comes after its last session is not in it, so there is nothing to
look ahead at; a past that holds a later bar cannot be made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.allocation import allocate, question_of
from quant_assets.domain.breaks import on_one_basis
from quant_assets.domain.candidates import screen
from quant_assets.domain.instruments import valid_at
from quant_assets.domain.returns import closes_matrix, returns_matrix
from quant_assets.domain.selection import panel_of, select
from quant_assets.domain.synthesis import synthesize
from quant_assets.errors import CurrencyError, DefectError
from quant_assets.settings.manifest import Profile


@dataclass(frozen=True)
class Past:
    """Everything that is known after the close of the last of `sessions`.

    `daily`: rows in the shape of CURATED_TWS_1D_BARS on one price basis. `universe`, `instruments`: rows of those
    tables as known then. `held`: the weights of now, which a turnover limit is measured from. `screened`: what the
    profile's own screens have against each instrument, where it has screens. `base_currency`: what everybody has to be
    quoted in; None where nobody knows currencies, as in a file of bars.
    """

    sessions: tuple[date, ...]
    daily: pl.DataFrame
    universe: pl.DataFrame
    instruments: pl.DataFrame
    held: Mapping[int, float] | None = None
    screened: pl.DataFrame | None = None
    base_currency: str | None = None

    def __post_init__(self) -> None:
        newest = self.daily["session"].max()
        if not self.sessions or (isinstance(newest, date) and newest > self.sessions[-1]):
            raise DefectError(f"a past that ends with {self.sessions[-1:]} holds a bar of {newest!s}")

    @property
    def session(self) -> date:
        """The last session that is known."""
        return self.sessions[-1]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy wants to hold, what it chose from, and how it went."""

    weights: Mapping[int, float]
    """Signed fractions of capital by con_id; the rest is cash."""
    selected: tuple[int, ...]
    pool: tuple[int, ...]
    """Everybody who could have been selected: the instruments of the returns matrix."""
    n_universe: int
    n_unfit: int = 0
    """Members of the universe that could not be judged: no history, too short, stale, too thin, or unfit returns."""
    method: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


Strategy = Callable[[Past], Decision]
"""The signature that makes looking ahead impossible."""


def alpha_strategy(name: str, profile: Profile) -> Strategy:
    """Return the alpha cycle of a profile as a strategy.

    The strategy raises NoCandidatesError, NotEnoughReturnsError or InfeasibleError where the cycle would.
    """

    def decide(past: Past) -> Decision:
        return _decide(past, name, profile)

    return decide


def _decide(past: Past, name: str, profile: Profile) -> Decision:
    window = past.sessions[-profile.data.lookback_sessions :]
    judged = screen(
        past.daily, past.universe, past.instruments, name, past.session, profile.selection, profile.data, past.screened
    )
    accepted = judged.filter(pl.col("verdict") == "accepted")["con_id"].to_list()
    _require_base_currency(past, accepted)
    bars = on_one_basis(past.daily).filter(pl.col("con_id").is_in(accepted), pl.col("session") >= window[0])
    made = returns_matrix(
        closes_matrix(bars, window, accepted),
        floor_sessions=profile.data.min_sessions_floor,
        max_abs_return=profile.risk.max_abs_return,
        max_missing_fraction=profile.risk.max_missing_fraction,
    )
    matrix, panel = made.matrix, panel_of(made.matrix, bars, window)
    selection = select(panel, made.con_ids, profile.selection, session=past.session, profile=name)
    chosen = matrix.select("session", *map(str, selection.selected))
    closes = panel.log_closes[:, [made.con_ids.index(con_id) for con_id in selection.selected]]
    synthesis = synthesize(chosen, closes, selection.selected, profile.synthesis.atoms)
    found = allocate(
        question_of(
            synthesis.matrix,
            {atom.name: atom for atom in synthesis.atoms},
            sectors=_sectors(past.instruments, past.session),
            clusters={con_id: str(cluster) for con_id, cluster in zip(made.con_ids, selection.clusters, strict=True)},
            risk=profile.risk,
            previous=past.held,
        )
    )
    return Decision(
        weights=found.weights,
        selected=tuple(selection.selected),
        pool=tuple(made.con_ids),
        n_universe=past.universe.height,
        n_unfit=judged.filter(~pl.col("reasons").is_in(["", "below_top_n"])).height + len(accepted) - len(made.con_ids),
        method=found.solution.method,
        details={
            "requested": found.solution.requested,
            "fallbacks": [one.method for one in found.solution.fallbacks],
            "n_accepted": len(accepted),
            "rungs": [one.name for one in selection.ladder[1:]],
        },
    )


def _require_base_currency(past: Past, accepted: Sequence[int]) -> None:
    """Refuse what a run of the same session refuses: returns of two currencies do not add up."""
    if past.base_currency is None:
        return
    rows = valid_at(past.instruments, past.session).filter(pl.col("con_id").is_in(accepted))
    newest = rows.unique("con_id", keep="last", maintain_order=True).select("symbol", "currency").rows()
    if foreign := {symbol: currency for symbol, currency in newest if currency not in (None, past.base_currency)}:
        raise CurrencyError(past.base_currency, foreign)


def _sectors(instruments: pl.DataFrame, session: date) -> dict[int, str]:
    rows = valid_at(instruments, session).select("con_id", "industry")
    return {con_id: industry or "unknown" for con_id, industry in rows.iter_rows()}
