"""TradingView's scanner: an HTTP client for scans and for technical ratings. Off unless `tradingview.enabled`."""

from quant_assets.connectors.tradingview.client import Limits, TradingViewClient
from quant_assets.connectors.tradingview.query import ScanQuery, ScanResult, query_of
from quant_assets.connectors.tradingview.symbols import from_tradingview, to_tradingview
from quant_assets.connectors.tradingview.technicals import COLUMNS, technicals

__all__ = [
    "COLUMNS",
    "Limits",
    "ScanQuery",
    "ScanResult",
    "TradingViewClient",
    "from_tradingview",
    "query_of",
    "technicals",
    "to_tradingview",
]
