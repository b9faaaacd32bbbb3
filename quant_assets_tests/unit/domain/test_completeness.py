"""What an answer is called, and what proves it: minutes and days counted by hand."""

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.completeness import ANSWERS, DAILY_VOLUMES, Beginning, judge_daily, judge_minutes, unit_of
from quant_assets.domain.hours import HOURS
from quant_assets.domain.tables import RAW_TWS_BARS
from quant_assets_tests.builders import CALENDAR, CON_ID, SESSION, hours, raw_bars

NEW = "b2-000"
BEFORE = CALENDAR.previous(SESSION)
MONTH_AGO = SESSION - timedelta(days=28)
ALL = [100.0] * 390


def answered(**changes) -> pl.DataFrame:
    row = {
        "session": SESSION,
        "con_id": CON_ID,
        "request_id": NEW,
        **dict(zip(HOURS, hours().row, strict=True)),
        "is_share": True,
        "may_be_lots": False,
        "words": "",
        "first_asked": SESSION,
        "last_asked": SESSION,
        "first_row": SESSION,
        "last_row": SESSION,
        "n_nothing": 0,
        "is_reread": False,
    }
    return pl.DataFrame([row | changes], schema=ANSWERS)


NO_ROW = {"first_row": None, "last_row": None}


def knows(volume: float | None) -> pl.DataFrame:
    rows = [] if volume is None else [(SESSION, CON_ID, volume)]
    return pl.DataFrame(rows, schema=DAILY_VOLUMES, orient="row")


def bars(closes=ALL, request=NEW, **options) -> pl.DataFrame:
    return raw_bars(closes, request=request, **options)


def verdict(rows=None, daily=None, earlier=None, **changes) -> dict[str, object]:
    found = judge_minutes(
        answered(**changes),
        RAW_TWS_BARS.empty() if rows is None else rows,
        knows(daily),
        RAW_TWS_BARS.empty() if earlier is None else earlier,
    )
    assert found.height == 1
    return found.row(0, named=True)


def said(*arguments, **options) -> tuple[str, str]:
    found = verdict(*arguments, **options)
    return found["outcome"], found["proof"]


# ------------------------------------------------------------ minutes


def test_every_minute_is_there():
    assert said(bars()) == ("bars", "complete")


@pytest.mark.parametrize(
    ("daily", "expected"),
    [
        (380_000.0, ("bars", "volume")),
        (380_300.0, ("bars", "volume")),
        (381_000.0, ("unconfirmed", "")),
        (390_000.0, ("truncated", "")),
        (None, ("unconfirmed", "")),
    ],
)
def test_missing_minutes_are_judged_by_the_daily_volume(daily, expected):
    """380 bars of 1,000 shares: a thousandth may differ, and a quarter of what ten average minutes hold is a loss."""
    assert said(bars(ALL[:380]), daily) == expected


def test_the_same_minutes_again_prove_that_the_others_had_no_trades():
    first = bars(dict.fromkeys(range(0, 390, 3), 100.0), "b1-000")
    again = bars(dict.fromkeys(range(0, 390, 3), 100.0))
    assert said(again, earlier=first) == ("bars", "agreement")
    assert said(bars(dict.fromkeys(range(1, 390, 3), 100.0)), earlier=first) == ("unconfirmed", "")
    assert said(bars(ALL[:100]), earlier=bars(ALL[:120], "b1-000")) == ("unconfirmed", "")


def test_equal_rows_are_not_kept_twice_and_other_values_are():
    first = bars(ALL, "b1-000")
    same = verdict(bars(), earlier=first)
    assert (same["same_as"], same["is_kept"]) == ("b1", False)
    revised = verdict(bars([100.0] * 389 + [101.0]), earlier=first, is_reread=True)
    assert (revised["same_as"], revised["is_kept"]) == (None, True)
    assert revised["detail"] == "revises 1 bars of an earlier answer"


def test_a_settled_session_loses_no_minute_by_being_read_again():
    worse = verdict(bars(ALL[:300]), earlier=bars(ALL, "b1-000"), is_reread=True)
    assert (worse["outcome"], worse["proof"], worse["is_kept"]) == ("truncated", "", False)


def test_a_split_between_is_no_revision():
    halved = verdict(bars([50.0] * 390), earlier=bars(ALL, "b1-000"), is_reread=True)
    assert (halved["outcome"], halved["proof"], halved["is_kept"]) == ("bars", "", False)
    assert "another price basis (closes x 0.5)" in halved["detail"]


