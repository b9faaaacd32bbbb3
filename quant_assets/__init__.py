"""quant_assets: from the TWS socket to portfolio weights, as a Dagster asset graph."""

__version__ = "0.1.0"
