"""Bars and contract details as any client may have asked for them."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from quant_assets.gateway import messages
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.proxy.decode import bars_of, details_of, schedule_of
from quant_assets.gateway.requests import HistoryRequest, WireContract
from quant_assets.gateway.wire import fields_of

CONTRACT = WireContract(1, "AAA", "STK", "SMART", "", "USD")
OPENS = datetime(2024, 3, 14, 13, 30, tzinfo=UTC)


def request(format_date=2, bar_size="1 min") -> HistoryRequest:
    return HistoryRequest(5, CONTRACT, "", bar_size, "1 D", use_rth=True, what="TRADES", format_date=format_date)


def message(*labels: str) -> list[str]:
    rows = [(label, "1.5", "2", "1", "1.25", "100", "-1", "3") for label in labels]
    return ["17", "5", "from", "to", str(len(rows)), *(value for row in rows for value in row)]


@pytest.mark.parametrize(
    ("format_date", "label"),
    [
        (2, "1710423000"),
        (1, "20240314 09:30:00 US/Eastern"),
        (1, "20240314  09:30:00 US/Eastern"),
        (1, "20240314 14:30:00 Europe/Berlin"),
        (1, "20240314-13:30:00"),
        (3, "20240314-13:30:00"),
    ],
)
def test_every_spelling_of_a_time_is_the_same_instant(format_date, label):
    (row,) = bars_of(message(label), request(format_date)).to_dicts()
    assert row == dict(
        zip(
            ("ts", "open", "high", "low", "close", "volume", "wap", "bar_count"),
            (OPENS, 1.5, 2.0, 1.0, 1.25, 100.0, -1.0, 3),
            strict=True,
        )
    )


def test_a_time_without_a_zone_is_refused_for_nobody_knows_it():
    with pytest.raises(ValueError, match="formatDate=2"):
        bars_of(message("20240314 09:30:00"), request(1))


def test_daily_bars_carry_their_session():
    assert bars_of(message("20240314"), request(2, "1 day"))["session"].to_list() == [date(2024, 3, 14)]


@pytest.mark.parametrize(
    "damage", [lambda m: m[:-1], lambda m: [*m[:5], "noon", *m[6:]], lambda m: [*m[:6], "?", *m[7:]]]
)
def test_a_damaged_message_is_an_error(damage):
    with pytest.raises(ValueError, match=r"announced|undecodable|conversion"):
        bars_of(damage(message("1710423000")), request())


@pytest.mark.parametrize("version", [157, 163, 164, 176, 178])
@pytest.mark.parametrize("isin", ["", "US0000000007"])
def test_contract_details_of_every_version(version, isin):
    known = Instrument(
        con_id=7,
        symbol="AÉ.B",
        long_name="Société Générale",
        primary_exchange="NASDAQ",
        currency="EUR",
        market_name="SCM",
        industry="Technology",
        category="Chips",
        stock_type="ADR",
        min_tick=0.0001,
        isin=isin,
        timezone="MET",
    )
    sent = messages.contract_details(version, 3, known, "SMART", trading="t", liquid="l")
    told = replace(known, trading_hours="t", liquid_hours="l", valid_exchanges="SMART,NASDAQ")
    assert details_of(fields_of(sent[4:]), version) == told


FUTURE = Instrument(
    con_id=71,
    symbol="ES",
    long_name="E-mini S&P 500",
    primary_exchange="",
    sec_type="FUT",
    market_name="ES",
    stock_type="",
    min_tick=0.25,
    timezone="US/Central",
    exchange="CME",
    local_symbol="ESZ6",
    multiplier="50",
    last_trade_date=date(2026, 12, 18),
    min_size="1",
    size_step="1",
    valid_exchanges="CME",
    other_ids="CUSIP=123;SEDOL=45=6",
)


@pytest.mark.parametrize("version", [164, 178])
@pytest.mark.parametrize("expiry", ["20261218", "20261218 08:30 US/Central", "20261218-08:30"])
def test_a_future_keeps_what_names_it(version, expiry):
    fields = fields_of(messages.contract_details(version, 3, FUTURE, "CME", trading="t", liquid="l")[4:])
    fields[4] = expiry
    assert details_of(fields, version) == replace(FUTURE, trading_hours="t", liquid_hours="l")


@pytest.mark.parametrize(
    ("asked_at", "places", "kept"), [("ISLAND", "SMART,ISLAND", "SMART"), ("LSEIOB1", "LSEIOB1", "LSEIOB1")]
)
def test_a_stock_that_was_asked_at_one_place_is_still_routed_smartly(asked_at, places, kept):
    one = Instrument(5, "AAA", "A", exchange=asked_at, valid_exchanges=places)
    sent = messages.contract_details(178, 3, one, asked_at, trading="t", liquid="l")
    assert details_of(fields_of(sent[4:]), 178).exchange == kept


def test_a_schedule_tells_open_and_closed_days():
    """Good Friday 2026 lies between; London's clocks are one hour ahead of UTC after 29 March."""
    days = [("20260402", "08:00:00", "16:30:00"), ("20260407", "08:00:00", "12:30:00")]
    flat = [text for day, opens, closes in days for text in (f"{day}-{opens}", f"{day}-{closes}", day)]
    found = schedule_of(["106", "3", "from", "to", "GB-Eire", "2", *flat])
    assert found.rows() == [
        (date(2026, 4, 2), datetime(2026, 4, 2, 7, tzinfo=UTC), datetime(2026, 4, 2, 15, 30, tzinfo=UTC)),
        *((date(2026, 4, day), None, None) for day in (3, 4, 5, 6)),
        (date(2026, 4, 7), datetime(2026, 4, 7, 7, tzinfo=UTC), datetime(2026, 4, 7, 11, 30, tzinfo=UTC)),
    ]


@pytest.mark.parametrize("zone", ["JST/Nowhere", ""])
def test_a_schedule_in_an_unknown_zone_is_an_error(zone):
    with pytest.raises(ValueError, match=r"undecodable|zone"):
        schedule_of(["106", "3", "from", "to", zone, "1", "20260402-08:00:00", "20260402-16:30:00", "20260402"])


def test_a_schedule_that_is_cut_off_is_an_error():
    with pytest.raises(ValueError, match="2 sessions announced"):
        schedule_of(["106", "3", "from", "to", "GB-Eire", "2", "20260402-08:00:00", "20260402-16:30:00", "20260402"])


@pytest.mark.parametrize(("zone", "sent_as", "opens"), [("Japan", "Japan", "09:00:00"), ("JST", "UTC", "00:00:00")])
def test_a_schedule_is_told_whatever_tws_calls_the_zone(zone, sent_as, opens):
    hours = (datetime(2026, 4, 2, 0, tzinfo=UTC), datetime(2026, 4, 2, 6, tzinfo=UTC))
    fields = fields_of(messages.schedule(3, zone, [(date(2026, 4, 2), *hours)])[4:])
    assert (fields[4], fields[6]) == (sent_as, f"20260402-{opens}")
    assert schedule_of(fields).rows() == [(date(2026, 4, 2), *hours)]
