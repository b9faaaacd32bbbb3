"""When an instrument trades within a session: from the opening to the close, but for one pause that some have."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from quant_assets.domain.tables.core import UTC_MICROS

HOURS: Final = pl.Schema(dict.fromkeys(("opens_at", "closes_at", "pauses_at", "resumes_at"), UTC_MICROS))
"""Columns that hold `Hours`; the last two are null where trading does not pause."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening and closing instants of a session, and of its pause; a minute that starts at an end is outside."""

    opens_at: datetime
    closes_at: datetime
    pauses_at: datetime | None = None
    resumes_at: datetime | None = None

    @property
    def intervals(self) -> tuple[tuple[datetime, datetime], ...]:
        """The stretches in which trading goes on, ascending."""
        if self.pauses_at is None or self.resumes_at is None:
            return ((self.opens_at, self.closes_at),)
        return ((self.opens_at, self.pauses_at), (self.resumes_at, self.closes_at))

    @property
    def n_minutes(self) -> int:
        """How many minutes the session has: the upper bound of its bars."""
        return sum(int((end - start).total_seconds()) // 60 for start, end in self.intervals)

    @property
    def row(self) -> tuple[datetime, datetime, datetime | None, datetime | None]:
        """The instants in the order of `HOURS`."""
        return (self.opens_at, self.closes_at, self.pauses_at, self.resumes_at)


def n_open_minutes() -> pl.Expr:
    """Return how many minutes a session has, over the columns of `HOURS`."""
    pause = (pl.col("resumes_at") - pl.col("pauses_at")).dt.total_minutes().fill_null(0)
    return (pl.col("closes_at") - pl.col("opens_at")).dt.total_minutes() - pause


def is_open(
    opens: pl.Expr | None = None,
    closes: pl.Expr | None = None,
    pauses: pl.Expr | None = None,
    resumes: pl.Expr | None = None,
) -> pl.Expr:
    """Return whether a bar at `ts` starts while trading goes on; false without hours.

    Args:
        opens: the instant; the column of `HOURS` when left out.
        closes: likewise.
        pauses: likewise.
        resumes: likewise.
    """
    given = (opens, closes, pauses, resumes)
    first, last, pause, again = (
        pl.col(name) if one is None else one for name, one in zip(HOURS.names(), given, strict=True)
    )
    ts = pl.col("ts")
    in_pause = ((ts >= pause) & (ts < again)).fill_null(value=False)
    return ((ts >= first) & (ts < last)).fill_null(value=False) & ~in_pause
