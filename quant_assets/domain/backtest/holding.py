"""Holding: weights drift with prices from one trade to the next, and every trade costs.

Weights are fractions of the account. A holding whose instrument has no price in a session is valued at its last one;
nothing is made up, and such days are counted. Cash earns nothing.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.costs import Schedule
from quant_assets.domain.returns import closes_matrix

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prices:
    """What holdings are valued with; rows are sessions ascending, columns instruments.

    `returns`: since the last known close of the same instrument; NaN = no close in this session. `closes`: last known
    prices per share, for the number of shares that a trade is; NaN = none yet.
    """

    sessions: tuple[date, ...]
    con_ids: tuple[int, ...]
    returns: Matrix
    closes: Matrix


@dataclass(frozen=True, slots=True)
class Held:
    """What came of holding; arrays run over the earning sessions."""

    sessions: tuple[date, ...]
    gross: Matrix
    """Return before costs."""
    net: Matrix
    """Return after costs: a trade's costs are paid by the first session that it earns."""
    turnover: tuple[float, ...]
    """Per trade: half the sum of all changes, against the drifted weights."""
    commission: tuple[float, ...]
    """Per trade, as a fraction of the account."""
    slippage: tuple[float, ...]
    before: tuple[Mapping[int, float], ...]
    """Per trade: the drifted weights that it starts from."""
    after: Matrix
    """(n_sessions, n) drifted weights after each session, columns as in `Prices`."""
    n_unpriced: int
    """Days on which something that is held had no price."""
    is_ruined: bool
    """The account lost everything, and holds nothing from then on."""


def hold(
    prices: Prices,
    trades: Sequence[tuple[Sequence[date], Mapping[int, float] | None]],
    *,
    capital: float,
    schedule: Schedule | None,
    slippage_bps: float,
) -> Held:
    """Hold weights through the sessions that each of them earns.

    Args:
        prices: of every earning session, and of the session before the first one for `closes`.
        trades: the earning sessions and the weights of each fold, in order. A fold's weights are bought at the close
            before its first session; None leaves what is held alone.
        capital: the account at the beginning, in the schedule's currency.
        schedule: commissions; None for none.
        slippage_bps: of what is traded.
    """
    account = Account(prices, capital=capital, schedule=schedule, slippage_bps=slippage_bps)
    for sessions, weights in trades:
        account.hold(sessions, weights)
    return account.told()


class Account:
    """An account as it goes through time, fold by fold; the arguments are those of `hold`."""

    def __init__(self, prices: Prices, *, capital: float, schedule: Schedule | None, slippage_bps: float) -> None:
        self.prices, self.schedule, self.bps = prices, schedule, slippage_bps
        self.places = {con_id: place for place, con_id in enumerate(prices.con_ids)}
        self.rows = {session: row for row, session in enumerate(prices.sessions)}
        self.weights = np.zeros(len(prices.con_ids))
        self.worth, self.due, self.n_unpriced, self.is_ruined = capital, 0.0, 0, False
        self.sessions: list[date] = []
        self.after: list[Matrix] = []
        self.gross: list[float] = []
        self.net: list[float] = []
        self.moves: list[tuple[float, float, float, dict[int, float]]] = []

    def hold(self, sessions: Sequence[date], weights: Mapping[int, float] | None) -> None:
        """Trade, and let the sessions of one fold pass."""
        self.trade(sessions[0], weights)
        for session in sessions:
            self.earn(session)

    def held_after(self, day: date) -> dict[int, float] | None:
        """Return the drifted weights after the last session up to a day; None before the first one."""
        passed = bisect_right(self.sessions, day)
        return self._named(self.after[passed - 1]) if passed else None

    def _named(self, weights: Matrix) -> dict[int, float]:
        return {self.prices.con_ids[place]: float(weights[place]) for place in np.flatnonzero(weights)}

    def trade(self, first: date, weights: Mapping[int, float] | None) -> None:
        """Exchange what is held for `weights`, at the close before the session `first`."""
        before = self._named(self.weights)
        if weights is None:
            self.moves.append((0.0, 0.0, 0.0, before))
            return
        wanted = np.zeros(len(self.places))
        for con_id, weight in weights.items():
            wanted[self.places[con_id]] = 0.0 if self.is_ruined else weight
        changes = np.abs(wanted - self.weights)
        commission = self._commission(changes, self.prices.closes[max(self.rows[first] - 1, 0)])
        slippage = float(changes.sum()) * self.bps / 1e4
        self.moves.append((0.5 * float(changes.sum()), commission, slippage, before))
        self.due, self.weights = commission + slippage, wanted

    def _commission(self, changes: Matrix, closes: Matrix) -> float:
        """Return the commissions of all orders as a fraction of the account."""
        if self.schedule is None or self.is_ruined:
            return 0.0
        total = sum(
            self.schedule.commission(changes[place] * self.worth / closes[place], closes[place])
            for place in np.flatnonzero(changes)
            if closes[place] > 0
        )
        return float(total) / self.worth

    def earn(self, session: date) -> None:
        """Let one session pass."""
        moves = self.prices.returns[self.rows[session]]
        self.n_unpriced += int((np.isnan(moves) & (self.weights != 0)).sum())
        moves = np.where(np.isnan(moves), 0.0, moves)
        gross = float(self.weights @ moves)
        if gross <= -1.0:
            self.is_ruined, gross = True, -1.0
        net = (1.0 + gross) * (1.0 - self.due) - 1.0 if self.due else gross
        self.worth, self.due = self.worth * (1.0 + net), 0.0
        self.weights = np.zeros_like(moves) if self.is_ruined else self.weights * (1.0 + moves) / (1.0 + gross)
        self.after.append(self.weights)
        self.sessions.append(session)
        self.gross.append(gross)
        self.net.append(net)

    def told(self) -> Held:
        """Return everything that happened."""
        turnover, commission, slippage, before = zip(*self.moves, strict=True) if self.moves else ((), (), (), ())
        return Held(
            tuple(self.sessions),
            np.array(self.gross),
            np.array(self.net),
            turnover,
            commission,
            slippage,
            before,
            np.array(self.after).reshape(len(self.sessions), len(self.places)),
            self.n_unpriced,
            self.is_ruined,
        )


