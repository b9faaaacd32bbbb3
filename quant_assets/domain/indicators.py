"""Technical indicators as expressions over one series in time order; of several instruments say `.over("con_id")`.

Windows count rows. A value is null until its window is full. Recursive averages start from the simple average of their
first window, as Wilder's and TradingView's do, so that they depend on where the series begins; after some multiples of
the window they no longer do.
"""

import polars as pl


def sma(x: pl.Expr, n: int) -> pl.Expr:
    """Simple moving average."""
    return x.rolling_mean(n)


def ema(x: pl.Expr, n: int) -> pl.Expr:
    """Exponential moving average, α = 2 / (n + 1), starting from the simple average of the first n values."""
    return _recursive(x, n, 2.0 / (n + 1))


def wilder(x: pl.Expr, n: int) -> pl.Expr:
    """Wilder's moving average (TradingView: rma), α = 1 / n, starting from the simple average of the first n values."""
    return _recursive(x, n, 1.0 / n)


def _recursive(x: pl.Expr, n: int, alpha: float) -> pl.Expr:
    position = x.is_not_null().cum_sum()
    seed = pl.when(position == n).then(x.rolling_mean(n))
    seeded = pl.when(x.is_null()).then(None).when(position > n).then(x).otherwise(seed)
    return pl.when(x.is_not_null()).then(seeded.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True))


def wma(x: pl.Expr, n: int) -> pl.Expr:
    """Linearly weighted moving average; the newest value weighs n."""
    return sum(((n - i) * x.shift(i) for i in range(1, n)), n * x) / (n * (n + 1) / 2)


def hma(x: pl.Expr, n: int) -> pl.Expr:
    """Hull moving average."""
    return wma(2 * wma(x, n // 2) - wma(x, n), int(n**0.5))


def vwma(x: pl.Expr, volume: pl.Expr, n: int) -> pl.Expr:
    """Volume-weighted moving average; null where the window's volume is zero or partly unknown."""
    weight = volume.rolling_sum(n)
    return pl.when(weight > 0).then((x * volume).rolling_sum(n) / weight)


def roc(x: pl.Expr, n: int) -> pl.Expr:
    """Rate of change over n rows, in percent."""
    return 100 * (x / x.shift(n) - 1)


def bollinger(x: pl.Expr, n: int, width: float) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Middle, upper and lower band; the deviation is that of the population (ddof 0)."""
    middle, spread = sma(x, n), width * x.rolling_std(n, ddof=0)
    return middle, middle + spread, middle - spread


def rsi(x: pl.Expr, n: int) -> pl.Expr:
    """Wilder's relative strength index, in [0, 100]; 100 where nothing fell, as TradingView has it."""
    change = x.diff()
    up, down = wilder(change.clip(lower_bound=0), n), wilder((-change).clip(lower_bound=0), n)
    return pl.when(down == 0).then(100.0).otherwise(100 - 100 / (1 + up / down))


def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Range of the bar and of its gap from the close before; null in the first row."""
    before = close.shift(1)
    reach = pl.max_horizontal(high - low, (high - before).abs(), (low - before).abs())
    return pl.when(before.is_not_null()).then(reach)


def atr(high: pl.Expr, low: pl.Expr, close: pl.Expr, n: int) -> pl.Expr:
    """Average true range, smoothed as Wilder did."""
    return wilder(true_range(high, low, close), n)


def directional(high: pl.Expr, low: pl.Expr, close: pl.Expr, n: int) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Wilder's +DI, -DI and ADX, in [0, 100]; the index is 0 where neither direction moved."""
    up, down = high.diff(), -low.diff()
    rise = pl.when(up.is_not_null()).then(pl.when((up > down) & (up > 0)).then(up).otherwise(0.0))
    fall = pl.when(up.is_not_null()).then(pl.when((down > up) & (down > 0)).then(down).otherwise(0.0))
    reach = atr(high, low, close, n)
    plus = pl.when(reach > 0).then(100 * wilder(rise, n) / reach)
    minus = pl.when(reach > 0).then(100 * wilder(fall, n) / reach)
    both = plus + minus
    index = pl.when(both == 0).then(0.0).otherwise(100 * (plus - minus).abs() / both)
    return plus, minus, wilder(index, n).clip(0.0, 100.0)


def macd(x: pl.Expr, fast: int, slow: int, signal: int) -> tuple[pl.Expr, pl.Expr]:
    """Moving average convergence/divergence, and its signal line."""
    line = ema(x, fast) - ema(x, slow)
    return line, ema(line, signal)


def stochastic(x: pl.Expr, high: pl.Expr, low: pl.Expr, n: int) -> pl.Expr:
    """Place of x in the range of the last n rows, in [0, 100]; null where that range is nil."""
    top, bottom = high.rolling_max(n), low.rolling_min(n)
    return pl.when(top > bottom).then(100 * (x - bottom) / (top - bottom))


def cci(x: pl.Expr, n: int) -> pl.Expr:
    """Commodity channel index over the mean absolute deviation; null where nothing deviates."""
    mean = sma(x, n)
    deviation: pl.Expr = sum(((x.shift(i) - mean).abs() for i in range(1, n)), (x - mean).abs()) / n
    return pl.when(deviation > _NIL * x.abs()).then((x - mean) / (0.015 * deviation))


def awesome(high: pl.Expr, low: pl.Expr) -> pl.Expr:
    """Awesome oscillator: simple averages of 5 and of 34 midpoints, their difference."""
    middle = (high + low) / 2
    return sma(middle, 5) - sma(middle, 34)


def ultimate(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Ultimate oscillator (7, 14, 28), in [0, 100]; null where nothing moved."""
    before = close.shift(1)
    floor = pl.when(before.is_not_null()).then(pl.min_horizontal(low, before))
    reach = pl.when(before.is_not_null()).then(pl.max_horizontal(high, before)) - floor

    def share(n: int) -> pl.Expr:
        moved = reach.rolling_sum(n)
        return pl.when(moved > 0).then((close - floor).rolling_sum(n) / moved)

    return 100 * (4 * share(7) + 2 * share(14) + share(28)) / 7


def middle_of_range(high: pl.Expr, low: pl.Expr, n: int) -> pl.Expr:
    """Middle between the highest high and the lowest low of n rows (a line of the Ichimoku cloud)."""
    return (high.rolling_max(n) + low.rolling_min(n)) / 2


_NIL = 1e-12
"""Differences below this share of the price are rounding."""
