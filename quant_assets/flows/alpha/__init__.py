"""The alpha cycle after the snapshot: returns, selection, synthesis, weights, report.

Each step reads the run directory and nothing else.
"""

from quant_assets.flows.alpha.differ import diff_runs
from quant_assets.flows.alpha.steps import (
    build_report,
    build_returns,
    build_selection,
    build_synthesis,
    build_weights,
)
from quant_assets.flows.alpha.verify import verify_directory, verify_run
from quant_assets.lakehouse.runs import find_run, list_runs, open_run

STEPS = (build_returns, build_selection, build_synthesis, build_weights, build_report)
"""The steps in their order; each takes a run directory and a clock."""

__all__ = [
    "STEPS",
    "build_report",
    "build_returns",
    "build_selection",
    "build_synthesis",
    "build_weights",
    "diff_runs",
    "find_run",
    "list_runs",
    "open_run",
    "verify_directory",
    "verify_run",
]