def prices_of(daily: pl.DataFrame, sessions: Sequence[date]) -> Prices:
    """Lay daily bars out for valuation.

    Args:
        daily: session, con_id, close and adj_close on one price basis; a row without usable prices is no price.
        sessions: the calendar's sessions, ascending. A first return reaches back to the last close that is in `daily`
            before it, so give it some sessions before the first one that counts.
    """
    ids = sorted(daily["con_id"].unique().to_list())
    adjusted = closes_matrix(daily, sessions, ids).drop("session").to_numpy().astype(np.float64)
    quoted = closes_matrix(daily.with_columns(adj_close="close"), sessions, ids).drop("session").to_numpy()
    known = carried(adjusted)
    before = np.vstack([np.full((1, len(ids)), np.nan), known[:-1]])
    return Prices(tuple(sessions), tuple(ids), adjusted / before - 1.0, carried(quoted.astype(np.float64)))


def without_returns(prices: Prices, breaks: pl.DataFrame) -> Prices:
    """Take out the returns into sessions from which on an instrument stands on another price basis.

    Args:
        prices: of some sessions.
        breaks: con_id, session.
    """
    returns = prices.returns.copy()
    rows = {day: row for row, day in enumerate(prices.sessions)}
    columns = {con_id: column for column, con_id in enumerate(prices.con_ids)}
    for con_id, session in breaks.select("con_id", "session").iter_rows():
        if con_id in columns and session in rows:
            returns[rows[session], columns[con_id]] = np.nan
    return Prices(prices.sessions, prices.con_ids, returns, prices.closes)


def carried(values: Matrix) -> Matrix:
    """Carry the last known value down each column: for looking prices up, never for returns."""
    rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.asarray(np.take_along_axis(values, np.maximum.accumulate(rows, axis=0), axis=0))


def chained(parts: Sequence[Prices]) -> Prices:
    """Join prices of consecutive sessions, each part on its own price basis; no return crosses between parts."""
    ids = sorted({con_id for part in parts for con_id in part.con_ids})
    places = {con_id: place for place, con_id in enumerate(ids)}
    n = sum(len(part.sessions) for part in parts)
    returns, closes = np.full((n, len(ids)), np.nan), np.full((n, len(ids)), np.nan)
    row = 0
    for part in parts:
        where = [places[con_id] for con_id in part.con_ids]
        returns[row : row + len(part.sessions), where] = part.returns
        closes[row : row + len(part.sessions), where] = part.closes
        row += len(part.sessions)
    return Prices(tuple(day for part in parts for day in part.sessions), tuple(ids), returns, closes)


def cut(prices: Prices, first: date, last: date) -> Prices:
    """Return the sessions from `first` to `last`."""
    rows = [row for row, day in enumerate(prices.sessions) if first <= day <= last]
    days = tuple(prices.sessions[row] for row in rows)
    return Prices(days, prices.con_ids, prices.returns[rows], prices.closes[rows])
