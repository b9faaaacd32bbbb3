"""Bars of one instrument, computed a block of sessions at a time on the prices of their own day.

A block is the unit of computation and of caching: a session computed alone and the same session computed in a range
come from the same block, so they cannot differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quant_assets.gateway.hours import FULL_SESSION_MINUTES
from quant_assets.gateway.synthetic.randomness import Floats, bits, normal, uniform

BLOCK_SESSIONS: Final = 16
_ROW: Final = 512
_SMALLEST_PRINT: Final = 10

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars as columns of equal length; the shape is (sessions, minutes) or flat."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    wap: Floats
    count: npt.NDArray[np.int64]

    def take(self, chosen: Mask | slice) -> "Bars":
        """Return the chosen bars, flat when chosen by a mask over two dimensions."""
        return Bars(*(getattr(self, name)[chosen] for name in self.__slots__))


def bars_of(prices: Sequence[Floats], volume: Floats, wap: Floats, count: npt.NDArray[np.int64]) -> Bars:
    """Return bars from (open, high, low, close) and the rest."""
    open_, high, low, close = prices
    return Bars(open_, high, low, close, volume, wap, count)


@dataclass(frozen=True, slots=True)
class MinuteBlock:
    """The minute bars that are sent, flat and ascending, and the session each one belongs to."""

    bars: Bars
    ts: npt.NDArray[np.int64]
    """Bar start, epoch seconds."""
    ordinal: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of one instrument's block, each (sessions, minutes)."""

    tick: npt.NDArray[np.int64]
    above: Floats
    below: Floats
    volume: Floats
    trade: Floats
    size: Floats


def draws(key: int, first: int, n: int) -> Draws:
    """Draw for `n` sessions from ordinal `first`; one hash feeds several small numbers."""
    counter = np.arange(first, first + n)[:, None] * _ROW + np.arange(FULL_SESSION_MINUTES)
    small = np.ascontiguousarray(bits(key ^ 0xA1, counter)).astype("<u8").view("<u2").reshape(*counter.shape, 4)
    return Draws(
        tick=(small[..., 0] % 3).astype(np.int64) - 1,
        above=small[..., 1] / 65536.0,
        below=small[..., 2] / 65536.0,
        volume=normal(key ^ 0xB2, counter),
        trade=uniform(key ^ 0xC3, counter),
        size=60 + 100 * (small[..., 3] / 65536.0),
    )


def priced(boundaries: Floats, scale: Floats, draw: Draws, bar_vol: float, tick: float) -> Bars:
    """Turn log prices at minute boundaries into bars rounded to the tick; volumes are still 0.

    Args:
        boundaries: log prices, (n, minutes + 1).
        scale: price factor per session, (n,): the shares of that day for one of the anchor's.
        draw: the block's random numbers.
        bar_vol: standard deviation of a minute's log return; sets how far high and low reach beyond open and close.
        tick: smallest price step.
    """
    ticks = np.maximum(np.rint(np.exp(boundaries) / scale[:, None] / tick), 1.0)
    open_, close = ticks[:, :-1].copy(), ticks[:, 1:]
    open_[:, 1:] = np.maximum(open_[:, 1:] + draw.tick[:, 1:], 1.0)
    high = np.rint(np.maximum(open_, close) * (1 + bar_vol * draw.above))
    low = np.maximum(np.rint(np.minimum(open_, close) * (1 - bar_vol * draw.below)), 1.0)
    prices = [np.round(x * tick, 2) for x in (open_, high, low, close)]
    wap = np.round((prices[0] + prices[1] + prices[2] + prices[3]) / 4, 3)
    return bars_of(prices, np.zeros(wap.shape), wap, np.zeros(wap.shape, np.int64))


def traded_volume(expected: Floats, draw: Draws, has_trade: Mask) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return shares and number of trades; volume >= 10 x count, both 0 where there is no trade."""
    shares = np.maximum(np.rint(expected * np.exp(0.5 * draw.volume) / _SMALLEST_PRINT), 1.0) * _SMALLEST_PRINT
    trades = np.maximum((shares / draw.size).astype(np.int64), 1)
    return np.where(has_trade, shares, 0.0), np.where(has_trade, trades, 0)


def flattened(bars: Bars, has_trade: Mask) -> Bars:
    """Replace bars without a trade by flat ones at the last close; the first minute must have traded."""
    position = np.where(has_trade, np.arange(has_trade.shape[1]), 0)
    last = np.take_along_axis(bars.close, np.maximum.accumulate(position, axis=1), axis=1)
    prices = [np.where(has_trade, x, last) for x in (bars.open, bars.high, bars.low, bars.close)]
    return bars_of(prices, bars.volume, np.where(has_trade, bars.wap, last), bars.count)


def daily(bars: Bars, has_trade: Mask, minutes: npt.NDArray[np.int64]) -> Bars:
    """Aggregate the minutes that traded; the first and the last minute of a session always did."""
    rows = np.arange(len(minutes))
    volume = bars.volume.sum(axis=1)
    high = np.where(has_trade, bars.high, -np.inf).max(axis=1)
    low = np.where(has_trade, bars.low, np.inf).min(axis=1)
    return Bars(
        open=bars.open[:, 0],
        high=high,
        low=low,
        close=bars.close[rows, minutes - 1],
        volume=volume,
        wap=np.clip(np.round((bars.wap * bars.volume).sum(axis=1) / volume, 3), low, high),
        count=bars.count.sum(axis=1),
    )
