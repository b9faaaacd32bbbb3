"""Bars laid on the minutes that a session is expected to have."""

import polars as pl

GROUP = ["session", "con_id"]
"""What a window never crosses."""


def on_expected_minutes(bars: pl.DataFrame, minutes: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Lay each instrument's bars on the full grid of its session's minutes.

    Args:
        bars: rows of `curated_tws_1m_bars`, any sessions; key (session, con_id, ts).
        minutes: expected minutes of those sessions: session, ts, minute; with con_id, each instrument's own.
        columns: columns of the bars to keep; null in a minute without a bar, and where the value was imputed: what was
            filled in is no observation, and may have been made from later bars.

    Returns:
        session, con_id, symbol, ts, minute and `columns`; one row per instrument and expected minute, sorted.
    """
    instruments = bars.select(*GROUP, "symbol").unique(subset=GROUP, keep="first", maintain_order=True)
    grid = instruments.join(minutes, on=[name for name in GROUP if name in minutes.columns], how="inner")
    observed = bars.select(*GROUP, "ts", *(_observed(bars, name) for name in columns))
    laid = grid.join(observed, on=[*GROUP, "ts"], how="left")
    return laid.sort(*GROUP, "minute")


def _observed(bars: pl.DataFrame, name: str) -> pl.Expr:
    mask = f"is_imputed_{name}"
    return pl.when(~pl.col(mask)).then(name).alias(name) if mask in bars.columns else pl.col(name)


def once_full(value: pl.Expr, first_minute: int) -> pl.Expr:
    """Return null before `first_minute`, the first one that a whole window ends with."""
    return pl.when(pl.col("minute") >= first_minute).then(value)
