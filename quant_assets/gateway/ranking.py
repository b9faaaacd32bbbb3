"""The market scanner: one table of a session's totals, ranked by a scan code.

The session is the last one that has closed: a scan during trading hours ranks the day before.
"""

from typing import Final

import polars as pl

from quant_assets.errors import UnknownNameError

MEAN_VOLUME_SESSIONS: Final = 20
MAX_ROWS: Final = 50
"""TWS sends no more than this for one scan, whatever was asked."""

TOTALS = pl.Schema(
    {
        "con_id": pl.Int64,
        "close": pl.Float64,
        "previous_close": pl.Float64,
        "volume": pl.Float64,
        "mean_volume": pl.Float64,
    }
)
"""One row per instrument: the last closed session against the one before and against its mean volume."""

_CHANGE = pl.col("close") / pl.col("previous_close") - 1
SCAN_CODES: Final[dict[str, tuple[str, pl.Expr]]] = {
    "MOST_ACTIVE": ("Most Active", pl.col("volume")),
    "MOST_ACTIVE_USD": ("Most Active ($)", pl.col("volume") * pl.col("close")),
    "TOP_PERC_GAIN": ("Top % Gainers", _CHANGE),
    "TOP_PERC_LOSE": ("Top % Losers", -_CHANGE),
    "HOT_BY_VOLUME": ("Hot by Volume", pl.col("volume") / pl.col("mean_volume")),
    "HOT_BY_PRICE": ("Hot by Price", _CHANGE.abs()),
}
"""Scan code -> (display name, what is ranked, largest first)."""


def totals(daily: pl.DataFrame) -> pl.DataFrame:
    """Reduce daily bars (con_id, session, close, volume) to TOTALS of their last session."""
    last = pl.col("session") == daily["session"].max()
    by_session = daily.sort("con_id", "session").with_columns(
        previous_close=pl.col("close").shift(1).over("con_id"),
        mean_volume=pl.col("volume").rolling_mean(MEAN_VOLUME_SESSIONS, min_samples=1).over("con_id"),
    )
    return by_session.filter(last).select(*TOTALS.names()).cast(TOTALS)


def ranked(table: pl.DataFrame, code: str, n_rows: int) -> list[int]:
    """Return con_ids, best first; ties by con_id so that the order is the same every time."""
    if code not in SCAN_CODES:
        raise UnknownNameError("scan code", code, SCAN_CODES)
    wanted = min(n_rows, MAX_ROWS) if n_rows > 0 else MAX_ROWS
    scored = table.select("con_id", score=SCAN_CODES[code][1]).filter(pl.col("score").is_finite())
    return scored.sort("score", "con_id", descending=[True, False]).head(wanted)["con_id"].to_list()
