"""The meta portfolio: finished runs of several profiles, weighed against each other in a run directory of its own."""

from quant_assets.flows.meta.compute import compute_blend
from quant_assets.flows.meta.gather import KIND, freeze_sleeves
from quant_assets.flows.meta.steps import build_meta

__all__ = ["KIND", "build_meta", "compute_blend", "freeze_sleeves"]
