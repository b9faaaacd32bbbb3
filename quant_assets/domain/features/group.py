"""What a feature group is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.domain.tables import Table

Compute = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""(rows of the input table, expected minutes of their sessions) → rows in the shape of the group's table."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a group reads."""

    table: Table
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far back a value reaches, itself included; recursive averages say the length after which they settle."""

    n: int
    of: Literal["minutes", "sessions"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its formula in words, where that is defined, and its own lookback in units of the group's."""

    name: str
    formula: str
    source: str
    lookback: int


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Features that are computed together and live in one table."""

    name: str
    version: str
    table: Table
    inputs: Inputs
    lookback: Lookback
    features: tuple[Feature, ...]
    compute: Compute
    """Values of every time in its input, so that history and the newest value have one code path."""
    revision: str
    """Of the implementation, for equal meaning: another one computes published partitions again."""
    time: str = "ts"
    """Column of the input by which one row is later than another."""
    known: str = "ts"
    """Column of the output: the newest input time that a row may depend on; null where it depends on none."""

    @property
    def is_daily(self) -> bool:
        """Whether the group has one row per instrument and session."""
        return self.time == "session"

    def unit(self, feature: str) -> str:
        """Return the unit of a feature, as the table declares it."""
        return self.table.column(feature).unit

    def published(self, computed: pl.DataFrame, session: date) -> pl.DataFrame:
        """Return the rows that belong to the partition of a session."""
        return computed.filter(pl.col("session") == session)
