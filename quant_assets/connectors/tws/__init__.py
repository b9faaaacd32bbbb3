"""TWS: connection, requests, pacing, planning and carrying out a plan."""

from quant_assets.connectors.tws.client import TwsClient
from quant_assets.connectors.tws.connection import Timeouts, TwsAddress
from quant_assets.connectors.tws.pacing import Pacer, PacingBudget
from quant_assets.connectors.tws.planner import (
    Need,
    PlannedRequest,
    PlanSummary,
    halve,
    plan_daily,
    plan_minutes,
    summary,
)
from quant_assets.connectors.tws.retry import Outcome, RetryPolicy, fetch, fetch_all

__all__ = [
    "TwsClient",
    "TwsAddress",
    "Timeouts",
    "Pacer",
    "PacingBudget",
    "Need",
    "PlannedRequest",
    "PlanSummary",
    "plan_minutes",
    "plan_daily",
    "halve",
    "summary",
    "RetryPolicy",
    "Outcome",
    "fetch",
    "fetch_all",
]
