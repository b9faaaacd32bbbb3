"""Symbols over time: who was called so on a date, and who took an instrument's place."""

from collections.abc import Mapping
from datetime import date

import polars as pl

_ISIN = r"ISIN=([A-Z]{2}[A-Z0-9]{9}[0-9])"
_SAME_LISTING = ["symbol", "primary_exchange", "currency", "asset_class"]
SUCCESSION_DAYS = 10
"""Within this many days of the last sight of an instrument its name has to be seen again to speak for a successor."""


def canonical(name: str, aliases: Mapping[str, str]) -> str:
    """Return the name that an alias stands for; other names stand for themselves."""
    return aliases.get(name, name)


def called(instruments: pl.DataFrame, name: str, exchange: str, first: date, last: date) -> pl.DataFrame:
    """Return who was called so in a stretch of time, the latest last.

    A symbol is a label: it changes while the instrument stays, and is given to another one later. One instrument that
    bore it at any time of the stretch is meant for all of it, also under its other names; of several none is meant more
    than the others.

    Args:
        instruments: con_id, symbol, exchange, primary_exchange, valid_from, last_seen of `instruments`.
        name: the symbol.
        exchange: the exchange that lists it, or empty for any.
        first: start of the stretch.
        last: its end; equal to `first` for a single date.

    Returns:
        con_id, `listed` (the exchange), and `since` and `until`, between which it was seen under the name within the
        stretch.
    """
    listed = pl.when(pl.col("primary_exchange") != "").then("primary_exchange").otherwise("exchange")
    bearers = instruments.with_columns(listed.alias("listed")).filter(
        (pl.col("symbol") == name)
        & ((pl.col("listed") == exchange) | pl.lit(exchange == ""))
        & (pl.col("valid_from") <= last)
        & (pl.col("last_seen") >= first)
    )
    stretches = (
        bearers.sort("valid_from")
        .group_by("con_id")
        .agg(
            pl.col("listed").last(),
            pl.max_horizontal(pl.col("valid_from").min(), pl.lit(first)).alias("since"),
            pl.min_horizontal(pl.col("last_seen").max(), pl.lit(last)).alias("until"),
        )
    )
    return stretches.sort("until", "con_id")


def successors(instruments: pl.DataFrame) -> pl.DataFrame:
    """Return who took the place of instruments that are no longer seen.

    A corporate action may give a company's shares a new con_id. Evidence, the better first: the same ISIN is seen
    under another con_id, in the same currency, only after the old one (a listing abroad has the ISIN, too); or the
    same symbol, exchange, currency, kind and name, soon after.

    Args:
        instruments: validity ranges with con_id, valid_from, last_seen, valid_until, ids, long_name and _SAME_LISTING.

    Returns:
        con_id, successor and successor_evidence; one row per instrument that has one.
    """
    newest = instruments.filter(pl.col("valid_until").is_null()).with_columns(
        pl.col("ids").str.extract(_ISIN).alias("_isin"),
        pl.col("valid_from").alias("_from"),
    )
    born = instruments.group_by("con_id").agg(pl.col("valid_from").min().alias("_born"))
    heirs = newest.join(born, on="con_id").select(
        pl.col("con_id").alias("successor"), "_isin", "_born", "long_name", *_SAME_LISTING
    )
    gone = newest.select("con_id", "last_seen", "_isin", "long_name", *_SAME_LISTING)
    by_isin = gone.join(heirs, on=["_isin", "currency", "asset_class"], suffix="_heir").with_columns(
        pl.format("the same ISIN {}, first seen on {}", "_isin", "_born").alias("successor_evidence"),
        pl.lit(0).alias("_rank"),
    )
    by_name = gone.join(heirs, on=[*_SAME_LISTING, "long_name"], suffix="_heir").filter(
        pl.col("_born") <= pl.col("last_seen").dt.offset_by(f"{SUCCESSION_DAYS}d")
    )
    by_name = by_name.with_columns(
        pl.format("the same listing {} and name, first seen on {}", "symbol", "_born").alias("successor_evidence"),
        pl.lit(1).alias("_rank"),
    )
    columns = ["con_id", "last_seen", "successor", "_born", "_rank", "successor_evidence"]
    found = pl.concat([by_isin.select(columns), by_name.select(columns)]).filter(
        (pl.col("_born") > pl.col("last_seen")) & (pl.col("successor") != pl.col("con_id"))
    )
    best = found.sort("con_id", "_rank", "_born", "successor").unique("con_id", keep="first", maintain_order=True)
    return best.select("con_id", "successor", "successor_evidence")


def lineage(instruments: pl.DataFrame, con_id: int) -> list[int]:
    """Return an instrument and, one after the other, who took its place; the last one is what is traded today."""
    after = dict(instruments.drop_nulls("successor").select("con_id", "successor").iter_rows())
    chain = [con_id]
    while (heir := after.get(chain[-1])) is not None and heir not in chain:
        chain.append(heir)
    return chain
