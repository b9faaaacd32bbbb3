"""Daily technicals with TradingView's definitions, computed from our own bars."""

from datetime import timedelta

import numpy as np
import polars as pl

from quant_assets.domain import indicators as ta
from quant_assets.domain import tables
from quant_assets.domain.features.ratings import Bars, ratings
from quant_assets.domain.indicators import Array

TECHNICALS_1D_VERSION = "1"

PRICE_BASIS = "splits"
"""TradingView's own default: prices adjusted for splits and not for dividends, as TWS serves its daily TRADES."""

_PUBLISHED = ("rsi", "adx", "ao", "cci20", "stoch_k", "stoch_d", "macd", "macd_signal", "volatility_d")
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
    values = pl.DataFrame(_values(bars)).with_columns(pl.all().fill_nan(None))
    return bars.with_columns(
        *values.get_columns(),
        _performance(bars, _WEEK, "perf_w"),
        _performance(bars, _MONTH, "perf_1m"),
        pl.lit("local").alias("producer"),
        pl.lit(PRICE_BASIS).alias("price_basis"),
        pl.lit("v1").alias("feature_version"),
    ).select(tables.TV_TECHNICALS_1D.schema.names())


def _values(bars: pl.DataFrame) -> dict[str, Array]:
    """Lay instruments side by side, the n-th bar of each in row n, and read the results back in the order of `bars`."""
    place = bars.select(
        pl.int_range(pl.len()).over("con_id").alias("row"), (pl.col("con_id").rank("dense") - 1).alias("column")
    )
    row, column = place["row"].to_numpy(), place["column"].to_numpy()
    shape = (int(row.max()) + 1, int(column.max()) + 1) if len(row) else (0, 0)

    def laid(name: str) -> Array:
        matrix = np.full(shape, np.nan)
        matrix[row, column] = bars[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return matrix

    side_by_side = Bars(laid("high"), laid("low"), laid("close"), laid("volume"))
    known = _indicators(side_by_side)
    results = {name: known[name] for name in _PUBLISHED} | ratings(side_by_side, known)
    return {name: matrix[row, column] for name, matrix in results.items()}


def _indicators(bars: Bars) -> dict[str, Array]:
    high, low, close = bars.high, bars.low, bars.close
    plus, minus, adx = ta.directional(high, low, close, 14)
    line, signal = ta.macd(close, 12, 26, 9)
    slow_k = np.clip(ta.sma(ta.stochastic(close, high, low, 14), 3), 0.0, 100.0)
    gap_range = ta.true_range(high, low, close)
    return {
        "plus": plus,
        "minus": minus,
        "adx": adx,
        "rsi": ta.rsi(close, 14),
        "ao": ta.awesome(high, low),
        "cci20": ta.cci(close, 20),
        "stoch_k": slow_k,
        "stoch_d": np.clip(ta.sma(slow_k, 3), 0.0, 100.0),
        "macd": line,
        "macd_signal": signal,
        "volatility_d": 100 * np.where(np.isnan(gap_range), high - low, gap_range) / low,
    }


def _performance(bars: pl.DataFrame, age: timedelta, name: str) -> pl.Series:
    """Return close against the open of the newest bar at least `age` old, in percent; rows in the order of `bars`."""
    wanted = bars.select("con_id", (pl.col("session") - age).alias("_at"), "close")
    known = bars.select("con_id", pl.col("session").alias("_at"), pl.col("open").alias("_base"))
    based = (
        wanted.with_row_index("_row")
        .sort("_at")
        .join_asof(known.sort("_at"), on="_at", by="con_id", check_sortedness=False)
        .sort("_row")
    )
    return based.select((100 * (pl.col("close") / pl.col("_base") - 1)).alias(name)).to_series()
