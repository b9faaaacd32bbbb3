"""Factors from the data itself, against hand-worked numbers, planted splits and dividends, and recorded dirt."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.adjustments import REACH, SNAP, chained, detect, rebased, snapped
from quant_assets.domain.bars import daily_window, newest_answers, session_prices
from quant_assets.domain.breaks import REAL_MOVES
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.quality import curate_minutes
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, RAW_TWS_DAILY_BARS
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.adjusting import total_return
from quant_assets_tests.builders import CALENDAR, both, hours, minute, raw_bars, references, trading

D = date(2024, 1, 10)
WINDOW = CALENDAR.window(D, 11)
BEFORE = WINDOW[-2]
MEMBERS = pl.DataFrame({"con_id": [101], "symbol": ["S101"]})


def windows(vintages: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return daily_window(vintages, D, WINDOW), daily_window(vintages, BEFORE, WINDOW[:-1])


def found(vintages: pl.DataFrame, minutes: pl.DataFrame | None = None) -> dict[date, dict]:
    now, then = windows(vintages)
    prices = session_prices(raw_bars([now["close"][-1]], session=D) if minutes is None else minutes)
    frame = ADJUSTMENT_FACTORS.conform(detect(D, BEFORE, MEMBERS, now, then, prices))
    return {row["session"]: row for row in frame.iter_rows(named=True)}


def closes(last: float = 100.0, *, scale: float = 1.0) -> dict[date, float]:
    """Ten closes 91, 92, … 100 before D on a basis, and D's own."""
    before = {day: (91.0 + place) * scale for place, day in enumerate(WINDOW[:-1])}
    return {**before, D: last}


def older(scale: float = 1.0) -> dict[date, float]:
    return {day: close for day, close in closes(scale=scale).items() if day < D}


# ------------------------------------------------------------ hand-worked


def test_a_split_is_the_ratio_of_two_vintages_and_says_which():
    """Two for one on D: the vintage of the day before closes at 100, that of D says 50 of the same session."""
    row = found(pl.concat([both(older(), BEFORE), both(closes(51.0, scale=0.5), D)]))[BEFORE]
    assert (row["split_factor"], row["total_return_factor"], row["kind"]) == (0.5, 0.5, "split")
    assert (row["vintage_before"], row["vintage_after"]) == (BEFORE, D)
    assert "close 50.0 against 100.0" in row["evidence"]


def test_a_dividend_is_the_step_of_the_adjusted_closes():
    """A dividend of 2 on a close of 100 leaves 98 of the close before: factor 0.98, and no split."""
    adjusted = {day: close * 0.98 for day, close in older().items()} | {D: 99.0}
    row = found(pl.concat([both(older(), BEFORE), both(closes(99.0), D, adjusted=adjusted)]))[BEFORE]
    assert (row["split_factor"], row["kind"]) == (1.0, "dividend")
    assert row["total_return_factor"] == pytest.approx(0.98, rel=1e-12)


def test_split_and_dividend_on_one_day_are_told_apart():
    """Three for one, and a dividend of 1 % of the price: 1/3 and 0.99/3."""
    third = {day: close / 3 for day, close in older().items()}
    adjusted = {day: close * 0.99 for day, close in third.items()} | {D: 34.0}
    row = found(pl.concat([both(older(), BEFORE), both({**third, D: 34.0}, D, adjusted=adjusted)]))[BEFORE]
    assert row["kind"] == "split_and_dividend"
    assert row["split_factor"] == pytest.approx(1 / 3, rel=1e-12)
    assert row["total_return_factor"] == pytest.approx(0.99 / 3, rel=1e-12)


def test_without_a_window_of_the_day_before_its_minutes_are_compared():
    """The day before was not in any vintage of its time; its minutes closed at 100, the day says 25 by now."""
    only_now = both(closes(26.0, scale=0.25), D)
    now = daily_window(only_now, D, WINDOW)
    minutes = session_prices(pl.concat([raw_bars([100.0], session=BEFORE), raw_bars([26.0], session=D)]))
    frame = detect(D, BEFORE, MEMBERS, now, now.clear(), minutes)
    row = frame.filter(pl.col("session") == BEFORE).row(0, named=True)
    assert (row["split_factor"], row["kind"]) == (0.25, "split")
    assert "day 25.0 against its minutes 100.0" in row["evidence"]


