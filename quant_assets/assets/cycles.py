"""Which assets make up which cycle, by name; importable without Dagster."""

from quant_assets.domain.features import FEATURE_TABLES, LABEL_TABLES

DATA = (
    "universe",
    "raw_instruments",
    "instruments",
    "execution",
    "exchanges",
    "raw_tws_bars",
    "raw_tws_daily_bars",
    "adjustment_factors",
    "curated_tws_1m_bars",
    "quarantine_tws_bars",
    "bar_accounting",
    "dq_metrics",
    "curated_tws_1d_bars",
    *FEATURE_TABLES,
    *LABEL_TABLES,
    "certified_sessions",
)
"""The data cycle, partitioned by session."""

ALPHA = ("snapshots", "returns_matrix", "selection", "synthetic_returns", "weights", "report")
"""The alpha cycle, partitioned by session and profile; `candidates` stands between the two."""

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

DIMENSION = ("instruments", "execution", "exchanges")
"""What is folded over all sessions up to its own, so that a backfill changes it in every later one."""
