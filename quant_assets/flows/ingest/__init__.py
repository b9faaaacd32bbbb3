"""Ingestion: from the universe to bronze, asking the source only for what is not settled yet."""

from quant_assets.flows.ingest.daily import ingest_daily
from quant_assets.flows.ingest.details import ingest_details
from quant_assets.flows.ingest.minutes import ingest_minutes
from quant_assets.flows.ingest.report import IngestReport

__all__ = ["IngestReport", "ingest_daily", "ingest_details", "ingest_minutes"]
