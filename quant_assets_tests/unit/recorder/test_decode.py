"""Bars and contract details as any client may have asked for them."""

from datetime import UTC, date, datetime

import pytest

from quant_assets.gateway import messages
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.proxy.decode import bars_of, details_of
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
    assert Instrument(**details_of(fields_of(sent[4:]), version)) == known
