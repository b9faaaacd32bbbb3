"""What an unmodified client library gets from the gateway."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from quant_assets.clock import ManualClock
from quant_assets_tests.unit.gateway.clients import (
    NOW,
    connected,
    history,
    library,
    new_client,
    refused,
    serving,
    stock,
    synthetic,
)


@pytest.mark.parametrize("version", [157, 163, 164, 165, 166, 176])
def test_every_server_version_connects_describes_and_refuses(version):
    async def scenario():
        async with connected(max_version=version) as (ib, _):
            assert ib.client.serverVersion() == version
            assert ib.managedAccounts() == ["DU0000000"]
            (details,) = await ib.reqContractDetailsAsync(stock("QTEA"))
            assert (details.contract.conId, details.contract.symbol) == (970000001, "QTEA")
            assert details.longName.endswith("(synthetic)")
            assert details.liquidHours.startswith("20261120:0930-20261120:1600;20261121:CLOSED")
            assert details.secIdList == [library().TagValue("ISIN", "ZZ0000000000")]
            assert details.stockType == "COMMON"
            assert len(await history(ib, stock("QTEA"))) == 390
            samples = await ib.reqMatchingSymbolsAsync("QTEA")
            assert [sample.contract.conId for sample in samples] == [970000001]
            assert (await refused(history(ib, stock("AAPL"))))[0] == 200

    asyncio.run(scenario())


def test_a_client_too_old_is_not_served():
    async def scenario():
        async with serving() as gateway:
            ib = new_client()
            ib.client.MinClientVersion, ib.client.MaxClientVersion = 100, 150
            with pytest.raises((TimeoutError, ConnectionError)):
                await ib.connectAsync("127.0.0.1", gateway.port, timeout=0.3)
            ib.disconnect()

    asyncio.run(scenario())


def test_bytes_that_are_not_tws_close_the_connection():
    async def scenario():
        async with serving() as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


def test_formats_1_and_2_mean_the_same_instants_and_bars_start_at_the_open():
    async def scenario():
        async with connected() as (ib, _):
            text, epoch = [await history(ib, stock("QTEA"), formatDate=form) for form in (1, 2)]
        assert [bar.date for bar in text] == [bar.date for bar in epoch]
        assert epoch[0].date == datetime(2026, 11, 19, 14, 30, tzinfo=UTC)
        assert epoch[-1].date == datetime(2026, 11, 19, 20, 59, tzinfo=UTC)
        assert [(b.open, b.volume) for b in text] == [(b.open, b.volume) for b in epoch]

    asyncio.run(scenario())


def test_daily_bars_are_dates_in_every_format():
    async def scenario():
        async with connected() as (ib, _):
            for form in (1, 2, 3):
                bars = await history(ib, stock("QTEA"), barSizeSetting="1 day", durationStr="3 D", formatDate=form)
                assert [bar.date for bar in bars] == [date(2026, 11, 17), date(2026, 11, 18), date(2026, 11, 19)]

    asyncio.run(scenario())


@pytest.mark.parametrize("what", ["MIDPOINT", "BID", "ASK", "BID_ASK"])
def test_quotes_have_no_volume(what):
    async def scenario():
        async with connected() as (ib, _):
            bars = await history(ib, stock("QTEA"), whatToShow=what)
        assert len(bars) == 390
        assert {(bar.volume, bar.average, bar.barCount) for bar in bars} == {(-1.0, -1.0, -1)}
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("duration", "bar_size", "n_bars", "first"),
    [
        ("5 D", "1 min", 5 * 390, datetime(2026, 11, 13, 14, 30, tzinfo=UTC)),
        ("1 W", "1 min", 5 * 390, datetime(2026, 11, 13, 14, 30, tzinfo=UTC)),
        ("3600 S", "1 min", 60, datetime(2026, 11, 19, 20, 0, tzinfo=UTC)),
        ("1 D", "5 mins", 78, datetime(2026, 11, 19, 14, 30, tzinfo=UTC)),
        ("1 D", "30 mins", 13, datetime(2026, 11, 19, 14, 30, tzinfo=UTC)),
        ("1 D", "1 hour", 7, datetime(2026, 11, 19, 14, 30, tzinfo=UTC)),
        ("2 W", "1 day", 10, date(2026, 11, 6)),
        ("1 M", "1 day", 23, date(2026, 10, 20)),
        ("1 Y", "1 day", 251, date(2025, 11, 20)),
    ],
)
def test_durations_mean_what_tws_means(duration, bar_size, n_bars, first):
    async def scenario():
        async with connected() as (ib, _):
            end = "20261119-21:00:00"
            bars = await history(ib, stock("QTEB"), endDateTime=end, durationStr=duration, barSizeSetting=bar_size)
        planted = synthetic().planted_events(date(2026, 11, 6), date(2026, 11, 19)).filter(symbol="QTEB")
        assert planted.is_empty() or bar_size != "1 min"
        assert bars[0].date == first
        assert len(bars) == n_bars

    asyncio.run(scenario())


def test_an_hour_is_the_aggregate_of_its_minutes():
    async def scenario():
        async with connected() as (ib, _):
            minutes = await history(ib, stock("QTEB"))
            hours = await history(ib, stock("QTEB"), barSizeSetting="1 hour")
        second = [bar for bar in minutes if bar.date.hour == 15]
        assert hours[1].date == datetime(2026, 11, 19, 15, 0, tzinfo=UTC)
        assert (hours[1].open, hours[1].close) == (second[0].open, second[-1].close)
        assert hours[1].high == max(bar.high for bar in second)
        assert hours[1].volume == sum(bar.volume for bar in second)
        assert hours[1].barCount == sum(bar.barCount for bar in second)

    asyncio.run(scenario())


def test_only_completed_bars_are_sent():
    async def scenario():
        clock = ManualClock(datetime(2026, 11, 20, 15, 0, 30, tzinfo=UTC))
        async with connected(clock=clock) as (ib, _):
            minutes = await history(ib, stock("QTEB"), endDateTime="")
            assert minutes[-1].date == datetime(2026, 11, 20, 14, 59, tzinfo=UTC)
            assert len(minutes) == 30
            halves = await history(ib, stock("QTEB"), endDateTime="", barSizeSetting="30 mins")
            assert [bar.date.hour for bar in halves] == [14]
            days = await history(ib, stock("QTEB"), endDateTime="", barSizeSetting="1 day", durationStr="2 D")
            assert [bar.date for bar in days] == [date(2026, 11, 19)]
            clock.advance(45)
            assert len(await history(ib, stock("QTEB"), endDateTime="")) == 31

    asyncio.run(scenario())


def test_a_future_end_means_now():
    async def scenario():
        async with connected() as (ib, _):
            assert len(await history(ib, stock("QTEA"), endDateTime="20270101-00:00:00")) == 390

    asyncio.run(scenario())


def test_a_weekend_measured_by_the_clock_has_no_data():
    async def scenario():
        async with connected() as (ib, _):
            code, text = await refused(
                history(ib, stock("QTEA"), endDateTime="20261115-20:00:00", durationStr="3600 S")
            )
        assert code == 162
        assert "no data" in text

    asyncio.run(scenario())


def test_the_schedule_knows_the_half_day():
    async def scenario():
        async with connected() as (ib, _):
            schedule = await ib.reqHistoricalScheduleAsync(stock("QTEA"), 3, "20261130-23:00:00")
        assert schedule.timeZone == "US/Eastern"
        assert [session.refDate for session in schedule.sessions] == ["20261125", "20261127", "20261130"]
        assert schedule.sessions[1].endDateTime == "20261127-13:00:00"

    asyncio.run(scenario())


def test_a_half_day_has_210_minutes():
    async def scenario():
        async with connected(clock=ManualClock(NOW + timedelta(days=10))) as (ib, _):
            bars = await history(ib, stock("QTEB"), endDateTime="20261127-23:00:00")
        assert len(bars) == 210
        assert bars[-1].date == datetime(2026, 11, 27, 17, 59, tzinfo=UTC)

    asyncio.run(scenario())


def test_head_timestamp_is_the_first_bar():
    async def scenario():
        async with connected() as (ib, gateway):
            late = await ib.reqHeadTimeStampAsync(stock("QHEE"), "TRADES", True, 2)
            assert late == datetime(2026, 6, 15, 13, 30, tzinfo=UTC)
            text = await ib.reqHeadTimeStampAsync(stock("QHEE"), "TRADES", True, 1)
            assert text == datetime(2026, 6, 15, 13, 30)  # noqa: DTZ001 - the library parses this form without a zone
            assert not gateway.history_ledger.still_open()

    asyncio.run(scenario())


def test_scans_are_ranked_by_the_last_closed_session():
    async def scenario():
        async with connected() as (ib, _):
            found = {}
            for code in ("MOST_ACTIVE", "TOP_PERC_GAIN", "TOP_PERC_LOSE", "HOT_BY_VOLUME"):
                ask = library().ScannerSubscription(
                    instrument="STK", locationCode="STK.US.MAJOR", scanCode=code, numberOfRows=10
                )
                rows = await ib.reqScannerDataAsync(ask)
                assert [row.rank for row in rows] == list(range(10))
                found[code] = [row.contractDetails.contract.conId for row in rows]
            volumes, changes = {}, {}
            for i in range(40):
                contract = library().Contract(conId=970000001 + i, exchange="SMART")
                bars = (
                    await ib.reqHistoricalDataAsync(contract, "", "2 D", "1 day", "TRADES", True, 2)
                    if i not in (24, 34)
                    else []
                )
                if bars:
                    volumes[contract.conId] = bars[-1].volume
                    changes[contract.conId] = bars[-1].close / bars[0].close
        assert max(volumes, key=volumes.__getitem__) == found["MOST_ACTIVE"][0]
        assert max(changes, key=changes.__getitem__) == found["TOP_PERC_GAIN"][0]
        assert min(changes, key=changes.__getitem__) == found["TOP_PERC_LOSE"][0]

    asyncio.run(scenario())


def test_an_unknown_scan_code_is_refused():
    async def scenario():
        async with connected() as (ib, _):
            ask = library().ScannerSubscription(instrument="STK", locationCode="STK.US.MAJOR", scanCode="MOST_ACTIV")
            code, text = await refused(ib.reqScannerDataAsync(ask))
        assert code == 162
        assert "MOST_ACTIVE" in text

    asyncio.run(scenario())


def test_scanner_parameters_list_the_codes():
    async def scenario():
        async with connected() as (ib, _):
            xml = await ib.reqScannerParametersAsync()
        assert "<scanCode>TOP_PERC_GAIN</scanCode>" in xml

    asyncio.run(scenario())


def test_symbols_are_found_by_beginning_and_by_name():
    async def scenario():
        async with connected() as (ib, _):
            by_symbol = await ib.reqMatchingSymbolsAsync("QFI")
            assert [x.contract.symbol for x in by_symbol] == ["QFIA", "QFIB", "QFIC", "QFID", "QFIE"]
            assert by_symbol[0].contract.description.endswith("(synthetic)")
            by_name = await ib.reqMatchingSymbolsAsync("whole market")
            assert [x.contract.symbol for x in by_name] == ["QMKT"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "contract",
    [
        {"symbol": "NOSUCH", "secType": "STK", "exchange": "SMART", "currency": "USD"},
        {"symbol": "QTEA", "secType": "FUT", "exchange": "SMART", "currency": "USD"},
        {"symbol": "QTEA", "secType": "STK", "exchange": "SMART", "currency": "EUR"},
        {"symbol": "QTEA", "secType": "STK", "exchange": "LSE", "currency": "USD"},
        {"conId": 1},
    ],
)
def test_what_does_not_exist_is_error_200(contract):
    async def scenario():
        async with connected() as (ib, _):
            assert (await refused(ib.reqContractDetailsAsync(library().Contract(**contract))))[0] == 200

    asyncio.run(scenario())


def test_a_symbol_is_what_it_is_called_today():
    async def scenario():
        async with connected(clock=ManualClock(datetime(2026, 8, 14, 22, tzinfo=UTC))) as (ib, _):
            (before,) = await ib.reqContractDetailsAsync(stock("QWAS"))
            assert (await refused(ib.reqContractDetailsAsync(stock("QCOE"))))[0] == 200
        async with connected() as (ib, _):
            (after,) = await ib.reqContractDetailsAsync(stock("QCOE"))
            assert (await refused(ib.reqContractDetailsAsync(stock("QWAS"))))[0] == 200
        assert before.contract.conId == after.contract.conId

    asyncio.run(scenario())


def test_time_is_the_gateways():
    async def scenario():
        async with connected() as (ib, _):
            assert await ib.reqCurrentTimeAsync() == NOW

    asyncio.run(scenario())


def test_an_end_without_a_zone_is_warned_about_and_means_the_exchange():
    async def scenario():
        async with connected() as (ib, _):
            bars = await history(ib, stock("QTEA"), endDateTime="20261119 10:30:00", durationStr="3600 S")
            assert bars[-1].date == datetime(2026, 11, 19, 15, 29, tzinfo=UTC)
            assert [code for _, code, _ in ib.errors if code == 2174] == [2174]
            named = await history(ib, stock("QTEA"), endDateTime="20261119 10:30:00 US/Eastern", durationStr="3600 S")
            assert [bar.date for bar in named] == [bar.date for bar in bars]

    asyncio.run(scenario())
