"""Pairs, coins, a future, London and Tokyo beside New York, through the real socket into curated bars and features."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.connectors.lists import load_list
from quant_assets.domain import venues
from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    LABELS_TWS_RETURNS,
    QUARANTINE_TWS_BARS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
)
from quant_assets.flows.ingest import ingest_minutes
from quant_assets.flows.ingest.needs import minute_needs
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.flows.lab import Lab

SYMBOLS = ("ARCA:QMKT", "LSE:QLNA", "TSEJ:QTKA", "IDEALPRO:EUR.USD", "PAXOS:BTC.USD", "CME:QESZ6")
EVERYWHERE = ("XNYS", "XLON", "XTKS", "FX", "CMES", "24/7")

UK_CLOSED = date(2026, 8, 31)
SATURDAY = date(2026, 9, 5)
US_CLOSED = date(2026, 9, 7)
CLOCKS_DIFFER = date(2026, 10, 26)

EXPECTED = {
    # by hand: New York 390, London 510, Tokyo 9:00-11:30 and 12:30-15:30, IDEALPRO 17:15-17:00 New York, coins the UTC day, CME 17:00-16:00 Chicago
    UK_CLOSED: {"QMKT": 390, "QTKA": 330, "EUR.USD": 1425, "BTC.USD": 1440, "QESZ6": 1380},
    SATURDAY: {"BTC.USD": 1440},
    US_CLOSED: {
        "QLNA": 510,
        "QTKA": 330,
        "EUR.USD": 1425,
        "BTC.USD": 1440,
        "QESZ6": 1140,
    },  # CME closes at 12:00 on Labor Day
    CLOCKS_DIFFER: {"QMKT": 390, "QLNA": 510, "QTKA": 330, "EUR.USD": 1425, "BTC.USD": 1440, "QESZ6": 1380},
}
FIRST_MINUTE = {
    US_CLOSED: {"QLNA": "2026-09-07 07:00", "EUR.USD": "2026-09-06 21:15", "QESZ6": "2026-09-06 22:00"},
    CLOCKS_DIFFER: {"QLNA": "2026-10-26 08:00", "QMKT": "2026-10-26 13:30", "EUR.USD": "2026-10-25 21:15"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("mixed"), SYMBOLS, lookback=12, lakehouse={"calendars": EVERYWHERE})
    for session in EXPECTED:
        lab.run([session])
    return lab


def read(lab, table, session):
    store = lab.lake.raw if table.append_only else lab.lake.curated
    return store.read(table, Partition(session))


def counts(frame):
    return dict(frame.group_by("symbol").len().sort("symbol").iter_rows())


@pytest.mark.parametrize("session", EXPECTED, ids=str)
def test_each_instrument_has_the_minutes_of_its_own_exchange(lab, session):
    assert counts(read(lab, CURATED_TWS_1M_BARS, session)) == EXPECTED[session]
    assert read(lab, QUARANTINE_TWS_BARS, session).is_empty()
    asked = read(lab, RAW_TWS_REQUESTS, session).filter(pl.col("bar_size") == "1 min")
    assert set(asked["symbol"]) == set(EXPECTED[session]), "whose exchange is closed is not asked about"


@pytest.mark.parametrize("session", FIRST_MINUTE, ids=str)
def test_sessions_begin_where_the_exchange_says(lab, session):
    first = read(lab, CURATED_TWS_1M_BARS, session).group_by("symbol").agg(pl.col("ts").min())
    found = dict(first.iter_rows())
    assert {symbol: found[symbol] for symbol in FIRST_MINUTE[session]} == {
        symbol: instant(text) for symbol, text in FIRST_MINUTE[session].items()
    }


def test_each_kind_is_asked_for_the_series_that_tws_has(lab):
    raw = read(lab, RAW_TWS_BARS, CLOCKS_DIFFER)
    series = raw.select("symbol", "what_to_show", "use_rth").unique().sort("symbol").rows()
    assert series == [
        ("BTC.USD", "AGGTRADES", False),
        ("EUR.USD", "MIDPOINT", False),
        ("QESZ6", "TRADES", False),
        ("QLNA", "TRADES", True),
        ("QMKT", "TRADES", True),
        ("QTKA", "TRADES", True),
    ]
    pair = raw.filter(pl.col("symbol") == "EUR.USD")
    assert pair["volume"].null_count() == pair["wap"].null_count() == pair["bar_count"].null_count() == pair.height


def test_the_universe_and_the_details_say_what_each_is(lab):
    members = read(lab, UNIVERSE, CLOCKS_DIFFER).select("symbol", "exchange", "currency", "asset_class").sort("symbol")
    assert members.rows() == [
        ("BTC.USD", "PAXOS", "USD", "CRYPTO"),
        ("EUR.USD", "IDEALPRO", "USD", "CASH"),
        ("QESZ6", "CME", "USD", "FUT"),
        ("QLNA", "LSE", "GBP", "STK"),
        ("QMKT", "ARCA", "USD", "STK"),
        ("QTKA", "TSEJ", "JPY", "STK"),
    ]
    details = read(lab, RAW_INSTRUMENTS, CLOCKS_DIFFER)
    future = details.filter(pl.col("symbol") == "QESZ6").row(0, named=True)
    assert (future["multiplier"], future["last_trade_date"], future["min_tick"]) == (50.0, date(2026, 12, 18), 0.25)


def test_daily_windows_count_the_sessions_of_the_instruments_exchange(lab):
    window = read(lab, CURATED_TWS_1D_BARS, CLOCKS_DIFFER)
    newest = window.group_by("symbol").agg(pl.len(), pl.col("coverage").first(), pl.col("session").max()).sort("symbol")
    # twelve sessions up to Monday 26 October, coins trading on all of them: 15 to 26 October, 8 of them weekdays
    assert newest.rows() == [
        ("BTC.USD", 12, 1.0, CLOCKS_DIFFER),
        ("EUR.USD", 8, 1.0, CLOCKS_DIFFER),
        ("QESZ6", 8, 1.0, CLOCKS_DIFFER),
        ("QLNA", 8, 1.0, CLOCKS_DIFFER),
        ("QMKT", 8, 1.0, CLOCKS_DIFFER),
        ("QTKA", 8, 1.0, CLOCKS_DIFFER),
    ]
    assert (window["adj_close"] > 0).all()


@pytest.mark.parametrize("session", EXPECTED, ids=str)
def test_windows_of_features_count_the_instruments_own_minutes(lab, session):
    frame = read(lab, FEATURES_PRICE_1M_V1, session).sort("con_id", "ts")
    assert counts(frame) == EXPECTED[session]
    filled = frame.group_by("symbol").agg(pl.col("ma_20").null_count(), pl.col("n_missing_in_window_20").max())
    assert set(filled.select("ma_20", "n_missing_in_window_20").rows()) == {(19, 0)}


@pytest.mark.parametrize("session", EXPECTED, ids=str)
def test_every_session_is_whole_lunch_and_holidays_apart(lab, session):
    """No minute of Tokyo's lunch is expected, so that every minute there is has a bar and nothing is explained away."""
    accounted = read(lab, BAR_ACCOUNTING, session)
    open_ = accounted.filter(~pl.col("reason").is_in(["closed", "half_day"]))
    assert set(open_["reason"]) <= {"present"}
    proofs = read(lab, RAW_TWS_REQUESTS, session).filter(pl.col("bar_size") == "1 min")
    assert set(proofs.select("outcome", "proof").rows()) == {("bars", "complete")}


