"""Futures of CFE and Eurex beside New York, through the real socket: whose trade date a minute is, and when it is asked.

By hand, from what the exchanges publish. CFE trades VIX futures from 17:00 of the evening before to 16:00 in Chicago,
on the day after Thanksgiving until 12:15, and on the morning of a holiday until 10:30 for the trade date after it.
Eurex trades index futures from 01:10 to 22:00 in Frankfurt, in summer time from 02:10.
"""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    QUARANTINE_TWS_BARS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
    UNIVERSE,
)
from quant_assets.flows.discover import Discovery
from quant_assets.flows.ingest import ingest_minutes
from quant_assets.flows.ingest.needs import minute_needs
from quant_assets.gateway.hours import TradingHours, trading_hours
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.flows.lab import Lab

FUND, VOLATILITY, GERMAN = "QMKT", "QVXZ6", "QDAX 20261218 M"
"""A future is called what its exchange calls it, in words too."""
MINUTE = timedelta(minutes=1)
SYMBOLS = (f"ARCA:{FUND}", f"CFE:{VOLATILITY}", f"EUREX:{GERMAN}")
ALL_THREE = {"calendars": ("XNYS", "XCBF", "XEUR")}

MAY_DAY = date(2026, 5, 1)
LABOR_DAY = date(2026, 9, 7)
AFTER_LABOR_DAY = date(2026, 9, 8)
CLOCKS_DIFFER = date(2026, 10, 26)
"""Frankfurt's clocks went back on the day before, those of New York and Chicago in a week."""
AFTER_THANKSGIVING = date(2026, 11, 27)

OPEN = {
    # first minute, close, minutes; all UTC
    MAY_DAY: {
        FUND: ("05-01 13:30", "05-01 20:00", 390),
        VOLATILITY: ("04-30 22:00", "05-01 21:00", 1380),
    },
    LABOR_DAY: {GERMAN: ("09-07 00:10", "09-07 20:00", 1190)},
    AFTER_LABOR_DAY: {
        FUND: ("09-08 13:30", "09-08 20:00", 390),
        VOLATILITY: ("09-07 22:00", "09-08 21:00", 1380),
        GERMAN: ("09-08 00:10", "09-08 20:00", 1190),
    },
    CLOCKS_DIFFER: {
        FUND: ("10-26 13:30", "10-26 20:00", 390),
        VOLATILITY: ("10-25 22:00", "10-26 21:00", 1380),
        GERMAN: ("10-26 00:10", "10-26 21:00", 1250),
    },
    AFTER_THANKSGIVING: {
        FUND: ("11-27 14:30", "11-27 18:00", 210),
        VOLATILITY: ("11-26 23:00", "11-27 18:15", 1155),
        GERMAN: ("11-27 00:10", "11-27 21:00", 1250),
    },
}
EXPLAINED = {
    MAY_DAY: {(GERMAN, "closed")},
    LABOR_DAY: {(FUND, "closed"), (VOLATILITY, "closed")},
    AFTER_LABOR_DAY: set(),
    CLOCKS_DIFFER: set(),
    AFTER_THANKSGIVING: {(FUND, "half_day"), (VOLATILITY, "half_day")},
}
SESSIONS = pytest.mark.parametrize("session", OPEN, ids=str)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("futures"), SYMBOLS, lookback=12, lakehouse=ALL_THREE)
    for session in OPEN:
        lab.run([session])
    return lab


def read(lab, table, session):
    store = lab.lake.raw if table.append_only else lab.lake.curated
    return store.read(table, Partition(session))


def spans(frame):
    found = frame.group_by("symbol").agg(pl.col("ts").min(), pl.col("ts").max().alias("last"), pl.len().alias("n"))
    return {row[0]: row[1:] for row in found.iter_rows()}


def expected(session):
    year = session.year
    return {
        symbol: (instant(f"{year}-{opens}"), instant(f"{year}-{closes}") - MINUTE, n)
        for symbol, (opens, closes, n) in OPEN[session].items()
    }


@SESSIONS
def test_the_minutes_of_a_trade_date_lie_under_it_from_its_evening_to_its_close(lab, session):
    for table in (RAW_TWS_BARS, CURATED_TWS_1M_BARS, FEATURES_PRICE_1M_V1):
        assert spans(read(lab, table, session)) == expected(session), table.name
    assert read(lab, QUARANTINE_TWS_BARS, session).is_empty()


