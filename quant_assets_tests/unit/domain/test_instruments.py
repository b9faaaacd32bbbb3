"""Instruments as validity ranges."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from quant_assets.domain.instruments import history
from quant_assets.domain.tables import INSTRUMENTS, RAW_INSTRUMENTS

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4), date(2024, 1, 5)]
BASE = {
    "exchange": "SMART", "primary_exchange": "NYSE", "currency": "USD", "asset_class": "STK", "min_tick": 0.01,
    "timezone": "US/Eastern", "long_name": "ONE", "industry": "Energy", "category": "", "ids": "",
    "trading_hours": "", "liquid_hours": "", "pipeline_version": "1",
}  # fmt: skip


def details(day, con_id=1, symbol="OLD", batch="b1", **changes):
    at = datetime(day.year, day.month, day.day, 22, tzinfo=UTC) + timedelta(minutes=int(batch[1:]))
    return {**BASE, "session": day, "con_id": con_id, "symbol": symbol, "batch_id": batch, "ingested_at": at, **changes}


def fold(rows, session=DAYS[-1], members=(1,)):
    found = history(RAW_INSTRUMENTS.frame(rows), pl.DataFrame({"con_id": list(members)}), session)
    return INSTRUMENTS.conform(found).select("con_id", "symbol", "valid_from", "valid_until", "active").rows()


def test_equal_details_are_one_stretch_without_an_end():
    assert fold([details(day) for day in DAYS]) == [(1, "OLD", DAYS[0], None, True)]


def test_a_symbol_change_ends_one_stretch_and_begins_another():
    rows = [*(details(day) for day in DAYS[:2]), *(details(day, symbol="NEW") for day in DAYS[2:])]
    assert fold(rows) == [(1, "OLD", DAYS[0], DAYS[1], False), (1, "NEW", DAYS[2], None, True)]


def test_details_that_come_back_make_three_stretches():
    rows = [details(day, min_tick=tick) for day, tick in zip(DAYS[:3], (0.01, 0.05, 0.01), strict=True)]
    assert len(fold(rows)) == 3


def test_the_future_is_not_known():
    rows = [details(DAYS[0]), details(DAYS[3], symbol="NEW")]
    assert fold(rows, session=DAYS[2]) == [(1, "OLD", DAYS[0], None, True)]


def test_the_newest_batch_of_a_session_counts():
    assert fold([details(DAYS[0], symbol="WRONG"), details(DAYS[0], batch="b2")]) == [(1, "OLD", DAYS[0], None, True)]


def test_what_left_the_universe_is_inactive_and_keeps_its_details():
    rows = [details(DAYS[0]), details(DAYS[0], con_id=2, symbol="GONE"), details(DAYS[1])]
    assert fold(rows)[1] == (2, "GONE", DAYS[0], None, False)
