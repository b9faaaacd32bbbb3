"""Labels: what a model learns to foresee. They look ahead by definition, and say when they could be known."""

import polars as pl

from quant_assets.domain import tables
from quant_assets.domain.features.grid import GROUP, on_expected_minutes

HORIZONS = (5, 20, 60)
"""Horizons in expected minutes; all of them lie inside one session."""

RETURNS_VERSION = "1"


def forward_returns(bars: pl.DataFrame, minutes: pl.DataFrame, horizons: tuple[int, ...] = HORIZONS) -> pl.DataFrame:
    """Compute `labels_tws_returns`.

    With c(m) the close of expected minute m, forward_return(m, h) = c(m + h) / c(m) - 1; null where m + h leaves the
    session, and where it has no bar. A label is known when the bar of minute m + h is complete; since no horizon leaves
    the session, the session in which a label matures is that of its bar.

    Args:
        bars: rows of `curated_tws_1m_bars`, any sessions; key (session, con_id, ts).
        minutes: expected minutes of those sessions: session, ts, minute.
        horizons: in expected minutes.

    Returns:
        One row per bar and horizon, in the shape of the table.
    """
    grid = on_expected_minutes(bars, minutes, "close")
    labels = pl.concat([_of_horizon(grid, horizon) for horizon in horizons])
    return labels.filter(pl.col("close").is_not_null()).select(tables.LABELS_TWS_RETURNS.schema.names())


def _of_horizon(grid: pl.DataFrame, horizon: int) -> pl.DataFrame:
    close = pl.col("close")
    return grid.with_columns(
        pl.lit(horizon, dtype=pl.Int64).alias("horizon"),
        pl.lit("v1").alias("label_version"),
        (close.shift(-horizon).over(GROUP) / close - 1).alias("forward_return"),
        pl.col("ts").shift(-horizon).over(GROUP).alias("matures_ts"),
    )
