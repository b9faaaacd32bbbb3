"""Instruments as a slowly changing dimension, keyed by con_id; the symbol is only a label."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.domain import symbology, tables, venues
from quant_assets.domain.costs import Schedule
from quant_assets.domain.tables.discovery import DETAILS

WhatToShow = Literal["TRADES", "ADJUSTED_LAST", "MIDPOINT", "BID", "ASK", "AGGTRADES"]


def valid_at(instruments: pl.DataFrame, session: date) -> pl.DataFrame:
    """Return the ranges of `instruments` that hold at a session, oldest first: the last one of an instrument counts."""
    holds = (pl.col("valid_from") <= session) & (pl.col("valid_until").is_null() | (pl.col("valid_until") >= session))
    return instruments.filter(holds).sort("valid_from", "con_id")


@dataclass(frozen=True, slots=True)
class Series:
    """Which of TWS's series of an instrument is ingested."""

    what_to_show: WhatToShow
    use_rth: bool


def minute_series(asset_class: str, *, use_rth: bool) -> Series:
    """Return the series of 1-minute bars for a TWS security type.

    Spot currencies have no trades; TWS refuses TRADES for crypto, whose aggregated trades it serves. Regular hours
    mean something for what is listed on a stock exchange; the others are taken for their whole trade date.
    """
    if asset_class == "CASH":
        return Series("MIDPOINT", use_rth=False)
    if asset_class == "CRYPTO":
        return Series("AGGTRADES", use_rth=False)
    return Series("TRADES", use_rth=use_rth and asset_class not in WHOLE_DAY)


def daily_series(asset_class: str) -> tuple[WhatToShow, ...]:
    """Return the series of daily bars for a TWS security type: only what pays dividends has an adjusted one."""
    first = minute_series(asset_class, use_rth=True).what_to_show
    return ("TRADES", "ADJUSTED_LAST") if asset_class in ADJUSTABLE else (first,)


def may_be_lots(asset_class: str, currency: str) -> bool:
    """Return whether TWS has a setting that counts volumes in lots of 100: it has one for US stocks."""
    return asset_class in ADJUSTABLE and currency == "USD"


PRIMARY_SERIES = ("TRADES", "MIDPOINT", "AGGTRADES")
"""Series that an instrument's own prices are taken from; each has one of them."""
ADJUSTABLE = ("STK", "ETF")
WHOLE_DAY = ("FUT", "CONTFUT")
"""Security types that trade around the clock though they have trades."""

_LABELS = ["symbol", *(column.name for column in DETAILS)]


def history(raw: pl.DataFrame, members: pl.DataFrame, session: date) -> pl.DataFrame:
    """Fold contract details of many sessions into validity ranges, as known at a session.

    Args:
        raw: rows of `raw_instruments` of sessions up to `session`; of several batches of a session the newest counts.
        members: con_id of the session's universe.
        session: the session as of which the dimension is seen.

    Returns:
        As `extended`.
    """
    return extended(tables.INSTRUMENTS.empty(), raw, members, session)


def extended(before: pl.DataFrame, raw: pl.DataFrame, members: pl.DataFrame, session: date) -> pl.DataFrame:
    """Fold newer contract details into a dimension that stands: equal to folding all of them, at the cost of the new.

    Args:
        before: rows of `instruments` as known at an earlier session, or none.
        raw: rows of `raw_instruments` of the sessions after that one, up to `session`.
        members: con_id of the session's universe.
        session: the session as of which the dimension is seen.

    Returns:
        Rows of `instruments`: one per con_id and unbroken stretch of equal details, from the first to the last session
        that they were seen in; valid_until is null while nothing newer is known. An instrument that is no longer seen
        names its successor where one is found.
    """
    standing = before.rename({"valid_from": "_first", "last_seen": "_last"})
    known = raw.filter(pl.col("session") <= session).sort("con_id", "session", "ingested_at")
    daily = known.unique(["con_id", "session"], keep="last", maintain_order=True)
    daily = daily.with_columns(pl.col("session").alias("_first"), pl.col("session").alias("_last"))
    columns = ["con_id", "_first", "_last", *_LABELS]
    open_ = standing.filter(pl.col("valid_until").is_null())
    rows = pl.concat([open_.select(columns), daily.select(columns)]).sort("con_id", "_first", maintain_order=True)
    folded = pl.concat([standing.filter(pl.col("valid_until").is_not_null()).select(columns), _stretches(rows)])
    is_current = pl.col("_first") == pl.col("_first").max().over("con_id")
    dated = folded.with_columns(
        pl.lit(session).alias("session"),
        pl.col("_first").alias("valid_from"),
        pl.col("_last").alias("last_seen"),
        pl.when(~is_current).then("_last").alias("valid_until"),
        (is_current & pl.col("con_id").is_in(members["con_id"].to_list())).alias("active"),
    )
    found = symbology.successors(dated)
    return (
        dated.join(found, on="con_id", how="left")
        .select(tables.INSTRUMENTS.schema.names())
        .sort("con_id", "valid_from")
    )


