"""Columns that several tables share, so that one meaning has one spelling."""

import polars as pl

from quant_assets.domain.tables.core import UTC_MICROS, Column

SESSION = Column("session", pl.Date, "date", "Exchange session, never the UTC date of a bar")
CON_ID = Column("con_id", pl.Int64, "id", "IBKR contract id: the identity of the instrument", gt=0)
SYMBOL = Column("symbol", pl.String, "label", "Symbol at the time of observation; it can change or be reused")
PROFILE = Column("profile", pl.String, "name", "Profile of configs/manifest.json")
TS = Column("ts", UTC_MICROS, "UTC instant", "Start of the bar")
RUN_ID = Column("run_id", pl.String, "id", "Run directory under data/artifacts/runs")

BATCH_ID = Column("batch_id", pl.String, "id", "Commit that brought the row", provenance=True)
REQUEST_ID = Column("request_id", pl.String, "id", "TWS request that brought the row", provenance=True)
INGESTED_AT = Column("ingested_at", UTC_MICROS, "UTC instant", "When the answer arrived", provenance=True)
PIPELINE_VERSION = Column("pipeline_version", pl.String, "version", "Release of quant_assets", provenance=True)
KNOWN_AT = Column(
    "known_at",
    UTC_MICROS,
    "UTC instant",
    "First time that this value was received, kept by every rebuild",
    provenance=True,
)
KNOWN_BASIS = Column(
    "known_basis",
    pl.String,
    "enum",
    "observed: received when it became known; assumed: backfilled later",
    provenance=True,
    isin=("observed", "assumed"),
)
TRANSFORM_VERSION = Column("transform_version", pl.String, "version", "Meaning of the transform that made the row")
DQ_STATUS = Column(
    "dq_status", pl.String, "enum", "Worst severity among the row's findings", isin=("ok", "warn", "error")
)

SERIES = (
    Column("source", pl.String, "name", "Where the series comes from", isin=("TWS",)),
    Column("bar_size", pl.String, "enum", "Length of a bar", isin=("1 min", "1 day")),
    Column(
        "what_to_show",
        pl.String,
        "enum",
        "TWS series",
        isin=("TRADES", "ADJUSTED_LAST", "MIDPOINT", "BID", "ASK", "AGGTRADES"),
    ),
    Column("use_rth", pl.Boolean, "flag", "Regular trading hours only"),
)
"""With con_id, the identity of a series."""


def ohlcv(*, strict: bool) -> tuple[Column, ...]:
    """Return the price and volume columns; `strict` ones carry the rules that every valid bar keeps.

    Others may be null: a source that sends no number is a finding for quarantine, not a reason to stop.
    """
    floor = 0.0 if strict else None
    volume_floor = 0.0 if strict else None
    return (
        Column("open", pl.Float64, "quote currency per share", "First price of the bar", nullable=not strict, gt=floor),
        Column(
            "high", pl.Float64, "quote currency per share", "Highest price of the bar", nullable=not strict, gt=floor
        ),
        Column("low", pl.Float64, "quote currency per share", "Lowest price of the bar", nullable=not strict, gt=floor),
        Column("close", pl.Float64, "quote currency per share", "Last price of the bar", nullable=not strict, gt=floor),
        Column(
            "volume",
            pl.Float64,
            "shares",
            "Traded volume; null where the source has none",
            nullable=True,
            ge=volume_floor,
        ),
        Column("wap", pl.Float64, "quote currency per share", "Volume-weighted average price", nullable=True),
        Column("bar_count", pl.Int64, "trades", "Number of trades", nullable=True, ge=volume_floor),
    )


OHLC_ORDER = {
    "high_is_highest": "high >= open AND high >= low AND high >= close",
    "low_is_lowest": "low <= open AND low <= close",
}
"""Row rules that every stored bar keeps."""
