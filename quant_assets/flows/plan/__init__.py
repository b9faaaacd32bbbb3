"""What a data cycle would ask of TWS, before anything is asked."""

from quant_assets.flows.plan.cycle import CyclePlan, DetailsPlan, SeriesPlan, UniversePlan, plan_cycle

__all__ = ["CyclePlan", "DetailsPlan", "SeriesPlan", "UniversePlan", "plan_cycle"]
