"""What selection knows about an instrument: ten numbers from its returns and its frozen daily bars.

Every metric is computed for all instruments at once, and each instrument by itself: nothing in a column depends on
another column. Missing returns are left out; a close that is missing is looked up at the session before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.indicators import directional
from quant_assets.domain.returns import SESSIONS_PER_YEAR, con_ids

Matrix = npt.NDArray[np.float64]

TAIL = 0.05
LIQUID_SESSIONS = 63
HURST_LAGS = (1, 2, 4, 8, 16)
ADX_SESSIONS = 14
_MIN_LAGS = 2
_PATTERNS = (0, 2, 3, 4, 5, 7)
"""The six orders of three values, as bits a ≤ b, b ≤ c, a ≤ c; the other two codes are impossible."""


def _unknown() -> Matrix:
    return np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class Panel:
    """What metrics are computed from; columns are instruments, rows sessions ascending, NaN = nothing known."""

    returns: Matrix
    """(n_sessions, n) simple returns."""
    log_closes: Matrix
    """(n_sessions + 1, n) logarithms of adjusted closes, each carried to the next session that has one."""
    traded: Matrix
    """(n_sessions + 1, n) close times volume, in quote currency."""
    highs: Matrix = field(default_factory=_unknown)
    """(n_sessions + 1, n) adjusted highs, never carried; empty where only closes are known."""
    lows: Matrix = field(default_factory=_unknown)
    """(n_sessions + 1, n) adjusted lows, like `highs`."""
    closes: Matrix = field(default_factory=_unknown)
    """(n_sessions + 1, n) adjusted closes, like `highs`: a logarithm and back would make differences of ties."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per instrument: how it is computed, where that comes from, and which end is the good one."""

    name: str
    higher_is_better: bool
    compute: Callable[[Panel], Matrix]
    formula: str
    source: str


def panel_of(matrix: pl.DataFrame, bars: pl.DataFrame, sessions: Sequence[date]) -> Panel:
    """Lay bars out as a panel with the columns of a returns matrix.

    Args:
        matrix: `session`, then one column of simple returns per con_id.
        bars: session, con_id, adj_close, close and volume; one row per instrument and session. With high and low, the
            panel has ranges too.
        sessions: the calendar's sessions, one more than the matrix has.
    """
    columns = {con_id: place for place, con_id in enumerate(con_ids(matrix))}
    rows = {session: place for place, session in enumerate(sorted(set(sessions)))}
    kept = bars.filter(pl.col("con_id").is_in(list(columns)), pl.col("session").is_in(list(rows)))
    where = (
        kept["session"].replace_strict(rows, return_dtype=pl.Int64).to_numpy(),
        kept["con_id"].replace_strict(columns, return_dtype=pl.Int64).to_numpy(),
    )
    usable = pl.when(pl.col("adj_close").is_finite() & (pl.col("adj_close") > 0)).then("adj_close").log()

    def laid(values: pl.Expr) -> Matrix:
        grid = np.full((len(rows), len(columns)), np.nan)
        grid[where] = kept.select(values).to_series().to_numpy()
        return grid

    ranges = {}
    if {"high", "low"} <= set(kept.columns):
        factor = pl.when(usable.is_not_null()).then(pl.col("adj_close") / pl.col("close"))
        ranges = {f"{name}s": laid(pl.col(name) * factor) for name in ("high", "low", "close")}
    traded = laid(pl.col("close") * pl.col("volume"))
    return Panel(matrix.drop("session").to_numpy().astype(np.float64), _carried(laid(usable)), traded, **ranges)


def _carried(values: Matrix) -> Matrix:
    """Carry values over the gaps after them: a look-up of the last known close, never a return."""
    rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(rows, axis=0), axis=0)


