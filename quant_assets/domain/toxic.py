"""Prices that cannot be: one bad bar is told from a real move by looking at both of its neighbours."""

import math

import polars as pl

MAX_LOG_JUMP = math.log(6.0)
"""|ln(p / p_ref)| above this is no ordinary move: the log form of +500 %, the same size up and down."""

_PRICES = ("open", "high", "low", "close")


def judge(bars: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Give every bar a toxic verdict.

    A `bad_print` has a price that jumps away from the close before it and back again to the close after it, so that
    100 → 0.01 → 100 rejects the bad bar and not the good ones. A `level_shift` jumps and stays: a split that the
    source did not adjust, or a real move; the one bar at the edge is held back until something explains it, and the
    bars after it stay.

    Args:
        bars: one row per (con_id, ts), sorted by it, one session; columns open, high, low, close.
        reference: con_id, previous_close: the last close before the session, where one is known.

    Returns:
        `bars` with `toxic` ("bad_print", "level_shift" or null) and `toxic_evidence` (text).
    """
    close = pl.col("close")
    known = bars.join(reference, on="con_id", how="left", maintain_order="left").with_columns(
        pl.coalesce(close.shift(1).over("con_id"), "previous_close", close.shift(-2).over("con_id")).alias("_before"),
        pl.coalesce(close.shift(-1).over("con_id"), close.shift(2).over("con_id"), "previous_close").alias("_after"),
    )
    jumps = known.with_columns(_worst("_before").alias("_jump"), _worst("_after").alias("_back"))
    bad = (pl.col("_jump") > MAX_LOG_JUMP) & (pl.col("_back") > MAX_LOG_JUMP)
    judged = jumps.with_columns(bad.fill_null(value=False).alias("_bad"))
    sound_before = pl.when(~pl.col("_bad")).then(close).forward_fill().over("con_id").shift(1).over("con_id")
    judged = judged.with_columns(pl.coalesce(sound_before, "previous_close").alias("_sound"))
    shifted = ~pl.col("_bad") & ((close / pl.col("_sound")).log().abs() > MAX_LOG_JUMP)
    verdict = pl.when("_bad").then(pl.lit("bad_print")).when(shifted).then(pl.lit("level_shift"))
    evidence = pl.format(
        "close {} against {} before and {} after", close, pl.col("_before"), pl.col("_after")
    )
    return judged.with_columns(verdict.alias("toxic"), pl.when(verdict.is_not_null()).then(evidence).alias("toxic_evidence")).select(
        *bars.columns, "toxic", "toxic_evidence"
    )


def _worst(reference: str) -> pl.Expr:
    """Return the largest |ln(price / reference)| over the four prices of a bar."""
    return pl.max_horizontal((pl.col(price) / pl.col(reference)).log().abs() for price in _PRICES)
