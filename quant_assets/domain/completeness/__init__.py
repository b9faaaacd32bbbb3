"""Is an answer all there is?"""

from quant_assets.domain.completeness.daily import Beginning, DailyVerdict, judge_daily, other_units, unit_of
from quant_assets.domain.completeness.hours import SEEN, disputed, seen, together
from quant_assets.domain.completeness.minutes import ANSWERS, DAILY_VOLUMES, is_lossy, judge_minutes

__all__ = [
    "ANSWERS",
    "DAILY_VOLUMES",
    "Beginning",
    "SEEN",
    "DailyVerdict",
    "disputed",
    "is_lossy",
    "judge_daily",
    "judge_minutes",
    "other_units",
    "seen",
    "together",
    "unit_of",
]
