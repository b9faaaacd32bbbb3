"""What TWS refuses before it asks the data farm, in its order and in its words."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quant_assets.gateway.hours import ZONE
from quant_assets.gateway.requests import HistoryRequest

BAR_SECONDS: Final = {
    "1 secs": 1,
    "5 secs": 5,
    "10 secs": 10,
    "15 secs": 15,
    "30 secs": 30,
    "1 min": 60,
    "2 mins": 120,
    "3 mins": 180,
    "5 mins": 300,
    "10 mins": 600,
    "15 mins": 900,
    "20 mins": 1200,
    "30 mins": 1800,
    "1 hour": 3600,
    "2 hours": 7200,
    "3 hours": 10800,
    "4 hours": 14400,
    "8 hours": 28800,
    "1 day": 86400,
    "1W": 604800,
    "1M": 2592000,
    "1 week": 604800,
    "1 month": 2592000,
}
"""Legal bar sizes (`1 mins` and `1 sec` are not) and their nominal lengths."""
_ALIASES: Final = ("1 week", "1 month")
WHAT_TO_SHOW: Final = frozenset(
    {"TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST", "SCHEDULE", "AGGTRADES"}
    | {"HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY", "FEE_RATE"}
    | {"YIELD_BID", "YIELD_ASK", "YIELD_BID_ASK", "YIELD_LAST"}
)
_DURATION = re.compile(r"(\d+) ([SDWMY])")
_BAD_END: Final = (
    "End Date/Time: The date, time, or time-zone entered is invalid. "
    "The correct format is yyyymmdd hh:mm:ss xx/xxxx where yyyymmdd and xx/xxxx are optional."
)
_SHORTEST_S: Final = 30
_LONGEST: Final = {
    "S": (86400, "Historical data request for greater than 86400 seconds rejected."),
    "D": (365, "Historical data requests for durations longer than 365 days must be made in years."),
    "W": (52, "Historical data request for durations longer than 52 weeks must be made in years."),
    "M": (12, "Historical data request for durations longer than 12 months must be made in years."),
    "Y": (68, "Historical data requested duration is invalid."),
}

Problem = tuple[int, str]


def end_instant(text: str, now: datetime) -> datetime:
    """Read an endDateTime: empty (now), `yyyymmdd-hh:mm:ss` (UTC) or `yyyymmdd hh:mm:ss[ Zone]`.

    Without a zone TWS takes its own; here that is the exchange's.

    Raises:
        ValueError: none of these, or an unknown zone.
    """
    if not text:
        return now
    if " " not in text:
        return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    day, time, *zone = text.split(" ", 2)
    return datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S").replace(tzinfo=_zone(zone)).astimezone(UTC)


def has_no_zone(text: str) -> bool:
    """Return whether TWS would warn (2174) that the end names no time zone."""
    return len(text.split(" ")) == 2  # noqa: PLR2004 - a day and a time, and nothing after


def _zone(name: list[str]) -> tzinfo:
    try:
        return ZoneInfo(name[0]) if name else ZONE
    except (ZoneInfoNotFoundError, OSError) as cause:
        raise ValueError(name[0]) from cause


def parsed_duration(text: str) -> tuple[int, str]:
    """Return number and unit of a duration that has been validated."""
    count, unit = text.split(" ")
    return int(count), unit


def history_problem(request: HistoryRequest, now: datetime) -> Problem | None:
    """Return the first reason (code, text) why TWS refuses a history request, or None."""
    try:
        end_instant(request.end, now)
    except (ValueError, OverflowError):
        return 10314, _BAD_END
    cause = _duration_cause(request.duration) or _request_cause(request)
    return _invalid(cause) if cause else None


def head_problem(request: HistoryRequest) -> Problem | None:
    """Return the reason why TWS refuses a head timestamp request, or None."""
    cause = _what_cause(request) or _format_cause(request)
    return _invalid(cause) if cause else None


def _invalid(cause: str) -> Problem:
    return 321, f"Error validating request.-'bM' : cause - {cause}"


def _duration_cause(text: str) -> str | None:
    if not text:
        return "Historical data requests must specify a duration."
    match = _DURATION.fullmatch(text)
    if match is None:
        return "When specifying a unit, historical data request duration format is integer{SPACE}unit (S|D|W|M|Y)."
    count, unit = int(match[1]), match[2]
    if count < 1 or (unit == "S" and count < _SHORTEST_S):
        return "Historical data requested duration is invalid."
    longest, refusal = _LONGEST[unit]
    return refusal if count > longest else None


def _request_cause(request: HistoryRequest) -> str | None:
    if request.what == "ADJUSTED_LAST" and request.end:
        return "End date not supported with adjusted last"
    if request.bar_size not in BAR_SECONDS:
        legal = ", ".join(size for size in BAR_SECONDS if size not in _ALIASES)
        return f"Historical data bar size setting is invalid. Legal ones are: {legal}"
    cause = _what_cause(request) or _format_cause(request)
    if cause is None and request.what == "SCHEDULE" and request.bar_size != "1 day":
        return "Only daily resolution supported for Schedule requests"
    return cause


def _what_cause(request: HistoryRequest) -> str | None:
    return None if request.what in WHAT_TO_SHOW else f"What to show value of {request.what} rejected."


def _format_cause(request: HistoryRequest) -> str | None:
    is_known = request.format_date in (1, 2, 3)
    return None if is_known else f"Date formatting selection of {request.format_date} rejected."


def window_start(end: datetime, count: int, unit: str) -> datetime:
    """Return the nominal start: `end` less seconds, days, weeks, calendar months or calendar years."""
    if unit in ("M", "Y"):
        return _months_before(end, count * (12 if unit == "Y" else 1))
    return end - {"S": timedelta(seconds=count), "D": timedelta(days=count), "W": timedelta(weeks=count)}[unit]


def _months_before(instant: datetime, months: int) -> datetime:
    local = instant.astimezone(ZONE)
    year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
    for day in range(local.day, local.day - 4, -1):
        try:
            return local.replace(year=year, month=month + 1, day=day).astimezone(UTC)
        except ValueError:
            continue
    raise AssertionError(instant)