def test_minutes_of_another_basis_than_their_day_are_found():
    """Minutes that were fetched again after a later two-for-one stand at half of their day's price: factor 2."""
    row = found(both(closes(100.5), D), raw_bars([50.25], session=D))[D]
    assert (row["split_factor"], row["kind"]) == (2.0, "basis")


def test_one_bad_minute_makes_no_basis():
    minutes = raw_bars([100.0, 100.0, 10_000.0, 100.0], session=D)
    assert found(both(closes(100.0), D), minutes)[D]["kind"] == "none"
    last = raw_bars([100.0, 100.0, 100.0, 1.0], session=D)
    assert found(both(closes(100.0), D), last)[D]["split_factor"] == 1.0


@pytest.mark.parametrize(
    "later",
    [
        {day: close * 1.07 for day, close in closes().items()},
        {day: close * (0.5 if day == BEFORE else 1.0) for day, close in closes().items()},
        {day: close * (0.5 if place % 3 == 0 else 1.0) for place, (day, close) in enumerate(closes().items())},
        {day: close * (1 + 0.001 * (-1) ** place) for place, (day, close) in enumerate(closes().items())},
    ],
    ids=["no ratio of a split", "one close halved", "every third close halved", "noise"],
)
def test_what_is_no_split_is_never_taken_for_one(later):
    row = found(pl.concat([both(older(), BEFORE), both(later, D)]))[BEFORE]
    assert row["split_factor"] == 1.0
    assert row["kind"] in ("none", "unexplained")


def test_a_change_that_no_split_explains_is_named():
    later = {day: close * 1.07 for day, close in closes().items()}
    row = found(pl.concat([both(older(), BEFORE), both(later, D)]))[BEFORE]
    assert row["kind"] == "unexplained"
    assert row["observed_ratio"] == pytest.approx(1.07)
    assert "no split" in row["evidence"]


# ------------------------------------------------------------ who has no bar on the session before


LONG = CALENDAR.window(D, 40)


def row_of(now: pl.DataFrame, then: pl.DataFrame, session: date, before: date) -> dict:
    """Return the link to a session; of minutes nothing is known."""
    frame = detect(session, before, MEMBERS, now, then, session_prices(raw_bars([1.0]).clear()))
    return ADJUSTMENT_FACTORS.conform(frame).filter(pl.col("session") == before).row(0, named=True)


def seen(closes_: dict[date, float], of: date, adjusted: dict[date, float] | None = None) -> pl.DataFrame:
    """Return the window as of a session, of sessions up to it."""
    until = {day: close for day, close in closes_.items() if day <= of}
    return daily_window(both(until, of, adjusted=adjusted), of, [day for day in LONG if day <= of])


def test_a_dividend_shows_in_a_share_that_did_not_trade_on_the_day_before():
    """It closes at 100, does not trade on the session before D, and goes ex 5 on D: 95 of 100."""
    level = {day: 100.0 for day in WINDOW if day not in (BEFORE, D)} | {D: 95.0}
    row = row_of(seen(level, D, dict.fromkeys(level, 95.0)), seen(level, BEFORE), D, BEFORE)
    assert (row["kind"], row["split_factor"]) == ("dividend", 1.0)
    assert row["total_return_factor"] == pytest.approx(0.95, rel=1e-12)


def test_a_dividend_of_a_day_without_trades_falls_to_the_next_one_with_some_and_counts_once():
    """It goes ex 5 on the session before D, and trades again on D."""
    level = {day: 100.0 for day in WINDOW if day not in (BEFORE, D)} | {D: 95.0}
    ex, before_ex = BEFORE, WINDOW[-3]
    adjusted = {day: 95.0 for day in level if day < D}
    on_ex = row_of(seen(level, ex, adjusted), seen(level, before_ex), ex, before_ex)
    next_day = row_of(seen(level, D, adjusted | {D: 95.0}), seen(level, ex, adjusted), D, ex)
    assert (on_ex["kind"], on_ex["total_return_factor"]) == ("none", 1.0)
    assert next_day["total_return_factor"] == pytest.approx(0.95, rel=1e-12)


