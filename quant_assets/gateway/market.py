"""What the gateway serves from: the interface of a market, and the shape of its bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Protocol

import polars as pl

from quant_assets.gateway.hours import WIRE_ZONE, TradingHours

PRICES: Final = ("open", "high", "low", "close")
VALUES: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(PRICES, pl.Float64()),
    "volume": pl.Float64(),
    "wap": pl.Float64(),
    "bar_count": pl.Int64(),
}
MINUTE_BARS = pl.Schema({"ts": pl.Datetime("us", "UTC"), **VALUES})
"""Intraday bars; `ts` is the bar start. What is not available is -1, as on the wire."""
DAILY_BARS = pl.Schema({"session": pl.Date(), **VALUES})

TRADE_SERIES = ("TRADES", "ADJUSTED_LAST")
QUOTE_SERIES = ("MIDPOINT", "BID", "ASK", "BID_ASK")
CRYPTO_TRADES = "AGGTRADES"
_SERIES: Final = {
    "CASH": QUOTE_SERIES,
    "CRYPTO": (CRYPTO_TRADES, *QUOTE_SERIES),
    "FUT": ("TRADES", *QUOTE_SERIES),
}
"""By security type; whatever is listed on a stock exchange has trades, adjusted ones and quotes."""
_NAMED_BY_EXCHANGE: Final = ("CASH", "CRYPTO", "FUT")
"""Security types whose symbol names what is bought or underlies, not the contract."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable contract, as contract details describe it."""

    con_id: int
    symbol: str
    long_name: str
    primary_exchange: str = "NYSE"
    currency: str = "USD"
    sec_type: str = "STK"
    market_name: str = "NMS"
    industry: str = ""
    category: str = ""
    stock_type: str = "COMMON"
    min_tick: float = 0.01
    isin: str = ""
    timezone: str = WIRE_ZONE
    exchange: str = "SMART"
    """Where it is routed to: SMART, or the one place that has it."""
    local_symbol: str = ""
    """As the exchange writes it; empty when it is the symbol."""
    multiplier: str = ""
    last_trade_date: date | None = None
    """Of a future: the day on which it expires."""
    min_size: str = "0.0001"
    size_step: str = "0.0001"
    valid_exchanges: str = ""
    """Every place that it can be routed to, separated by commas; empty when those above are all."""
    other_ids: str = ""
    """`TAG=value` pairs beside the ISIN, separated by semicolons."""
    trading_hours: str = ""
    """In TWS's form, as a source told them; empty when they follow from the sessions."""
    liquid_hours: str = ""

    @property
    def name(self) -> str:
        """The exchange's spelling."""
        return self.local_symbol or self.symbol

    @property
    def label(self) -> str:
        """What names it alone: many futures and pairs share a symbol."""
        return self.name if self.sec_type in _NAMED_BY_EXCHANGE else self.symbol

    @property
    def places(self) -> tuple[str, ...]:
        """Every exchange code that a request may name."""
        return tuple(name for name in (self.exchange, self.primary_exchange, *self.valid_exchanges.split(",")) if name)

    @property
    def series(self) -> tuple[str, ...]:
        """The kinds of bars that TWS has of it."""
        return _SERIES.get(self.sec_type, (*TRADE_SERIES, *QUOTE_SERIES))


class Market(Protocol):
    """A source of bars for the gateway.

    `as_of` is always the gateway's now: it decides what an instrument is called, on which price basis its history
    stands, and nothing that had not completed by then is returned.
    """

    @property
    def name(self) -> str:
        """Short name for banners and logs."""
        ...

    @property
    def description(self) -> str:
        """One sentence on where the bars come from."""
        ...

    @property
    def is_synthetic(self) -> bool:
        """Whether the prices are invented."""
        ...

    @property
    def hours(self) -> TradingHours:
        """The exchange's sessions."""
        ...

    def hours_of(self, instrument: Instrument) -> TradingHours:
        """Return the sessions of the exchange that an instrument trades on."""
        ...

    def schedule_of(self, instrument: Instrument) -> TradingHours:
        """Return the sessions that a schedule request is told; without regard to useRTH."""
        ...

    def instruments(self, as_of: datetime) -> Sequence[Instrument]:
        """Return every instrument that a search finds, under today's names, in a stable order."""
        ...

    def find(self, as_of: datetime, *, con_id: int = 0, symbol: str = "") -> Instrument | None:
        """Return the instrument with this con_id, or, when that is 0, with this symbol."""
        ...

    def minute_bars(
        self, instrument: Instrument, start: datetime, end: datetime, what: str, as_of: datetime
    ) -> pl.DataFrame:
        """Return MINUTE_BARS that start in [start, end), in the order in which they are to be sent."""
        ...

    def daily_bars(self, instrument: Instrument, first: date, last: date, what: str, as_of: datetime) -> pl.DataFrame:
        """Return DAILY_BARS of the closed sessions from `first` to `last`, ascending."""
        ...

    def head(self, instrument: Instrument, what: str, as_of: datetime) -> datetime | None:
        """Return the start of the oldest bar, or None when there is none."""
        ...

    def scan(self, code: str, n_rows: int, as_of: datetime) -> Sequence[Instrument]:
        """Return the best instruments by a scan code, best first.

        Raises:
            UnknownNameError: the code is not one of `ranking.SCAN_CODES`.
        """
        ...
