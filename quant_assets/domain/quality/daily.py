"""Rules of the daily window."""

import polars as pl

from quant_assets.domain import tables
from quant_assets.domain.breaks import UNEXPLAINED_BREAK, price_breaks, told_apart
from quant_assets.domain.toxic import REAL_MOVE
from quant_assets.settings.quality import PRICES


def _is_sound_volume() -> pl.Expr:
    """Return whether volume and number of trades are absent, or numbers that are not negative."""
    volume, count = pl.col("volume"), pl.col("bar_count")
    return (volume.is_finite() & (volume >= 0)).fill_null(value=True) & (count >= 0).fill_null(value=True)


def sound_daily(window: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide a daily window into rows with positive, ordered prices and sound volumes, and the rest."""
    is_sound = (
        pl.all_horizontal((pl.col(name) > 0) & pl.col(name).is_finite() for name in (*PRICES, "adj_close"))
        & _is_sound_volume()
        & (pl.col("high") >= pl.max_horizontal("open", "low", "close"))
        & (pl.col("low") <= pl.min_horizontal("open", "close"))
    ).fill_null(value=False)
    return window.filter(is_sound), window.filter(~is_sound)


def on_minutes_basis(daily: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Put what the daily history says of a session on the price basis of its stored minutes.

    After a split the two may stand on its two sides; then neither is a jump, nor contradicts the other.

    Args:
        daily: con_id, previous_close, day_high, day_low, day_close, day_volume, usual_volume.
        own: con_id, split_factor: from the stored minutes to the basis of the daily history.
    """
    basis = pl.col("split_factor").fill_null(1.0)
    return (
        daily.join(own.select("con_id", "split_factor"), on="con_id", how="left", maintain_order="left")
        .with_columns(
            *(pl.col(name) / basis for name in ("previous_close", "day_high", "day_low", "day_close")),
            *(pl.col(name) * basis for name in ("day_volume", "usual_volume")),
        )
        .drop("split_factor")
    )


def finish_daily(
    window: pl.DataFrame, expected: pl.DataFrame, version: str, moves: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Add coverage, status and version to a sound daily window.

    Args:
        window: sound rows; and, where it is another than the default, max_jump.
        expected: con_id, n_expected: sessions of the window in which the instrument's exchange was open.
        version: of the transform.
        moves: breaks that a person says are real moves, as `breaks.REAL_MOVES`.

    Returns:
        Rows of `curated_tws_1d_bars`; coverage is sessions present ÷ sessions expected. Where the price basis breaks
        and nothing explains it, the rows before the last break are in `error`, for nothing says how they lead to the
        basis of the newest row, and the first row on that basis is `warn`. So is the row of a real move.
    """
    counted = window.join(expected, on="con_id", how="left", maintain_order="left")
    broken, moved = told_apart(price_breaks(window), moves)
    last = broken.group_by("con_id").agg(pl.col("session").max().alias("_break"))
    real = moved.select("con_id", "session", _is_move=True)
    marked = counted.join(last, on="con_id", how="left", maintain_order="left").join(
        real, on=["con_id", "session"], how="left", maintain_order="left"
    )
    before = (pl.col("session") < pl.col("_break")).fill_null(value=False)
    at_it = (pl.col("session") == pl.col("_break")).fill_null(value=False)
    return marked.with_columns(
        (pl.len().over("con_id") / pl.col("n_expected")).alias("coverage"),
        pl.when(before)
        .then(pl.lit("error"))
        .when(at_it | pl.col("_is_move"))
        .then(pl.lit("warn"))
        .otherwise(pl.lit("ok"))
        .alias("dq_status"),
        pl.when(before | at_it)
        .then(pl.lit(UNEXPLAINED_BREAK))
        .when(pl.col("_is_move"))
        .then(pl.lit(REAL_MOVE))
        .alias("dq_rules"),
        pl.lit(version).alias("transform_version"),
    ).select(tables.CURATED_TWS_1D_BARS.schema.names())
