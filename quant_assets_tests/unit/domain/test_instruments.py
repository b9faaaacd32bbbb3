"""Instruments as validity ranges."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from quant_assets.domain.costs import SCHEDULES
from quant_assets.domain.instruments import described, exchanges, execution, history, valid_at
from quant_assets.domain.symbology import called, canonical, lineage
from quant_assets.domain.tables import INSTRUMENTS, RAW_INSTRUMENTS
from quant_assets.domain.venues import calendars_of

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


def test_both_ends_of_a_stretch_are_in_it_and_the_newest_that_holds_comes_last():
    ranges = [
        (1, "OLD", DAYS[0], DAYS[1]),
        (1, "NEW", DAYS[2], None),
        (2, "GAP", DAYS[0], DAYS[0]),
        (3, "TWICE, LATER", DAYS[1], None),
        (3, "TWICE", DAYS[0], DAYS[3]),
    ]
    rows = pl.DataFrame(
        ranges,
        schema={"con_id": pl.Int64, "symbol": pl.String, "valid_from": pl.Date, "valid_until": pl.Date},
        orient="row",
    )
    found = [valid_at(rows, day)["symbol"].to_list() for day in DAYS[:3]]
    assert found == [["OLD", "GAP", "TWICE"], ["OLD", "TWICE", "TWICE, LATER"], ["TWICE", "TWICE, LATER", "NEW"]]


def dimension(rows, session=DAYS[-1], members=(1, 2)):
    return history(RAW_INSTRUMENTS.frame(rows), pl.DataFrame({"con_id": list(members)}), session)


def who(found, name, first, last=None, exchange=""):
    return called(found, name, exchange, first, last or first)["con_id"].to_list()


def test_a_symbol_that_was_reused_resolves_by_date():
    """One is renamed from META to MVRS, then two takes the name META."""
    rows = [
        *(details(day, symbol="META") for day in DAYS[:2]),
        *(details(day, symbol="MVRS") for day in DAYS[2:]),
        *(details(day, con_id=2, symbol="FB") for day in DAYS[:3]),
        details(DAYS[3], con_id=2, symbol="META"),
    ]
    found = dimension(rows)
    assert [who(found, "META", day) for day in DAYS] == [[1], [1], [], [2]]
    assert who(found, "META", DAYS[0], DAYS[2]) == [1]
    assert called(found, "META", "", DAYS[0], DAYS[3]).rows() == [
        (1, "NYSE", DAYS[0], DAYS[1]),
        (2, "NYSE", DAYS[3], DAYS[3]),
    ], "over a stretch of time: everybody who bore it, and when"
    assert called(found, "META", "", DAYS[1], DAYS[2]).rows() == [(1, "NYSE", DAYS[1], DAYS[1])]
    assert who(found, "FB", DAYS[0], DAYS[3]) == [2]


def test_two_exchanges_of_one_symbol_need_the_exchange():
    rows = [details(DAYS[0], symbol="TWIN"), details(DAYS[0], con_id=2, symbol="TWIN", primary_exchange="ARCA")]
    found = dimension(rows, DAYS[0])
    assert who(found, "TWIN", DAYS[0]) == [1, 2]
    assert who(found, "TWIN", DAYS[0], exchange="ARCA") == [2]


def test_a_corporate_action_names_the_successor_and_its_evidence():
    isin = "ISIN=US0378331005"
    rows = [
        *(details(day, con_id=1, symbol="OLD", ids=isin) for day in DAYS[:2]),
        *(details(day, con_id=2, symbol="NEW", ids=isin) for day in DAYS[2:]),
    ]
    found = dimension(rows)
    evidence = f"the same ISIN US0378331005, first seen on {DAYS[2]}"
    assert found.filter(pl.col("con_id") == 1).select("successor", "successor_evidence").rows() == [(2, evidence)]
    assert found.filter(pl.col("con_id") == 2)["successor"].to_list() == [None]
    assert (lineage(found, 1), lineage(found, 2)) == ([1, 2], [2])


def test_the_same_listing_and_name_is_evidence_too_but_only_soon_after():
    late = DAYS[0] + timedelta(days=30)
    for day, heirs in ((DAYS[1], [2]), (late, [None])):
        rows = [details(DAYS[0]), details(day, con_id=2)]
        found = dimension(rows, day)
        assert found.filter(pl.col("con_id") == 1)["successor"].to_list() == heirs


def test_a_listing_abroad_is_no_successor():
    isin = "ISIN=GB0002374006"
    rows = [
        details(DAYS[0], ids=isin),
        details(DAYS[1], con_id=2, ids=isin, currency="GBP", primary_exchange="LSE"),
    ]
    assert dimension(rows, DAYS[1])["successor"].to_list() == [None, None]


def test_who_is_both_seen_at_once_does_not_succeed_one_another():
    isin = "ISIN=US0378331005"
    rows = [details(day, con_id=i, symbol=f"S{i}", ids=isin) for day in DAYS[:2] for i in (1, 2)]
    assert dimension(rows, DAYS[1])["successor"].to_list() == [None, None]


def test_execution_says_what_is_known_and_nothing_else():
    rows = [
        details(DAYS[0], min_size=1.0, size_increment=1.0),
        details(DAYS[0], con_id=2, asset_class="CRYPTO", min_size=1e-8, size_increment=1e-8),
    ]
    table = execution(dimension(rows, DAYS[0]), SCHEDULES["ibkr_fixed_us"])
    columns = ["lot", "step", "min_notional", "fee_per_unit", "fee_minimum", "fee_maximum_fraction", "fee_schedule"]
    assert table.select(columns).rows() == [
        (1.0, 1.0, None, 0.005, 1.0, 0.01, "ibkr_fixed_us"),
        (1e-8, 1e-8, None, None, None, None, None),
    ]


def test_exchanges_have_a_country_and_a_zone():
    rows = [
        details(DAYS[0]),
        details(DAYS[0], con_id=2, primary_exchange="LSE", currency="GBP", timezone="GB-Eire"),
        details(DAYS[0], con_id=3, primary_exchange="", exchange="PAXOS", asset_class="CRYPTO", timezone="UTC"),
    ]
    found = dimension(rows, DAYS[0], (1, 2, 3))
    named = calendars_of(pl.DataFrame({"con_id": [1, 2, 3], "asset_class": ["STK", "STK", "CRYPTO"],
                                       "exchange": ["NYSE", "LSE", "PAXOS"]}))  # fmt: skip
    columns = ["exchange", "calendar", "country", "timezone", "n_instruments"]
    assert exchanges(found, named).select(columns).rows() == [
        ("LSE", "XLON", "GB", "GB-Eire", 1),
        ("NYSE", "XNYS", "US", "US/Eastern", 1),
        ("PAXOS", "24/7", None, "UTC", 1),
    ]


def test_a_stock_without_an_industry_is_not_described_and_a_pair_is():
    rows = [
        details(DAYS[0], industry=""),
        details(DAYS[0], con_id=2, industry="", asset_class="CASH", long_name="EUR.USD"),
    ]
    assert described(dimension(rows, DAYS[0]))["is_described"].to_list() == [False, True]


def test_an_alias_stands_for_its_name():
    aliases = {"AMEX:SPY": "ARCA:SPY"}
    assert [canonical(name, aliases) for name in ("AMEX:SPY", "ARCA:SPY", "SPY")] == ["ARCA:SPY", "ARCA:SPY", "SPY"]
