"""Sessions and their minutes, checked against dates that anyone can look up."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.domain.calendar import TradingCalendar, day_start, session_of
from quant_assets.errors import ConfigurationError, FutureSessionError, NotASessionError
from quant_assets_tests.builders import instant

XNYS = TradingCalendar()


def test_a_half_day_has_210_minutes_and_ends_at_1759():
    minutes = XNYS.minutes([date(2019, 12, 24)])
    assert minutes.height == XNYS.hours(date(2019, 12, 24)).n_minutes == 210
    assert minutes["ts"].min() == instant("2019-12-24 14:30")
    assert minutes["ts"].max() == instant("2019-12-24 17:59")
    assert minutes["minute"].to_list() == list(range(210))


@pytest.mark.parametrize(
    "day",
    [date(2019, 12, 25), date(2020, 1, 1), date(2024, 3, 29), date(2024, 1, 6), date(2018, 12, 5), date(2012, 10, 29)],
    ids=["Christmas", "New Year", "Good Friday", "Saturday", "day of mourning", "hurricane"],
)
def test_closed_days_are_no_sessions_and_the_nearest_are_named(day):
    assert not XNYS.is_session(day)
    with pytest.raises(NotASessionError, match="the exchange is closed that day") as caught:
        XNYS.require(day)
    before, after = caught.value.nearest
    assert before < day < after


def test_good_friday_names_thursday_and_monday():
    with pytest.raises(NotASessionError, match=r"Nearest sessions: 2024-03-28, 2024-04-01") as caught:
        XNYS.require(date(2024, 3, 29))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("day", [date(1985, 1, 2), date(2099, 1, 2)])
def test_days_outside_the_calendar_say_so(day):
    with pytest.raises(NotASessionError, match="outside the exchange calendar"):
        XNYS.require(day)


@pytest.mark.parametrize(
    ("session", "opens", "closes"),
    [
        (date(2024, 3, 8), "14:30", "21:00"),
        (date(2024, 3, 11), "13:30", "20:00"),
        (date(2024, 11, 1), "13:30", "20:00"),
        (date(2024, 11, 4), "14:30", "21:00"),
    ],
)
def test_the_opening_moves_with_daylight_saving(session, opens, closes):
    hours = XNYS.hours(session)
    assert f"{hours.opens_at:%H:%M} {hours.closes_at:%H:%M}" == f"{opens} {closes}"
    assert hours.n_minutes == 390


def test_window_ends_with_its_last_session_and_shrinks_at_the_start_of_the_calendar():
    assert XNYS.window(date(2024, 1, 3), 3) == [date(2023, 12, 29), date(2024, 1, 2), date(2024, 1, 3)]
    assert XNYS.window(date(2000, 1, 4), 500) == [date(2000, 1, 3), date(2000, 1, 4)]
    with pytest.raises(NotASessionError):
        XNYS.window(date(2024, 1, 1), 3)


def test_previous_and_following_at_the_edges():
    assert XNYS.previous(date(2000, 1, 3)) is None
    assert XNYS.following(XNYS.all_sessions[-1]) is None
    assert XNYS.previous(date(2024, 1, 2)) == date(2023, 12, 29)
    assert XNYS.following(date(2023, 12, 29)) == date(2024, 1, 2)
    assert XNYS.following(date(2023, 12, 30)) == date(2024, 1, 2)


def test_between_refuses_reversed_and_empty_ranges():
    assert XNYS.between(date(2024, 1, 1), date(2024, 1, 3)) == [date(2024, 1, 2), date(2024, 1, 3)]
    with pytest.raises(NotASessionError, match="reversed"):
        XNYS.between(date(2024, 1, 3), date(2024, 1, 2))
    with pytest.raises(NotASessionError, match="no exchange trades in the range"):
        XNYS.between(date(2024, 1, 6), date(2024, 1, 7))


def test_closed_days_are_the_complement_of_the_sessions():
    assert XNYS.closed_days(date(2023, 12, 29), date(2024, 1, 3)) == [
        date(2023, 12, 30), date(2023, 12, 31), date(2024, 1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        ("2024-01-03 23:59:59.999999", date(2024, 1, 2)),
        ("2024-01-04 00:00:00", date(2024, 1, 3)),
        ("2024-01-06 12:00", date(2024, 1, 5)),
        ("2024-01-07 23:59", date(2024, 1, 5)),
        ("2024-01-08 12:00", date(2024, 1, 5)),
        ("2024-01-09 00:00", date(2024, 1, 8)),
    ],
)
def test_the_latest_session_changes_at_utc_midnight(now, latest):
    assert XNYS.latest(instant(now)) == latest


def test_the_latest_session_does_not_depend_on_the_zone_of_now():
    from zoneinfo import ZoneInfo

    assert XNYS.latest(datetime(2024, 1, 3, 19, 30, tzinfo=ZoneInfo("America/New_York"))) == date(2024, 1, 3)


def test_a_session_that_has_not_closed_is_refused_with_the_latest_one():
    now = instant("2024-01-04 03:00")
    assert XNYS.require_closed(date(2024, 1, 3), now) == date(2024, 1, 3)
    with pytest.raises(FutureSessionError, match="the latest one that can be asked for is 2024-01-03"):
        XNYS.require_closed(date(2024, 1, 4), now)
    with pytest.raises(NotASessionError):
        XNYS.require_closed(date(2024, 1, 1), now)


def test_the_longest_gap_since_2016_is_four_days_and_since_2001_a_week():
    assert XNYS.longest_gap(date(2016, 1, 1)) == timedelta(days=4)
    assert XNYS.longest_gap(date(2001, 9, 1)) == timedelta(days=7)


def test_an_unknown_calendar_is_a_configuration_error_that_names_it():
    with pytest.raises(ConfigurationError, match="no exchange calendar 'XNIX'"):
        TradingCalendar(("XNIX",)).is_session(date(2024, 1, 2))


def test_several_calendars_are_one_union_with_the_widest_hours():
    both = TradingCalendar(("XNYS", "XLON"))
    assert both.is_session(date(2024, 1, 15))  # Martin Luther King day: London trades
    assert both.hours(date(2024, 1, 15)).closes_at == instant("2024-01-15 16:30")
    wide = both.hours(date(2024, 1, 16))
    assert (wide.opens_at, wide.closes_at) == (instant("2024-01-16 08:00"), instant("2024-01-16 21:00"))


@pytest.mark.parametrize(
    ("calendar", "session", "intervals", "n_minutes"),
    [
        ("XTKS", date(2024, 11, 1), ("00:00 02:30", "03:30 06:00"), 300),
        ("XTKS", date(2024, 11, 5), ("00:00 02:30", "03:30 06:30"), 330),  # Tokyo closes at 15:30 from this day on
        ("XHKG", date(2024, 12, 23), ("01:30 04:00", "05:00 08:00"), 330),
        ("XHKG", date(2024, 12, 24), ("01:30 04:00",), 150),  # the morning of Christmas Eve
        ("XNYS", date(2024, 12, 23), ("14:30 21:00",), 390),
    ],
)
def test_a_lunch_break_is_no_part_of_the_session(calendar, session, intervals, n_minutes):
    calendar = TradingCalendar((calendar,))
    hours, minutes = calendar.hours(session), calendar.minutes([session])
    assert tuple(f"{start:%H:%M} {end:%H:%M}" for start, end in hours.intervals) == intervals
    assert hours.n_minutes == minutes.height == n_minutes
    assert minutes["minute"].to_list() == list(range(n_minutes))
    told = {ts.strftime("%H:%M") for ts in minutes["ts"]}
    for text in intervals:
        start, end = text.split()
        assert start in told
        assert end not in told


def test_a_break_of_one_exchange_is_none_of_another():
    both = TradingCalendar(("XTKS", "XASX"))
    assert both.hours(date(2024, 11, 5)).intervals == ((instant("2024-11-04 23:00"), instant("2024-11-05 06:30")),)
    alone = date(2024, 12, 26)  # Boxing Day: Sydney is closed
    assert len(both.hours(alone).intervals) == 2


def dated(*texts, calendar=XNYS):
    frame = pl.DataFrame({"ts": [instant(text) for text in texts]}, schema={"ts": pl.Datetime("us", "UTC")})
    return frame.select(session_of(pl.col("ts"), calendar.timezone, calendar.all_sessions))["session"].to_list()


def test_post_market_bars_of_winter_belong_to_the_local_session_not_to_the_utc_date():
    assert dated("2024-01-03 00:30", "2024-01-03 14:30", "2024-01-04 00:59") == [
        date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 3)
    ]  # fmt: skip


def test_bars_on_days_without_a_session_stay_with_the_session_before():
    assert dated("2019-12-25 15:00", "2024-01-06 15:00", "2024-01-07 23:00") == [
        date(2019, 12, 24), date(2024, 1, 5), date(2024, 1, 5)
    ]  # fmt: skip


def test_bars_before_the_calendar_stay_with_its_first_session():
    assert dated("1999-06-01 15:00") == [date(2000, 1, 3)]


def test_day_start_is_utc_midnight():
    assert day_start(date(2024, 1, 3)) == datetime(2024, 1, 3, tzinfo=UTC)
    assert XNYS.minutes([]).is_empty()
    assert XNYS.minutes([]).schema == XNYS.minutes([date(2024, 1, 3)]).schema
