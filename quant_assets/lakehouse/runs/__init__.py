"""Run directories: what one alpha run saw, what it decided, and the proof of both."""

from quant_assets.lakehouse.runs.cache import StageCache, key_of
from quant_assets.lakehouse.runs.code import code_version, stage_code
from quant_assets.lakehouse.runs.directory import RunDirectory
from quant_assets.lakehouse.runs.identity import environment, merkle_root, run_id
from quant_assets.lakehouse.runs.listing import find_run, list_runs, open_run
from quant_assets.lakehouse.runs.record import RunLog, read_log
from quant_assets.lakehouse.runs.seal import hash_findings, identity_of, seal_run

__all__ = [
    "MANIFEST",
    "RunDirectory",
    "RunLog",
    "StageCache",
    "code_version",
    "environment",
    "find_run",
    "hash_findings",
    "identity_of",
    "key_of",
    "list_runs",
    "merkle_root",
    "open_run",
    "read_log",
    "run_id",
    "seal_run",
    "stage_code",
]