@SESSIONS
def test_every_expected_minute_is_there_or_explained(lab, session):
    """Expected = present + explained: whose exchange is closed or closes early lacks nothing."""
    rows = read(lab, BAR_ACCOUNTING, session).filter(pl.col("minutes") > 0)
    present = rows.filter(pl.col("reason") == "present").group_by("symbol").agg(pl.col("minutes").sum())
    assert dict(present.iter_rows()) == {symbol: n for symbol, (_, _, n) in OPEN[session].items()}
    rest = rows.filter(pl.col("reason") != "present")
    assert set(rest.select("symbol", "reason").rows()) == EXPLAINED[session]


def test_a_session_that_ends_early_lacks_the_rest_of_a_whole_one(lab):
    rows = read(lab, BAR_ACCOUNTING, AFTER_THANKSGIVING).filter(pl.col("reason") == "half_day", pl.col("minutes") > 0)
    found = dict(rows.group_by("symbol").agg(pl.col("minutes").sum()).iter_rows())
    assert found == {FUND: 180, VOLATILITY: 225}, "13:00 to 16:00 in New York, 12:15 to 16:00 in Chicago"


@SESSIONS
def test_only_who_trades_is_asked_for_whole_trade_dates_and_believed(lab, session):
    """The day before the newest one that was run is read again; of these, Labor Day is such a day."""
    n_asked = 2 if session == LABOR_DAY else 1
    asked = read(lab, RAW_TWS_REQUESTS, session).filter(pl.col("bar_size") == "1 min")
    series = asked.select("symbol", "what_to_show", "use_rth", "outcome", "proof").sort("symbol").rows()
    of_each = [(symbol, "TRADES", symbol == FUND, "bars", "complete") for symbol in sorted(OPEN[session])]
    assert series == of_each * n_asked
    assert read(lab, RAW_TWS_SCHEDULES, session).is_empty(), "nothing contradicts the calendars"


@pytest.mark.parametrize(
    ("session", "last"),
    [
        # the window's twelve days: 16 April to 1 May, 21 August to 7 September, 9 to 26 October, weekends apart
        (MAY_DAY, {FUND: (12, MAY_DAY), VOLATILITY: (12, MAY_DAY), GERMAN: (11, date(2026, 4, 30))}),
        (LABOR_DAY, {FUND: (11, date(2026, 9, 4)), VOLATILITY: (11, date(2026, 9, 4)), GERMAN: (12, LABOR_DAY)}),
        (CLOCKS_DIFFER, dict.fromkeys((FUND, VOLATILITY, GERMAN), (12, CLOCKS_DIFFER))),
    ],
    ids=str,
)
def test_daily_windows_count_the_trade_dates_of_each_exchange(lab, session, last):
    window = read(lab, CURATED_TWS_1D_BARS, session)
    found = window.group_by("symbol").agg(pl.len(), pl.col("session").max().alias("last"), pl.col("coverage").min())
    assert {row[0]: row[1:] for row in found.iter_rows()} == {name: (*one, 1.0) for name, one in last.items()}


def test_a_day_of_daily_history_is_the_trade_date_that_its_minutes_lie_under(lab):
    """The evening's volume is in the daily bar of the next day, as in the minutes."""
    minutes = read(lab, CURATED_TWS_1M_BARS, CLOCKS_DIFFER).group_by("symbol").agg(pl.col("volume").sum())
    days = read(lab, CURATED_TWS_1D_BARS, CLOCKS_DIFFER).filter(pl.col("session") == CLOCKS_DIFFER)
    assert dict(days.select("symbol", "volume").iter_rows()) == dict(minutes.iter_rows())


def test_the_universe_and_the_details_say_what_each_future_is(lab):
    members = read(lab, UNIVERSE, CLOCKS_DIFFER).select("symbol", "exchange", "currency", "asset_class").sort("symbol")
    assert members.rows() == [
        (GERMAN, "EUREX", "EUR", "FUT"),
        (FUND, "ARCA", "USD", "STK"),
        (VOLATILITY, "CFE", "USD", "FUT"),
    ]
    details = read(lab, RAW_INSTRUMENTS, CLOCKS_DIFFER).filter(pl.col("asset_class") == "FUT").sort("symbol")
    assert details.select("symbol", "multiplier", "min_tick", "last_trade_date", "timezone").rows() == [
        (GERMAN, 25.0, 1.0, date(2026, 12, 18), "MET"),
        (VOLATILITY, 1000.0, 0.05, date(2026, 12, 16), "US/Central"),
    ]


def test_a_second_run_asks_for_nothing(lab):
    assert lab.run(list(OPEN), now=instant("2026-11-28 02:30")).requests == 0


