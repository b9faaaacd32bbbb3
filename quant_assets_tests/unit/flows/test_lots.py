"""TWS counts volumes in lots of 100: what a run goes on with, what it keeps, and whom it names."""

import asyncio
from dataclasses import replace

import polars as pl
import pytest

from quant_assets.connectors.tws.retry import Outcome
from quant_assets.connectors.tws.retry import fetch_with_lulls as real_fetch
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import SourceRefusedError, WrongUnitError
from quant_assets.flows.discover import Discovery
from quant_assets.flows.ingest import ingest_daily, ingest_minutes
from quant_assets.gateway.faults import Fault, ScriptedFaults, Strike
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, window

AT = Partition(SESSION)
IN_LOTS = ("QTEA", "QTEE", "QFIB", "QFID", "QHEA", "QENB")
"""In lots, each shows it by its minutes and by its days."""
ABROAD = ("LSE:QLNA", "IDEALPRO:EUR.USD", "PAXOS:BTC.USD")
EVERYWHERE = {"calendars": ("XNYS", "XLON", "FX", "24/7")}
SESSIONS = {ingest_minutes: window(SESSION, 2), ingest_daily: [SESSION]}
"""Two requests of each instrument: its sessions, or its series."""
BOTH = pytest.mark.parametrize("ingest", [ingest_minutes, ingest_daily])


def lab_of(root, *names, in_lots=IN_LOTS) -> Lab:
    """One request at a time, so that it is known what waits for the reader."""
    lab = Lab(root, symbols=[*(f"NYSE:{symbol}" for symbol in IN_LOTS), *names], tws={"max_in_flight": 1})
    lab.options = {
        "faults": ScriptedFaults([Strike("history", Fault("lots"), symbol=symbol, times=None) for symbol in in_lots])
    }
    return lab


def publish(work) -> None:
    for session in window(SESSION, 2):
        Discovery(work).publish(session)


def reached(work) -> list[str]:
    """Symbols of the history requests that reached the gateway."""
    return [entry.request.contract.symbol for entry in work.gate._embedded.history_ledger.entries]


def patch_fetch(monkeypatch, fetch) -> None:
    for module in ("minutes", "daily"):
        monkeypatch.setattr(f"quant_assets.flows.ingest.{module}.fetch_with_lulls", fetch)


async def with_few_trades(*arguments):
    """390 bars of which ten have trades, and one of them two shares in three trades."""
    async for outcome in real_fetch(*arguments):
        if outcome is None or outcome.answer is None:
            yield outcome
            continue
        number = pl.int_range(pl.len())
        volume = pl.when(number == 0).then(2.0).when(number < 10).then(5_000.0).otherwise(0.0)
        count = pl.when(number == 0).then(3).when(number < 10).then(10).otherwise(0)
        told = outcome.answer
        bars = told.bars.with_columns(volume=volume, bar_count=count.cast(told.bars.schema["bar_count"]))
        yield Outcome(outcome.planned, replace(told, bars=bars))


def test_instruments_with_few_trades_do_not_stop_a_run_that_the_judge_believes(tmp_path, monkeypatch):
    lab = lab_of(tmp_path, in_lots=())
    patch_fetch(monkeypatch, with_few_trades)
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        report = ingest_minutes(work, [SESSION])
    assert report.outcomes["bars"] == 6
    assert report.outcomes["wrong_unit"] == 0


def test_a_run_that_only_reads_again_names_its_instruments(tmp_path):
    before, day = window(SESSION, 2)
    lab = lab_of(tmp_path, in_lots=())
    lab.lakehouse = {"reread_previous_session": False}
    lab.run([before])
    lab.run([day])
    lab.lakehouse, lab.options = {}, lab_of(tmp_path).options
    with lab.at(after(day)) as work:
        with pytest.raises(WrongUnitError) as told:
            ingest_minutes(work, [day])
        assert set(reached(work)) <= set(IN_LOTS), "all of yesterday, none of today"
    assert len(told.value.names) >= 3
    assert set(told.value.names) <= set(IN_LOTS)


