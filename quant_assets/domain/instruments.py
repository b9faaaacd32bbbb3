"""Instruments as a slowly changing dimension, keyed by con_id; the symbol is only a label."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.domain import tables
from quant_assets.domain.tables.discovery import DETAILS

WhatToShow = Literal["TRADES", "ADJUSTED_LAST", "MIDPOINT", "BID", "ASK", "AGGTRADES"]


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
        Rows of `instruments`: one per con_id and unbroken stretch of equal details, valid_from and valid_until being
        the first and last session of the stretch; valid_until is null while nothing newer is known.
    """
    known = raw.filter(pl.col("session") <= session).sort("con_id", "session", "ingested_at")
    daily = known.unique(["con_id", "session"], keep="last", maintain_order=True)
    changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in _LABELS)
    first = pl.col("session") == pl.col("session").first()
    stretches = daily.with_columns((changed | first).cast(pl.Int64).cum_sum().over("con_id").alias("_stretch"))
    folded = stretches.group_by("con_id", "_stretch", maintain_order=True).agg(
        pl.col("session").first().alias("valid_from"),
        pl.col("session").last().alias("valid_until"),
        *(pl.col(name).last() for name in _LABELS),
    )
    is_current = pl.col("_stretch") == pl.col("_stretch").max().over("con_id")
    active = is_current & pl.col("con_id").is_in(members["con_id"].to_list())
    return folded.with_columns(
        pl.lit(session).alias("session"),
        pl.when(~is_current).then("valid_until").alias("valid_until"),
        active.alias("active"),
    ).select(tables.INSTRUMENTS.schema.names())