@pytest.mark.parametrize(
    ("changes", "daily", "expected"),
    [
        ({}, None, ("empty", "")),
        ({"n_nothing": 1}, None, ("suspect_empty", "")),
        ({"n_nothing": 1}, 5e5, ("suspect_empty", "")),
        ({}, 0.0, ("no_trades", "daily")),
        ({"words": "HMDS query returned no data"}, None, ("no_data", "")),
        ({"words": "HMDS query returned no data"}, 0.0, ("no_data", "daily")),
        ({"words": "HMDS query returned no data"}, 5e5, ("no_data", "")),
    ],
)
def test_an_answer_without_a_bar(changes, daily, expected):
    assert said(None, daily, **NO_ROW, **changes) == expected


def test_a_nothing_is_in_doubt_when_an_earlier_answer_brought_trades_of_the_session():
    few = bars(ALL[:100], "b1-000")
    assert said(None, 0.0, few, words="no data", **NO_ROW) == ("no_data", "")
    assert said(None, 0.0, few, **NO_ROW) == ("empty", "")
    assert said(None, 0.0, few.with_columns(volume=pl.lit(0.0)), **NO_ROW) == ("no_trades", "daily"), "fillers"


def test_bars_of_other_days_are_shifted_and_an_answer_that_ends_early_is_truncated():
    assert said(first_row=MONTH_AGO, last_row=MONTH_AGO) == ("shifted", "")
    week = {"first_asked": BEFORE, "last_asked": CALENDAR.following(SESSION)}
    assert said(first_row=BEFORE, last_row=BEFORE, **week) == ("truncated", "")
    inside = verdict(bars(), first_row=MONTH_AGO, last_row=SESSION, **week)
    assert (inside["outcome"], inside["is_kept"]) == ("shifted", False), "the right label on another day's bars"


def test_volumes_in_lots_are_told_by_trades_and_by_the_daily_volume():
    in_lots = bars().with_columns(pl.col("volume") / 1000)
    assert said(in_lots) == ("wrong_unit", ""), "one share in ten trades"
    assert said(in_lots, is_share=False) == ("bars", "complete")
    few = bars().with_columns(volume=pl.lit(20.0))
    assert said(few, 390 * 2000.0) == ("wrong_unit", "")
    assert said(few, 390 * 20.0) == ("bars", "complete")
    assert not verdict(few, 390 * 2000.0)["is_kept"]
    one = bars(ALL, rows=[{"minute": 3, "volume": 1.0}])
    assert said(one) == ("bars", "complete"), "one odd bar is dirt, and the rules of the curation look at it"


# ------------------------------------------------------------ days

WINDOW = CALENDAR.window(SESSION, 10)
STORED = pl.DataFrame(schema={"session": pl.Date, "close": pl.Float64, "volume": pl.Float64})


def days(sessions: list[date], volume: float = 1e6) -> pl.DataFrame:
    values = {"close": 100.0, "volume": volume, "bar_count": 5000}
    return pl.DataFrame(
        [{"session": day, **values} for day in sessions], schema={**STORED.schema, "bar_count": pl.Int64}
    )


def daily(sessions, stored=STORED, newest=None, words="", volume=1e6):
    earliest = WINDOW[0] - timedelta(days=14)
    return judge_daily(days(sessions, volume), WINDOW, stored, earliest=earliest, newest_vintage=newest, words=words)


def test_a_whole_window_and_a_young_instrument_are_complete():
    assert (daily(WINDOW).outcome, daily(WINDOW).proof) == ("bars", "complete")
    assert daily(WINDOW[4:]).proof == "complete"


def test_a_window_that_begins_later_than_what_is_stored_is_in_doubt():
    found = daily(WINDOW[4:], days(WINDOW[:6]).drop("bar_count"))
    assert (found.outcome, found.proof) == ("unconfirmed", "")
    assert "lacks 4 sessions" in found.detail


def test_a_hole_and_a_missing_end_are_in_doubt_until_a_second_answer_agrees():
    hole = daily([*WINDOW[:3], *WINDOW[4:]])
    assert (hole.outcome, hole.proof) == ("unconfirmed", "")
    assert hole.confirmed_by([hole]).proof == "agreement"
    cut = daily(WINDOW[:6])
    assert (cut.outcome, cut.proof) == ("truncated", "")
    assert cut.confirmed_by([hole], is_quiet=True) == cut
    again = cut.confirmed_by([cut], is_quiet=True)
    assert (again.outcome, again.proof) == ("bars", "agreement")


