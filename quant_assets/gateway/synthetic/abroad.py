"""What trades elsewhere than in New York, or at other times: pairs, coins, futures of three exchanges, London, Tokyo.

Every instrument has a calendar of its own and one path of its own; two futures of one underlying share theirs.
Nothing is planted here: what these instruments prove is that sessions, series and units are told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.gateway.hours import SPOT_CURRENCIES, TradingHours, trading_hours
from quant_assets.gateway.market import DAILY_BARS, MINUTE_BARS, PRICES, QUOTE_SERIES, Instrument
from quant_assets.gateway.synthetic.paths import SESSION_SHARE, session_levels
from quant_assets.gateway.synthetic.randomness import Floats, bits, normal, stream_key

FIRST_DAY: Final = date(2010, 1, 4)
"""Nothing is served of an earlier session."""
FIRST_CON_ID: Final = 971_000_001
_ANCHOR: Final = date(2026, 1, 2)
_BLOCK: Final = 8
_ROW: Final = 2048
_WAP_DIGITS: Final = 2


@dataclass(frozen=True, slots=True)
class Foreign:
    """One instrument, and what drives it."""

    instrument: Instrument
    calendar: str
    path: str
    """Instruments of one path move together."""
    base_price: float
    """At the anchor session."""
    session_vol: float
    units_a_session: float = 0.0
    """Traded volume of a session; 0 where TWS reports none."""
    unit: float = 1.0
    """The smallest traded quantity."""
    listed: date = FIRST_DAY

    @property
    def digits(self) -> int:
        """Decimals of its prices."""
        return -int(Decimal(str(self.instrument.min_tick)).as_tuple().exponent)


def _pair(i: int, base: str, quote: str, price: float) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + i,
        symbol=base,
        local_symbol=f"{base}.{quote}",
        long_name=f"{base}.{quote} (synthetic)",
        primary_exchange="",
        exchange="IDEALPRO",
        currency=quote,
        sec_type="CASH",
        market_name=f"{base}.{quote}",
        stock_type="",
        min_tick=0.00005,
        min_size="1",
        size_step="1",
    )
    return Foreign(instrument, SPOT_CURRENCIES, f"{base}.{quote}", price, 0.005)


def _coin(i: int, symbol: str, name: str, price: float, units: float) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + 20 + i,
        symbol=symbol,
        local_symbol=f"{symbol}.USD",
        long_name=f"{name} (synthetic)",
        primary_exchange="",
        exchange="PAXOS",
        sec_type="CRYPTO",
        market_name=symbol,
        stock_type="",
        min_tick=0.25 if price > 1e4 else 0.01,  # noqa: PLR2004 - as PAXOS quotes the two
        timezone="UTC",
        min_size="0.00000001",
        size_step="0.00000001",
    )
    return Foreign(instrument, "24/7", symbol, price, 0.025, units, unit=1e-4)


def _future(i: int, month: str, expires: date, carry: float) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + 40 + i,
        symbol="QES",
        local_symbol=f"QES{month}",
        long_name="EQUITY INDEX FUTURE (synthetic)",
        primary_exchange="",
        exchange="CME",
        sec_type="FUT",
        market_name="QES",
        stock_type="",
        min_tick=0.25,
        timezone="US/Central",
        multiplier="50",
        last_trade_date=expires,
        min_size="1",
        size_step="1",
    )
    return Foreign(instrument, "CMES", "QES", 6000.0 * (1 + carry), 0.010, 1.2e6, listed=date(2025, 9, 22))


def _on_volatility(i: int) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + 50 + i,
        symbol="QVX",
        local_symbol="QVXZ6",
        long_name="VOLATILITY INDEX FUTURE (synthetic)",
        primary_exchange="",
        exchange="CFE",
        sec_type="FUT",
        market_name="QVX",
        stock_type="",
        min_tick=0.05,
        timezone="US/Central",
        multiplier="1000",
        last_trade_date=date(2026, 12, 16),
        min_size="1",
        size_step="1",
    )
    return Foreign(instrument, "XCBF", "QVX", 20.0, 0.030, 1.4e5, listed=date(2026, 3, 23))


def _in_frankfurt(i: int) -> Foreign:
    expires = date(2026, 12, 18)
    instrument = Instrument(
        con_id=FIRST_CON_ID + 55 + i,
        symbol="QDAX",
        local_symbol=f"QDAX {expires:%Y%m%d} M",
        long_name="GERMAN INDEX FUTURE (synthetic)",
        primary_exchange="",
        exchange="EUREX",
        currency="EUR",
        sec_type="FUT",
        market_name="QDAX",
        stock_type="",
        min_tick=1.0,
        timezone="MET",
        multiplier="25",
        last_trade_date=expires,
        min_size="1",
        size_step="1",
    )
    return Foreign(instrument, "XEUR", "QDAX", 24_000.0, 0.011, 6e4, listed=date(2026, 3, 23))


def _londoner(i: int, symbol: str, name: str, price: float, units: float) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + 60 + i,
        symbol=symbol,
        long_name=f"{name} (synthetic)",
        primary_exchange="LSE",
        currency="GBP",
        market_name="SYNTHETIC",
        industry="Financial",
        category="Banks",
        timezone="GB-Eire",
        min_size="1",
        size_step="1",
    )
    return Foreign(instrument, "XLON", symbol, price, 0.013, units, unit=10.0)


def _in_tokyo(i: int, symbol: str, name: str, price: float, units: float) -> Foreign:
    instrument = Instrument(
        con_id=FIRST_CON_ID + 80 + i,
        symbol=symbol,
        long_name=f"{name} (synthetic)",
        primary_exchange="TSEJ",
        currency="JPY",
        market_name="SYNTHETIC",
        industry="Consumer, Cyclical",
        category="Auto Manufacturers",
        timezone="Japan",
        min_tick=1.0,
        min_size="100",
        size_step="100",
    )
    return Foreign(instrument, "XTKS", symbol, price, 0.014, units, unit=100.0)


FOREIGN: Final = (
    _pair(0, "EUR", "USD", 1.1),
    _pair(1, "GBP", "USD", 1.3),
    _coin(0, "BTC", "BITCOIN", 90_000.0, 2_000.0),
    _coin(1, "ETH", "ETHER", 3_000.0, 30_000.0),
    _future(0, "Z6", date(2026, 12, 18), 0.0),
    _future(1, "H7", date(2027, 3, 19), 0.008),
    _londoner(0, "QLNA", "ALBION BANK", 4.2, 4e6),
    _londoner(1, "QLNB", "BRITANNIA BANK", 31.5, 6e5),
    _in_tokyo(0, "QTKA", "AKATSUKI MOTOR", 2_400.0, 9e6),
    _on_volatility(0),
    _in_frankfurt(0),
)


@dataclass(frozen=True, slots=True)
class _Block:
    """Bars of some sessions, each array (sessions, minutes); minutes after a session's close are not valid."""

    prices: tuple[Floats, Floats, Floats, Floats]
    volume: Floats
    count: npt.NDArray[np.int64]
    ts: npt.NDArray[np.int64]
    is_open: npt.NDArray[np.bool_]