def test_a_split_after_a_halt_is_the_ratio_of_the_closes_before_it():
    """It trades until 13 sessions before D at 5, and again on D at 50, after a reverse split of one for ten."""
    level = dict.fromkeys(LONG[:-13], 5.0)
    row = row_of(seen(dict.fromkeys([*level, D], 50.0), D), seen(level, BEFORE), D, BEFORE)
    assert (row["kind"], row["split_factor"]) == ("split", 10.0)
    assert row["evidence"].startswith("10 sessions, ")


def test_the_newest_ten_closes_of_the_instrument_are_compared():
    """What the vendor restated by 7 % long ago says nothing of the basis of today."""
    level = dict.fromkeys(LONG, 100.0)
    restated = dict.fromkeys(LONG[:-11], 107.0) | dict.fromkeys(LONG[-11:], 50.0)
    assert row_of(seen(restated, D), seen(level, BEFORE), D, BEFORE)["split_factor"] == 0.5


# ------------------------------------------------------------ breaks


def jumped(restated: float, word: float | None = None) -> dict:
    """Return the link to D, which opens and closes at 20 times the close before on a tenth of the usual volume.

    As of the session before all closes are 1; as of D they are `restated`. Somebody may say that the price moved.
    """
    level = dict.fromkeys(WINDOW[:-1], 1.0)
    later = dict.fromkeys(level, restated) | {D: 20 * restated}
    now, then = windows(pl.concat([both(level, BEFORE), both(later, D)]))
    thin = pl.when(pl.col("session") == D).then(100.0).otherwise(1000.0)
    moves = None
    if word is not None:
        moves = pl.DataFrame([(101, D, word, 1.0, "anna: a buyout")], schema=REAL_MOVES, orient="row")
    minutes = session_prices(raw_bars([20 * restated], session=D))
    frame = detect(D, BEFORE, MEMBERS, now.with_columns(volume=thin), then, minutes, moves)
    return ADJUSTMENT_FACTORS.conform(frame).filter(pl.col("session") == BEFORE).row(0, named=True)


@pytest.mark.parametrize(("word", "kind"), [(None, "unexplained_break"), (20.0, "real_move")])
def test_a_break_within_one_answer_tells_both_closes(word, kind):
    row = jumped(1.0, word)
    assert (row["kind"], row["observed_ratio"]) == (kind, pytest.approx(20.0))
    assert (row["close_before"], row["close_after"]) == (1.0, 20.0)


@pytest.mark.parametrize("word", [None, 20.0])
def test_two_answers_that_differ_are_told_as_such_beside_a_jump_and_whatever_is_said_of_it(word):
    """All closes before are restated from 1.0 to 13.7, which is no split: no word makes one basis of the two answers."""
    row = jumped(13.7, word)
    assert (row["kind"], row["split_factor"], row["total_return_factor"]) == ("unexplained_break", 1.0, 1.0)
    assert row["observed_ratio"] == pytest.approx(13.7)
    assert "close 13.7 against 1.0, ratio 13.7; the ratio is no split" in row["evidence"]
    assert "real move" not in row["evidence"]
    assert (row["close_before"], row["close_after"]) == (None, None)


def test_minutes_apart_from_their_day_are_no_step_of_a_price():
    row = found(both(closes(100.0), D), raw_bars([1730.0], session=D))[D]
    assert (row["kind"], row["close_before"], row["close_after"]) == ("unexplained_break", None, None)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.5, 0.5), (0.3334, 1 / 3), (10.02, 10.0), (0.6667, 2 / 3), (1.0, None), (1.03, None), (0.7, None), (1.05, 1.05)],
)
def test_ratios_snap_to_splits_that_exist(ratio, expected):
    found = pl.select(snapped(pl.lit(ratio), SNAP, otherwise=None)).item()
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12))


