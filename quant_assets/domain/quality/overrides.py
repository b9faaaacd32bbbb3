"""A person's word on quarantined rows: which rows it is about, and whether it still applies."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from quant_assets.domain.bars import as_served

ROW_KEY = ("con_id", "ts", "batch_id", "request_id", "answer_row")
"""With the session, what names one row of one answer."""

VALUES = ("open", "high", "low", "close", "volume", "wap", "bar_count")

OVERRIDES = pl.Schema(
    {
        "con_id": pl.Int64(),
        "ts": pl.Datetime("us", "UTC"),
        "batch_id": pl.String(),
        "request_id": pl.String(),
        "answer_row": pl.Int64(),
        "values_hash": pl.String(),
        "action": pl.String(),
        "verdict": pl.String(),
        "rule": pl.String(),
        "who": pl.String(),
    }
)
"""One row per named row of a session: the newest word about it, `release` or `confirm`."""


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the sha256 of a row's prices, volume and number of trades; floats by their exact value."""
    values = [value.hex() if isinstance(value := row[name], float) else value for name in VALUES]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def named_rows(rows: pl.DataFrame, overrides: pl.DataFrame | None, action: str) -> pl.DataFrame:
    """Return the rows that the newest word on them releases, or confirms: `_row`, and what was said.

    A row whose values changed since is not meant, whatever its key says.
    """
    words = pl.DataFrame(schema=OVERRIDES) if overrides is None else overrides.filter(pl.col("action") == action)
    named = as_served(rows.join(words, on=list(ROW_KEY), how="inner"))
    still = [row_hash(row) == row["values_hash"] for row in named.iter_rows(named=True)]
    return named.filter(pl.Series(still, dtype=pl.Boolean)).select("_row", "verdict", "rule", "who")
