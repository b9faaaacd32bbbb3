"""Ends, durations and hours, against dates worked out by hand."""

from datetime import UTC, date, datetime

import pytest

from quant_assets.gateway.handlers import hours_texts
from quant_assets.gateway.hours import trading_hours
from quant_assets.gateway.synthetic.abroad import FOREIGN
from quant_assets.gateway.validation import end_instant, window_start

NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("", NOW),
        ("20260702-13:30:00", datetime(2026, 7, 2, 13, 30, tzinfo=UTC)),
        ("20260702 09:30:00 US/Eastern", datetime(2026, 7, 2, 13, 30, tzinfo=UTC)),
        ("20260702 13:30:00 UTC", datetime(2026, 7, 2, 13, 30, tzinfo=UTC)),
        ("20260102 09:30:00", datetime(2026, 1, 2, 14, 30, tzinfo=UTC)),
    ],
)
def test_ends(text, instant):
    assert end_instant(text, NOW) == instant


@pytest.mark.parametrize(
    ("count", "unit", "start"),
    [
        (90, "S", datetime(2026, 3, 31, 19, 58, 30, tzinfo=UTC)),
        (1, "W", datetime(2026, 3, 24, 20, 0, tzinfo=UTC)),
        (1, "M", datetime(2026, 2, 28, 21, 0, tzinfo=UTC)),
        (1, "Y", datetime(2025, 3, 31, 20, 0, tzinfo=UTC)),
        (12, "M", datetime(2025, 3, 31, 20, 0, tzinfo=UTC)),
    ],
)
def test_starts_are_calendar_dates_at_the_exchange(count, unit, start):
    assert window_start(datetime(2026, 3, 31, 20, 0, tzinfo=UTC), count, unit) == start


def test_the_hours_of_the_coming_days_know_the_holiday_and_the_half_day():
    trading, liquid = hours_texts(trading_hours(), datetime(2026, 11, 25, 22, tzinfo=UTC))
    assert liquid.split(";")[:4] == [
        "20261125:0930-20261125:1600",
        "20261126:CLOSED",
        "20261127:0930-20261127:1300",
        "20261128:CLOSED",
    ]
    assert trading.split(";")[2] == "20261127:0400-20261127:1700"


def test_the_hours_of_a_day_with_a_lunch_break_are_two_stretches():
    (carmaker,) = [one.instrument for one in FOREIGN if one.instrument.symbol == "QTKA"]
    _, liquid = hours_texts(trading_hours("XTKS"), datetime(2026, 11, 25, 22, tzinfo=UTC), carmaker)
    assert liquid.split(";")[:2] == ["20261125:0900-20261125:1130", "20261125:1230-20261125:1530"]


def test_sessions_are_the_exchanges():
    hours = trading_hours()
    week = [hours.session(n) for n in hours.between(date(2026, 11, 23), date(2026, 11, 29))]
    assert week == [date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25), date(2026, 11, 27)]
    assert list(hours.minutes(list(hours.between(date(2026, 11, 25), date(2026, 11, 27))))) == [390, 210]
    assert hours.session(0) == date(1990, 1, 2)
    n = hours.ordinal_on_or_after(date(2026, 11, 27))
    assert hours.closed_by(hours.close_at(n)) == n + 1
    assert hours.opened_before(hours.open_at(n)) == n
