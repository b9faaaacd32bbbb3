"""Makes one instrument's block of sessions from the factors and the plan of events."""

from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from quant_assets.gateway.hours import FULL_SESSION_MINUTES, TradingHours
from quant_assets.gateway.synthetic import blocks
from quant_assets.gateway.synthetic.blocks import BLOCK_SESSIONS, Bars, Mask, MinuteBlock, bars_of
from quant_assets.gateway.synthetic.events import Events, MinuteEvent
from quant_assets.gateway.synthetic.paths import session_levels, session_paths, u_shape
from quant_assets.gateway.synthetic.randomness import Floats, normal, stream_key
from quant_assets.gateway.synthetic.universe import Listing

ANCHOR: Final = date(2026, 1, 2)
"""The session before whose open every instrument stands at its base price, unsplit."""
_YEARLY_DRIFT = 0.06
_SESSIONS_A_YEAR = 252


class BlockMaker:
    """Computes blocks; keeps only the paths that instruments share."""

    def __init__(self, seed: int, listed: list[Listing], events: Events, hours: TradingHours) -> None:
        self._seed, self._listed, self._events, self._hours = seed, listed, events, hours
        self._anchor = hours.ordinal_on_or_after(ANCHOR)
        self._shared = lru_cache(192)(self._shared_path)
        self._raw = lru_cache(8)(self._block)
        self._anchor_level = lru_cache(None)(self._level_at_anchor)

    def close(self, index: int, ordinal: int) -> float:
        """Return the closing price of one session on its own basis, without making its minutes."""
        listing = self._listed[index]
        ordinals = np.array([ordinal])
        level = sum(vol * session_levels(key, ordinal, 1)[:, 1] for vol, key in self._factors(index))
        log_price = np.log(listing.base_price) + level - self._anchor_level(index) + self._drift(ordinals)
        scale = self._shares_of_anchor(index, ordinals)
        tick = listing.instrument.min_tick
        return float(np.round(np.maximum(np.rint(np.exp(log_price) / scale / tick), 1.0) * tick, 2)[0])

    def daily(self, index: int, block: int) -> Bars:
        """Return the daily bars of a block's sessions."""
        bars, has_trade, minutes = self._raw(index, block)
        return blocks.daily(bars, has_trade, minutes)

    def minutes(self, index: int, block: int, *, quoted: bool = False) -> MinuteBlock:
        """Return the minute bars of a block as they are sent: gaps and bad prints planted.

        Quotes need no trade, so a quoted block also holds the minutes that nobody traded in.
        """
        bars, has_trade, minutes = self._raw(index, block)
        is_sent = np.arange(FULL_SESSION_MINUTES) < minutes[:, None]
        factor = np.ones(is_sent.shape)
        if not (quoted or self._listed[index].sends_filler):
            is_sent &= has_trade
        for row, event in self._planned(index, block):
            stretch = slice(event.first, event.last + 1)
            if event.kind == "bad_print":
                factor[row, stretch] = event.factor
            else:
                is_sent[row, stretch] = False
        ordinals = np.arange(block * BLOCK_SESSIONS, block * BLOCK_SESSIONS + len(minutes))
        ts = self._hours.opens[ordinals][:, None] + 60 * np.arange(FULL_SESSION_MINUTES)
        sent = _misprinted(bars, factor).take(is_sent)
        return MinuteBlock(sent, ts[is_sent], np.broadcast_to(ordinals[:, None], is_sent.shape)[is_sent])

    # ------------------------------------------------------------ the parts

    def _block(self, index: int, block: int) -> tuple[Bars, Mask, npt.NDArray[np.int64]]:
        """Return the true bars of a block (rows are sessions), which of them traded, and the sessions' lengths."""
        listing, first = self._listed[index], block * BLOCK_SESSIONS
        ordinals = np.arange(first, min(first + BLOCK_SESSIONS, len(self._hours.opens)))
        minutes = self._hours.minutes(ordinals)
        draw = blocks.draws(self._key("bars", index), first, len(ordinals))
        has_trade = self._has_trade(index, block, draw, minutes)
        shares = self._shares_of_anchor(index, ordinals)
        logs = np.log(listing.base_price) + self._path(index, block, minutes)
        bar_vol = listing.own_vol * 1.3 / FULL_SESSION_MINUTES**0.5
        bars = blocks.priced(logs, shares, draw, bar_vol, listing.instrument.min_tick)
        volume, count = blocks.traded_volume(self._expected_volume(index, ordinals, shares), draw, has_trade)
        bars = Bars(bars.open, bars.high, bars.low, bars.close, volume, bars.wap, count)
        return blocks.flattened(bars, has_trade), has_trade, minutes

    def _has_trade(self, index: int, block: int, draw: blocks.Draws, minutes: npt.NDArray[np.int64]) -> Mask:
        minute = np.arange(FULL_SESSION_MINUTES)
        has_trade: Mask = (draw.trade < self._listed[index].trade_share) & (minute < minutes[:, None])
        has_trade[:, 0] = True
        has_trade[np.arange(len(minutes)), minutes - 1] = True
        for row, event in self._planned(index, block):
            if event.kind == "halt":
                has_trade[row, event.first : event.last + 1] = False
        return has_trade

    def _path(self, index: int, block: int, minutes: npt.NDArray[np.int64]) -> Floats:
        listing, first = self._listed[index], block * BLOCK_SESSIONS
        ordinals = np.arange(first, first + len(minutes))
        own_key = self._key("own", index)
        roughness = np.exp(0.3 * normal(own_key ^ 0xD4, ordinals))
        path = listing.own_vol * session_paths(own_key, first, minutes, roughness)
        path += listing.market_vol * self._shared("market", block)
        if listing.sector:
            path += listing.sector_vol * self._shared(listing.sector, block)
        return path - self._anchor_level(index) + self._drift(ordinals)[:, None]

    def _level_at_anchor(self, index: int) -> float:
        return float(sum(vol * session_levels(key, self._anchor, 1)[0, 0] for vol, key in self._factors(index)))

    def _drift(self, ordinals: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(_YEARLY_DRIFT / _SESSIONS_A_YEAR * (ordinals - self._anchor))

    def _shared_path(self, factor: str, block: int) -> Floats:
        first = block * BLOCK_SESSIONS
        ordinals = np.arange(first, min(first + BLOCK_SESSIONS, len(self._hours.opens)))
        return session_paths(self._key("factor", factor), first, self._hours.minutes(ordinals))

    def _expected_volume(self, index: int, ordinals: npt.NDArray[np.int64], shares: Floats) -> Floats:
        market = np.exp(0.2 * normal(self._key("volume"), ordinals))
        own = np.exp(0.35 * normal(self._key("volume", index), ordinals))
        per_minute = self._listed[index].shares_a_session / FULL_SESSION_MINUTES * shares * market * own
        return np.asarray(per_minute[:, None] * u_shape())

    def _planned(self, index: int, block: int) -> list[tuple[int, MinuteEvent]]:
        first = block * BLOCK_SESSIONS
        last = min(first + BLOCK_SESSIONS, len(self._hours.opens))
        return [
            (ordinal - first, event)
            for ordinal in range(first, last)
            for event in self._events.of_session(ordinal)
            if event.index == index
        ]

    def _shares_of_anchor(self, index: int, ordinals: npt.NDArray[np.int64]) -> Floats:
        """Return how many shares of each ordinal's day stand for one of the anchor's."""
        return 1 / self._events.split_factor(index, ordinals, self._anchor)

    def _factors(self, index: int) -> list[tuple[float, int]]:
        listing = self._listed[index]
        factors = [(listing.own_vol, self._key("own", index)), (listing.market_vol, self._key("factor", "market"))]
        return factors + ([(listing.sector_vol, self._key("factor", listing.sector))] if listing.sector else [])

    def _key(self, *names: object) -> int:
        return stream_key(self._seed, *names)


def _misprinted(bars: Bars, factor: Floats) -> Bars:
    """Multiply the prices of misprinted minutes, keeping them on the cent and the wap inside the bar."""
    if (factor == 1).all():
        return bars
    prices = [np.maximum(np.round(x * factor, 2), 0.01) for x in (bars.open, bars.high, bars.low, bars.close)]
    wap = np.clip(np.round(bars.wap * factor, 3), prices[2], prices[1])
    return bars_of(prices, bars.volume, wap, bars.count)