def test_an_end_that_is_only_repeated_is_not_believed():
    """Whoever lies once lies alike: TWS has to have no minutes after it either."""
    cut = daily(WINDOW[:6])
    found = cut.confirmed_by([cut, cut, cut])
    assert (found.outcome, found.proof) == ("truncated", "")
    assert found.detail.endswith("nothing shows that it did not trade since")


def test_a_delisted_instrument_ends_where_an_earlier_vintage_ended():
    found = daily(WINDOW[:6], days(WINDOW[:6]).drop("bar_count"), newest=WINDOW[8])
    assert (found.outcome, found.proof) == ("bars", "agreement")


def test_four_weeks_earlier_is_shifted():
    shifted = daily([day - timedelta(days=28) for day in WINDOW])
    assert shifted.outcome == "shifted"
    assert shifted.confirmed_by([shifted]).proof == ""
    found = shifted.confirmed_by([shifted], is_quiet=True)
    assert (found.outcome, found.proof) == ("no_trades", "agreement"), "of the window itself it has nothing"


NOTHING = pytest.mark.parametrize(("words", "again"), [("no data", "no_data"), ("", "suspect_empty")])


@NOTHING
def test_a_nothing_that_is_only_repeated_is_not_believed(words, again):
    """Whoever lies once lies alike: three equal nothings say no more than one."""
    one = daily([], words=words)
    found = one.confirmed_by([one, one, one])
    assert (found.outcome, found.proof) == (again, "")


@pytest.mark.parametrize(("words", "outcome"), [("no data", "no_data"), ("", "no_trades")])
def test_a_nothing_is_believed_once_tws_knows_of_no_first_bar(words, outcome):
    one = daily([], words=words)
    assert one.confirmed_by([], Beginning(None)).proof == "", "once is not enough"
    found = one.confirmed_by([one], Beginning(None))
    assert (found.outcome, found.proof) == (outcome, "head")
    assert found.detail.endswith("TWS knows of no first bar")


@NOTHING
def test_a_first_bar_contradicts_a_nothing(words, again):
    one = daily([], words=words)
    found = one.confirmed_by([one], Beginning(WINDOW[3]))
    assert (found.outcome, found.proof) == (again, "")
    assert f"its first bar is of {WINDOW[3]}" in found.detail


def test_a_nothing_is_not_believed_when_anybody_knows_of_a_trade():
    """Not by a missing first bar, and not because the series was held to have ended."""
    one = daily([], words="no data").contradicted_by(WINDOW[8:])
    assert one.confirmed_by([one], Beginning(None)).proof == ""
    assert one.after_the_end(WINDOW[0]).proof == ""
    assert one.detail == f"no data; yet it traded on 2 sessions: {WINDOW[8]}, {WINDOW[9]}"


def test_a_series_that_had_ended_needs_no_more_than_a_nothing():
    found = daily([], words="no data").after_the_end(BEFORE)
    assert (found.outcome, found.proof) == ("no_trades", "agreement")
    assert daily(WINDOW[:6]).after_the_end(BEFORE).proof == ""


def test_an_answer_that_ends_before_the_window_shows_that_the_series_has_ended():
    """Asked for further back, it brings the bars before its end: twice the same last one."""
    ends = daily([WINDOW[0] - timedelta(days=2), WINDOW[0] - timedelta(days=1)])
    assert (ends.outcome, ends.proof) == ("truncated", "")
    found = ends.confirmed_by([daily([]), ends], Beginning(date(1990, 1, 2)), is_quiet=True)
    assert (found.outcome, found.proof) == ("no_trades", "agreement")
    other = daily([WINDOW[0] - timedelta(days=3)])
    assert other.confirmed_by([ends], is_quiet=True).proof == "", (
        "an answer that was cut off ends elsewhere when it is cut differently"
    )


def test_two_answers_that_end_alike_are_not_believed_when_somebody_knows_of_later_trades():
    cut = daily(WINDOW[:6]).contradicted_by([WINDOW[4], WINDOW[8]])
    assert (cut.outcome, cut.confirmed_by([cut], is_quiet=True).proof) == ("truncated", "")
    assert cut.detail.endswith(f"yet it traded on 1 sessions: {WINDOW[8]}")
    ended = daily(WINDOW[:6], days(WINDOW[:6]).drop("bar_count"), newest=WINDOW[8])
    assert ended.proof == "agreement"
    assert (ended.contradicted_by([WINDOW[8]]).outcome, ended.contradicted_by([WINDOW[8]]).proof) == ("truncated", "")
    assert ended.contradicted_by(WINDOW[:6]) == ended


