"""TradingView's technical ratings: fifteen moving averages and eleven oscillators vote buy, sell or neutral."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_assets.domain import indicators as ta
from quant_assets.domain.indicators import Array, shift

Mask = NDArray[np.bool_]

_NIL = 1e-12
"""Prices closer to each other than this share of the close are equal: rounding has no vote."""

_NIL_POINTS = 1e-9
"""The same for indicators on a scale of their own, such as 0 to 100: a stochastic of 80 is not above 80."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of several instruments side by side: axis 0 is time, axis 1 the instrument, NaN where there is no bar."""

    high: Array
    low: Array
    close: Array
    volume: Array


def ratings(bars: Bars, known: Mapping[str, Array]) -> dict[str, Array]:
    """Return recommend_ma, recommend_other and recommend_all, each in [-1, 1].

    Every voter says 1 (buy), -1 (sell) or 0 (neutral), and nothing before it can be computed. recommend_ma is the mean
    of the moving averages' votes, recommend_other that of the oscillators', recommend_all the mean of those two, or the
    one that is there. The rules are those of TradingView's help page on Technical Ratings and of its published library
    TechnicalRating, version 3.

    Args:
        bars: the bars.
        known: rsi, adx, plus, minus, ao, cci20, stoch_k, stoch_d, macd and macd_signal of these bars.
    """
    averages = _mean(_average_votes(bars))
    oscillators = _mean(_oscillator_votes(bars, known))
    both = _mean([averages, oscillators])
    return {"recommend_ma": averages, "recommend_other": oscillators, "recommend_all": both}


def _mean(votes: Sequence[Array]) -> Array:
    """Return the mean of the votes that were cast."""
    cast, total = np.zeros_like(votes[0]), np.zeros_like(votes[0])
    for vote in votes:
        cast, total = cast + ~np.isnan(vote), total + np.nan_to_num(vote)
    return np.where(cast > 0, total / np.maximum(cast, 1), np.nan)


def _average_votes(bars: Bars) -> list[Array]:
    close, widths = bars.close, (10, 20, 30, 50, 100, 200)
    lines = [average(close, n) for average in (ta.sma, ta.ema) for n in widths]
    lines += [ta.hma(close, 9), ta.vwma(close, bars.volume, 20)]
    return [*(_vote(x, _above(bars, close, x), _above(bars, x, close)) for x in lines), _ichimoku(bars)]


def _ichimoku(bars: Bars) -> Array:
    """Let the cloud vote: its spans are those drawn under the bar, that is computed 26 bars before."""
    conversion, base, second = (ta.middle_of_range(bars.high, bars.low, n) for n in (9, 26, 52))
    span1, span2 = shift((conversion + base) / 2, 26), shift(second, 26)
    return _vote(
        second,
        (span1 > span2) & (base > span1) & (conversion > base) & (bars.close > conversion),
        (span1 < span2) & (base < span1) & (conversion < base) & (bars.close < conversion),
    )


def _oscillator_votes(bars: Bars, known: Mapping[str, Array]) -> list[Array]:
    momentum, ultimate = bars.close - shift(bars.close, 10), ta.ultimate(bars.high, bars.low, bars.close)
    line, signal = known["macd"], known["macd_signal"]
    trend = ta.ema(bars.close, 50)
    return [
        _turning(known["rsi"], 30, 70),
        _leaving(known["stoch_k"], known["stoch_d"]),
        _turning(known["cci20"], -100, 100),
        _directional(known),
        _awesome(bars, known["ao"]),
        _vote(shift(momentum, 1), *_moves(bars, momentum)),
        _vote(signal, _above(bars, line, signal), _above(bars, signal, line)),
        _stochastic_rsi(bars, known["rsi"], trend),
        _turning(ta.stochastic(bars.close, bars.high, bars.low, 14) - 100, -80, -20),
        _power(bars, trend),
        _vote(ultimate, _over(ultimate, 70), _over(30, ultimate)),
    ]


def _turning(x: Array, low: float, high: float) -> Array:
    """Buy what is low and rises, sell what is high and falls."""
    before = shift(x, 1)
    return _vote(before, _over(low, x) & _over(x, before), _over(x, high) & _over(before, x))


def _leaving(k: Array, d: Array) -> Array:
    """Buy where both lines are low and the fast one leads, sell where both are high and it trails."""
    low, high = _over(20, k) & _over(20, d), _over(k, 80) & _over(d, 80)
    return _vote(shift(d, 1), low & _over(k, d), high & _over(d, k))


def _directional(known: Mapping[str, Array]) -> Array:
    adx, plus, minus = known["adx"], known["plus"], known["minus"]
    is_strong = _over(adx, 20) & _over(adx, shift(adx, 1))
    return _vote(adx, is_strong & _over(plus, minus), is_strong & _over(minus, plus))


def _awesome(bars: Bars, now: Array) -> Array:
    """Let the awesome oscillator vote: it crosses zero, or dips and turns on one side of it (a saucer)."""
    before, earlier, nil = shift(now, 1), shift(now, 2), np.zeros_like(now)
    is_up, was_up = _above(bars, now, nil), _above(bars, before, nil)
    is_down, was_down = _above(bars, nil, now), _above(bars, nil, before)
    rises, falls = _moves(bars, now)
    return _vote(
        before,
        is_up & (~was_up | (rises & _above(bars, earlier, before))),
        is_down & (~was_down | (falls & _above(bars, before, earlier))),
    )


def _stochastic_rsi(bars: Bars, rsi: Array, trend: Array) -> Array:
    """Let the stochastic of the rsi vote against the trend; while it is unknown it is neutral."""
    k = ta.sma(ta.stochastic(rsi, rsi, rsi, 14), 3)
    vote = _leaving(k, ta.sma(k, 3))
    return _vote(trend, (vote > 0) & _above(bars, trend, bars.close), (vote < 0) & _above(bars, bars.close, trend))


def _power(bars: Bars, trend: Array) -> Array:
    """Let bulls and bears vote: with the trend up the bears weaken, with the trend down the bulls do."""
    base, nil = ta.ema(bars.close, 13), np.zeros_like(trend)
    bull, bear = bars.high - base, bars.low - base
    return _vote(
        trend,
        _above(bars, bars.close, trend) & _above(bars, nil, bear) & _moves(bars, bear)[0],
        _above(bars, trend, bars.close) & _above(bars, bull, nil) & _moves(bars, bull)[1],
    )


def _moves(bars: Bars, x: Array) -> tuple[Mask, Mask]:
    """Return where a quantity in the unit of prices rises, and where it falls."""
    before = shift(x, 1)
    return _above(bars, x, before), _above(bars, before, x)


def _above(bars: Bars, one: Array, other: Array) -> Mask:
    return (one - other) > _NIL * bars.close


def _over(one: Array | float, other: Array | float) -> Mask:
    return np.asarray(np.subtract(one, other) > _NIL_POINTS)


def _vote(known: Array, buy: Mask, sell: Mask) -> Array:
    return np.where(np.isnan(known), np.nan, np.where(buy, 1.0, np.where(sell, -1.0, 0.0)))
