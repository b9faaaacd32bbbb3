"""Indicators equal the answers that another library publishes for 502 real daily bars, bar by bar."""

import json
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain import indicators as ta

HIGH, LOW, CLOSE = pl.col("high"), pl.col("low"), pl.col("close")
MIDDLE, UPPER, LOWER = ta.bollinger(CLOSE, 20, 2.0)
PLUS, MINUS, ADX = ta.directional(HIGH, LOW, CLOSE, 14)
LINE, SIGNAL = ta.macd(CLOSE, 12, 26, 9)

ANSWERS = {
    ("sma", "sma"): ta.sma(CLOSE, 20),
    ("ema", "ema"): ta.ema(CLOSE, 20),
    ("rsi", "rsi"): ta.rsi(CLOSE, 14),
    ("atr", "tr"): ta.true_range(HIGH, LOW, CLOSE),
    ("atr", "atr"): ta.atr(HIGH, LOW, CLOSE, 14),
    ("adx", "pdi"): PLUS,
    ("adx", "mdi"): MINUS,
    ("adx", "adx"): ADX,
    ("macd", "fastEma"): ta.ema(CLOSE, 12),
    ("macd", "slowEma"): ta.ema(CLOSE, 26),
    ("macd", "macd"): LINE,
    ("macd", "signal"): SIGNAL,
    ("bb", "sma"): MIDDLE,
    ("bb", "upperBand"): UPPER,
    ("bb", "lowerBand"): LOWER,
    ("roc", "roc"): ta.roc(CLOSE, 14),
}


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Path:
    return shared_data / "golden" / "indicators"


@pytest.fixture(scope="module")
def quotes(published: Path) -> pl.DataFrame:
    bars = pl.read_csv(published / "quotes.csv", try_parse_dates=True)
    assert bars.height == 502
    return bars


def answer(published: Path, file: str, field: str) -> list[float | None]:
    return [row[field] for row in json.loads((published / f"{file}.standard.json").read_text(encoding="utf-8-sig"))]


@pytest.mark.parametrize(("file", "field"), ANSWERS)
def test_every_bar_equals_the_published_answer(published, quotes, file, field):
    expected = answer(published, file, field)
    found = quotes.select(ANSWERS[file, field].alias("found"))["found"].to_list()
    assert len(found) == len(expected) == 502
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert (one is None) == (other is None), place
        assert one is None or one == pytest.approx(other, rel=1e-9, abs=1e-9), place


@pytest.mark.parametrize(("file", "field"), ANSWERS)
def test_instruments_beside_each_other_get_the_answers_they_get_alone(published, quotes, file, field):
    """The same bars twice, the second one at a third of the price and behind a longer history."""
    prices = pl.col("open", "high", "low", "close")
    other = pl.concat([quotes.head(37), quotes]).with_columns(prices / 3, pl.lit(2).alias("con_id"))
    both = pl.concat([other, quotes.with_columns(pl.lit(1).alias("con_id"))])
    found = both.with_columns(ANSWERS[file, field].over("con_id").alias("found")).filter(pl.col("con_id") == 1)
    alone = quotes.select(ANSWERS[file, field].alias("found"))
    assert found["found"].equals(alone["found"])