# ------------------------------------------------------------ using them


def factor(as_of: date, session: date, split: float, total: float | None = None) -> dict:
    return {
        "as_of_session": as_of,
        "session": session,
        "con_id": 101,
        "split_factor": split,
        "total_return_factor": split if total is None else total,
    }


DAYS = CALENDAR.window(D, 4)


def test_factors_chain_to_the_basis_of_the_last_session():
    """Sessions 1-4; 2:1 on the 2nd, a dividend of 2 % on the 3rd, minutes of the 1st fetched after the split.

    To the 4th: the 1st 0.5 · 2 = 1 for splits (its minutes stand on the new basis already) and 0.98 with dividends;
    the 2nd 1 and 0.98; the 3rd and 4th 1.
    """
    rows = pl.DataFrame([
        factor(DAYS[0], DAYS[0], 2.0), factor(DAYS[1], DAYS[0], 0.5), factor(DAYS[1], DAYS[1], 1.0),
        factor(DAYS[2], DAYS[1], 1.0, 0.98), factor(DAYS[2], DAYS[2], 1.0), factor(DAYS[3], DAYS[2], 1.0),
        factor(DAYS[3], DAYS[3], 1.0),
    ])  # fmt: skip
    chain = chained(rows, [101], DAYS).sort("session")
    assert chain["split"].to_list() == [1.0, 1.0, 1.0, 1.0]
    assert chain["total"].to_list() == pytest.approx([0.98, 0.98, 1.0, 1.0])
    assert chained(rows, [101], DAYS[:2])["split"].to_list() == [1.0, 1.0]


def test_prices_are_multiplied_volumes_divided_and_dividends_leave_volumes_alone():
    bars = pl.DataFrame({"con_id": [101], "session": [D], "close": [100.0], "wap": [99.0], "volume": [10.0]})
    factors = pl.DataFrame({"con_id": [101], "session": [D], "split": [0.5], "total": [0.49]})
    assert rebased(bars, factors, "splits").row(0) == (101, D, 50.0, 49.5, 20.0)
    assert rebased(bars, factors, "total").select("close", "volume").row(0) == (49.0, 20.0)


@given(
    prices=st.lists(st.floats(1.0, 1e4), min_size=2, max_size=8),
    splits=st.lists(st.sampled_from([0.5, 2.0, 0.1, 1.5, 1.0, 1 / 3]), min_size=7, max_size=7),
    dividends=st.lists(st.floats(0.9, 1.0), min_size=7, max_size=7),
)
def test_adjusting_and_back_gives_the_rows_and_returns_are_total_returns(prices, splits, dividends):
    """Close to close over session k, what is held grows by p(k) / (p(k-1) · split · dividend)."""
    days = CALENDAR.window(D, len(prices))
    rows = [factor(day, day, 1.0) for day in days] + [
        factor(day, days[place], splits[place], splits[place] * dividends[place]) for place, day in enumerate(days[1:])
    ]
    chain = chained(pl.DataFrame(rows), [101], days)
    bars = pl.DataFrame({"con_id": 101, "session": days, "close": prices, "volume": 1e6})
    adjusted = rebased(bars, chain, "total")
    back = rebased(adjusted, chain.with_columns(split=1 / pl.col("split"), total=1 / pl.col("total")), "total")
    assert back["close"].to_list() == pytest.approx(prices, rel=1e-9)
    assert back["volume"].to_list() == pytest.approx([1e6] * len(prices), rel=1e-9)
    returns = (adjusted["close"] / adjusted["close"].shift(1)).to_list()[1:]
    expected = [prices[k + 1] / (prices[k] * splits[k] * dividends[k]) for k in range(len(prices) - 1)]
    assert returns == pytest.approx(expected, rel=1e-9)
    assert adjusted["close"][-1] == prices[-1], "the last session sets the basis"


# ------------------------------------------------------------ one basis in a session


