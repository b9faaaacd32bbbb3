"""The bars message, decoded column by column."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quant_assets.connectors.base import DAILY_ANSWER, MINUTE_ANSWER
from quant_assets.connectors.tws import history


def message(*rows: tuple[str, ...]) -> list[str]:
    return ["17", "1", "20240104  21:00:00", "20240105  21:00:00", str(len(rows)), *(v for row in rows for v in row)]


def test_minute_bars():
    frame = history.to_frame(message(("1704465000", "1.5", "2", "1.25", "1.75", "1200.5", "1.6", "34")), "1 min")
    assert frame.schema == MINUTE_ANSWER
    assert frame.rows() == [(datetime(2024, 1, 5, 14, 30, tzinfo=UTC), 1.5, 2.0, 1.25, 1.75, 1200.5, 1.6, 34)]


def test_daily_bars_carry_the_exchange_date():
    frame = history.to_frame(message(("20240105", "1", "2", "0.5", "1.5", "10", "1.2", "3")), "1 day")
    assert frame.schema == DAILY_ANSWER
    assert frame["session"].to_list() == [date(2024, 1, 5)]


def test_not_available_is_null_and_prices_stay():
    rows = [("1704465000", "-1", "2", "-1", "1.5", "-1", "-1", "-1"), ("1704465060", "1", "1", "1", "1", "5", "1", "2")]
    frame = history.to_frame(message(*rows), "1 min")
    assert frame.select("volume", "wap", "bar_count").rows() == [(None, None, None), (5.0, 1.0, 2)]
    assert frame["open"].to_list() == [-1.0, 1.0]


def test_no_bars_is_an_empty_frame_of_the_same_shape():
    assert history.to_frame(message(), "1 min").equals(pl.DataFrame(schema=MINUTE_ANSWER))
    assert history.no_bars("1 day").schema == DAILY_ANSWER


def test_order_and_doubles_are_kept_as_sent():
    late, early = ("1704465060", *"1111111"), ("1704465000", *"1111111")
    assert history.to_frame(message(late, early, late), "1 min")["ts"].dt.epoch("s").to_list() == [
        1704465060,
        1704465000,
        1704465060,
    ]


@pytest.mark.parametrize(
    ("bar_size", "rows"),
    [
        ("1 min", ("20240105 09:30:00 US/Eastern", *"1111111")),
        ("1 min", ("1704465000", "abc", *"111111")),
        ("1 min", ("1704465000", "", *"111111")),
        ("1 day", ("1704465000", *"1111111")),
    ],
)
def test_what_cannot_be_decoded_is_an_error_and_not_a_shorter_answer(bar_size, rows):
    with pytest.raises(ValueError, match="undecodable bar"):
        history.to_frame(message(rows), bar_size)


def test_fewer_fields_than_announced():
    cut = message(("1704465000", *"1111111"), ("1704465060", *"1111111"))[:-8]
    with pytest.raises(ValueError, match="2 bars announced, 8 fields sent"):
        history.to_frame(cut, "1 min")
