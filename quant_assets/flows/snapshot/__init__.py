"""The snapshot: the one step of the alpha cycle that reads the lakehouse. It copies what a run needs."""

from quant_assets.flows.snapshot.evidence import daily_requests, evidence, requests_of
from quant_assets.flows.snapshot.freezing import Previous, Snapshot, freeze
from quant_assets.flows.snapshot.gather import BAR_COLUMNS

__all__ = ["BAR_COLUMNS", "Previous", "Snapshot", "daily_requests", "evidence", "freeze", "requests_of"]