class Abroad:
    """Bars of the instruments in FOREIGN, as functions of seed, instrument and session.

    With `hours`, by label, an instrument keeps other sessions than its calendar has.
    """

    def __init__(self, seed: int, hours: Mapping[str, TradingHours] | None = None) -> None:
        self._seed, self._hours_told = seed, hours or {}
        self._foreign = {one.instrument.con_id: one for one in FOREIGN}
        self._block = lru_cache(192)(self._made)

    def __contains__(self, instrument: Instrument) -> bool:
        return instrument.con_id in self._foreign

    def instruments(self, day: date) -> list[Instrument]:
        """Return what is or was listed on a day; an expired future is found no more."""
        return [
            one.instrument for one in FOREIGN if one.listed <= day and (one.instrument.last_trade_date or day) >= day
        ]

    def hours_of(self, instrument: Instrument) -> TradingHours | None:
        """Return the sessions of an instrument, or None when it is none of these."""
        found = self._foreign.get(instrument.con_id)
        return self._hours_of(found) if found else None

    def head(self, instrument: Instrument, as_of: datetime) -> datetime | None:
        """Return the opening of its first session."""
        one = self._foreign[instrument.con_id]
        hours = self._hours_of(one)
        opened = hours.open_at(hours.ordinal_on_or_after(one.listed))
        return opened if opened < as_of else None

    def minute_bars(
        self, instrument: Instrument, start: datetime, end: datetime, what: str, as_of: datetime
    ) -> pl.DataFrame:
        """Return MINUTE_BARS that start in [start, end) and have completed, ascending."""
        one = self._foreign[instrument.con_id]
        hours = self._hours_of(one)
        asked = self._listed(one, hours, hours.overlapping(start, min(end, as_of)))
        frames = [_minutes(self._block(instrument.con_id, number)) for number in _blocks(asked)]
        if not frames:
            return MINUTE_BARS.to_frame()
        ts, first, last = pl.col("ts"), hours.open_at(asked.start), hours.close_at(asked.stop - 1)
        inside = (ts >= max(start, first)) & (ts < min(end, last)) & (ts <= as_of - timedelta(minutes=1))
        return _series(pl.concat(frames).filter(inside), what, one).select(MINUTE_BARS.names())

    def daily_bars(self, instrument: Instrument, first: date, last: date, what: str, as_of: datetime) -> pl.DataFrame:
        """Return DAILY_BARS of the closed sessions from `first` to `last`, ascending."""
        one = self._foreign[instrument.con_id]
        hours = self._hours_of(one)
        asked = hours.between(first, last)
        closed = self._listed(one, hours, range(asked.start, min(asked.stop, hours.closed_by(as_of))))
        frames = [self._days(instrument.con_id, number, hours) for number in _blocks(closed)]
        if not frames:
            return DAILY_BARS.to_frame()
        inside = pl.col("session").is_between(hours.session(closed.start), hours.session(closed.stop - 1))
        return _series(pl.concat(frames).filter(inside), what, one).select(DAILY_BARS.names())

    # ------------------------------------------------------------ the parts

    def _hours_of(self, one: Foreign) -> TradingHours:
        return self._hours_told.get(one.instrument.label) or trading_hours(one.calendar)

    @staticmethod
    def _listed(one: Foreign, hours: TradingHours, ordinals: range) -> range:
        expires = one.instrument.last_trade_date
        last = hours.ordinal_on_or_before(expires) if expires else ordinals.stop
        first = max(ordinals.start, hours.ordinal_on_or_after(one.listed))
        return range(first, max(min(ordinals.stop, last + 1), first))

    def _days(self, con_id: int, number: int, hours: TradingHours) -> pl.DataFrame:
        """Aggregate the minutes of a block's sessions."""
        block = self._block(con_id, number)
        first = number * _BLOCK
        sessions = hours.sessions[first : first + len(block.ts)]
        rows = _minutes(block).with_columns(
            pl.Series("session", np.broadcast_to(sessions[:, None], block.ts.shape)[block.is_open]).cast(pl.Date)
        )
        turnover = (pl.col("wap") * pl.col("volume")).sum() / pl.col("volume").sum()
        return rows.group_by("session", maintain_order=True).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            turnover.fill_nan(pl.col("close").last()).alias("wap"),
            pl.col("bar_count").sum(),
        )

    def _made(self, con_id: int, number: int) -> _Block:
        one = self._foreign[con_id]
        hours, first = self._hours_of(one), number * _BLOCK
        ordinals = np.arange(first, min(first + _BLOCK, len(hours.opens)))
        minutes = hours.minutes(ordinals)
        width = int(minutes.max())
        prices = _prices(self._logs(one, hours, first, minutes), self._key(one, "bars"), first, one)
        counter = ordinals[:, None] * _ROW + np.arange(width)
        per_minute = one.units_a_session / minutes[:, None] * np.exp(0.4 * normal(self._key(one, "volume"), counter))
        volume = np.maximum(np.rint(per_minute / one.unit), 1.0) * one.unit
        volume = np.round(volume, 8) if one.units_a_session else np.zeros(counter.shape)
        count = np.maximum(volume / (one.unit * 50), 1).astype(np.int64)
        ts = hours.minute_starts(ordinals, width)
        return _Block(prices, volume, count, ts, np.arange(width) < minutes[:, None])

    def _logs(self, one: Foreign, hours: TradingHours, first: int, minutes: npt.NDArray[np.int64]) -> Floats:
        """Return log prices at minute boundaries; between a session's two levels, a bridge over equal steps."""
        n, width = len(minutes), int(minutes.max())
        key = stream_key(self._seed, "abroad", one.path)
        skipped = hours.ordinal_on_or_after(FIRST_DAY) // _BLOCK * _BLOCK
        levels = session_levels(key, max(first - skipped, 0), n)
        anchor = session_levels(key, hours.ordinal_on_or_after(_ANCHOR) - skipped, 1)[0, 0]
        passed = np.minimum(np.arange(width + 1) / minutes[:, None], 1.0)
        steps = normal(key ^ 0x5E55, np.arange(first, first + n)[:, None] * _ROW + np.arange(width))
        steps *= np.sqrt(SESSION_SHARE / minutes[:, None])
        walk = np.concatenate([np.zeros((n, 1)), np.cumsum(steps, axis=1)], axis=1)
        at_close = np.take_along_axis(walk, minutes[:, None], axis=1)
        path = levels[:, :1] + passed * (levels[:, 1:] - levels[:, :1]) + walk - passed * at_close
        return np.asarray(np.log(one.base_price) + one.session_vol * (path - anchor))

    def _key(self, one: Foreign, what: str) -> int:
        return stream_key(self._seed, "abroad", one.instrument.con_id, what)


