"""Sessions and bars: every minute of a session belongs to it."""

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.calendar import TradingCalendar, session_of
from quant_assets_tests.builders import CALENDAR

days = st.dates(date(2005, 1, 1), date(2026, 12, 31))


@settings(max_examples=100, deadline=None)
@given(days)
def test_neighbours_and_windows_agree(day):
    before, after = CALENDAR.previous(day), CALENDAR.following(day)
    assert before < day < after
    span = [before, *([day] if CALENDAR.is_session(day) else []), after]
    assert CALENDAR.between(before, after) == span
    assert CALENDAR.window(after, len(span)) == span
    closed = CALENDAR.closed_days(before, after)
    assert len(closed) + len(span) == (after - before).days + 1


@settings(max_examples=60, deadline=None)
@given(days)
def test_every_minute_of_a_session_and_the_hours_around_it_are_dated_by_it(day):
    session = CALENDAR.following(day)
    minutes = CALENDAR.minutes([session])
    assert minutes.height == CALENDAR.hours(session).n_minutes in (210, 390) or minutes.height in (215, 330, 360)
    wide = pl.concat([minutes["ts"], minutes["ts"].dt.offset_by("4h"), minutes["ts"].dt.offset_by("-4h")]).to_frame()
    found = wide.select(session_of(pl.col("ts"), CALENDAR.timezone, CALENDAR.all_sessions))["session"]
    assert set(found) == {session}


@settings(max_examples=60, deadline=None)
@given(st.datetimes(min_value=CALENDAR.hours(date(2005, 1, 3)).opens_at.replace(tzinfo=None)))
def test_the_latest_session_lies_before_its_day_of_asking(now):
    from datetime import UTC

    now = min(now.replace(tzinfo=UTC), CALENDAR.hours(date(2026, 6, 1)).opens_at)
    latest = CALENDAR.latest(now)
    assert latest < now.date()
    assert CALENDAR.hours(latest).closes_at < now
    assert now.date() - latest <= timedelta(days=6)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["FX", "CMES", "XCBF", "XEUR", "24/7", "XLON", "XNYS"]), st.integers(0, 5000), st.integers(0, 1439)
)
def test_every_minute_of_a_session_is_dated_to_it_on_every_exchange(name, place, minute):
    """Clock changes included: the minutes between opening and close belong to the session, and no other."""
    calendar = TradingCalendar((name,))
    session = calendar.all_sessions[-1 - place]
    hours = calendar.hours(session)
    ts = hours.opens_at + timedelta(minutes=minute % hours.n_minutes)
    assert pl.DataFrame({"ts": [ts]}).select(calendar.session_of(pl.col("ts"))).item() == session
