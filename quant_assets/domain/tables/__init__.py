"""Every table of the lakehouse, declared once.

Stores, publishing, Pandera models, asset metadata, SQL views and docs/tables.md read these declarations; nobody
writes a column list again.
"""

from quant_assets.domain.tables.alpha import (
    CANDIDATES,
    REPORTS,
    RETURNS_MATRIX,
    SELECTION,
    SNAPSHOTS,
    SYNTHETIC_RETURNS,
    WEIGHTS,
)
from quant_assets.domain.tables.bars import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
)
from quant_assets.domain.tables.certified import CERTIFIED_SESSIONS
from quant_assets.domain.tables.core import Column, Table
from quant_assets.domain.tables.discovery import (
    ACCOUNTS,
    EXCHANGES,
    EXECUTION,
    INSTRUMENTS,
    POSITIONS,
    RAW_INSTRUMENTS,
    UNIVERSE,
)
from quant_assets.domain.tables.features import (
    FEATURES_PRICE_1M_V1,
    FEATURES_VOLUME_1M_V1,
    LABELS_TWS_RETURNS,
    TV_TECHNICALS_1D,
)
from quant_assets.errors import UnknownNameError

ALL: tuple[Table, ...] = (
    UNIVERSE,
    POSITIONS,
    ACCOUNTS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
    INSTRUMENTS,
    EXECUTION,
    EXCHANGES,
    ADJUSTMENT_FACTORS,
    CURATED_TWS_1M_BARS,
    QUARANTINE_TWS_BARS,
    BAR_ACCOUNTING,
    DQ_METRICS,
    CURATED_TWS_1D_BARS,
    FEATURES_PRICE_1M_V1,
    FEATURES_VOLUME_1M_V1,
    TV_TECHNICALS_1D,
    LABELS_TWS_RETURNS,
    CERTIFIED_SESSIONS,
    CANDIDATES,
    SNAPSHOTS,
    RETURNS_MATRIX,
    SELECTION,
    SYNTHETIC_RETURNS,
    WEIGHTS,
    REPORTS,
)

BY_NAME = {table.name: table for table in ALL}


def table(name: str) -> Table:
    """Return a declared table.

    Raises:
        UnknownNameError: no table has this name.
    """
    if name not in BY_NAME:
        raise UnknownNameError("table", name, BY_NAME)
    return BY_NAME[name]


__all__ = [
    "ACCOUNTS",
    "ADJUSTMENT_FACTORS",
    "ALL",
    "BAR_ACCOUNTING",
    "BY_NAME",
    "CANDIDATES",
    "CERTIFIED_SESSIONS",
    "CURATED_TWS_1D_BARS",
    "CURATED_TWS_1M_BARS",
    "DQ_METRICS",
    "EXCHANGES",
    "EXECUTION",
    "FEATURES_PRICE_1M_V1",
    "FEATURES_VOLUME_1M_V1",
    "INSTRUMENTS",
    "LABELS_TWS_RETURNS",
    "POSITIONS",
    "QUARANTINE_TWS_BARS",
    "RAW_INSTRUMENTS",
    "RAW_TWS_BARS",
    "RAW_TWS_DAILY_BARS",
    "RAW_TWS_REQUESTS",
    "RAW_TWS_SCHEDULES",
    "REPORTS",
    "RETURNS_MATRIX",
    "SELECTION",
    "SNAPSHOTS",
    "SYNTHETIC_RETURNS",
    "TV_TECHNICALS_1D",
    "UNIVERSE",
    "WEIGHTS",
    "Column",
    "Table",
    "table",
]
