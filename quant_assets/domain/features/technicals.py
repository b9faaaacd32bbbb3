"""Daily technicals with TradingView's definitions, computed from our own bars."""

from datetime import timedelta

import polars as pl

from quant_assets.domain import indicators as ta
from quant_assets.domain import tables
from quant_assets.domain.features.ratings import ratings

TECHNICALS_1D_VERSION = "1"

PRICE_BASIS = "splits"
"""TradingView's own default: prices adjusted for splits and not for dividends, as TWS serves its daily TRADES."""

_WEEK, _MONTH = timedelta(days=7), timedelta(days=30)


def technicals_1d(window: pl.DataFrame) -> pl.DataFrame:
    """Compute the technicals of every session of a window; `tv_technicals_1d` publishes those of its last one.

    A bar is a session with a daily bar: as on TradingView, a session without one is skipped, not filled. Recursive
    averages start at the window's first bar. Values are null until their window is full.

    - rsi: Wilder, 14; adx: 14, 14; ao: 5 against 34 midpoints; cci20: over closes; stoch_k, stoch_d: 14, 3, 3;
      macd, macd_signal: 12, 26, 9;
    - volatility_d: true range ÷ low, in percent;
    - perf_w, perf_1m: close against the open of the newest bar at least 7 (30) days older, in percent;
    - recommend_ma, recommend_other, recommend_all: see `ratings`.

    Args:
        window: rows of `curated_tws_1d_bars` of one as-of session: session, con_id, symbol, open, high, low, close,
            volume; all on the price basis of that session, adjusted for splits.

    Returns:
        One row per instrument and session of the window, in the shape of the table.
    """
    bars = window.sort("con_id", "session")
    computed = bars.with_columns(expression.over("con_id").alias(name) for name, expression in _indicators().items())
    rated = ratings(computed).with_columns(
        pl.lit("local").alias("producer"),
        pl.lit(PRICE_BASIS).alias("price_basis"),
        pl.lit("v1").alias("feature_version"),
    )
    performed = rated.with_columns(_performance(bars, _WEEK, "perf_w"), _performance(bars, _MONTH, "perf_1m"))
    return performed.select(tables.TV_TECHNICALS_1D.schema.names())


def _indicators() -> dict[str, pl.Expr]:
    high, low, close = pl.col("high"), pl.col("low"), pl.col("close")
    _, _, adx = ta.directional(high, low, close, 14)
    line, signal = ta.macd(close, 12, 26, 9)
    slow_k = _bounded(ta.sma(ta.stochastic(close, high, low, 14), 3))
    first_range = pl.coalesce(ta.true_range(high, low, close), high - low)
    return {
        "rsi": ta.rsi(close, 14),
        "adx": adx,
        "ao": ta.awesome(high, low),
        "cci20": ta.cci(close, 20),
        "stoch_k": slow_k,
        "stoch_d": _bounded(ta.sma(slow_k, 3)),
        "macd": line,
        "macd_signal": signal,
        "volatility_d": 100 * first_range / low,
    }


def _bounded(percentage: pl.Expr) -> pl.Expr:
    """Take the rounding of running sums off the edges of a scale from 0 to 100."""
    return percentage.clip(0.0, 100.0)


def _performance(bars: pl.DataFrame, age: timedelta, name: str) -> pl.Series:
    """Return close against the open of the newest bar at least `age` old, in percent; rows in the order of `bars`."""
    wanted = bars.select("con_id", (pl.col("session") - age).alias("_at"), "close")
    known = bars.select("con_id", pl.col("session").alias("_at"), pl.col("open").alias("_base"))
    based = wanted.with_row_index("_row").sort("_at").join_asof(
        known.sort("_at"), on="_at", by="con_id", check_sortedness=False
    ).sort("_row")
    return based.select((100 * (pl.col("close") / pl.col("_base") - 1)).alias(name)).to_series()