def _stretches(rows: pl.DataFrame) -> pl.DataFrame:
    """Join neighbours with equal details into one row; rows are sorted by con_id and time."""
    changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in ("con_id", *_LABELS))
    numbered = rows.with_columns(changed.cum_sum().alias("_stretch"))
    return (
        numbered.group_by("_stretch", maintain_order=True)
        .agg(
            pl.col("con_id").first(),
            pl.col("_first").first(),
            pl.col("_last").last(),
            *(pl.col(x).last() for x in _LABELS),
        )
        .drop("_stretch")
    )


def execution(instruments: pl.DataFrame, schedule: Schedule) -> pl.DataFrame:
    """Return how the members of a session are traded.

    Args:
        instruments: rows of `instruments` as known at a session.
        schedule: commissions for stocks in its currency; other instruments' fees are not known, and null.

    Returns:
        Rows of `execution`. TWS tells no least value of an order: it is what the smallest size is worth.
    """
    has_fees = (pl.col("asset_class") == "STK") & (pl.col("currency") == schedule.currency)
    fees = {"fee_per_unit": schedule.per_share, "fee_minimum": schedule.minimum}
    fees |= {"fee_maximum_fraction": schedule.maximum_fraction}
    return (
        instruments.filter(pl.col("active"))
        .select(
            "session",
            "con_id",
            "symbol",
            "asset_class",
            "currency",
            pl.col("min_size").alias("lot"),
            pl.col("size_increment").alias("step"),
            "min_tick",
            "multiplier",
            pl.lit(None, pl.Float64).alias("min_notional"),
            *(pl.when(has_fees).then(pl.lit(value)).alias(name) for name, value in fees.items()),
            pl.when(has_fees).then(pl.lit(schedule.name)).alias("fee_schedule"),
        )
        .sort("con_id")
    )


def exchanges(instruments: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Return the exchanges that list the members of a session.

    Args:
        instruments: rows of `instruments` as known at a session.
        named: con_id, calendar.

    Returns:
        Rows of `exchanges`, one per exchange and calendar.
    """
    listed = instruments.filter(pl.col("active")).with_columns(
        pl.when(pl.col("primary_exchange") != "").then("primary_exchange").otherwise("exchange").alias("exchange")
    )
    countries = pl.DataFrame(
        {"calendar": list(venues.COUNTRY), "country": list(venues.COUNTRY.values())},
        schema={"calendar": pl.String, "country": pl.String},
    )
    grouped = (
        listed.join(named, on="con_id", how="inner")
        .group_by("session", "exchange", "calendar")
        .agg(
            pl.col("timezone").mode().sort().first(), pl.col("con_id").n_unique().cast(pl.Int64).alias("n_instruments")
        )
    )
    return grouped.join(countries, on="calendar", how="left").select(tables.EXCHANGES.schema.names()).sort("exchange")


def described(instruments: pl.DataFrame) -> pl.DataFrame:
    """Return con_id, symbol and `is_described` of the active instruments: whether what everybody needs is told.

    That is a name, a currency, a time zone, a tick and, of stocks, an industry, which sector caps are made of.
    """
    texts = [pl.col(name) != "" for name in ("long_name", "currency", "timezone")]
    has_industry = (pl.col("industry") != "") | (pl.col("asset_class") != "STK")
    told = pl.all_horizontal(*texts, pl.col("min_tick") > 0, has_industry)
    return instruments.filter(pl.col("active")).select("con_id", "symbol", told.alias("is_described"))
