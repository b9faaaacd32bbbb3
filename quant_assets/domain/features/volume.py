"""Volume features per minute bar: each window is computed from its own twenty minutes and nothing else.

A running sum would carry the rounding of a huge print through the rest of the session, and a z-score divides by what
is left of it.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.domain import tables
from quant_assets.domain.features.grid import on_expected_minutes, once_full

VOLUME_1M_VERSION = "1"

WIDTH = 20
_BLOCK = 1 << 16
_FEATURES = ("vol_ma_20", "vol_zscore_20", "vol_percentile_20")

Floats = NDArray[np.float64]


def volume_1m(bars: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Compute `features_volume_1m_v1`.

    With v(m) the volume of expected minute m (0 at the open), null where no bar is or the bar has no volume; a bar of
    volume 0 counts as present. The window of m is the minutes m - 19 … m, and every value is null until m ≥ 19:

    - vol_ma_20(m) = mean of the volumes present in the window; null where there is none;
    - vol_zscore_20(m) = (v(m) - vol_ma_20(m)) / s, s being their sample standard deviation (n - 1); null where v(m) is
      null, where fewer than two are present, and where all of them are equal;
    - vol_percentile_20(m) = share of the volumes present that are ≤ v(m), in (0, 1]; null where v(m) is null;
    - n_missing_volume_in_window_20(m) = minutes of the window without a volume.

    Only minutes up to m enter a value of minute m.

    Args:
        bars: rows of `curated_tws_1m_bars`, any sessions; key (session, con_id, ts).
        minutes: expected minutes of those sessions: session, ts, minute.

    Returns:
        One row per bar, in the shape of the table.
    """
    grid = on_expected_minutes(bars, minutes, "close", "volume")
    values = grid["volume"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    found = pl.DataFrame(_statistics(values)).with_columns(pl.col(_FEATURES).fill_nan(None))
    computed = pl.concat([grid, found], how="horizontal").with_columns(
        *(once_full(pl.col(name), WIDTH - 1).alias(name) for name in found.columns),
        pl.lit("volume_1m").alias("feature_group"),
        pl.lit("v1").alias("feature_version"),
    )
    return computed.filter(pl.col("close").is_not_null()).select(tables.FEATURES_VOLUME_1M_V1.schema.names())


def _statistics(values: Floats) -> dict[str, NDArray[Any]]:
    """Return each feature by row; windows that reach over the edge of a session are the caller's to void."""
    padded = np.concatenate([np.full(WIDTH, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[1:]
    blocks = [_of_windows(windows[start : start + _BLOCK]) for start in range(0, max(len(values), 1), _BLOCK)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _of_windows(windows: Floats) -> dict[str, NDArray[Any]]:
    present = ~np.isnan(windows)
    count, now = present.sum(axis=1), windows[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, windows, 0.0).sum(axis=1) / count
        squares = np.where(present, windows - mean[:, None], 0.0) ** 2
        deviation = np.sqrt(squares.sum(axis=1) / (count - 1))
        share = (windows <= now[:, None]).sum(axis=1) / count
    lowest = np.where(present, windows, np.inf).min(axis=1)
    highest = np.where(present, windows, -np.inf).max(axis=1)
    has_score = (count > 1) & (highest > lowest)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(has_score, (now - mean) / deviation, np.nan)
    return {
        "vol_ma_20": mean,
        "vol_zscore_20": score,
        "vol_percentile_20": np.where(np.isnan(now), np.nan, share),
        "n_missing_volume_in_window_20": (WIDTH - count).astype(np.int64),
    }