def measure(panel: Panel, names: Sequence[str]) -> dict[str, Matrix]:
    """Return the named metrics, one value per instrument; NaN where one cannot be computed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: METRICS[name].compute(panel) for name in names}
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def _momentum(panel: Panel) -> Matrix:
    year = panel.log_closes[-SESSIONS_PER_YEAR - 1 :]
    return np.asarray(np.expm1(year[-1 - (len(year) - 1) // 12] - _first(year)))


def _efficiency(panel: Panel) -> Matrix:
    year = panel.log_closes[-SESSIONS_PER_YEAR - 1 :]
    return np.asarray(np.abs(year[-1] - _first(year)) / np.nansum(np.abs(np.diff(year, axis=0)), axis=0))


def _first(values: Matrix) -> Matrix:
    """Return the first known value of each column."""
    return np.asarray(np.take_along_axis(values, np.argmax(~np.isnan(values), axis=0)[None], axis=0)[0])


def _stability(panel: Panel) -> Matrix:
    count, second = _moment(panel.returns, 2)
    return 1.0 / np.sqrt(SESSIONS_PER_YEAR * second * count / (count - 1))


def _liquidity(panel: Panel) -> Matrix:
    recent = np.sort(panel.traded[-LIQUID_SESSIONS:], axis=0)  # NaN goes last
    count = np.sum(~np.isnan(recent), axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(recent) - 1)
    pair = np.take_along_axis(recent, np.stack([low, high]), axis=0)
    return np.where(count > 0, pair.mean(axis=0), np.nan)


def _entropy(panel: Panel) -> Matrix:
    first, second, third = panel.returns[:-2], panel.returns[1:-1], panel.returns[2:]
    known = ~np.isnan(first + second + third)
    codes = 4 * (first <= second) + 2 * (second <= third) + 1 * (first <= third)
    total = known.sum(axis=0)
    shares = np.stack([(known & (codes == code)).sum(axis=0) / total for code in _PATTERNS])
    return np.asarray(-np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=0) / np.log(len(_PATTERNS)))


def _hurst(panel: Panel) -> Matrix:
    path = panel.log_closes
    lags = [lag for lag in HURST_LAGS if 4 * lag < len(path)]
    if len(lags) < _MIN_LAGS:
        return np.full(path.shape[1], np.nan)
    spread = np.stack([0.5 * np.log(_moment(path[lag:] - path[:-lag], 2)[1]) for lag in lags])
    x = np.log(lags) - np.mean(np.log(lags))
    return np.asarray(x @ spread / (x @ x))


def _adx(panel: Panel) -> Matrix:
    if not panel.highs.size:
        return np.full(panel.log_closes.shape[1], np.nan)
    return np.asarray(_carried(directional(panel.highs, panel.lows, panel.closes, ADX_SESSIONS)[2])[-1])


def _cvar(panel: Panel) -> Matrix:
    ordered = np.sort(panel.returns, axis=0)  # NaN goes last
    count = np.sum(~np.isnan(ordered), axis=0)
    worst = np.maximum(np.ceil(TAIL * count), 1).astype(np.int64)
    return np.asarray(-np.take_along_axis(np.cumsum(ordered, axis=0), worst[None] - 1, axis=0)[0] / worst)


def _skew(panel: Panel) -> Matrix:
    return _moment(panel.returns, 3)[1] / _moment(panel.returns, 2)[1] ** 1.5


def _kurtosis(panel: Panel) -> Matrix:
    return _moment(panel.returns, 4)[1] / _moment(panel.returns, 2)[1] ** 2 - 3.0


def _moment(values: Matrix, order: int) -> tuple[Matrix, Matrix]:
    """Return how many values each column has, and their central moment."""
    count = np.sum(~np.isnan(values), axis=0).astype(np.float64)
    mean = np.nansum(values, axis=0) / count
    return count, np.nansum((values - mean) ** order, axis=0) / count


_ALL = (
    Metric(
        "momentum",
        True,
        _momentum,
        "P[t - 21] / P[t - 252] - 1 of adjusted closes; of a shorter history without its newest twelfth",
        "Jegadeesh and Titman (1993), Returns to Buying Winners and Selling Losers",
    ),
    Metric(
        "stability",
        True,
        _stability,
        "1 / (s √252), s the sample standard deviation of simple returns",
        "the inverse volatility of naive risk parity, Maillard, Roncalli and Teiletche (2010)",
    ),
    Metric(
        "liquidity",
        True,
        _liquidity,
        "median of close times volume over 63 sessions",
        "dollar volume, Brennan, Chordia and Subrahmanyam (1998)",
    ),
    Metric(
        "entropy",
        False,
        _entropy,
        "permutation entropy of returns, order 3, over ln 3!: 0 = one pattern, 1 = all equally often",
        "Bandt and Pompe (2002), Permutation Entropy",
    ),
    Metric(
        "efficiency",
        True,
        _efficiency,
        "|x[t] - x[t - 252]| / Σ |Δx|, x the logarithm of the adjusted close",
        "the efficiency ratio of Kaufman (1995), Smarter Trading",
    ),
    Metric(
        "hurst",
        True,
        _hurst,
        "slope of ln std(x[t + lag] - x[t]) on ln lag, lags 1, 2, 4, 8, 16: 0.5 = random walk",
        "the generalised Hurst exponent with q = 2, Di Matteo (2007), Multi-scaling in Finance",
    ),
    Metric(
        "adx",
        True,
        _adx,
        "average directional index over 14 sessions, of adjusted highs, lows and closes, as of the last bar",
        "Wilder (1978), New Concepts in Technical Trading Systems",
    ),
    Metric(
        "cvar",
        False,
        _cvar,
        "minus the mean of the worst 5 % of returns",
        "Rockafellar and Uryasev (2000), Optimization of Conditional Value-at-Risk",
    ),
    Metric(
        "skew",
        True,
        _skew,
        "m3 / m2^1.5 of central moments",
        "Fisher-Pearson; Harvey and Siddique (2000), Conditional Skewness in Asset Pricing Tests",
    ),
    Metric(
        "kurtosis",
        False,
        _kurtosis,
        "m4 / m2² - 3 of central moments",
        "Pearson's excess kurtosis",
    ),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by the name that `selection.score_weights` and `selection.vetoes` use."""
