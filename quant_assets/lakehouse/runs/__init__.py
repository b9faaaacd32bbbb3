"""Run directories: what one alpha run saw, what it decided, and the proof of both."""

from quant_assets.lakehouse.runs.directory import MANIFEST, RunDirectory
from quant_assets.lakehouse.runs.identity import code_version, environment, merkle_root, run_id
from quant_assets.lakehouse.runs.listing import list_runs, open_run
from quant_assets.lakehouse.runs.record import RunLog
from quant_assets.lakehouse.runs.seal import hash_findings, identity_of, seal_run

__all__ = [
    "MANIFEST",
    "RunDirectory",
    "RunLog",
    "code_version",
    "environment",
    "hash_findings",
    "identity_of",
    "list_runs",
    "merkle_root",
    "open_run",
    "run_id",
    "seal_run",
]
