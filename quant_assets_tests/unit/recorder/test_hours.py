"""When a recorded instrument trades."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.gateway.hours import trading_hours
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.proxy.tape import SCHEMAS
from quant_assets.gateway.recording_hours import hours_of, last_ended, scheduled


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("sec_type", "place", "session", "opens", "closes"),
    [
        ("STK", "NASDAQ", "2026-07-15", "2026-07-15 13:30", "2026-07-15 20:00"),
        ("STK", "LSE", "2026-07-15", "2026-07-15 07:00", "2026-07-15 15:30"),
        ("STK", "TSEJ", "2026-07-15", "2026-07-15 00:00", "2026-07-15 06:30"),
        ("CASH", "IDEALPRO", "2026-07-15", "2026-07-14 21:15", "2026-07-15 21:00"),
        ("CRYPTO", "PAXOS", "2026-07-18", "2026-07-18 00:00", "2026-07-19 00:00"),
        ("FUT", "CME", "2026-07-15", "2026-07-14 22:00", "2026-07-15 21:00"),
    ],
)
def test_each_place_has_its_own_session(sec_type, place, session, opens, closes):
    routed = {"exchange": "SMART", "primary_exchange": place} if sec_type == "STK" else {"exchange": place}
    hours = hours_of(Instrument(1, "X", "x", sec_type=sec_type, **{"primary_exchange": ""} | routed))
    assert hours is not None
    n = hours.ordinal_on_or_after(date.fromisoformat(session))
    assert (hours.session(n), hours.open_at(n), hours.close_at(n)) == (
        date.fromisoformat(session),
        at(opens),
        at(closes),
    )


RIYADH = (
    "20261115:1000-20261115:1500;20261116:1000-20261116:1500;20261117:1000-20261117:1500;20261118:CLOSED;"
    "20261119:1000-20261119:1500;20261120:CLOSED;20261121:CLOSED"
)
ROUND_THE_CLOCK = "20261115:1800-20261116:1700;20261116:1800-20261117:1700;20261118:CLOSED;20261118:1800-20261119:1700"


def told(hours, first: str, last: str) -> list[tuple[str, str, str]]:
    found = hours.between(date.fromisoformat(first), date.fromisoformat(last))
    return [
        (f"{hours.session(n):%a %d}", f"{hours.open_at(n):%d %H:%M}", f"{hours.close_at(n):%d %H:%M}") for n in found
    ]


def test_an_unknown_exchange_has_the_week_that_its_details_told():
    """Sunday to Thursday; the holiday of one Wednesday is taken for the week's, for nothing else was told."""
    one = Instrument(
        1, "2222", "x", primary_exchange="TADAWUL", timezone="Asia/Riyadh", liquid_hours=RIYADH, trading_hours="x"
    )
    hours = hours_of(one)
    assert [day for day, _, _ in told(hours, "2026-12-06", "2026-12-12")] == ["Sun 06", "Mon 07", "Tue 08", "Thu 10"]
    assert told(hours, "2026-12-06", "2026-12-06") == [("Sun 06", "06 07:00", "06 12:00")]


def test_a_session_has_the_date_on_which_it_closes_and_a_holiday_does_not_recur():
    one = Instrument(
        1,
        "Z",
        "x",
        primary_exchange="",
        sec_type="FUT",
        exchange="OTHER",
        timezone="US/Eastern",
        trading_hours=ROUND_THE_CLOCK,
    )
    assert told(hours_of(one), "2026-12-07", "2026-12-09") == [
        ("Mon 07", "06 23:00", "07 22:00"),
        ("Tue 08", "07 23:00", "08 22:00"),
        ("Wed 09", "08 23:00", "09 22:00"),
    ]
    summer = told(hours_of(one), "2026-07-15", "2026-07-15")
    assert summer == [("Wed 15", "14 22:00", "15 21:00")], "the wall clock counts"


@pytest.mark.parametrize("text", ["", "x", "20261118:CLOSED"])
def test_of_what_nothing_is_known_nothing_is_said(text):
    one = Instrument(1, "Z", "x", primary_exchange="OTHER", liquid_hours=text)
    assert hours_of(one) is None
    assert last_ended(None, at("2026-11-20 11:00")) == date(2026, 11, 18)
    assert last_ended(None, at("2026-11-20 12:00")) == date(2026, 11, 19), "west of all islands the 19th has ended"


def schedule(*rows: tuple[str, str | None, str | None]) -> pl.DataFrame:
    schema = {name: SCHEMAS["schedule"][name] for name in ("session", "opens", "closes")}
    values = [(date.fromisoformat(day), *(x and at(f"{day} {x}") for x in hours)) for day, *hours in rows]
    return pl.DataFrame(values, schema=schema, orient="row")


def test_a_schedule_says_which_days_are_sessions_and_its_own_hours_are_told_on_request():
    """Wednesday closed by decree, a Saturday open; Tuesday's hours are told shorter than the calendar's."""
    spoken = schedule(
        ("2026-07-14", "14:30", "20:00"),
        ("2026-07-15", None, None),
        ("2026-07-16", "13:30", "20:00"),
        ("2026-07-17", None, None),
        ("2026-07-18", "13:30", "17:00"),
    )
    rest = [("Mon 13", "13 13:30", "13 20:00"), ("Mon 20", "20 13:30", "20 20:00")]
    saturday = ("Sat 18", "18 13:30", "18 17:00")
    thursday = ("Thu 16", "16 13:30", "16 20:00")
    hours = trading_hours()
    kept = told(scheduled(hours, spoken, keeps_hours=True), "2026-07-13", "2026-07-20")
    assert kept == [rest[0], ("Tue 14", "14 13:30", "14 20:00"), thursday, saturday, rest[1]]
    corrected = told(scheduled(hours, spoken, keeps_hours=False), "2026-07-13", "2026-07-20")
    assert corrected == [rest[0], ("Tue 14", "14 14:30", "14 20:00"), thursday, saturday, rest[1]]