def test_an_hour_fetched_after_a_split_puts_the_whole_session_on_its_basis():
    """Six minutes at 100 … 105 as served first; minutes 2 and 3 again at half the price, twice the volume."""
    first = raw_bars([100.0, 101.0, 102.0, 103.0, 104.0, 105.0], session=D, request="b1-000")
    later = hours(D).closes_at + timedelta(days=3)
    hour = raw_bars({2: 51.0, 3: 51.5}, session=D, request="b2-000", ingested_at=later)
    hour = hour.with_columns(volume=pl.lit(2000.0))
    kept = newest_answers(pl.concat([first, hour])).sort("ts")
    assert kept["close"].to_list() == [50.0, 50.5, 51.0, 51.5, 52.0, 52.5]
    assert kept["volume"].to_list() == [2000.0] * 6
    assert kept["rescaled_by"].to_list() == [0.5, 0.5, 1.0, 1.0, 0.5, 0.5]


def test_rescaled_bars_are_marked_and_known_since_the_later_answer():
    first = raw_bars([100.0, 101.0, 102.0, 0.01, 104.0, 105.0], session=D, request="b1-000")
    later = hours(D).closes_at + timedelta(days=3)
    hour = raw_bars({1: 50.5, 2: 51.0}, session=D, request="b2-000", ingested_at=later)
    divided = curate_minutes(pl.concat([first, hour]), D, trading(D), references(c101=50.0))
    assert divided.valid["close"].to_list() == [50.0, 50.5, 51.0, 52.0, 52.5]
    assert divided.valid["dq_status"].to_list() == ["warn", "ok", "ok", "warn", "warn"]
    assert divided.valid["known_at"].unique().to_list() == [later]
    assert divided.n_rescaled == 4
    assert divided.quarantine["close"].to_list() == [0.01], "evidence is shown as it was served"
    assert divided.valid.height + divided.quarantine.height + divided.n_superseded == 8


def test_what_is_no_split_apart_is_not_rescaled():
    first = raw_bars([100.0, 101.0, 102.0, 103.0], session=D, request="b1-000")
    later = hours(D).closes_at + timedelta(days=3)
    odd = raw_bars({0: 77.0, 1: 77.77}, session=D, request="b2-000", ingested_at=later)
    assert newest_answers(pl.concat([first, odd])).sort("ts")["close"].to_list() == [77.0, 77.77]


# ------------------------------------------------------------ planted, measured


@lru_cache(maxsize=1)
def market() -> SyntheticMarket:
    return SyntheticMarket(7)


SPAN = (date(2020, 1, 2), date(2025, 12, 31))
EASTERN = ZoneInfo("America/New_York")


def evening(day: date) -> datetime:
    return datetime.combine(day, time(20), EASTERN).astimezone(UTC)


@lru_cache(maxsize=128)
def served(of: date, first: date) -> pl.DataFrame:
    """Vintages of every instrument as the market serves them on the evening of a session."""
    frames = []
    for one in market().instruments(evening(of)):
        for what in ("TRADES", "ADJUSTED_LAST"):
            bars = market().daily_bars(one, first, of, what, evening(of))
            constants = {
                "con_id": one.con_id, "symbol": one.symbol, "what_to_show": what, "vintage": of, "is_full": True,
                "source": "TWS", "bar_size": "1 day", "use_rth": True, "known_basis": "observed", "answer_row": 0,
                "batch_id": f"{of}", "request_id": f"{of}-{one.con_id}-{what}", "ingested_at": evening(of),
                "pipeline_version": "0",
            }  # fmt: skip
            schema = RAW_TWS_DAILY_BARS.schema
            frames.append(
                bars.with_columns(pl.lit(value, schema[name]).alias(name) for name, value in constants.items())
            )
    return RAW_TWS_DAILY_BARS.conform(pl.concat(frames))