def test_lots_are_never_believed():
    lots = daily(WINDOW, days(WINDOW).drop("bar_count"), volume=1e4)
    assert (lots.outcome, lots.proof) == ("wrong_unit", "")
    assert lots.confirmed_by([lots]) == lots
    split = days(WINDOW).with_columns(pl.col("close") / 100).drop("bar_count")
    assert daily(WINDOW, split, volume=1e4).proof == "complete", "a split of a hundred moves the prices, too"


HONG_KONG = TradingCalendar(("XHKG",)).hours(SESSION)
"""9:30 to 12:00 and 13:00 to 16:00: 330 minutes in 390."""


def in_hong_kong(**changes) -> pl.DataFrame:
    return answered(**dict(zip(HOURS, HONG_KONG.row, strict=True)), **changes)


def hong_kong_bars(minutes: range | list[int]) -> pl.DataFrame:
    """Bars of minutes counted from the opening, lunch included."""
    made = raw_bars(dict.fromkeys(minutes, 100.0), request=NEW)
    return made.with_columns(pl.col("ts") - (hours().opens_at - HONG_KONG.opens_at))


ALL_BUT_LUNCH = [*range(150), *range(210, 390)]


def test_a_session_with_a_lunch_break_is_complete_without_a_minute_of_the_break():
    found = judge_minutes(in_hong_kong(), hong_kong_bars(ALL_BUT_LUNCH), knows(None), RAW_TWS_BARS.empty())
    assert found.row(0, named=True) | {"proof": "complete", "outcome": "bars"} == found.row(0, named=True)
    lacking = judge_minutes(in_hong_kong(), hong_kong_bars(ALL_BUT_LUNCH[:-1]), knows(None), RAW_TWS_BARS.empty())
    assert lacking["outcome"].item() == "unconfirmed"
    assert lacking["detail"].item() == "329 of 330 minutes"


def test_a_bar_in_the_break_does_not_stand_for_a_minute_that_is_missing():
    found = judge_minutes(in_hong_kong(), hong_kong_bars([*ALL_BUT_LUNCH[:-1], 170]), knows(None), RAW_TWS_BARS.empty())
    assert found["detail"].item() == "329 of 330 minutes"


def test_minutes_that_traded_are_not_hidden_by_the_break():
    """Ten of 330 minutes are gone, and not the 70 that they and the break make together."""
    found = judge_minutes(in_hong_kong(), hong_kong_bars(ALL_BUT_LUNCH[:-10]), knows(322_500.0), RAW_TWS_BARS.empty())
    assert found["outcome"].item() == "truncated", "2,500 of the 10,000 shares of ten average minutes"


# ------------------------------------------------------------ shares and lots


def trades(price: float, size: float) -> pl.DataFrame:
    return pl.DataFrame({"close": [price] * 50, "volume": [1000 * size] * 50, "bar_count": [1000] * 50})


@pytest.mark.parametrize(
    ("price", "shares"),
    [(700_000.0, 1.0), (5_000.0, 8.0), (600.0, 200.0), (50.0, 100.0), (10.0, 150.0), (1.0, 300.0), (0.5, 1_000.0)],
)
def test_trades_of_usual_sizes_tell_shares_and_never_tell_shares_in_lots(price, shares):
    assert unit_of(trades(price, shares)) == "shares"
    assert unit_of(trades(price, shares / 100)) == ("lots" if shares < 100 else "unclear")
    assert unit_of(trades(price, shares).with_columns(bar_count=pl.lit(None, pl.Int64))) == "unknown"


def one_bar_a_day(size: float) -> pl.DataFrame:
    """The window, at 100 dollars and so many shares a trade."""
    count = [1000] * len(WINDOW)
    closes = [100.0] * len(WINDOW)
    return pl.DataFrame(
        {"session": WINDOW, "close": closes, "volume": [1000 * size for _ in WINDOW], "bar_count": count}
    )


def of_us_share(size: float, stored: pl.DataFrame | None = None, **changes):
    known = pl.DataFrame(schema={"session": pl.Date, "close": pl.Float64, "volume": pl.Float64})
    return judge_daily(
        one_bar_a_day(size).with_columns(**changes),
        WINDOW,
        known if stored is None else stored.select(known.columns),
        earliest=WINDOW[0],
        newest_vintage=None,
        may_be_lots=True,
    )


