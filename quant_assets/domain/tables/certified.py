"""The golden copy: which content of a session is certified."""

import polars as pl

from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import UTC_MICROS, Column, Table

CERTIFIED_SESSIONS = Table(
    name="certified_sessions",
    zone="gold",
    key=("session", "table_name"),
    columns=(
        c.SESSION,
        Column("table_name", pl.String, "name", "Table of the data cycle"),
        Column("content_id", pl.String, "sha256", "Content of the table's partition when it was certified"),
        Column("n_rows", pl.Int64, "rows", "Rows of that content", ge=0),
        Column("warnings", pl.String, "names", "Checks that warned and do not block, separated by `;`"),
        Column("balance", pl.String, "text", "The session's accounting, as it came out even"),
        Column("degraded", pl.String, "text", "Instruments of the session that lost too much to be good, and how much"),
        Column("accepted", pl.String, "text", "Instruments with minutes that a person accepted as lost, and how many"),
        Column("certificate_id", pl.String, "sha256", "One id for the content of all tables"),
        Column("certified_at", UTC_MICROS, "UTC instant", "When the session was certified", provenance=True),
    ),
    grain="(session, table)",
    description="Certified sessions: blocking checks green, accounting balanced, content ids recorded.",
    producer="certified_sessions",
)
