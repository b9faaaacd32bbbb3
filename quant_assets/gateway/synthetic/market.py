"""The synthetic market: factors make prices, the plan of events spoils them, the request's day sets their basis."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.gateway import ranking
from quant_assets.gateway.hours import TradingHours, exchange_date, trading_hours
from quant_assets.gateway.market import DAILY_BARS, MINUTE_BARS, PRICES, QUOTE_SERIES, TRADE_SERIES, Instrument
from quant_assets.gateway.synthetic import planted, quotes
from quant_assets.gateway.synthetic.abroad import Abroad
from quant_assets.gateway.synthetic.blocks import BLOCK_SESSIONS, Bars, MinuteBlock
from quant_assets.gateway.synthetic.events import Events
from quant_assets.gateway.synthetic.maker import BlockMaker
from quant_assets.gateway.synthetic.randomness import Floats
from quant_assets.gateway.synthetic.universe import Listing, listings

_DECIMALS: Final = 6
_CACHED_MINUTE_BLOCKS: Final = 160
_CACHED_DAILY_BLOCKS: Final = 8192


class SyntheticMarket:
    """At least forty instruments in eight sectors, moved by a market, a sector and an own factor each.

    Prices are rounded to the tick on the basis of their own day; on another basis (after a split, or ADJUSTED_LAST)
    they carry six decimals. Daily bars are the exact aggregate of the session's minute bars before gaps and bad
    prints are planted (events.py). Nothing is sent before a listing or after a delisting, yet a delisted instrument
    is still found, so that its history can be loaded.
    """

    is_synthetic = True

    def __init__(
        self, seed: int = 7, hours: TradingHours | None = None, abroad: Mapping[str, TradingHours] | None = None
    ) -> None:
        self.seed = seed
        self.name = f"synthetic-{seed}"
        self.description = f"A seeded synthetic market (seed {seed}): every price is invented."
        self.hours = hours or trading_hours()
        self.listings = listings(seed)
        self.events = Events(seed, self.listings, self.hours)
        self._maker = BlockMaker(seed, self.listings, self.events, self.hours)
        self._abroad = Abroad(seed, abroad)
        self._index = {listing.instrument.con_id: i for i, listing in enumerate(self.listings)}
        self._minutes = lru_cache(_CACHED_MINUTE_BLOCKS)(self._maker.minutes)
        self._daily = lru_cache(_CACHED_DAILY_BLOCKS)(self._maker.daily)
        self._totals_of = lru_cache(8)(self._totals)

    # ------------------------------------------------------------ who

    def instruments(self, as_of: datetime) -> list[Instrument]:
        """Return what is or was listed, under the names of that day; what trades elsewhere comes last."""
        day = exchange_date(as_of)
        here = [self._named(x, day) for x in self.listings if x.listed is None or day >= x.listed]
        return [*here, *self._abroad.instruments(day)]

    def find(self, as_of: datetime, *, con_id: int = 0, symbol: str = "") -> Instrument | None:
        """Return the instrument with this con_id, or, when that is 0, the one called `symbol` on that day."""
        matches = (x for x in self.instruments(as_of) if (x.con_id == con_id if con_id else x.symbol == symbol))
        return next(matches, None)

    def hours_of(self, instrument: Instrument) -> TradingHours:
        """Return the sessions of the exchange that an instrument trades on."""
        return self._abroad.hours_of(instrument) or self.hours

    def schedule_of(self, instrument: Instrument) -> TradingHours:
        """Return the same sessions."""
        return self.hours_of(instrument)

    def planted_events(self, first: date, last: date) -> pl.DataFrame:
        """Return what was planted in the sessions from `first` to `last`; columns as planted.EVENTS."""
        return planted.table(self.events, self.listings, self.hours, self.dividend, first=first, last=last)

    # ------------------------------------------------------------ bars

    def minute_bars(
        self, instrument: Instrument, start: datetime, end: datetime, what: str, as_of: datetime
    ) -> pl.DataFrame:
        """Return MINUTE_BARS that start in [start, end) and have completed, ascending."""
        if instrument in self._abroad:
            return self._abroad.minute_bars(instrument, start, end, what, as_of)
        index = self._index[instrument.con_id]
        sessions = self._listed_among(self.hours.overlapping(start, min(end, as_of)), index)
        until = min(end, as_of - timedelta(minutes=1) + timedelta(microseconds=1))
        bounds = (start.timestamp(), until.timestamp())
        quoted = what in QUOTE_SERIES
        parts = [
            self._slice(self._minutes(index, block, quoted=quoted), sessions, bounds) for block in _blocks(sessions)
        ]
        if not parts:
            return MINUTE_BARS.to_frame()
        ordinal = np.concatenate([part.ordinal for part in parts])
        bars = self._on_basis(index, _concatenated([part.bars for part in parts]), ordinal, what, as_of)
        ts = pl.Series("ts", np.concatenate([part.ts for part in parts]) * 1_000_000).cast(MINUTE_BARS["ts"])
        return _frame(ts, bars)

    def daily_bars(self, instrument: Instrument, first: date, last: date, what: str, as_of: datetime) -> pl.DataFrame:
        """Return DAILY_BARS of the closed sessions from `first` to `last`, ascending."""
        if instrument in self._abroad:
            return self._abroad.daily_bars(instrument, first, last, what, as_of)
        index = self._index[instrument.con_id]
        asked = self.hours.between(first, last)
        sessions = self._listed_among(range(asked.start, min(asked.stop, self.hours.closed_by(as_of))), index)
        parts = []
        for block in _blocks(sessions):
            at = block * BLOCK_SESSIONS
            parts.append(self._daily(index, block).take(slice(max(sessions.start - at, 0), sessions.stop - at)))
        if not parts:
            return DAILY_BARS.to_frame()
        ordinals = np.arange(sessions.start, sessions.stop)
        bars = self._on_basis(index, _concatenated(parts), ordinals, what, as_of)
        return _frame(pl.Series("session", self.hours.sessions[ordinals]), bars)

    def head(self, instrument: Instrument, what: str, as_of: datetime) -> datetime | None:
        """Return the opening of the first session that the instrument traded in."""
        if instrument in self._abroad:
            return self._abroad.head(instrument, as_of)
        if what not in (*TRADE_SERIES, *QUOTE_SERIES):
            return None
        listed = self.listings[self._index[instrument.con_id]].listed
        opened = self.hours.open_at(self.hours.ordinal_on_or_after(listed) if listed else 0)
        return opened if opened < as_of else None

    def scan(self, code: str, n_rows: int, as_of: datetime) -> list[Instrument]:
        """Return the best instruments of the last closed session."""
        found = ranking.ranked(self._totals_of(self.hours.closed_by(as_of) - 1), code, n_rows)
        by_id = {x.con_id: x for x in self.instruments(as_of)}
        return [by_id[con_id] for con_id in found]

    # ------------------------------------------------------------ the parts

    def dividend(self, index: int, ordinal: int) -> float:
        """Return the amount that goes ex on that session, in that day's shares; at least a cent."""
        yearly = self.listings[index].dividend_yield
        return max(round(self._maker.close(index, ordinal - 1) * yearly / 4, 2), 0.01)

    def _totals(self, ordinal: int) -> pl.DataFrame:
        first = self.hours.session(max(ordinal - ranking.MEAN_VOLUME_SESSIONS + 1, 0))
        last, closed = self.hours.session(ordinal), self.hours.close_at(ordinal)
        frames = [
            self.daily_bars(x.instrument, first, last, "TRADES", closed).select(
                pl.lit(x.instrument.con_id, pl.Int64).alias("con_id"), "session", "close", "volume"
            )
            for x in self.listings
        ]
        return ranking.totals(pl.concat(frames))

    @staticmethod
    def _slice(whole: MinuteBlock, sessions: range, bounds: tuple[float, float]) -> MinuteBlock:
        first = np.searchsorted(whole.ordinal, sessions.start)
        last = np.searchsorted(whole.ordinal, sessions.stop)
        low, high = np.searchsorted(whole.ts, bounds)
        chosen = slice(int(max(first, low)), int(min(last, high)))
        return MinuteBlock(whole.bars.take(chosen), whole.ts[chosen], whole.ordinal[chosen])

    def _on_basis(self, index: int, bars: Bars, ordinal: npt.NDArray[np.int64], what: str, as_of: datetime) -> Bars:
        today = self.hours.ordinal_on_or_before(exchange_date(as_of))
        if what in QUOTE_SERIES:
            bars = quotes.quoted(bars, what, self.listings[index].instrument.min_tick)
        shares = self.events.split_factor(index, ordinal, today)
        price = 1 / shares
        if what == "ADJUSTED_LAST":
            price = price * self._dividend_factor(index, ordinal, today)
        if (price == 1).all():
            return bars
        prices = {name: np.round(getattr(bars, name) * price, _DECIMALS) for name in PRICES}
        is_trade = bars.wap >= 0
        volume = np.where(is_trade, bars.volume * shares, bars.volume)
        wap = np.where(is_trade, np.round(bars.wap * price, _DECIMALS), bars.wap)
        return Bars(**prices, volume=volume, wap=wap, count=bars.count)

    def _dividend_factor(self, index: int, ordinal: npt.NDArray[np.int64], until: int) -> Floats:
        factor = np.ones(len(ordinal))
        first = int(ordinal[0]) if len(ordinal) else until
        delisted = self.listings[index].delisted
        last = min(until, self.hours.ordinal_on_or_before(delisted)) if delisted else until
        for ex in self.events.dividend_ordinals(index, first + 1, last):
            factor[ordinal < ex] *= 1 - self.dividend(index, ex) / self._maker.close(index, ex - 1)
        return factor

    def _listed_among(self, ordinals: range, index: int) -> range:
        listing = self.listings[index]
        first = self.hours.ordinal_on_or_after(listing.listed) if listing.listed else 0
        last = self.hours.ordinal_on_or_before(listing.delisted) if listing.delisted else ordinals.stop
        return range(max(ordinals.start, first), max(min(ordinals.stop, last + 1), 0))

    @staticmethod
    def _named(listing: Listing, day: date) -> Instrument:
        symbol = listing.symbol_on(day)
        return listing.instrument if symbol == listing.instrument.symbol else replace(listing.instrument, symbol=symbol)


def _blocks(sessions: range) -> range:
    if not sessions:
        return range(0)
    return range(sessions.start // BLOCK_SESSIONS, (sessions.stop - 1) // BLOCK_SESSIONS + 1)


def _concatenated(parts: Sequence[Bars]) -> Bars:
    return Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in Bars.__slots__))


def _frame(key: pl.Series, bars: Bars) -> pl.DataFrame:
    columns = {name: getattr(bars, name) for name in (*PRICES, "volume", "wap")}
    return pl.DataFrame([key, *(pl.Series(name, x) for name, x in columns.items()), pl.Series("bar_count", bars.count)])