def test_a_whole_window_whose_volumes_may_be_in_lots_is_in_doubt_until_it_is_known_or_others_are():
    """Two shares a trade, at 100 dollars: perhaps 200, and lots. Nobody can tell from the answer itself."""
    unclear = of_us_share(2.0)
    assert (unclear.outcome, unclear.proof, unclear.detail) == ("unconfirmed", "", "its volumes may be in lots of 100")
    assert (of_us_share(200.0).outcome, of_us_share(200.0).proof) == ("bars", "complete")
    assert of_us_share(2.0, one_bar_a_day(2.0)).proof == "complete", "as is known of it"
    assert of_us_share(2.0, one_bar_a_day(200.0)).outcome == "wrong_unit", "a hundredth of what is known"
    assert unclear.confirmed_by([unclear]).proof == "agreement"
    refused = unclear.among_lots()
    assert (refused.outcome, refused.confirmed_by([unclear]).proof) == ("wrong_unit", "")
    uncounted = of_us_share(2.0, bar_count=pl.lit(None, pl.Int64))
    assert (uncounted.proof, uncounted.among_lots().outcome) == ("complete", "wrong_unit"), "a recording, or not"
    assert of_us_share(200.0).among_lots() == of_us_share(200.0), "what shows itself that it is in shares"


def test_minutes_that_may_be_in_lots_are_refused_when_others_are():
    """Two shares a trade, at 100 dollars."""
    few = bars().with_columns(volume=pl.lit(20.0), bar_count=pl.lit(10))
    asked = pl.concat([answered(may_be_lots=True), answered(may_be_lots=True, con_id=CON_ID + 1, request_id="b2-001")])
    odd = few.with_columns(con_id=pl.lit(CON_ID + 1, pl.Int64), request_id=pl.lit("b2-001"), volume=pl.lit(5.0))

    def judged(rows, answers, daily=None, **options):
        found = judge_minutes(answers, rows, knows(daily), RAW_TWS_BARS.empty(), **options).sort("request_id")
        return found.select("outcome", "is_kept", "unit").rows()

    first = asked.head(1)
    assert judged(few, first) == [("bars", True, "unclear")]
    assert judged(few, first, 390 * 20.0) == [("bars", True, "shares")]
    assert judged(few, first, among_lots=True) == [("wrong_unit", False, "unclear")]
    assert judged(few, first, 390 * 20.0, among_lots=True) == [("bars", True, "shares")]
    assert judged(pl.concat([few, odd]), asked) == [("wrong_unit", False, "unclear"), ("wrong_unit", False, "lots")]
    assert judged(few, answered(may_be_lots=False), among_lots=True) == [("bars", True, None)]


@pytest.mark.parametrize(
    ("n_odd", "outcome", "unit"),
    [(1, "bars", "shares"), (7, "bars", "shares"), (8, "wrong_unit", "lots")],  # 2 % of 390 is 7.8
)
def test_bars_with_fewer_shares_than_trades_are_counted_among_all_bars_of_the_session(n_odd, outcome, unit):
    """Ten minutes have trades, of 500 shares at 100 dollars; two shares in three trades are dirt, or lots."""
    number = pl.int_range(pl.len())
    volume = pl.when(number < n_odd).then(2.0).when(number < 10).then(5_000.0).otherwise(0.0)
    count = pl.when(number < n_odd).then(3).when(number < 10).then(10).otherwise(0)
    rows = bars().with_columns(volume=volume, bar_count=count.cast(pl.Int64))
    found = verdict(rows, may_be_lots=True)
    assert (found["outcome"], found["unit"]) == (outcome, unit)


def test_no_volume_and_bars_of_other_days_tell_no_unit():
    nothing = bars().with_columns(volume=pl.lit(0.0), bar_count=pl.lit(0))
    assert verdict(nothing, may_be_lots=True)["unit"] is None
    in_lots = bars().with_columns(volume=pl.lit(5.0), bar_count=pl.lit(10))
    assert verdict(in_lots, may_be_lots=True)["unit"] == "lots"
    shifted = verdict(in_lots, may_be_lots=True, first_row=MONTH_AGO, last_row=MONTH_AGO)
    assert (shifted["outcome"], shifted["unit"]) == ("shifted", None)