def test_a_return_reaches_over_the_lunch_break(lab):
    """The minute before 12:30 is 11:29: features, labels and gaps count the minutes that trade."""
    bars = read(lab, CURATED_TWS_1M_BARS, CLOCKS_DIFFER).filter(pl.col("symbol") == "QTKA").sort("ts")
    noon = [instant("2026-10-26 02:29"), instant("2026-10-26 03:30")]
    before, after = bars.filter(pl.col("ts").is_in(noon))["close"]
    assert bars.filter(pl.col("ts").is_between(*noon, closed="none")).is_empty()
    price = read(lab, FEATURES_PRICE_1M_V1, CLOCKS_DIFFER).filter(pl.col("symbol") == "QTKA", pl.col("ts") == noon[1])
    assert price["ret_1"].item() == pytest.approx(after / before - 1)
    labels = read(lab, LABELS_TWS_RETURNS, CLOCKS_DIFFER).filter(
        pl.col("symbol") == "QTKA", pl.col("ts") == instant("2026-10-26 02:25"), pl.col("horizon") == 5
    )
    assert labels["matures_ts"].item() == noon[1]


def test_a_second_run_asks_for_nothing(lab):
    assert lab.run(list(EXPECTED), now=instant("2026-10-27 01:00")).requests == 0


def test_an_open_or_just_closed_session_is_never_asked(tmp_path):
    """Coins and New York: at 00:10 UTC the coins' session closed ten minutes ago, New York's hours ago."""
    lab = Lab(tmp_path, ("ARCA:QMKT", "PAXOS:BTC.USD"), lakehouse={"calendars": ("XNYS",)})
    lab.n_opened = -1
    day = date(2026, 7, 15)
    with lab.at(instant("2026-07-16 00:10")) as work:
        from quant_assets.flows.discover import Discovery

        Discovery(work).publish(day)
        assert [need.contract.symbol for need in minute_needs(work, [day]).open] == ["QMKT"]
        assert ingest_minutes(work, [day]).outcomes == {"bars": 1}
    lab.n_opened = -1
    with lab.at(instant("2026-07-16 00:16")) as work:
        assert [need.contract.symbol for need in minute_needs(work, [day]).open] == ["BTC.USD"]


def test_the_worldwide_example_is_a_valid_configuration():
    root = Path(__file__).parents[2] / "configs" / "worldwide"
    settings = Settings.from_env({}, data=Path("unused"), configs=root)
    manifest = settings.manifest
    assert set(manifest.lakehouse.calendars) == set(EVERYWHERE)
    names = load_list(root, *manifest.profile("worldwide").discovery.lists)
    exchanges = {name.partition(":")[0] for name in names.symbols}
    assert {venues.asset_class_at(exchange) for exchange in exchanges} == {"STK", "CASH", "CRYPTO", "FUT"}
    for exchange in exchanges:
        kind = venues.asset_class_at(exchange)
        assert venues.calendar_name(kind, exchange, manifest.lakehouse.calendars) in manifest.lakehouse.calendars


def test_beside_minutes_stands_the_last_day_of_the_instruments_own_exchange():
    """Before a Monday comes a Sunday on which only coins trade; the stocks' last day is none the less known."""
    from quant_assets.lakehouse.assembly import _with_its_last_day

    days = {date(2026, 9, 4): [1, 2], date(2026, 9, 5): [2], date(2026, 9, 6): [2], US_CLOSED: [1, 2]}
    daily = pl.DataFrame(
        [(day, i, float(day.day)) for day, ids in days.items() for i in ids],
        schema={"session": pl.Date, "con_id": pl.Int64, "rsi": pl.Float64},
        orient="row",
    )
    minutes = pl.DataFrame({"session": [US_CLOSED, US_CLOSED], "con_id": [2, 1], "ret_1": [0.1, 0.2]})
    assert _with_its_last_day(minutes, daily).rows() == [(US_CLOSED, 2, 0.1, 6.0), (US_CLOSED, 1, 0.2, 4.0)]
