"""Data quality: rules as data, and a session divided by them into valid bars and quarantine."""

from quant_assets.domain.quality.counting import rule_counts
from quant_assets.domain.quality.curating import TRANSFORM_VERSION, Curation, curate_minutes
from quant_assets.domain.quality.daily import finish_daily, on_minutes_basis, sound_daily
from quant_assets.domain.quality.kinds import Rule
from quant_assets.domain.quality.metrics import complaints, hundredfold, session_metrics
from quant_assets.domain.quality.overrides import OVERRIDES, ROW_KEY, row_hash
from quant_assets.domain.quality.rules import RULES, VERDICTS, severities

__all__ = [
    "OVERRIDES",
    "ROW_KEY",
    "RULES",
    "TRANSFORM_VERSION",
    "VERDICTS",
    "Curation",
    "Rule",
    "complaints",
    "curate_minutes",
    "finish_daily",
    "hundredfold",
    "on_minutes_basis",
    "row_hash",
    "rule_counts",
    "session_metrics",
    "severities",
    "sound_daily",
]