@lru_cache(maxsize=128)
def factors_of(day: date, cents: bool) -> pl.DataFrame:
    window = CALENDAR.window(day, 11)
    vintages = pl.concat([served(window[-2], window[0]), served(day, window[0])])
    if cents:
        in_cents = pl.when(pl.col("what_to_show") == "ADJUSTED_LAST").then(pl.col("close").round(2))
        vintages = vintages.with_columns(in_cents.otherwise("close").alias("close"))
    now, then = daily_window(vintages, day, window), daily_window(vintages, window[-2], window[:-1])
    members = now.select("con_id", "symbol").unique()
    minutes = session_prices(now.filter(pl.col("session") == day).with_columns(ts=pl.lit(minute(0, day))))
    return detect(day, window[-2], members, now, then, minutes).filter(pl.col("session") == window[-2])


def measure(kind: str, *, cents: bool) -> tuple[int, int, int]:
    """Return (planted and found, planted, found) over the sessions of splits and those after them."""
    planted = market().planted_events(*SPAN)
    splits = planted.filter(pl.col("kind") == "split")["session"].unique().sort().to_list()
    days = [*splits, *(after for day in splits if (after := CALENDAR.following(day)))]
    truth = {
        (row["session"], row["con_id"])
        for row in planted.filter((pl.col("kind") == kind) & pl.col("session").is_in(days)).iter_rows(named=True)
    }
    hits = set()
    for day in days:
        rows = factors_of(day, cents=cents)
        basis = pl.col("split_factor") if kind == "split" else pl.col("total_return_factor") / pl.col("split_factor")
        hits |= {(day, con_id) for con_id in rows.filter(basis != 1.0)["con_id"]}
    return len(hits & truth), len(truth), len(hits)


def test_every_planted_split_is_found_with_its_ratio_and_none_is_invented():
    both_, planted, hits = measure("split", cents=False)
    assert planted >= 15
    assert (both_, hits) == (planted, planted), "recall and precision 1"
    events = market().planted_events(*SPAN).filter(pl.col("kind") == "split")
    for row in events.iter_rows(named=True):
        mine = factors_of(row["session"], cents=False).filter(pl.col("con_id") == row["con_id"])
        assert mine["split_factor"].to_list() == [pytest.approx(1 / float(row["detail"]), rel=1e-12)]


def test_every_planted_dividend_is_found_and_none_is_invented():
    both_, planted, hits = measure("dividend", cents=False)
    assert planted >= 10
    assert (both_, hits) == (planted, planted), "recall and precision 1"


def test_adjusted_closes_in_cents_hide_small_dividends_only():
    """A dividend of less than the rounding of two closes cannot be told from it; it is missed and never invented."""
    both_, planted, hits = measure("dividend", cents=True)
    assert hits == both_, "precision 1"
    assert both_ / planted >= 0.9


@lru_cache(maxsize=128)
def factors_between(names: tuple[str, ...], first: date, last: date) -> pl.DataFrame:
    """Return the links of every instrument to each session of several calendars after the first one."""
    union, frames = TradingCalendar(names), []
    for before, day in pairwise(union.between(first, last)):
        window = union.window(day, REACH)
        vintages = pl.concat([served(before, window[0]), served(day, window[0])])
        now, then = daily_window(vintages, day, window), daily_window(vintages, before, window[:-1])
        members = now.select("con_id", "symbol").unique()
        minutes = session_prices(now.filter(pl.col("session") == day).with_columns(ts=pl.lit(evening(day))))
        frames.append(detect(day, before, members, now, then, minutes))
    return pl.concat(frames)


