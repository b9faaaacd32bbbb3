"""Candidates, and the index of what the alpha cycle wrote into run directories."""

import polars as pl

from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import UTC_MICROS, Column, Table

CANDIDATES = Table(
    name="candidates",
    zone="gold",
    key=("session", "profile", "con_id"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.CON_ID,
        Column("symbol", pl.String, "EXCHANGE:SYMBOL", "Qualified symbol"),
        Column("exchange", pl.String, "code", "Primary exchange"),
        Column("asset_type", pl.String, "code", "TWS security type"),
        Column("direction", pl.String, "enum", "Side that the candidate is meant for", isin=("LONG", "SHORT")),
        Column("logic", pl.String, "name", "Screen that judged it"),
        Column("rank", pl.Int64, "position", "1 is best; null for the rejected", nullable=True, ge=1),
        Column("verdict", pl.String, "enum", "Outcome of the screen", isin=("accepted", "rejected")),
        Column("reasons", pl.String, "text", "Why it was rejected, separated by `;`; empty for the accepted"),
        Column("metadata", pl.String, "JSON", "The numbers that the screen looked at"),
        Column("is_pit", pl.Boolean, "flag", "The judgement could have been made at the session"),
    ),
    grain="(session, profile, con_id)",
    description="Every instrument of the universe judged by a profile's screen; the rejected are rows too.",
    producer="candidates",
    partition_by="session_profile",
)

SNAPSHOTS = Table(
    name="snapshots",
    zone="gold",
    key=("session", "profile"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.RUN_ID,
        Column("merkle_root", pl.String, "sha256", "Root over input content ids, configuration and code version"),
        Column("n_instruments", pl.Int64, "instruments", "Instruments that were frozen", ge=1),
        Column("n_sessions", pl.Int64, "sessions", "Length of the frozen window", ge=1),
        Column("stale_policy", pl.String, "enum", "What a stale input meant", isin=("fail", "warn", "allow")),
        Column("known_basis", pl.String, "enum", "Weakest basis among the inputs", isin=("observed", "assumed")),
        Column("is_pit", pl.Boolean, "flag", "Universe and candidates could have been known at the session"),
        Column("created_at", UTC_MICROS, "UTC instant", "When the run directory was made", provenance=True),
    ),
    grain="(session, profile)",
    description="Index of immutable run directories.",
    producer="snapshots",
    partition_by="session_profile",
)

RETURNS_MATRIX = Table(
    name="returns_matrix",
    zone="gold",
    key=("session", "profile", "con_id"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.CON_ID,
        Column("symbol", pl.String, "EXCHANGE:SYMBOL", "Qualified symbol"),
        c.RUN_ID,
        Column("verdict", pl.String, "enum", "Whether the matrix holds the instrument", isin=("kept", "dropped")),
        Column("reason", pl.String, "text", "Why it was dropped; empty for the kept"),
        Column("n_returns", pl.Int64, "sessions", "Returns that are not null", ge=0),
        Column("missing_fraction", pl.Float64, "fraction", "Null returns ÷ sessions of the matrix", ge=0.0, le=1.0),
        Column("first_session", pl.Date, "date", "First session with a close", nullable=True),
        Column("last_session", pl.Date, "date", "Last session with a close", nullable=True),
    ),
    grain="(session, profile, con_id)",
    description="Coverage certificate of the returns matrix; the matrix itself is in the run directory.",
    producer="returns_matrix",
    partition_by="session_profile",
)

SELECTION = Table(
    name="selection",
    zone="gold",
    key=("session", "profile", "con_id"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.CON_ID,
        Column("symbol", pl.String, "EXCHANGE:SYMBOL", "Qualified symbol"),
        c.RUN_ID,
        Column("verdict", pl.String, "enum", "Whether the instrument may get weight", isin=("selected", "rejected")),
        Column("reason", pl.String, "text", "Why it was rejected, separated by `;`; empty for the selected"),
        Column(
            "score", pl.Float64, "probability", "exp Σ wᵢ ln pᵢ; null outside the matrix", nullable=True, gt=0, le=1
        ),
        Column("cluster", pl.Int64, "number", "Ward cluster of correlation distances", nullable=True, ge=1),
        Column("terms", pl.String, "JSON", "Per metric: value, p, weight, and term = weight x ln p"),
    ),
    grain="(session, profile, con_id)",
    description="Every frozen instrument with its score, its cluster and whether it was selected.",
    producer="selection",
    partition_by="session_profile",
)

SYNTHETIC_RETURNS = Table(
    name="synthetic_returns",
    zone="gold",
    key=("session", "profile", "atom"),
    columns=(
        c.SESSION,
        c.PROFILE,
        Column("atom", pl.String, "id", "con_id-logic-direction-timescale; the column in the run directory"),
        c.CON_ID,
        Column("symbol", pl.String, "EXCHANGE:SYMBOL", "Qualified symbol"),
        c.RUN_ID,
        Column("logic", pl.String, "enum", "When it holds", isin=("long_only", "momentum", "reversion", "trend")),
        Column("direction", pl.String, "enum", "Which side it holds", isin=("LONG", "SHORT")),
        Column("timescale", pl.Int64, "sessions", "How far the logic looks back; 0 = nowhere", ge=0),
        Column("verdict", pl.String, "enum", "Whether it can get weight", isin=("kept", "dropped")),
        Column("reason", pl.String, "text", "Why it was dropped; empty for the kept"),
        Column("n_active", pl.Int64, "sessions", "Sessions of the matrix in which it held", ge=0),
        Column("live", pl.Int64, "signal", "1 when it holds after the last close, else 0", ge=0, le=1),
    ),
    grain="(session, profile, atom)",
    description="Composition map of strategy atoms; their returns are in the run directory.",
    producer="synthetic_returns",
    partition_by="session_profile",
)

WEIGHTS = Table(
    name="weights",
    zone="gold",
    key=("session", "profile", "con_id"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.CON_ID,
        Column("symbol", pl.String, "EXCHANGE:SYMBOL", "Qualified symbol"),
        c.RUN_ID,
        Column("method", pl.String, "name", "Method that produced the weights, after any fallback"),
        Column("weight", pl.Float64, "fraction of capital", "Signed target weight", ge=-1.0, le=1.0),
        Column("risk_contribution", pl.Float64, "fraction", "Share of portfolio variance", nullable=True),
        Column("sector", pl.String, "name", "Sector of the instrument"),
    ),
    grain="(session, profile, con_id)",
    description="Target weights; the rest of the capital is cash.",
    producer="weights",
    partition_by="session_profile",
)

REPORTS = Table(
    name="reports",
    zone="gold",
    key=("session", "profile"),
    columns=(
        c.SESSION,
        c.PROFILE,
        c.RUN_ID,
        Column("html", pl.String, "path", "Offline report, relative to the data directory"),
        Column("manifest_sha256", pl.String, "sha256", "Digest of the run's manifest.json"),
    ),
    grain="(session, profile)",
    description="Index of finished run reports.",
    producer="report",
    partition_by="session_profile",
)
