"""Indicators equal the answers that another library publishes for 502 real daily bars, bar by bar."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.domain import indicators as ta

ANSWERS = {
    ("sma", "sma"): lambda _, __, c: ta.sma(c, 20),
    ("ema", "ema"): lambda _, __, c: ta.ema(c, 20),
    ("rsi", "rsi"): lambda _, __, c: ta.rsi(c, 14),
    ("atr", "tr"): ta.true_range,
    ("atr", "atr"): lambda h, x, c: ta.atr(h, x, c, 14),
    ("adx", "pdi"): lambda h, x, c: ta.directional(h, x, c, 14)[0],
    ("adx", "mdi"): lambda h, x, c: ta.directional(h, x, c, 14)[1],
    ("adx", "adx"): lambda h, x, c: ta.directional(h, x, c, 14)[2],
    ("macd", "fastEma"): lambda _, __, c: ta.ema(c, 12),
    ("macd", "slowEma"): lambda _, __, c: ta.ema(c, 26),
    ("macd", "macd"): lambda _, __, c: ta.macd(c, 12, 26, 9)[0],
    ("macd", "signal"): lambda _, __, c: ta.macd(c, 12, 26, 9)[1],
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


@pytest.fixture(scope="module")
def columns(quotes: pl.DataFrame) -> list[np.ndarray]:
    return [quotes[name].to_numpy() for name in ("high", "low", "close")]


@pytest.mark.parametrize(("file", "field"), ANSWERS)
def test_every_bar_equals_the_published_answer(published, columns, file, field):
    expected = answer(published, file, field)
    found = ANSWERS[file, field](*columns)
    assert len(found) == len(expected) == 502
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert np.isnan(one) == (other is None), place
        assert other is None or one == pytest.approx(other, rel=1e-9, abs=1e-9), place


@pytest.mark.parametrize(("file", "field"), ANSWERS)
def test_instruments_side_by_side_get_the_answers_they_get_alone(columns, file, field):
    """Beside it, the same bars at a third of the price, and a younger instrument whose column ends early."""
    young = [np.concatenate([x[37:], np.full(37, np.nan)]) for x in columns]
    matrices = [np.column_stack([x, x / 3, y]) for x, y in zip(columns, young, strict=True)]
    found = ANSWERS[file, field](*matrices)
    np.testing.assert_array_equal(found[:, 0], ANSWERS[file, field](*columns))
    np.testing.assert_array_equal(found[:-37, 2], ANSWERS[file, field](*[x[37:] for x in columns]))
    assert np.isnan(found[-37:, 2]).all()
