"""The ADX metric of selection equals the last published value of 502 real daily bars, however prices are adjusted."""

import json
from datetime import date

import polars as pl
import pytest

from quant_assets.domain.selection import measure, panel_of


def adx(bars: pl.DataFrame, sessions: list[date]) -> float:
    matrix = pl.DataFrame({"session": sessions[1:], "7": [0.01] * (len(sessions) - 1)})
    return float(measure(panel_of(matrix, bars, sessions), ["adx"])["adx"][0])


@pytest.fixture(scope="module")
def bars(shared_data) -> pl.DataFrame:
    quotes = pl.read_csv(shared_data / "golden/indicators/quotes.csv", try_parse_dates=True)
    columns = {name.lower(): name for name in quotes.columns}
    day = columns.get("timestamp") or columns["date"]
    return quotes.select(
        pl.col(day).cast(pl.Date).alias("session"),
        pl.lit(7, dtype=pl.Int64).alias("con_id"),
        *(pl.col(columns[name]).cast(pl.Float64).alias(name) for name in ("high", "low", "close", "volume")),
        pl.col(columns["close"]).cast(pl.Float64).alias("adj_close"),
    )


def test_the_last_value_is_the_published_one(bars, shared_data):
    text = (shared_data / "golden/indicators/adx.standard.json").read_text(encoding="utf-8-sig")
    published = json.loads(text)[-1]["adx"]
    assert adx(bars, bars["session"].to_list()) == pytest.approx(published, abs=1e-9)


def test_a_split_that_is_adjusted_for_is_no_movement(bars):
    sessions, split = bars["session"].to_list(), bars["session"][250]
    factor = pl.when(pl.col("session") < split).then(4.0).otherwise(1.0)
    served = bars.with_columns(pl.col("high", "low", "close") * factor)
    assert adx(served, sessions) == pytest.approx(adx(bars, sessions), abs=1e-9)
    assert abs(adx(served.with_columns(adj_close="close"), sessions) - adx(bars, sessions)) > 1e-9


def test_a_last_session_without_a_bar_leaves_the_value_before(bars):
    sessions = bars["session"].to_list()
    assert adx(bars.head(501), sessions) == adx(bars.head(501), sessions[:501])


def test_without_highs_and_lows_nothing_is_known(bars):
    closes = bars.drop("high", "low")
    assert adx(closes, bars["session"].to_list()) != adx(closes, bars["session"].to_list())  # NaN
