"""The alpha cycle after the snapshot: returns, weights, report. Each step reads the run directory and nothing else."""

from quant_assets.flows.alpha.steps import build_report, build_returns, build_weights
from quant_assets.flows.alpha.verify import verify_run
from quant_assets.lakehouse.runs import list_runs, open_run

__all__ = ["build_report", "build_returns", "build_weights", "list_runs", "open_run", "verify_run"]
