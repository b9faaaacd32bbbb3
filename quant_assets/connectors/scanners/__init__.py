"""Scanners: small YAML files that inherit over layers and say what is worth looking at."""

from quant_assets.connectors.scanners.layers import LAYERS, Resolved, list_scanners, load_scanner
from quant_assets.connectors.scanners.model import Filter, Rank, Scanner, TradingViewScan, TwsScan

__all__ = [
    "LAYERS",
    "Filter",
    "Rank",
    "Resolved",
    "Scanner",
    "TradingViewScan",
    "TwsScan",
    "list_scanners",
    "load_scanner",
]
