"""Members of a universe: resolved instruments, merged over everybody who named them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from quant_assets.connectors.base import ContractDetails
from quant_assets.domain.tables import UNIVERSE

IDENTITY = ("con_id", "symbol", "exchange", "currency", "asset_class")

SCHEMA = pl.Schema({name: UNIVERSE.schema[name] for name in (*IDENTITY, "sources", "profiles", "metadata")})
"""Shape of resolved members before they are merged over sources and profiles."""


def frame(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Return rows in that shape; what a row lacks is null."""
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)


def identity(details: ContractDetails) -> dict[str, object]:
    """Return what names an instrument."""
    return {
        "con_id": details.con_id,
        "symbol": details.symbol,
        "exchange": details.primary_exchange or details.exchange,
        "currency": details.currency,
        "asset_class": details.asset_class,
    }


def by_name(universe: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return rows by `EXCHANGE:SYMBOL`, and by the symbol alone where only one instrument has it.

    Args:
        universe: rows of one universe, or some of them.
    """
    rows = list(universe.iter_rows(named=True))
    bearers = Counter(row["symbol"] for row in rows)
    alone = {row["symbol"]: row for row in rows if bearers[row["symbol"]] == 1}
    return alone | {qualified(row): row for row in rows}


def qualified(member: Mapping[str, object]) -> str:
    """Return `EXCHANGE:SYMBOL` of an instrument."""
    return f"{member['exchange']}:{member['symbol']}"


def told(source: str, **values: object) -> str:
    """Return what a source said of an instrument, as JSON under the source's name."""
    return json.dumps({source: values}, sort_keys=True)


def merge(members: pl.DataFrame) -> pl.DataFrame:
    """One row per instrument; sources, profiles and metadata are joined in a fixed order."""

    def joined(name: str) -> pl.Expr:
        given = pl.col(name).filter(pl.col(name) != "")
        return given.unique().sort().str.join(";")

    merged = (
        members.sort("con_id", "sources", "profiles", "symbol", "exchange")
        .group_by("con_id", maintain_order=True)
        .agg(
            pl.col("symbol", "exchange", "currency", "asset_class").first(),
            joined("sources"),
            joined("profiles"),
            pl.col("metadata").drop_nulls().unique().sort(),
        )
    )
    texts = pl.Series("metadata", [_joined(one) for one in merged["metadata"].to_list()], dtype=pl.String)
    return merged.with_columns(texts)


def _joined(texts: Sequence[str]) -> str | None:
    """Merge JSON objects; of two values of one source the later in order of text stays."""
    whole: dict[str, object] = {}
    for text in texts:
        whole |= json.loads(text)
    return json.dumps(whole, sort_keys=True) if whole else None


def with_observed(members: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    """Keep, of a session that is past, the members that were observed at the time; today's lists only add to them.

    A member that other profiles ask for by now was not known to them then, and says so.
    """
    now = members.select("con_id", pl.col("sources").alias("_sources"), pl.col("profiles").alias("_profiles"))
    joined = observed.join(now, on="con_id", how="left").with_columns(
        _union("sources", "_sources"), _union("profiles", "_profiles"), pl.col("profiles").alias("_before")
    )
    kept = joined.with_columns((pl.col("profiles") == pl.col("_before")).alias("is_pit")).select(members.columns)
    return pl.concat([kept, members.join(kept, on="con_id", how="anti")]).sort("con_id")


def _union(name: str, other: str) -> pl.Expr:
    both = pl.concat_str(name, other, separator=";", ignore_nulls=True)
    return both.str.split(";").list.unique().list.sort().list.join(";").alias(name)
