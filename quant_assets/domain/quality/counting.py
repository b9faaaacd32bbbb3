"""Counting the minutes of a session."""

from collections.abc import Mapping

import polars as pl

from quant_assets.domain.calendar import Hours


def accounting(valid: pl.DataFrame, quarantine: pl.DataFrame, universe: pl.DataFrame, hours: Hours) -> pl.DataFrame:
    """Count minutes per instrument of a session.

    Returns:
        con_id, symbol, expected, present, quarantined (minutes that only rejected rows have), missing, coverage.
    """
    present = valid.group_by("con_id").agg(pl.col("ts").n_unique().alias("present"))
    inside = quarantine.filter(pl.col("ts").is_between(hours.opens_at, hours.closes_at, closed="left")).with_columns(
        pl.col("ts").dt.truncate("1m")
    )
    lost = (
        inside.join(valid, on=["con_id", "ts"], how="anti")
        .group_by("con_id")
        .agg(pl.col("ts").n_unique().alias("quarantined"))
    )
    counts = (
        universe.select("con_id", "symbol")
        .join(present, on="con_id", how="left")
        .join(lost, on="con_id", how="left")
        .with_columns(
            pl.col("present", "quarantined").fill_null(0).cast(pl.Int64), pl.lit(hours.n_minutes).alias("expected")
        )
    )
    return counts.with_columns(
        (pl.col("expected") - pl.col("present") - pl.col("quarantined")).alias("missing"),
        (pl.col("present") / pl.col("expected")).alias("coverage"),
    ).sort("con_id")


def rule_counts(quarantine: pl.DataFrame) -> Mapping[str, int]:
    """Return how many rows each rule rejected."""
    counted = quarantine.group_by("rule").len().sort("rule")
    return dict(counted.iter_rows())
