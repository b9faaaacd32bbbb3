"""The tape: every answer is safe at once, later answers replace earlier ones, and the merge loses nothing."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.errors import CorruptFileError, LockHeldError
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.proxy import tape as tapes
from quant_assets.gateway.proxy.tape import SCHEMAS, Tape, described, file_of, load, parts_of
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.gateway.recording_file import con_id_of

DAY = datetime(2024, 3, 14, 13, 30, tzinfo=UTC)


def minutes(minute_closes, con_id=7, symbol="AAA", day=14, what="TRADES") -> pl.DataFrame:
    rows = [
        {"con_id": con_id, "symbol": symbol, "ts": DAY.replace(day=day, minute=minute)}
        | dict.fromkeys(("open", "high", "low", "close", "wap"), close)
        | {"volume": 1.0, "bar_count": 1, "what": what}
        for minute, close in minute_closes
    ]
    return pl.DataFrame(rows, schema=SCHEMAS["minutes"])


def daily(session, close, con_id=7) -> pl.DataFrame:
    values = dict.fromkeys(("open", "high", "low", "close", "wap", "volume"), close)
    row = {"con_id": con_id, "symbol": "AAA", "what": "TRADES", "session": session, "bar_count": 1, **values}
    return pl.DataFrame([row], schema=SCHEMAS["daily"])


def details(con_id, symbol, *, is_told=True, **more) -> pl.DataFrame:
    return described(Instrument(con_id, symbol, "x", **more), is_told=is_told)


def told(frame: pl.DataFrame) -> list[tuple[int, int, float]]:
    return [(row["ts"].day, row["ts"].minute, row["close"]) for row in frame.to_dicts()]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "tape.parquet"


def test_a_later_answer_replaces_the_rows_it_repeats_and_days_stay_in_order(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0), (31, 2.0)], day=15))
        tape.add("minutes", minutes([(30, 3.0), (31, 4.0)], day=14))
        tape.add("minutes", minutes([(31, 9.0), (32, 8.0)], day=14))
        tape.merge()
    assert told(load(out, "minutes")) == [(14, 30, 3.0), (14, 31, 9.0), (14, 32, 8.0), (15, 30, 1.0), (15, 31, 2.0)]
    assert sorted(path.name for path in out.parent.iterdir()) == ["tape.parquet"]


def test_dirt_inside_one_answer_is_kept_in_its_order(out):
    dirty = [(32, 1.0), (30, 2.0), (30, 3.0), (31, 4.0)]
    with Tape(out) as tape:
        tape.add("minutes", minutes(dirty))
        tape.merge()
    assert told(load(out, "minutes")) == [(14, minute, close) for minute, close in dirty]


def test_merging_again_changes_nothing(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(32, 1.0), (30, 2.0), (30, 3.0)]))
        tape.add("minutes", minutes([(31, 4.0)]))
        left = {file.name: file.read_bytes() for file in parts_of(out).glob("*.parquet")}
        tape.merge()
        once = load(out, "minutes")
        for name, content in left.items():  # as if the merge had been killed before it cleaned up
            (parts_of(out) / name).write_bytes(content)
        tape.merge()
    assert load(out, "minutes").equals(once)


def test_what_was_not_merged_is_served_and_the_next_recorder_goes_on(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0)]))
        tape.add("details", details(7, "AAA"))
    assert list(parts_of(out).glob("*.parquet")), "nobody merged"
    assert RecordedMarket.open(out).report.rows == 1
    with Tape(out) as tape:
        assert not list(parts_of(out).glob("*.parquet"))
        tape.add("minutes", minutes([(31, 2.0)]))
        tape.merge()
        sizes = {"minute_bars": 2, "daily_bars": 0, "contract_details": 1, "schedule_days": 0, "instruments": 1}
        assert tape.sizes() == sizes
    assert told(load(out, "minutes")) == [(14, 30, 1.0), (14, 31, 2.0)]


def test_a_symbol_without_an_id_gets_the_one_that_its_details_name(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0)], con_id=0))
        tape.add("minutes", minutes([(30, 5.0)], con_id=0, symbol="ZZZ"))
        tape.add("details", details(77, "AAA"))
        tape.merge()
    assert dict(load(out, "minutes").select("symbol", "con_id").iter_rows()) == {"AAA": 77, "ZZZ": con_id_of("ZZZ")}


def test_the_newest_daily_bar_and_details_win(out):
    with Tape(out) as tape:
        tape.add("daily", daily(date(2024, 3, 14), 1.0))
        tape.add("daily", daily(date(2024, 3, 14), 2.0))
        tape.add("details", details(7, "OLD"))
        tape.add("details", details(7, "NEW"))
        tape.merge()
    assert load(out, "daily")["close"].to_list() == [2.0]
    assert load(out, "details")["symbol"].to_list() == ["NEW"]
    market = RecordedMarket.open(out)
    (known,) = market.instruments(DAY)
    assert (known.con_id, known.symbol) == (7, "NEW")
    assert market.minute_bars(known, DAY, DAY.replace(hour=20), "TRADES", DAY.replace(day=20)).is_empty()
    as_served = market.daily_bars(known, date(2024, 3, 1), date(2024, 3, 15), "TRADES", DAY.replace(day=20))
    assert as_served["close"].to_list() == [2.0]
    assert market.head(known, "TRADES", DAY.replace(day=20)) == DAY


def test_a_recording_has_one_writer(out):
    with Tape(out), pytest.raises(LockHeldError, match="recorder"):
        _in_another_thread(out)


def _in_another_thread(out):
    from concurrent.futures import ThreadPoolExecutor

    def take():
        with Tape(out):
            pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(take).result()


def test_another_file_is_never_overwritten(tmp_path):
    path = tmp_path / "mine.parquet"
    pl.DataFrame({"symbol": ["AAA"], "datetime": ["2020-01-06 09:30:00-05:00"]}).write_parquet(path)
    before = path.read_bytes()
    with pytest.raises(CorruptFileError, match="does not exist yet"):
        Tape(path).__enter__()
    assert path.read_bytes() == before
    assert not parts_of(path).exists()


def test_an_empty_recording_exists_from_the_start(out):
    with Tape(out):
        assert RecordedMarket.open(out).report.rows == 0
    assert tapes.load(out, "daily").is_empty()


def test_series_of_one_minute_stand_beside_each_other(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0), (31, 2.0)]))
        tape.add("minutes", minutes([(30, 1.5), (31, 2.5)], what="MIDPOINT"))
        tape.merge()
    market = RecordedMarket.open(out)
    (known,) = market.instruments(DAY)
    served = {
        what: market.minute_bars(known, DAY, DAY.replace(hour=20), what, DAY.replace(day=20))["close"].to_list()
        for what in ("TRADES", "MIDPOINT", "BID")
    }
    assert served == {"TRADES": [1.0, 2.0], "MIDPOINT": [1.5, 2.5], "BID": []}


def test_what_requests_said_of_an_instrument_yields_to_its_details(out):
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0)], symbol="AAA"))
        tape.add("details", details(7, "BBB"))
        tape.add("details", details(7, "AAA", is_told=False))
        tape.add("details", details(8, "CCC", is_told=False))
        tape.add("minutes", minutes([(30, 2.0)], con_id=8, symbol="CCC"))
        tape.merge()
        assert tape.undescribed() == ["CCC"]
        assert tape.sizes()["contract_details"] == 1
    assert load(out, "details")["symbol"].to_list() == ["BBB", "CCC"]
    assert load(out, "minutes")["symbol"].to_list() == ["BBB", "CCC"], "rows bear the name that details give"


@pytest.mark.parametrize("name", ["QES 20270319", "QES 202703", "QESH7"])
def test_a_future_asked_for_by_its_month_is_the_one_that_details_name(out, name):
    future = {"sec_type": "FUT", "local_symbol": "QESH7", "last_trade_date": date(2027, 3, 19), "exchange": "CME"}
    with Tape(out) as tape:
        tape.add("minutes", minutes([(30, 1.0)], con_id=0, symbol=name))
        tape.merge()
    assert load(out, "minutes")["con_id"].to_list() == [con_id_of(name)], "nobody has told yet"
    with Tape(out) as tape:
        tape.add("details", details(71, "QES", **future))
        tape.add("minutes", minutes([(30, 2.0), (31, 3.0)], con_id=71, symbol="QESH7"))
        tape.merge()
    assert load(out, "minutes").select("con_id", "symbol", "close").rows() == [(71, "QESH7", 2.0), (71, "QESH7", 3.0)]


def test_recordings_of_older_forms_are_served_as_what_they_were(out):
    """Before series, schedules and the place of an instrument were kept."""
    new = {"what"}, {"exchange", "local_symbol", "multiplier", "last_trade_date", "min_size", "size_step"}
    later = {"valid_exchanges", "other_ids", "trading_hours", "liquid_hours", "is_told"}
    out.parent.mkdir(parents=True)
    minutes([(30, 1.0), (31, 2.0)]).drop(new[0]).write_parquet(out)
    daily(date(2024, 3, 13), 9.0).write_parquet(file_of(out, "daily"))
    details(7, "AAA", primary_exchange="NASDAQ").drop(new[1] | later).write_parquet(file_of(out, "details"))
    market = RecordedMarket.open(out, symbols=["AAA"])
    (known,) = market.instruments(DAY)
    assert (known.primary_exchange, known.exchange) == ("NASDAQ", "SMART")
    assert market.minute_bars(known, DAY, DAY.replace(hour=20), "TRADES", DAY.replace(day=20)).height == 2
    bars = market.daily_bars(known, date(2024, 3, 1), date(2024, 3, 15), "TRADES", DAY.replace(day=20))
    assert bars["close"].to_list() == [9.0]
    with Tape(out) as tape:
        tape.add("minutes", minutes([(32, 3.0)]))
        tape.merge()
        assert tape.sizes()["contract_details"] == 1
    assert told(load(out, "minutes")) == [(14, 30, 1.0), (14, 31, 2.0), (14, 32, 3.0)]