@BOTH
def test_answers_that_wait_when_lots_are_noticed_are_kept(tmp_path, monkeypatch, ingest):
    """The reader comes to the first of them when all that may wait are there: four, and one in the worker's hands."""
    refused = ("QFIB", "QFID", "QHEA")  # one after the other, by their names and by their numbers
    lab = lab_of(tmp_path, in_lots=refused)

    async def late(*arguments):
        n_before, n_looks = len(reached(work)), 4000
        async for outcome in real_fetch(*arguments):
            for _ in range(n_looks):
                if len(reached(work)) >= n_before + 5:
                    break
                await asyncio.sleep(0.005)
            n_looks = 0
            yield outcome

    patch_fetch(monkeypatch, late)
    with lab.at(after(SESSION)) as work:
        publish(work)
        with pytest.raises(WrongUnitError) as told:
            ingest(work, SESSIONS[ingest])
        symbols, raw = reached(work), work.lake.raw
    asked = pl.concat([raw.read(RAW_TWS_REQUESTS, one) for one in raw.partitions(RAW_TWS_REQUESTS)])
    assert sorted(asked["symbol"]) == sorted(symbols), "each request that TWS heard of has its row"
    assert len(symbols) <= 2 + 3 + 1 + 4, "two in shares, three in lots, and what was on its way"
    table = RAW_TWS_BARS if ingest is ingest_minutes else RAW_TWS_DAILY_BARS
    kept = pl.concat([raw.read(table, one, ["symbol"]) for one in raw.partitions(table)])
    assert set(kept["symbol"]) == set(symbols) - set(refused) != set()
    assert told.value.names == sorted(refused)
    assert told.value.n_left == 12 - len(symbols)


@BOTH
def test_what_the_setting_does_not_touch_is_fetched_and_stored_all_the_same(tmp_path, ingest):
    lab = lab_of(tmp_path, *ABROAD)
    lab.lakehouse = EVERYWHERE
    with lab.at(after(SESSION)) as work:
        publish(work)
        with pytest.raises(WrongUnitError, match="more requests were given up") as told:
            ingest(work, SESSIONS[ingest])
        symbols, raw = reached(work), work.lake.raw
    asked = pl.concat([raw.read(RAW_TWS_REQUESTS, one) for one in raw.partitions(RAW_TWS_REQUESTS)])
    said = dict(asked.select("symbol", "outcome").unique().rows())
    assert {symbol for symbol, outcome in said.items() if outcome == "bars"} == {"QLNA", "EUR.USD", "BTC.USD"}
    assert set(told.value.names) == {symbol for symbol, outcome in said.items() if outcome == "wrong_unit"}
    n_of_us = sum(symbol in IN_LOTS for symbol in symbols)
    assert told.value.n_left == 12 - n_of_us > 0
    assert n_of_us <= 3 + 1 + 4
    assert asked.height == len(symbols)


def test_full_windows_are_not_asked_for_once_the_overlaps_are_in_lots(tmp_path):
    """Five instruments have a window of yesterday, and the sixth has none."""
    before, day = window(SESSION, 2)
    lab = lab_of(tmp_path, in_lots=())
    lab.symbols = [f"NYSE:{symbol}" for symbol in IN_LOTS[:5]]
    lab.run([before])
    lab.symbols, lab.options = lab_of(tmp_path).symbols, lab_of(tmp_path).options
    with lab.at(after(day)) as work:
        Discovery(work).publish(day)
        with pytest.raises(WrongUnitError) as told:
            ingest_daily(work, [day])
        symbols = reached(work)
        assert not work.lake.raw.batches(RAW_TWS_DAILY_BARS, Partition(day))
    assert len(symbols) <= 3 + 2 + 1 + 4, (
        "three instruments, of which two have a second series, and what was on its way"
    )
    assert IN_LOTS[5] not in symbols
    assert told.value.n_left == 6 * 2 - len(symbols)


@BOTH
def test_a_request_that_is_wrong_itself_is_told_before_lots_are(tmp_path, monkeypatch, ingest):
    async def first_refused(*arguments):
        is_first = True
        async for outcome in real_fetch(*arguments):
            if outcome and is_first:
                is_first = False
                yield Outcome(outcome.planned, SourceRefusedError("a request", 321, "malformed", "Mend it."))
                continue
            yield outcome

    patch_fetch(monkeypatch, first_refused)
    lab = lab_of(tmp_path)
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        with pytest.raises(SourceRefusedError):
            ingest(work, [SESSION])
        assert "wrong_unit" in set(work.lake.raw.read(RAW_TWS_REQUESTS, AT)["outcome"])
