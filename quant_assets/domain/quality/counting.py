"""Counting what the rules rejected."""

from collections.abc import Mapping

import polars as pl


def rule_counts(quarantine: pl.DataFrame) -> Mapping[str, int]:
    """Return how many rows each rule rejected."""
    counted = quarantine.group_by("rule").len().sort("rule")
    return dict(counted.iter_rows())
