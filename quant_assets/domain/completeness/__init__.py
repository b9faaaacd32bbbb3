"""Is an answer all there is? What it is called in the request ledger, and what proves it."""

from quant_assets.domain.completeness.daily import DailyVerdict, judge_daily
from quant_assets.domain.completeness.minutes import ANSWERS, DAILY_VOLUMES, is_lossy, judge_minutes
from quant_assets.domain.completeness.words import DOUBTFUL, NOTHING, OUTCOMES, PROOFS, REFUSED_ROWS

__all__ = [
    "ANSWERS",
    "DAILY_VOLUMES",
    "DOUBTFUL",
    "NOTHING",
    "OUTCOMES",
    "PROOFS",
    "REFUSED_ROWS",
    "DailyVerdict",
    "is_lossy",
    "judge_daily",
    "judge_minutes",
]
