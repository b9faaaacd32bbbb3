"""Whose hours an instrument keeps, and which session its bars belong to."""

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain import venues
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.hours import trading_hours
from quant_assets_tests.builders import instant

MEMBERS = pl.DataFrame(
    [
        (1, "STK", "NASDAQ"),
        (2, "STK", "LSE"),
        (3, "CASH", "IDEALPRO"),
        (4, "CRYPTO", "PAXOS"),
        (5, "FUT", "CME"),
    ],
    schema={"con_id": pl.Int64, "asset_class": pl.String, "exchange": pl.String},
    orient="row",
)


def hours(session, members=MEMBERS):
    named = venues.calendars_of(members)
    found = venues.hours_of(session, named)
    return {row[0]: (f"{row[1]:%d %H:%M}", f"{row[2]:%d %H:%M}") for row in found.iter_rows()}


def test_each_instrument_keeps_the_hours_of_its_own_exchange():
    assert hours(date(2026, 7, 15)) == {  # a Wednesday in summer time everywhere
        1: ("15 13:30", "15 20:00"),
        2: ("15 07:00", "15 15:30"),
        3: ("14 21:15", "15 21:00"),
        4: ("15 00:00", "16 00:00"),
        5: ("14 22:00", "15 21:00"),
    }


@pytest.mark.parametrize(
    ("session", "open_"),
    [
        (date(2026, 11, 26), {2, 3, 4, 5}),  # Thanksgiving: New York is closed, CME closes early
        (date(2026, 8, 31), {1, 3, 4, 5}),  # summer bank holiday in London
        (date(2026, 10, 24), {4}),  # a Saturday
        (date(2026, 12, 25), {4}),
    ],
)
def test_a_closed_exchange_has_no_row(session, open_):
    assert set(hours(session)) == open_


def test_the_futures_close_early_when_new_york_is_closed():
    assert hours(date(2026, 11, 26))[5] == ("25 23:00", "26 18:00")


@pytest.mark.parametrize(
    ("calendar", "session", "opens", "closes", "n_minutes"),
    [
        ("XCBF", date(2026, 7, 15), "14 22:00", "15 21:00", 1380),  # 17:00 to 16:00 in Chicago, summer time
        ("XCBF", date(2026, 11, 25), "24 23:00", "25 22:00", 1380),
        ("XCBF", date(2026, 11, 23), "22 23:00", "23 22:00", 1380),  # a Monday opens on Sunday
        ("XCBF", date(2026, 3, 9), "08 22:00", "09 21:00", 1380),  # on the evening after the clocks changed
        ("XCBF", date(2026, 11, 27), "26 23:00", "27 18:15", 1155),  # after Thanksgiving: until 12:15
        ("XEUR", date(2026, 7, 15), "15 00:10", "15 20:00", 1190),  # 02:10 to 22:00 in Frankfurt, summer time
        ("XEUR", date(2026, 11, 25), "25 00:10", "25 21:00", 1250),  # 01:10 to 22:00
        ("XEUR", date(2026, 3, 30), "30 00:10", "30 20:00", 1190),  # the first session of summer time
        ("XEUR", date(2018, 12, 7), "07 07:00", "07 21:00", 840),  # before Asia's morning was part of the day
        ("XEUR", date(2018, 12, 10), "10 00:10", "10 21:00", 1250),
    ],
)
def test_futures_of_cfe_and_eurex_trade_beyond_the_day(calendar, session, opens, closes, n_minutes):
    found = TradingCalendar((calendar,)).hours(session)
    assert (f"{found.opens_at:%d %H:%M}", f"{found.closes_at:%d %H:%M}") == (opens, closes)
    assert found.n_minutes == n_minutes


@pytest.mark.parametrize("calendar", ["XCBF", "XEUR", "CMES"])
def test_the_replay_gateway_keeps_the_same_hours_of_futures(calendar):
    """Both sides work them out for themselves."""
    served, ours = trading_hours(calendar), TradingCalendar((calendar,))
    days = ours.between(date(2025, 1, 2), date(2026, 10, 30))
    ordinals = list(served.between(days[0], days[-1]))
    assert [served.session(one) for one in ordinals] == days
    told = [(served.open_at(one), served.close_at(one)) for one in ordinals]
    assert told == [(ours.hours(day).opens_at, ours.hours(day).closes_at) for day in days]


@pytest.mark.parametrize(
    ("session", "london", "new_york"),
    [
        (date(2026, 3, 6), ("06 08:00", "06 16:30"), ("06 14:30", "06 21:00")),
        (date(2026, 3, 9), ("09 08:00", "09 16:30"), ("09 13:30", "09 20:00")),  # New York has changed, London not
        (date(2026, 3, 30), ("30 07:00", "30 15:30"), ("30 13:30", "30 20:00")),
        (date(2026, 10, 26), ("26 08:00", "26 16:30"), ("26 13:30", "26 20:00")),  # London has changed back first
    ],
)
def test_clocks_change_on_different_weekends(session, london, new_york):
    found = hours(session)
    assert (found[2], found[1]) == (london, new_york)


