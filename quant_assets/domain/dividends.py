"""Dividends, as the steps that the adjusted closes of one answer make against its closes."""

import polars as pl

SAME_BASIS = 1e-4
"""Two answers of one series whose closes differ by no more are on one price basis."""
LARGEST_DIVIDEND = 0.7
"""Share of the price; what would be more is no dividend but damage."""
_CENT = 0.01


def dividends(window: pl.DataFrame) -> pl.DataFrame:
    """Return the steps that adjusted closes make against closes, from each row of an instrument to its next one.

    They are con_id, session of the next one, and _dividend, which is 1 where none was paid. A close on the grid of
    cents carries the rounding of both of its series, and a step within that is none.
    """
    factor = pl.col("adj_close") / pl.col("close")
    step = pl.col("_factor").shift(1).over("con_id") / pl.col("_factor")
    close, adj_close = (pl.col(name).shift(1).over("con_id") for name in ("close", "adj_close"))
    cents = adj_close / _CENT
    rounding = pl.when((cents - cents.round()).abs() < 1e-6).then(_CENT / close).otherwise(0.0)  # noqa: PLR2004
    is_paid = (pl.col("_step") < 1 - SAME_BASIS - pl.col("_rounding")) & (pl.col("_step") > 1 - LARGEST_DIVIDEND)
    return (
        window.sort("con_id", "session")
        .with_columns(factor.alias("_factor"))
        .with_columns(step.alias("_step"), rounding.alias("_rounding"))
        .select("con_id", "session", pl.when(is_paid).then(pl.col("_step")).otherwise(1.0).alias("_dividend"))
    )


def told_of_the_time_away(window: pl.DataFrame, away: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions of which an answer tells something new, of instruments that had not been asked about.

    The link to the first session after the answer before compares it with that one, so all splits of the time between
    stand there. Dividends stand in the sessions on which they went ex.

    Args:
        window: con_id, session, close, adj_close of the answer.
        away: con_id, `since`: the session as of which the answer before was given.

    Returns:
        con_id, session; of sessions later than that.
    """
    rows = dividends(window).join(away, on="con_id").filter(pl.col("session") > pl.col("since"))
    is_first = pl.col("session") == pl.col("session").min().over("con_id")
    return rows.filter(is_first | (pl.col("_dividend") != 1.0)).select("con_id", "session")
