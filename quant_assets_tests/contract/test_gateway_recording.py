"""Recorded bars cross the wire as they were recorded."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.errors import ConfigurationError, CorruptFileError, UnknownNameError
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.gateway.recording_file import con_id_of
from quant_assets_tests.unit.gateway.clients import NOW, RECORDING, connected, history, library, refused, stock

needs_recording = pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording at {RECORDING}")


def vendor_row(symbol, file_row, time, close, *, volume=100.0, dividends=0.0, day="2020-01-06"):
    text = f"{day} {time}:00-05:00"
    row = {"symbol": symbol, "file_row": file_row, "datetime": text, "dividends": dividends, "volume": volume}
    return row | ({"open": close, "high": close, "low": close, "close": close})


DIRTY = [
    vendor_row("BBB", 0, "09:30", 20.0, day="2020-01-03"),
    vendor_row("BBB", 1, "15:59", 25.0, day="2020-01-03"),
    vendor_row("BBB", 2, "09:30", 24.0, dividends=1.0),
    vendor_row("AAA", 0, "09:31", 10.1),
    vendor_row("AAA", 1, "09:30", 10.0),
    vendor_row("AAA", 2, "09:31", 10.9, volume=7.0),
    vendor_row("AAA", 3, "09:32", None, volume=None),
    vendor_row("AAA", 4, "09:33", 10.2, volume=0.0),
    vendor_row("AAA", 5, "16:00", 99.0),
]


@pytest.fixture
def dirty(tmp_path) -> Path:
    path = tmp_path / "dirty.parquet"
    pl.DataFrame(DIRTY, infer_schema_length=None).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(path)
    return path


def test_rows_keep_the_sources_order_with_duplicates_and_stragglers(dirty):
    async def scenario():
        async with connected(RecordedMarket.open(dirty)) as (ib, _):
            (details,) = await ib.reqContractDetailsAsync(stock("AAA"))
            assert details.contract.conId == con_id_of("AAA")
            assert details.longName == "AAA (recorded)"
            bars = await history(ib, stock("AAA"), endDateTime="20200106-22:00:00")
        assert [(bar.date.minute, bar.close) for bar in bars] == [
            (31, 10.1),
            (30, 10.0),
            (31, 10.9),
            (33, 10.2),
            (0, 99.0),
        ]
        assert {(bar.average, bar.barCount) for bar in bars} == {(-1.0, -1)}

    asyncio.run(scenario())


def test_daily_bars_take_the_first_duplicate_in_time_order_inside_the_session(dirty):
    async def scenario():
        async with connected(RecordedMarket.open(dirty)) as (ib, _):
            (bar,) = await history(ib, stock("AAA"), endDateTime="20200106-22:00:00", barSizeSetting="1 day")
        assert (bar.date, bar.open, bar.high, bar.low, bar.close, bar.volume) == (
            date(2020, 1, 6),
            10.0,
            10.2,
            10.0,
            10.2,
            200,
        )

    asyncio.run(scenario())


def test_adjusted_last_takes_the_dividend_out_of_what_came_before(dirty):
    async def scenario():
        async with connected(RecordedMarket.open(dirty)) as (ib, _):
            asked = {"endDateTime": "", "durationStr": "20 Y", "whatToShow": "ADJUSTED_LAST"}
            daily = await history(ib, stock("BBB"), barSizeSetting="1 day", **asked)
            minutes = await history(ib, stock("BBB"), **asked)
        factor = 1 - 1.0 / 25.0
        assert [bar.close for bar in daily] == [25 * factor, 24]
        assert [bar.close for bar in minutes] == [20 * factor, 25 * factor, 24]

    asyncio.run(scenario())


def test_what_was_not_recorded_has_no_data(dirty):
    async def scenario():
        async with connected(RecordedMarket.open(dirty)) as (ib, _):
            for changes in ({"whatToShow": "MIDPOINT"}, {"endDateTime": "20190106-22:00:00"}):
                code, text = await refused(history(ib, stock("AAA"), **changes))
                assert (code, "no data" in text) == (162, True)

    asyncio.run(scenario())


def test_the_report_counts_what_was_left_out(dirty):
    report = RecordedMarket.open(dirty).report
    assert (report.rows, report.instruments, report.null_rows) == (8, 2, {"AAA": 1})
    assert (report.first_session, report.last_session) == (date(2020, 1, 3), date(2020, 1, 6))


def test_some_symbols_can_be_chosen(dirty):
    assert [x.symbol for x in RecordedMarket.open(dirty, symbols=["BBB"]).instruments(NOW)] == ["BBB"]
    with pytest.raises(UnknownNameError, match="Did you mean 'BBB'"):
        RecordedMarket.open(dirty, symbols=["BBC"])


def test_the_native_layout_keeps_ids_wap_and_counts(tmp_path):
    opened = datetime(2020, 1, 6, 14, 30, tzinfo=UTC)
    bars = {
        "open": 5.0,
        "high": 6.0,
        "low": 4.0,
        "close": 5.5,
        "volume": [100.0, 300.0],
        "wap": [5.0, 5.4],
        "bar_count": [3, 4],
    }
    path = tmp_path / "native.parquet"
    ts = [opened, opened + timedelta(minutes=1)]
    pl.DataFrame({"con_id": 77, "symbol": "CCC", "ts": ts} | bars).write_parquet(path)

    async def scenario():
        async with connected(RecordedMarket.open(path)) as (ib, _):
            contract = library().Contract(conId=77, exchange="SMART")
            minutes = await history(ib, contract, endDateTime="20200106-22:00:00")
            assert [(bar.average, bar.barCount) for bar in minutes] == [(5.0, 3), (5.4, 4)]
            (day,) = await history(ib, contract, endDateTime="20200106-22:00:00", barSizeSetting="1 day")
            assert (day.average, day.barCount, day.volume) == (pytest.approx(5.3), 7, 400)

    asyncio.run(scenario())


def test_unusable_files_are_named_with_the_mend(tmp_path):
    absent, text, other = (tmp_path / name for name in ("absent.parquet", "text.parquet", "other.parquet"))
    text.write_text("not parquet")
    pl.DataFrame({"symbol": ["A"], "price": [1.0]}).write_parquet(other)
    with pytest.raises(ConfigurationError, match=r"absent\.parquet.*no such file"):
        RecordedMarket.open(absent)
    with pytest.raises(CorruptFileError, match=r"text\.parquet.*A recording has the columns"):
        RecordedMarket.open(text)
    with pytest.raises(CorruptFileError, match=r"other\.parquet.*no column datetime, open"):
        RecordedMarket.open(other)


def test_times_that_cannot_be_read_are_a_corrupt_file(tmp_path):
    path = tmp_path / "times.parquet"
    pl.DataFrame([vendor_row("AAA", 0, "25:99", 1.0)]).write_parquet(path)
    with pytest.raises(CorruptFileError, match=r"times\.parquet"):
        RecordedMarket.open(path)


@pytest.fixture(scope="module")
def etfs():
    return RecordedMarket.open(RECORDING)


@needs_recording
def test_the_recording_of_2019_is_loaded_with_its_dirt_counted(etfs):
    assert (etfs.report.rows, etfs.report.instruments) == (1_649_288 - 574, 1425)
    assert sum(etfs.report.null_rows.values()) == 574
    assert (etfs.report.first_session, etfs.report.last_session) == (date(2019, 12, 13), date(2020, 1, 17))


@needs_recording
@pytest.mark.parametrize("symbol", ["SPY", "UGAZ"])
def test_every_recorded_row_crosses_the_wire_in_file_order(etfs, symbol):
    truth = (
        pl.scan_parquet(RECORDING)
        .filter(pl.col("symbol") == symbol, pl.col("close").is_not_null())
        .sort("file_row")
        .select(pl.col("datetime").str.to_datetime("%Y-%m-%d %H:%M:%S%z"), "open", "high", "low", "close", "volume")
        .collect()
    )

    async def scenario():
        async with connected(etfs) as (ib, _):
            bars = await history(ib, stock(symbol), endDateTime="20200118-00:00:00", durationStr="2 M")
        got = [(bar.date, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
        assert got == truth.rows()

    asyncio.run(scenario())


@needs_recording
def test_the_gateway_ranks_recorded_sessions(etfs):
    async def scenario():
        from quant_assets.clock import ManualClock

        async with connected(etfs, clock=ManualClock(datetime(2020, 1, 7, 22, tzinfo=UTC))) as (ib, _):
            ask = library().ScannerSubscription(
                instrument="STK", locationCode="STK.US.MAJOR", scanCode="MOST_ACTIVE", numberOfRows=5
            )
            rows = await ib.reqScannerDataAsync(ask)
            assert [row.rank for row in rows] == [0, 1, 2, 3, 4]
            best = [row.contractDetails.contract.symbol for row in rows]
            assert "SPY" in best

    asyncio.run(scenario())
