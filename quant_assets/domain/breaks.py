"""Breaks of a price basis: a level that stays and lies beyond any move, which no split and no trading explain.

A vendor that adjusts for a split the wrong way, or not at all, serves one history on two price bases. One witness says
so, and a factor needs two: nothing is made up, and what was served stays readable. But no number may be computed from
prices of both sides.
"""

from typing import Final

import polars as pl

from quant_assets.domain.toxic import FOLD, MAX_JUMP, NORMAL_VOLUME

UNEXPLAINED_BREAK: Final = "unexplained_break"
"""Name of the rule that marks a bar, and of the kind of adjustment factor."""

SAME_MOVE = 0.02
"""How far, relatively, a break may lie from the one that somebody spoke of: a vendor revises its prices."""
_CENT = 0.01

REAL_MOVES = pl.Schema(
    {
        "con_id": pl.Int64(),
        "session": pl.Date(),
        "price_ratio": pl.Float64(),
        "close_before": pl.Float64(),
        "note": pl.String(),
    }
)
"""Breaks that a person says are real moves: by how much the price moved, and from which, and who says so and why."""

_USUAL_SESSIONS = 10
"""Sessions before, whose median volume is usual: as many as two windows are compared by."""


def price_breaks(window: pl.DataFrame) -> pl.DataFrame:
    """Find the sessions of a daily window from which on prices stand on another basis than before.

    Both open and close are farther than `max_jump` from the close before, on one side of it, the session after does
    not come back, and the volume is that of no move: fewer than half the usual shares, or after a fall as many dollars
    as ever. Without a usual volume nothing is accused. A single session that is far from both of its neighbours is a
    bad print, no break; the newest session has no neighbour after it, and so it is a break until it has one.

    Args:
        window: con_id, session, open, close, volume, one row per instrument and session; and, where it is another than
            the default, max_jump.

    Returns:
        con_id, session (the first one on the other basis), price_ratio (its open to the close before), close_before,
        close_after, evidence.
    """
    jump = pl.col("max_jump").fill_null(MAX_JUMP).log() if "max_jump" in window.columns else pl.lit(MAX_JUMP).log()
    before, after = (pl.col("close").shift(by).over("con_id") for by in (1, -1))
    is_away = ((pl.col("close") / before).log().abs() > jump).fill_null(value=False)
    comes_back = ((after / before).log().abs() <= jump).fill_null(value=False)
    usual = pl.col("volume").shift(1).rolling_median(_USUAL_SESSIONS, min_samples=1).over("con_id")
    ratio, shares = pl.col("open") / pl.col("_before"), pl.col("volume") / pl.col("_usual")
    is_far = pl.min_horizontal(ratio.log(), (pl.col("close") / pl.col("_before")).log()) > jump
    is_fallen = pl.max_horizontal(ratio.log(), (pl.col("close") / pl.col("_before")).log()) < -jump
    is_quiet = shares < NORMAL_VOLUME
    is_as_dear = (shares * ratio).is_between(1 / FOLD, FOLD)
    evidence = pl.format(
        "close {} before, open {} and close {} on {}, {} times; volume {} of usually {}: no answer tells of a split, "
        "and nothing is adjusted",
        pl.col("_before"), "open", "close", "session", ratio.round(4), "volume", "_usual",
    )  # fmt: skip
    return (
        window.sort("con_id", "session")
        .with_columns((is_away & comes_back).alias("_is_print"), usual.alias("_usual"))
        .with_columns(
            pl.when(pl.col("_is_print").shift(1).over("con_id"))
            .then(pl.col("close").shift(2).over("con_id"))
            .otherwise(before)
            .alias("_before")
        )
        .filter(~pl.col("_is_print") & (is_far | is_fallen) & (is_quiet | (is_fallen & is_as_dear)))
        .select(
            "con_id",
            "session",
            ratio.alias("price_ratio"),
            pl.col("_before").alias("close_before"),
            pl.col("close").alias("close_after"),
            evidence.alias("evidence"),
        )
    )


def told_apart(found: pl.DataFrame, moves: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide breaks into those that nothing explains, and those that a person says are real moves.

    A word is about one move: a break of another size at the same place is unexplained. But each split since rounds the
    two prices to cents anew, and of a price of few cents that changes the ratio by much: two ratios are of one size,
    too, when the prices before they were rounded can have been.

    Args:
        found: as `price_breaks` returns them.
        moves: as `REAL_MOVES`; None for no word.

    Returns:
        Both with the columns of `found`, the real moves also with `note`.
    """
    words = pl.DataFrame(schema=REAL_MOVES) if moves is None else moves
    spoken = found.join(words, on=["con_id", "session"], how="left", suffix="_told", maintain_order="left")
    is_near = (pl.col("price_ratio") / pl.col("price_ratio_told") - 1).abs() <= SAME_MOVE
    (least, most), (least_told, most_told) = _range(""), _range("_told")
    is_same = (is_near | ((least <= most_told) & (least_told <= most))).fill_null(value=False)
    return spoken.filter(~is_same).select(found.columns), spoken.filter(is_same).select(*found.columns, "note")


def _range(suffix: str) -> tuple[pl.Expr, pl.Expr]:
    """Return the least and the largest ratio of two prices that a ratio's own were rounded from."""
    ratio, before = pl.col(f"price_ratio{suffix}"), pl.col(f"close_before{suffix}")
    after = ratio * before
    least = (after - _rounding(after)) / (before + _rounding(before))
    most = (after + _rounding(after)) / (before - _rounding(before))
    return least.fill_null(ratio), most.fill_null(ratio)


def _rounding(price: pl.Expr) -> pl.Expr:
    """Return half a cent for a price in whole cents, and nothing for any other."""
    cents = price / _CENT
    return pl.when((cents - cents.round()).abs() < 1e-6).then(_CENT / 2).otherwise(0.0)  # noqa: PLR2004


def breaks_of(daily: pl.DataFrame) -> pl.DataFrame:
    """Return con_id and session of the rows of a daily window from which on it stands on another price basis."""
    told = pl.col("dq_rules").str.contains(UNEXPLAINED_BREAK, literal=True) & (pl.col("dq_status") != "error")
    return daily.filter(told.fill_null(value=False)).select("con_id", "session")


def on_one_basis(daily: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a daily window that stand on the basis of its newest session: what may be computed from."""
    return daily.filter(pl.col("dq_status") != "error")
