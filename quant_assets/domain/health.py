"""How healthy data are: a score with its parts, a condition per instrument and session, a colour with reasons.

The score and each part are shares in [0, 1] that anyone can recompute; a part that nothing is known of is left out,
and the others keep their proportions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from quant_assets.errors.base import number_of

Colour = Literal["GREEN", "YELLOW", "RED"]

WEIGHTS: Mapping[str, float] = {
    "coverage": 0.40,
    "freshness": 0.20,
    "sound": 0.15,
    "explained": 0.15,
    "unwarned": 0.10,
}
"""Part → weight. coverage: what is present of what can be there; freshness: 1 when the newest expected session is
there, a quarter less for each one behind; sound: rows that were not rejected; explained: expected minutes that are
present or explained; unwarned: rows without a data-quality warning."""

WINDOW = 20
"""Sessions that an instrument, and the minutes as a whole, are judged by: a month, so that the cost of judging does not
grow with history."""

FULL_COVERAGE = 0.95
_BEHIND_STEP = 0.25
_YELLOW_SCORE, _RED_SCORE = 0.95, 0.80
_RED_BEHIND = 2

DAYS = {
    "session": pl.Date,
    "con_id": pl.Int64,
    "symbol": pl.String,
    "expected": pl.Int64,
    "present": pl.Int64,
    "rejected": pl.Int64,
    "warned": pl.Int64,
    "unexplained": pl.Int64,
    "excused": pl.Int64,
    "accepted": pl.Int64,
    "broken": pl.Int64,
    "condition": pl.String,
}
"""Columns of a calendar of conditions: minutes and rows. `unexplained` and `excused` are what `bar_accounting` says,
null where it says nothing; `accepted` what a person accepted as lost; `broken` bars from an unexplained break of the
price basis on."""

EXCUSES = ("no_trades", "halt", "not_listed", "delisted")
"""Reasons of `bar_accounting` for which there is no bar to be had in an open minute. That bars are in quarantine, or
that TWS refuses them, explains their absence and is no excuse."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A colour, and every reason why it is not green."""

    colour: Colour
    reasons: tuple[str, ...]


def freshness(sessions_behind: int | None) -> float | None:
    """Return 1 for data of the newest expected session, 0 from four sessions behind on."""
    return None if sessions_behind is None else max(0.0, 1.0 - _BEHIND_STEP * sessions_behind)


def score(parts: Mapping[str, float | None]) -> float | None:
    """Return the weighted mean of the parts that are known, or None when none is."""
    known = {name: value for name, value in parts.items() if value is not None}
    weight = sum(WEIGHTS[name] for name in known)
    return round(sum(WEIGHTS[name] * value for name, value in known.items()) / weight, 4) if weight else None


def condition(*, latest: pl.Expr) -> pl.Expr:
    """Return the condition of each instrument and session.

    `available`: at least 95 % of the minutes that can be there, nothing unexplained. `degraded`: fewer, or some
    unexplained, or the price basis breaks. `missing`: a session that should be there and has no bar. `pending`: the
    same of the newest expected session, whose data cycle may not have run yet. Where no bar can be, because the
    exchange was closed or nothing was traded, an instrument is available.
    """
    is_unexplained = pl.col("unexplained").fill_null(0) > 0
    is_doubtful = is_unexplained | (pl.col("present") < FULL_COVERAGE * _possible()) | (pl.col("broken") > 0)
    return (
        pl.when((_possible() <= 0) & ~is_unexplained)
        .then(pl.lit("available"))
        .when(pl.col("present") > 0)
        .then(pl.when(is_doubtful).then(pl.lit("degraded")).otherwise(pl.lit("available")))
        .when(pl.col("session") >= latest)
        .then(pl.lit("pending"))
        .otherwise(pl.lit("missing"))
        .alias("condition")
    )


def _possible() -> pl.Expr:
    return pl.col("expected") - pl.col("excused").fill_null(0)


def instrument_parts(days: pl.DataFrame) -> pl.DataFrame:
    """Return con_id, symbol and the parts of each instrument's score, from its calendar of conditions (`DAYS`).

    `pending` sessions count for freshness alone: nothing was asked for yet. Where no bar can be, none is behind: an
    instrument that was delisted is complete up to its last day.
    """
    settled = pl.col("condition") != "pending"
    present, rejected = pl.col("present").filter(settled).sum(), pl.col("rejected").filter(settled).sum()
    expected = pl.col("expected").filter(settled).sum()
    possible = _possible().filter(settled).sum()
    unexplained = pl.col("unexplained").filter(settled)
    newest = pl.col("session").filter(pl.col("present") > 0).max().fill_null(pl.date(1, 1, 1))
    behind = ((pl.col("session") > newest) & (_possible() > 0)).sum()
    shares = (
        days.sort("session")
        .group_by("con_id", maintain_order=True)
        .agg(
            pl.col("symbol").last(),
            sessions_behind=behind,
            coverage=_share(present, possible),
            sound=_share(present, present + rejected),
            explained=pl.when(unexplained.count() > 0).then(1.0 - _share(unexplained.sum(), expected)),
            unwarned=1.0 - _share(pl.col("warned").filter(settled).sum(), present),
        )
    )
    fresh = (1.0 - _BEHIND_STEP * pl.col("sessions_behind")).clip(0.0, 1.0).alias("freshness")
    return shares.with_columns(fresh).sort("con_id")


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then((part / whole).clip(0.0, 1.0))


def verdict(
    score_: float | None,
    sessions_behind: int | None,
    *,
    missing: int = 0,
    degraded: int = 0,
    unreadable: Sequence[str] = (),
    unexplained: int = 0,
    accepted: int = 0,
    broken: int = 0,
) -> Verdict:
    """Return the colour of a table or an instrument.

    RED: a file cannot be read, more than two sessions behind, or a score below 0.80. YELLOW: behind, sessions missing
    or degraded, minutes that nothing explains or that a person accepted as lost, a price basis that breaks, or a score
    below 0.95.
    """
    red, yellow = [], []
    if unreadable:
        red.append(f"{number_of(len(unreadable), 'file')} cannot be read, first: {unreadable[0]}")
    if score_ is None:
        yellow.append("nothing is published, so nothing is known")
    if sessions_behind:
        (red if sessions_behind > _RED_BEHIND else yellow).append(f"{number_of(sessions_behind, 'session')} behind")
    counts = (
        (missing, "session", "missing"),
        (degraded, "session", "degraded"),
        (unexplained, "minute", f"that nothing explains in the newest {WINDOW} sessions"),
        (accepted, "minute", "accepted as lost"),
        (broken, "session", "on another price basis than before, and nothing explains it"),
    )
    yellow += [f"{number_of(count, noun)} {what}" for count, noun, what in counts if count]
    if score_ is not None and score_ < _YELLOW_SCORE:
        (red if score_ < _RED_SCORE else yellow).append(f"quality score {score_:.4f}")
    return Verdict("RED" if red else "YELLOW" if yellow else "GREEN", (*red, *yellow))
