"""Price features per minute bar. A window counts expected minutes inside one session, never across its edge."""

import polars as pl

from quant_assets.domain import tables
from quant_assets.domain.features.grid import GROUP, on_expected_minutes, once_full

PRICE_1M_VERSION = "1"

_HORIZONS = (1, 5, 20)
_WINDOWS = (5, 20)


def price_1m(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Compute `features_price_1m_v1`.

    With c(m) the close of expected minute m (0 at the open), null where no bar is:

    - ret_k(m) = c(m) / c(m - k) - 1; null unless both bars are there;
    - ma_k(m) = mean of the closes among minutes m - k + 1 … m; null until m ≥ k - 1;
    - vol_20(m) = sample standard deviation (n - 1) of ret_1 over minutes m - 19 … m; null until m ≥ 20, and where
      fewer than two of those returns exist;
    - n_missing_in_window_k(m) = minutes without a bar among m - k + 1 … m; null until m ≥ k - 1.

    Only minutes up to m enter a value of minute m.

    Args:
        bars: rows of `curated_tws_1m_bars`, any sessions; key (session, con_id, ts).
        minutes: expected minutes of those sessions: session, ts, minute.

    Returns:
        One row per bar, in the shape of the table.
    """
    grid = on_expected_minutes(bars, minutes, "close")
    close = pl.col("close")
    with_returns = grid.with_columns((close / close.shift(k).over(GROUP) - 1).alias(f"ret_{k}") for k in _HORIZONS)
    computed = with_returns.with_columns(
        *(_mean(k) for k in _WINDOWS),
        _volatility(20),
        *(_missing(k) for k in _WINDOWS),
        pl.lit("price_1m").alias("feature_group"),
        pl.lit("v1").alias("feature_version"),
    )
    return computed.filter(close.is_not_null()).select(tables.FEATURES_PRICE_1M_V1.schema.names())


def _mean(width: int) -> pl.Expr:
    mean = pl.col("close").rolling_mean(width, min_samples=1).over(GROUP)
    return once_full(mean, width - 1).alias(f"ma_{width}")


def _volatility(width: int) -> pl.Expr:
    deviation = pl.col("ret_1").rolling_std(width, min_samples=2, ddof=1).over(GROUP)
    return once_full(deviation, width).alias(f"vol_{width}")


def _missing(width: int) -> pl.Expr:
    gaps = pl.col("close").is_null().cast(pl.Int64).rolling_sum(width, min_samples=1).over(GROUP)
    return once_full(gaps.cast(pl.Int64), width - 1).alias(f"n_missing_in_window_{width}")