def _prices(logs: Floats, key: int, first: int, one: Foreign) -> tuple[Floats, Floats, Floats, Floats]:
    """Return open, high, low and close on the tick."""
    tick, digits = one.instrument.min_tick, one.digits
    ticks = np.maximum(np.rint(np.exp(logs) / tick), 1.0)
    open_, close = ticks[:, :-1], ticks[:, 1:]
    counter = np.arange(first, first + len(ticks))[:, None] * _ROW + np.arange(open_.shape[1])
    reach = np.ascontiguousarray(bits(key, counter)).view("<u2").reshape(*counter.shape, 4) % 3
    high = np.maximum(open_, close) + reach[..., 0]
    low = np.maximum(np.minimum(open_, close) - reach[..., 1], 1.0)
    rounded = [np.round(x * tick, digits) for x in (open_, high, low, close)]
    return rounded[0], rounded[1], rounded[2], rounded[3]


def _minutes(block: _Block) -> pl.DataFrame:
    columns = [pl.Series(name, x[block.is_open]) for name, x in zip(PRICES, block.prices, strict=True)]
    wap = np.mean([x[block.is_open] for x in block.prices], axis=0)
    ts = pl.Series("ts", block.ts[block.is_open] * 1_000_000).cast(MINUTE_BARS["ts"])
    volume, count = (pl.Series(x[block.is_open]) for x in (block.volume, block.count))
    return pl.DataFrame([ts, *columns, volume.alias("volume"), pl.Series("wap", wap), count.alias("bar_count")])


def _series(bars: pl.DataFrame, what: str, one: Foreign) -> pl.DataFrame:
    """Return trades, or quotes: the trade's price and half a spread of one tick, with nothing but prices."""
    tick = one.instrument.min_tick
    digits = one.digits + _WAP_DIGITS
    if what not in QUOTE_SERIES:
        return bars.with_columns(pl.col("wap").round(digits).clip("low", "high"))
    shift = {"BID": -tick / 2, "ASK": tick / 2}.get(what, 0.0)
    missing = [pl.lit(-1.0).alias("volume"), pl.lit(-1.0).alias("wap"), pl.lit(-1, pl.Int64).alias("bar_count")]
    quoted = bars.with_columns(*((pl.col(name) + shift).round(digits) for name in PRICES), *missing)
    if what != "BID_ASK":
        return quoted
    return quoted.with_columns(
        (pl.col("high") + tick / 2).round(digits),
        (pl.col("low") - tick / 2).round(digits),
        (pl.col("open") - tick / 2).round(digits),
        (pl.col("close") + tick / 2).round(digits),
    )


def _blocks(sessions: Sequence[int]) -> range:
    if not sessions:
        return range(0)
    return range(sessions[0] // _BLOCK, sessions[-1] // _BLOCK + 1)
