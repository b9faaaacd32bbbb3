"""Which assets make up which cycle, by name; importable without Dagster."""

from quant_assets.domain.features import FEATURE_TABLES, LABEL_TABLES

DIMENSION = ("instruments", "execution", "exchanges")
"""What is folded over all sessions up to its own, so that a backfill changes it in every later one."""

ADJUSTED = (
    "adjustment_factors",
    "curated_tws_1m_bars",
    "quarantine_tws_bars",
    "bar_accounting",
    "dq_metrics",
    "curated_tws_1d_bars",
    *FEATURE_TABLES,
    *LABEL_TABLES,
)
"""What is made from the factors of a session, and they themselves."""

DATA = (
    "universe",
    "raw_instruments",
    *DIMENSION,
    "raw_tws_bars",
    "raw_tws_daily_bars",
    *ADJUSTED,
    "certified_sessions",
)
"""The data cycle, partitioned by session."""

ALPHA = ("snapshots", "returns_matrix", "selection", "synthetic_returns", "weights", "report")
"""The alpha cycle, partitioned by session and profile; `candidates` stands between the two."""