def test_minutes_are_the_instruments_own():
    named = venues.calendars_of(MEMBERS)
    grid = venues.minutes_of(date(2026, 7, 15), named)
    assert dict(grid.group_by("con_id").len().iter_rows()) == {1: 390, 2: 510, 3: 1425, 4: 1440, 5: 1380}
    assert set(grid.filter(pl.col("minute") == 0)["ts"]) == {
        instant(f"2026-07-{text}") for text in ("15 13:30", "15 07:00", "14 21:15", "15 00:00", "14 22:00")
    }


@pytest.mark.parametrize(
    ("calendar", "ts", "session"),
    [
        ("FX", "2026-07-14 20:59", date(2026, 7, 14)),
        ("FX", "2026-07-14 21:00", date(2026, 7, 15)),  # 17:00 in New York: the next trade date
        ("FX", "2026-01-14 21:59", date(2026, 1, 14)),
        ("FX", "2026-01-14 22:00", date(2026, 1, 15)),
        ("FX", "2026-10-25 21:15", date(2026, 10, 26)),  # Sunday evening is Monday's
        ("FX", "2026-03-08 21:15", date(2026, 3, 9)),  # on the day on which New York's clocks change
        ("FX", "2026-10-23 21:05", date(2026, 10, 23)),  # after Friday's close: kept with Friday
        ("CMES", "2026-07-14 21:59", date(2026, 7, 14)),
        ("CMES", "2026-07-14 22:00", date(2026, 7, 15)),
        ("XCBF", "2026-07-14 21:59", date(2026, 7, 14)),
        ("XCBF", "2026-07-14 22:00", date(2026, 7, 15)),  # 17:00 in Chicago
        ("XCBF", "2026-11-24 22:59", date(2026, 11, 24)),
        ("XCBF", "2026-11-24 23:30", date(2026, 11, 25)),
        ("XCBF", "2026-11-22 23:00", date(2026, 11, 23)),  # Sunday evening is Monday's
        ("XCBF", "2026-01-18 23:00", date(2026, 1, 20)),  # the evening before Martin Luther King day, for Tuesday
        ("XCBF", "2026-01-19 16:29", date(2026, 1, 20)),  # and its morning, until 10:30
        ("XCBF", "2026-01-19 23:00", date(2026, 1, 20)),
        ("XEUR", "2026-07-15 00:10", date(2026, 7, 15)),  # 02:10 in Frankfurt
        ("XEUR", "2026-07-15 19:59", date(2026, 7, 15)),
        ("XEUR", "2026-11-25 00:10", date(2026, 11, 25)),  # 01:10 in Frankfurt
        ("24/7", "2026-10-24 23:59", date(2026, 10, 24)),
        ("24/7", "2026-10-25 00:00", date(2026, 10, 25)),
        ("XNYS", "2024-01-03 00:30", date(2024, 1, 2)),  # post-market of the evening before
    ],
)
def test_a_bar_belongs_to_its_trade_date(calendar, ts, session):
    frame = pl.DataFrame({"ts": [instant(ts)]})
    assert frame.select(TradingCalendar((calendar,)).session_of(pl.col("ts"))).item() == session


def test_configuration_names_what_is_not_known_or_known_otherwise():
    assert venues.calendar_name("STK", "NYSE", ("XLON",)) == "XNYS"
    assert venues.calendar_name("STK", "MOON", ("XNYS",)) == "XNYS"
    assert venues.calendar_name("STK", "MOON", ("XNYS", "XLON"), {"MOON": "XTKS"}) == "XTKS"
    assert venues.calendar_name("CRYPTO", "PAXOS", ("XNYS",), {"CRYPTO": "24/5"}) == "24/5"
    with pytest.raises(ConfigurationError, match=r"STK on MOON follows.*\"MOON\": one of XNYS, XLON"):
        venues.calendar_name("STK", "MOON", ("XNYS", "XLON"))


def test_a_future_of_eurex_is_asked_for_in_euros():
    assert (venues.asset_class_at("EUREX"), venues.currency_at("EUREX")) == ("FUT", "EUR")
    assert (venues.asset_class_at("CFE"), venues.currency_at("CFE")) == ("FUT", "USD")


def test_every_known_calendar_exists():
    for name in {*venues.BY_EXCHANGE.values(), *venues.BY_ASSET_CLASS.values()}:
        assert venues.calendar(name).all_sessions


def test_the_nightly_run_waits_only_for_what_closes_at_midnight():
    delay = timedelta(minutes=15)
    assert TradingCalendar(("XNYS", "XLON", "FX", "CMES"), delay).ready_after_midnight() == timedelta()
    assert TradingCalendar(("XNYS", "24/7"), delay).ready_after_midnight() == delay


def test_a_union_waits_for_the_last_close_and_the_delay():
    delay = timedelta(minutes=15)
    stocks, with_crypto = TradingCalendar(("XNYS",), delay), TradingCalendar(("XNYS", "24/7"), delay)
    assert stocks.latest(instant("2026-07-16 00:00")) == date(2026, 7, 15)
    assert with_crypto.latest(instant("2026-07-16 00:14")) == date(2026, 7, 14)
    assert with_crypto.latest(instant("2026-07-16 00:15")) == date(2026, 7, 15)
