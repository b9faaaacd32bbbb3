"""Technical indicators over arrays: time runs down axis 0, and several instruments may stand side by side.

Windows count rows; NaN is "not known", and a value is NaN until its window is full. Each window is computed from its
own rows, so that no rounding of the past is carried along. Recursive averages start from the simple average of their
first full window, as Wilder's and TradingView's do: they depend on where the series begins, until that has faded.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NIL = 1e-12
"""Differences below this share of the price are rounding."""


def shift(x: Array, n: int) -> Array:
    """Return x as it was n rows before."""
    out = np.full_like(x, np.nan)
    if n < len(x):
        out[n:] = x[: len(x) - n]
    return out


def _folded(x: Array, n: int, fold: Callable[[Array, Array], Array]) -> Array:
    """Fold each window of n rows, one offset after the other over all rows at once."""
    out, n_full = np.full_like(x, np.nan), len(x) - n + 1
    if n_full <= 0:
        return out
    state = x[:n_full].copy()
    for offset in range(1, n):
        state = fold(state, x[offset : offset + n_full])
    out[n - 1 :] = state
    return out


def total(x: Array, n: int) -> Array:
    """Sum of n rows."""
    return _folded(x, n, np.add)


def highest(x: Array, n: int) -> Array:
    """Greatest of n rows."""
    return _folded(x, n, np.maximum)


def lowest(x: Array, n: int) -> Array:
    """Smallest of n rows."""
    return _folded(x, n, np.minimum)


def sma(x: Array, n: int) -> Array:
    """Simple moving average."""
    return total(x, n) / n


def ema(x: Array, n: int) -> Array:
    """Exponential moving average, alpha = 2 / (n + 1), starting from the simple average of the first n values."""
    return _recursive(x, n, 2.0 / (n + 1))


def wilder(x: Array, n: int) -> Array:
    """Wilder's moving average (TradingView: rma), alpha = 1 / n, starting like `ema`."""
    return _recursive(x, n, 1.0 / n)


def _recursive(x: Array, n: int, alpha: float) -> Array:
    """Go through time once, all instruments abreast; what is not known is skipped."""
    start, is_known, share = sma(x, n), ~np.isnan(x), alpha * x
    out, state = np.empty_like(x), np.full_like(x[:1], np.nan)
    for row in range(len(x)):
        here = slice(row, row + 1)
        following = share[here] + (1.0 - alpha) * state
        np.copyto(following, start[here], where=np.isnan(state))
        np.copyto(state, following, where=is_known[here])
        out[here] = following
    return np.where(is_known, out, np.nan)


def wma(x: Array, n: int) -> Array:
    """Linearly weighted moving average; the newest value weighs n."""
    weighted = n * x
    for i in range(1, n):
        weighted = weighted + (n - i) * shift(x, i)
    return weighted / (n * (n + 1) / 2)


def hma(x: Array, n: int) -> Array:
    """Hull moving average."""
    return wma(2 * wma(x, n // 2) - wma(x, n), int(n**0.5))


def vwma(x: Array, volume: Array, n: int) -> Array:
    """Volume-weighted moving average; NaN where the window's volume is zero or partly unknown."""
    return _share(total(x * volume, n), total(volume, n))


def rsi(x: Array, n: int) -> Array:
    """Wilder's relative strength index, in [0, 100]; 100 where nothing fell, as TradingView has it."""
    change = x - shift(x, 1)
    up, down = wilder(np.maximum(change, 0.0), n), wilder(np.maximum(-change, 0.0), n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(down == 0, 100.0, 100 - 100 / (1 + up / down))


def true_range(high: Array, low: Array, close: Array) -> Array:
    """Range of the bar and of its gap from the close before; NaN in the first row."""
    before = shift(close, 1)
    return np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))


def atr(high: Array, low: Array, close: Array, n: int) -> Array:
    """Average true range, smoothed as Wilder did."""
    return wilder(true_range(high, low, close), n)


def directional(high: Array, low: Array, close: Array, n: int) -> tuple[Array, Array, Array]:
    """Wilder's +DI, -DI and ADX, in [0, 100]; the index is 0 where neither direction moved."""
    up, down = high - shift(high, 1), shift(low, 1) - low
    rise = np.where(np.isnan(up), np.nan, np.where((up > down) & (up > 0), up, 0.0))
    fall = np.where(np.isnan(up), np.nan, np.where((down > up) & (down > 0), down, 0.0))
    reach = atr(high, low, close, n)
    plus, minus = 100 * _share(wilder(rise, n), reach), 100 * _share(wilder(fall, n), reach)
    both = plus + minus
    index = np.where(both == 0, 0.0, 100 * _share(np.abs(plus - minus), both))
    return plus, minus, np.clip(wilder(index, n), 0.0, 100.0)


def macd(x: Array, fast: int, slow: int, signal: int) -> tuple[Array, Array]:
    """Moving average convergence/divergence, and its signal line."""
    line = ema(x, fast) - ema(x, slow)
    return line, ema(line, signal)


def stochastic(x: Array, high: Array, low: Array, n: int) -> Array:
    """Place of x in the range of the last n rows, in [0, 100]; NaN where that range is nil."""
    bottom = lowest(low, n)
    return 100 * _share(x - bottom, highest(high, n) - bottom)


def cci(x: Array, n: int) -> Array:
    """Commodity channel index over the mean absolute deviation; NaN where nothing deviates."""
    mean, deviation = sma(x, n), np.zeros_like(x)
    for i in range(n):
        deviation = deviation + np.abs(shift(x, i) - mean) / n
    return _share(x - mean, np.where(deviation > _NIL * np.abs(x), 0.015 * deviation, np.nan))


def awesome(high: Array, low: Array) -> Array:
    """Awesome oscillator: simple averages of 5 and of 34 midpoints, their difference."""
    middle = (high + low) / 2
    return sma(middle, 5) - sma(middle, 34)


def ultimate(high: Array, low: Array, close: Array) -> Array:
    """Ultimate oscillator (7, 14, 28), in [0, 100]; NaN where nothing moved."""
    before = shift(close, 1)
    floor, top = np.minimum(low, before), np.maximum(high, before)
    fast, middle, slow = (_share(total(close - floor, n), total(top - floor, n)) for n in (7, 14, 28))
    return 100 * (4 * fast + 2 * middle + slow) / 7


def middle_of_range(high: Array, low: Array, n: int) -> Array:
    """Middle between the highest high and the lowest low of n rows (a line of the Ichimoku cloud)."""
    return (highest(high, n) + lowest(low, n)) / 2


def _share(part: Array, whole: Array) -> Array:
    """Return part ÷ whole; NaN where there is no whole."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
