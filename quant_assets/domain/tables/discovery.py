"""What is ingested, and what is known about it."""

import polars as pl

from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import UTC_MICROS, Column, Table

UNIVERSE = Table(
    name="universe",
    zone="discovery",
    key=("session", "con_id"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        Column("exchange", pl.String, "code", "Primary exchange"),
        Column("currency", pl.String, "ISO 4217", "Quote currency"),
        Column("asset_class", pl.String, "code", "TWS security type"),
        Column("sources", pl.String, "names", "Lists and scanners that named it, separated by `;`"),
        Column("profiles", pl.String, "names", "Profiles that asked for it, separated by `;`"),
        Column("observed_at", UTC_MICROS, "UTC instant", "When the sources were read", provenance=True),
        Column("is_pit", pl.Boolean, "flag", "The membership was known at the session, not reconstructed later"),
    ),
    grain="(session, con_id)",
    description="Instruments that are ingested for a session: the union of lists and scanners over all profiles.",
    producer="universe",
)

DETAILS = (
    Column("exchange", pl.String, "code", "Exchange that orders are routed to"),
    Column("primary_exchange", pl.String, "code", "Listing exchange"),
    Column("currency", pl.String, "ISO 4217", "Quote currency"),
    Column("asset_class", pl.String, "code", "TWS security type"),
    Column("min_tick", pl.Float64, "quote currency", "Smallest price step", gt=0.0),
    Column("min_size", pl.Float64, "shares", "Smallest order size", nullable=True),
    Column("size_increment", pl.Float64, "shares", "Step of order sizes", nullable=True),
    Column("timezone", pl.String, "IANA zone", "Time zone of the exchange"),
    Column("long_name", pl.String, "text", "Name of the issuer or fund"),
    Column("industry", pl.String, "name", "TWS industry, used as the sector"),
    Column("category", pl.String, "name", "TWS category"),
    Column("ids", pl.String, "TAG=value;…", "Security ids such as ISIN"),
    Column(
        "multiplier", pl.Float64, "units", "Units that one contract stands for; null where it is one", nullable=True
    ),
    Column("last_trade_date", pl.Date, "date", "Day on which it expires; null where it does not", nullable=True),
)

HOURS = (
    Column("trading_hours", pl.String, "TWS text", "Trading hours of the coming days", provenance=True),
    Column("liquid_hours", pl.String, "TWS text", "Regular hours of the coming days", provenance=True),
)

RAW_INSTRUMENTS = Table(
    name="raw_instruments",
    zone="bronze",
    key=("session", "con_id", "batch_id"),
    columns=(c.SESSION, c.CON_ID, c.SYMBOL, *DETAILS, *HOURS, c.BATCH_ID, c.INGESTED_AT, c.PIPELINE_VERSION),
    grain="(session, con_id, batch)",
    description="Contract details of the universe as TWS served them.",
    producer="raw_instruments",
    append_only=True,
)

INSTRUMENTS = Table(
    name="instruments",
    zone="silver",
    key=("session", "con_id", "valid_from"),
    columns=(
        c.SESSION,
        c.CON_ID,
        Column("valid_from", pl.Date, "date", "First session with these details"),
        Column("valid_until", pl.Date, "date", "Last session with these details; null while current", nullable=True),
        Column("active", pl.Boolean, "flag", "Part of the universe of this session"),
        c.SYMBOL,
        *DETAILS,
    ),
    grain="(session, con_id, valid_from)",
    description="Instruments as a slowly changing dimension, as known at a session.",
    producer="instruments",
)