def test_each_is_asked_for_only_after_its_own_close_and_the_delay(tmp_path):
    """Six hours after 13:00 New York it is midnight UTC, after 12:15 Chicago 00:15, after 22:00 Frankfurt 03:00."""
    lab = Lab(tmp_path, SYMBOLS, lakehouse={"calendars": ("XNYS",), "fetch_delay_minutes": 360})
    for now, symbol in (("00:14", FUND), ("00:16", VOLATILITY), ("02:59", None), ("03:01", GERMAN)):
        lab.n_opened = -1
        with lab.at(instant(f"2026-11-28 {now}")) as work:
            if symbol == FUND:
                Discovery(work).publish(AFTER_THANKSGIVING)
            open_ = [need.contract.symbol for need in minute_needs(work, [AFTER_THANKSGIVING]).open]
            assert open_ == ([symbol] if symbol else [])
            assert ingest_minutes(work, [AFTER_THANKSGIVING]).outcomes == ({"bars": 1} if symbol else {})
    asked = read(lab, RAW_TWS_REQUESTS, AFTER_THANKSGIVING).sort("asked_at")
    assert asked["symbol"].to_list() == [FUND, VOLATILITY, GERMAN]


# ---------------------------------------------------------------- what only TWS's schedule tells


def told(lab, session):
    rows = read(lab, RAW_TWS_SCHEDULES, session)
    return rows.select("symbol", "opens_at", "pauses_at", "resumes_at", "closes_at").rows()


def keeping(tmp_path, symbol: str, hours: TradingHours) -> Lab:
    def market(seed: int = 7) -> SyntheticMarket:
        return SyntheticMarket(seed, abroad={symbol: hours})

    return Lab(tmp_path, SYMBOLS, lookback=5, lakehouse=ALL_THREE, market=market)


def test_the_morning_of_a_holiday_belongs_to_the_trade_date_after_it(tmp_path):
    """Labor Day: Sunday 17:00 to Monday 10:30 in Chicago, and Monday 17:00 to Tuesday 16:00, are Tuesday's."""
    known = trading_hours("XCBF")
    is_after = known.sessions == np.datetime64(AFTER_LABOR_DAY)
    opens, pauses, resumes = (
        int(instant(f"2026-{text}").timestamp()) for text in ("09-06 22:00", "09-07 15:30", "09-07 22:00")
    )
    hours = replace(
        known,
        opens=np.where(is_after, opens, known.opens),
        pauses=np.where(is_after, pauses, known.pauses),
        resumes=np.where(is_after, resumes, known.resumes),
    )
    lab = keeping(tmp_path, VOLATILITY, hours)
    lab.run([AFTER_LABOR_DAY])
    assert told(lab, AFTER_LABOR_DAY) == [
        (
            VOLATILITY,
            *(instant(f"2026-{text}") for text in ("09-06 22:00", "09-07 15:30", "09-07 22:00", "09-08 21:00")),
        )
    ]
    # 17.5 hours of the holiday and 23 of the day
    assert spans(read(lab, CURATED_TWS_1M_BARS, AFTER_LABOR_DAY))[VOLATILITY] == (
        instant("2026-09-06 22:00"),
        instant("2026-09-08 20:59"),
        1050 + 1380,
    )
    rows = read(lab, BAR_ACCOUNTING, AFTER_LABOR_DAY).filter(pl.col("minutes") > 0)
    assert set(rows["reason"]) == {"present"}
    assert read(lab, QUARANTINE_TWS_BARS, AFTER_LABOR_DAY).is_empty()
    assert lab.run([AFTER_LABOR_DAY]).requests == 0


def test_a_future_that_opens_later_than_its_exchange_is_told_by_its_schedule(tmp_path):
    """From 08:00 to 22:00 in Frankfurt, in winter: 14 of the 20 hours and 50 minutes of the index futures."""
    known = trading_hours("XEUR")
    opens = int(instant(f"{CLOCKS_DIFFER} 07:00").timestamp())
    later = np.where(known.sessions == np.datetime64(CLOCKS_DIFFER), opens, known.opens)
    lab = keeping(tmp_path, GERMAN, replace(known, opens=later))
    lab.run([CLOCKS_DIFFER])
    assert told(lab, CLOCKS_DIFFER) == [
        (GERMAN, instant(f"{CLOCKS_DIFFER} 07:00"), None, None, instant(f"{CLOCKS_DIFFER} 21:00"))
    ]
    rows = read(lab, BAR_ACCOUNTING, CLOCKS_DIFFER).filter((pl.col("symbol") == GERMAN) & (pl.col("minutes") > 0))
    found = dict(rows.group_by("reason").agg(pl.col("minutes").sum()).iter_rows())
    assert found == {"present": 840, "half_day": 410}
    assert lab.run([CLOCKS_DIFFER]).requests == 0
