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
        Column("metadata", pl.String, "JSON", "Source → what it said of the instrument, merged", nullable=True),
        Column("observed_at", UTC_MICROS, "UTC instant", "When the sources were read", provenance=True),
        Column("is_pit", pl.Boolean, "flag", "The membership was known at the session, not reconstructed later"),
    ),
    grain="(session, con_id)",
    description="Instruments that are ingested for a session: the union of lists and scanners over all profiles.",
    producer="universe",
)

ACCOUNT = Column("account", pl.String, "alias", "Account by an alias that tells nothing of its number")
NET_LIQUIDATION = Column("net_liquidation", pl.Float64, "account currency", "What the whole account is worth")

POSITIONS = Table(
    name="positions",
    zone="discovery",
    key=("session", "account", "con_id"),
    columns=(
        c.SESSION,
        ACCOUNT,
        c.CON_ID,
        c.SYMBOL,
        Column("exchange", pl.String, "code", "Primary exchange, where TWS tells it"),
        Column("asset_class", pl.String, "code", "TWS security type"),
        Column("quantity", pl.Float64, "shares", "Units held; negative when short"),
        Column("average_cost", pl.Float64, "quote currency", "Cost of one unit; of a future, times its multiplier"),
        Column("market_value", pl.Float64, "quote currency", "As TWS values it; null where it does not", nullable=True),
        Column("currency", pl.String, "ISO 4217", "Quote currency"),
        Column("observed_at", UTC_MICROS, "UTC instant", "When TWS was asked", provenance=True),
        Column("is_pit", pl.Boolean, "flag", "Always true: positions are asked for the latest session only"),
    ),
    grain="(session, account, con_id)",
    description="What the accounts hold, read-only from TWS, where positions are enabled; the latest session only.",
    producer="universe",
    on_request=True,
    may_be_empty=True,
)

ACCOUNTS = Table(
    name="accounts",
    zone="discovery",
    key=("session", "account"),
    columns=(
        c.SESSION,
        ACCOUNT,
        NET_LIQUIDATION,
        Column("currency", pl.String, "ISO 4217", "Base currency of the account"),
        Column("observed_at", UTC_MICROS, "UTC instant", "When TWS was asked", provenance=True),
    ),
    grain="(session, account)",
    description="Net liquidation value per account, where positions are enabled; the latest session only.",
    producer="universe",
    on_request=True,
    may_be_empty=True,
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
        Column("last_seen", pl.Date, "date", "Last session in which TWS described it so"),
        Column("active", pl.Boolean, "flag", "Part of the universe of this session"),
        c.SYMBOL,
        *DETAILS,
        Column("successor", pl.Int64, "id", "Instrument that took its place; null where none did", nullable=True),
        Column("successor_evidence", pl.String, "text", "What the successor is known by", nullable=True),
    ),
    grain="(session, con_id, valid_from)",
    description="Instruments as a slowly changing dimension, as known at a session.",
    producer="instruments",
)

EXECUTION = Table(
    name="execution",
    zone="silver",
    key=("session", "con_id"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        Column("asset_class", pl.String, "code", "TWS security type"),
        Column("currency", pl.String, "ISO 4217", "Quote currency"),
        Column("lot", pl.Float64, "shares", "Smallest order size; null where TWS does not tell", nullable=True),
        Column("step", pl.Float64, "shares", "Step of order sizes; null where TWS does not tell", nullable=True),
        Column("min_tick", pl.Float64, "quote currency", "Smallest price step", gt=0.0),
        Column(
            "multiplier", pl.Float64, "units", "Units that one contract stands for; null where it is one", nullable=True
        ),
        Column(
            "min_notional", pl.Float64, "quote currency", "Least value of an order; null: TWS tells none", nullable=True
        ),
        Column("fee_per_unit", pl.Float64, "quote currency", "Commission per share; null where unknown", nullable=True),
        Column("fee_minimum", pl.Float64, "quote currency", "Least commission of an order", nullable=True),
        Column(
            "fee_maximum_fraction", pl.Float64, "fraction", "Largest commission ÷ value of the order", nullable=True
        ),
        Column("fee_schedule", pl.String, "name", "Published schedule that the fees are from", nullable=True),
    ),
    grain="(session, con_id)",
    description="How each member of the universe is traded: sizes, steps and fees.",
    producer="instruments",
)

EXCHANGES = Table(
    name="exchanges",
    zone="silver",
    key=("session", "exchange", "calendar"),
    columns=(
        c.SESSION,
        Column("exchange", pl.String, "code", "TWS exchange code"),
        Column("calendar", pl.String, "name", "Calendar whose sessions and hours its instruments keep"),
        Column("country", pl.String, "ISO 3166", "Country; null for what trades around the world", nullable=True),
        Column("timezone", pl.String, "IANA zone", "Time zone that TWS tells"),
        Column("n_instruments", pl.Int64, "instruments", "Members of the universe that it lists", ge=1),
    ),
    grain="(session, exchange, calendar)",
    description="The exchanges of the universe's members.",
    producer="instruments",
)
