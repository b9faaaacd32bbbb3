"""Files of others as a source: daily history in one Parquet or CSV file, and sectors beside it."""

from quant_assets.connectors.files.daily import UNKNOWN_SECTOR, DailyFile, read_daily

__all__ = ["UNKNOWN_SECTOR", "DailyFile", "read_daily"]
