"""Do the bars of an exchange contradict the hours that its calendar gives a session?"""

from typing import Final

import polars as pl

from quant_assets.domain.hours import HOURS, is_open, n_open_minutes

ENOUGH: Final = 10.0
"""Bars outside the hours, or bars that should have come before the first or after the last one, that need explaining.

Expected bars, not minutes: who trades in one minute of ten is silent for an hour now and then. With ten expected, a
silence by chance has odds of one in twenty thousand.
"""

MOST: Final = 0.75
"""Minutes that fill the hours hold at least this share of the daily volume, auctions and late prints apart; requests
end with the hours, so that of a longer session nothing else is seen."""

_SESSION: Final = ["calendar", "session"]
SEEN: Final = pl.Schema(
    {
        "calendar": pl.String(),
        "session": pl.Date(),
        "opens_at": HOURS["opens_at"],
        "closes_at": HOURS["closes_at"],
        "first": HOURS["opens_at"],
        "last": HOURS["opens_at"],
        "pace": pl.Float64(),
        "n_outside": pl.Int64(),
        "held": pl.Float64(),
        "daily": pl.Float64(),
    }
)
"""What the bars of a session say of an exchange's hours.

`first`, `last`: the first and last minute inside the hours with a bar of anybody · `pace`: bars a minute between an
instrument's first and last one, summed over instruments · `n_outside`: minutes outside the hours with a bar ·
`held`, `daily`: volume of the minutes and of the day, of instruments with a bar in every minute
"""


def seen(rows: pl.DataFrame, answers: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """Gather what some answers say of their exchanges' hours.

    Args:
        rows: rows of `raw_tws_bars`.
        answers: calendar, session, con_id and HOURS of what they answer.
        daily: DAILY_VOLUMES.

    Returns:
        SEEN: one row per calendar and session with a row.
    """
    hours = answers.select(*_SESSION, "con_id", *HOURS).unique(["session", "con_id"])
    inside, ts = pl.col("_inside"), pl.col("ts")
    by_instrument = (
        rows.group_by("session", "con_id", "ts")
        .agg(pl.col("volume").max())
        .join(hours, on=["session", "con_id"])
        .with_columns(is_open().alias("_inside"))
        .group_by(*_SESSION, "con_id", *HOURS)
        .agg(
            ts.filter(inside).min().alias("first"),
            ts.filter(inside).max().alias("last"),
            inside.sum().cast(pl.Int64).alias("_n"),
            (~inside).sum().cast(pl.Int64).alias("n_outside"),
            pl.col("volume").filter(inside).sum().alias("held"),
        )
        .join(daily, on=["session", "con_id"], how="left")
    )
    fills = (pl.col("_n") == n_open_minutes()) & pl.col("daily_volume").is_not_null()
    span = (pl.col("last") - pl.col("first")).dt.total_minutes() + 1
    paced = by_instrument.with_columns(
        (pl.col("_n") / span).fill_null(0.0).alias("pace"),
        pl.when(fills).then("held").otherwise(0.0).alias("held"),
        pl.when(fills).then("daily_volume").otherwise(0.0).alias("daily"),
    )
    return together(paced.select(SEEN.names()))


def together(parts: pl.DataFrame) -> pl.DataFrame:
    """Return one row per calendar and session for what several answers say."""
    return parts.group_by(_SESSION).agg(
        pl.col("opens_at").first(),
        pl.col("closes_at").first(),
        pl.col("first").min(),
        pl.col("last").max(),
        pl.col("pace").sum(),
        pl.col("n_outside").sum(),
        pl.col("held", "daily").sum(),
    )


def disputed(found: pl.DataFrame) -> pl.DataFrame:
    """Return calendar and session where the bars speak against the hours.

    Args:
        found: SEEN.
    """
    early = (pl.col("first") - pl.col("opens_at")).dt.total_minutes()
    late = (pl.col("closes_at") - pl.col("last")).dt.total_minutes() - 1
    lacking = pl.max_horizontal(early, late) * pl.col("pace")
    exceeds = pl.col("held") < MOST * pl.col("daily")
    contradicts = (lacking >= ENOUGH) | (pl.col("n_outside") >= ENOUGH) | exceeds
    return found.filter(contradicts).select(_SESSION).sort(_SESSION)