@pytest.mark.parametrize("other", ["24/7", "XTKS", "XLON"])
def test_beside_another_calendar_minutes_meet_the_days_as_those_of_one_calendar_do(other):
    """Over each planted event whose session follows one of the other exchange alone: for every instrument.

    What it closed at on the evening of its own session before, put on the basis of the event's, is what its daily
    history of that evening says: with splits, and with the dividends, too.
    """
    names = ("XNYS", other)
    union, own = TradingCalendar(names), CALENDAR
    planted = market().planted_events(*SPAN).filter(pl.col("kind").is_in(["split", "dividend"]))
    days = [day for day in planted["session"].unique().sort() if not own.is_session(union.previous(day))]
    n_paid = 0
    for day in days[:: max(1, len(days) // 4)][:4]:
        first = own.previous(day)
        factors = factors_between(names, first, day)
        chain = chained(factors, factors["con_id"].unique().to_list(), union.between(first, day))
        minutes = served(first, first).filter(pl.col("what_to_show") == "TRADES").select("con_id", "session", "close")
        window = union.window(day, REACH)
        history = daily_window(served(day, window[0]), day, window)
        met = (
            history.filter(pl.col("session") == first)
            .join(minutes, on=["con_id", "session"], suffix="_minutes")
            .join(chain, on=["con_id", "session"])
            .join(total_return(history).select("con_id", "session", total_close="close"), on=["con_id", "session"])
        )
        assert met.height > 30
        assert (met["close_minutes"] * met["split"]).to_list() == pytest.approx(met["close"].to_list(), rel=1e-6)
        assert (met["close_minutes"] * met["total"]).to_list() == pytest.approx(met["total_close"].to_list(), rel=1e-6)
        due = planted.filter((pl.col("session") == day) & (pl.col("kind") == "dividend"))["con_id"]
        paid = met.filter(pl.col("total") != pl.col("split"))["con_id"]
        assert set(due) <= set(paid)
        n_paid += len(due)
    assert n_paid >= 4


# ------------------------------------------------------------ recorded


def test_the_wrongly_adjusted_reverse_split_of_the_recording_is_no_split_but_a_break(shared_data):
    """UGAZ closes at 0.88 on 2019-12-20, and every bar from 2019-12-23 on is at about 78; all vintages say the same.

    77.88 ÷ 0.88 = 88.5 is no split, and it has one witness: it is named, and nothing is adjusted.
    """
    recording = RecordedMarket.open(shared_data / "us_etf_1m_2019.parquet", symbols=["UGAZ", "FUTS", "SPY"])
    days = CALENDAR.between(date(2019, 12, 18), date(2019, 12, 27))
    kinds, n_rows = set(), 0
    for before, day in pairwise(days):
        frames, minutes, traded = [], [], []
        for one in recording.instruments(evening(day)):
            for of in (before, day):
                closes_ = recording.daily_bars(one, days[0], of, "TRADES", evening(of))
                if not closes_.is_empty():
                    traded.append(closes_.select("session", "volume", con_id=pl.lit(one.con_id, pl.Int64)))
                    series = dict(closes_.select("session", "close").iter_rows())
                    frames.append(both(series, of, con_id=one.con_id, request=f"{of}-{one.symbol}"))
            opens, closes_at = hours(day).opens_at, hours(day).closes_at
            rows = recording.minute_bars(one, opens, closes_at, "TRADES", evening(day))
            minutes.append(rows.with_columns(con_id=pl.lit(one.con_id, pl.Int64), session=pl.lit(day)))
        vintages = pl.concat(frames)
        window = CALENDAR.window(day, 11)
        now, then = daily_window(vintages, day, window), daily_window(vintages, before, window[:-1])
        volumes = pl.concat(traded).unique(["con_id", "session"]).with_columns(pl.col("volume").cast(pl.Float64))
        now = now.drop("volume").join(volumes, on=["con_id", "session"])
        found_ = detect(
            day, before, now.select("con_id", "symbol").unique(), now, then, session_prices(pl.concat(minutes))
        )
        n_rows += found_.height
        assert found_["split_factor"].unique().to_list() == [1.0]
        kinds |= set(found_["kind"])
        broken = found_.filter(pl.col("kind") == "unexplained_break")
        ugaz = next(one.con_id for one in recording.instruments(evening(day)) if one.symbol == "UGAZ")
        assert broken.select("con_id", "session").rows() == ([(ugaz, before)] if day == date(2019, 12, 23) else [])
        assert broken["observed_ratio"].to_list() == pytest.approx([77.88 / 0.88] * broken.height)
    assert n_rows == 2 * 3 * (len(days) - 1)
    assert "split" not in kinds
    assert "basis" not in kinds
