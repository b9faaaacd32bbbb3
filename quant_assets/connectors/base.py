"""One interface to every source of bars, and the values that cross it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, Protocol, Self

import polars as pl

from quant_assets.domain.hours import Hours
from quant_assets.domain.instruments import WhatToShow

BarSize = Literal["1 min", "1 day"]

MINUTE_ANSWER = pl.Schema(
    {
        "ts": pl.Datetime("us", "UTC"),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "wap": pl.Float64(),
        "bar_count": pl.Int64(),
    }
)
"""Columns of an answer to an intraday request; `ts` is the bar start. The source's -1 ("not available") is null."""

DAILY_ANSWER = pl.Schema({"session": pl.Date()} | {k: v for k, v in MINUTE_ANSWER.items() if k != "ts"})
"""Columns of an answer to a daily request; TWS labels daily bars with the exchange's date."""


_ROUTED_TO_ONE_PLACE = ("CASH", "CRYPTO", "FUT", "CONTFUT", "IND", "CFD", "CMDTY")


@dataclass(frozen=True, slots=True)
class Contract:
    """What names an instrument in a request. `con_id` 0 means: not known yet, look it up by symbol."""

    symbol: str
    con_id: int = 0
    exchange: str = "SMART"
    primary_exchange: str = ""
    currency: str = "USD"
    sec_type: str = "STK"

    @classmethod
    def listed(cls, exchange: str, symbol: str, asset_class: str, currency: str, con_id: int = 0) -> Self:
        """Return the contract of an instrument that an exchange lists: stocks are routed smartly, the rest is not.

        `symbol` is what names the instrument alone: `EUR.USD` of a pair, `BTC.USD` of a coin, `ESZ6` of a future.
        """
        if asset_class in _ROUTED_TO_ONE_PLACE:
            return cls(symbol, con_id, exchange, "", currency, asset_class)
        return cls(symbol, con_id, primary_exchange=exchange, currency=currency, sec_type=asset_class)

    @property
    def venue(self) -> str:
        """The exchange that lists it."""
        return self.primary_exchange or self.exchange

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}" + (f" ({self.con_id})" if self.con_id else "")


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """What the source knows about one instrument."""

    con_id: int
    symbol: str
    exchange: str
    primary_exchange: str
    currency: str
    asset_class: str
    min_tick: float
    min_size: float | None
    size_increment: float | None
    timezone: str
    trading_hours: str
    liquid_hours: str
    long_name: str
    industry: str
    category: str
    ids: str
    """`TAG=value` pairs joined by `;`, for example `ISIN=US0000000000`."""
    multiplier: float | None = None
    """Units of the underlying that one contract stands for; None where one is one."""
    last_trade_date: date | None = None
    """Of what expires."""


@dataclass(frozen=True, slots=True)
class BarRequest:
    """One request for historical bars, in TWS terms but with typed times.

    `end` is exclusive for bars that start at it; None is the source's now, and the only legal value for ADJUSTED_LAST.
    """

    contract: Contract
    end: datetime | None
    duration: str
    bar_size: BarSize = "1 min"
    what_to_show: WhatToShow = "TRADES"
    use_rth: bool = True

    def __str__(self) -> str:
        until = f"{self.end:%Y-%m-%d %H:%M}Z" if self.end else "now"
        return f"{self.duration} of {self.bar_size} {self.what_to_show} bars of {self.contract} until {until}"


@dataclass(frozen=True, slots=True)
class BarAnswer:
    """What came back. An empty frame is an answer with no bars: it is neither an error nor a timeout."""

    request: BarRequest
    bars: pl.DataFrame
    """Schema MINUTE_ANSWER or DAILY_ANSWER, rows in the order in which the source sent them."""
    asked_at: datetime
    answered_at: datetime
    no_data_text: str = ""
    """The source's own words when it said that there is no data; empty when it sent bars."""


@dataclass(frozen=True, slots=True)
class SessionHours:
    """Opening and closing instants of one exchange session, and of its pause where it has one."""

    session: date
    opens_at: datetime
    closes_at: datetime
    pauses_at: datetime | None = None
    resumes_at: datetime | None = None

    @property
    def hours(self) -> Hours:
        """The same without the date."""
        return Hours(self.opens_at, self.closes_at, self.pauses_at, self.resumes_at)


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """A market scan, in TWS's scanner terms."""

    scan_code: str
    instrument: str = "STK"
    location: str = "STK.US.MAJOR"
    n_rows: int = 50
    filters: Sequence[tuple[str, str]] = field(default=())
    """Scanner tags and values, for example `("usdMarketCapAbove", "1e9")`."""


@dataclass(frozen=True, slots=True)
class ScanRow:
    """One instrument that a scan returned, best first (rank 0)."""

    rank: int
    contract: Contract


@dataclass(frozen=True, slots=True)
class Held:
    """One position. The account goes by its alias; its number does not leave the connector."""

    account: str
    contract: Contract
    quantity: float
    average_cost: float
    """Per unit of quantity, in the contract's currency."""
    market_value: float | None
    """In the contract's currency, as the source values it; None where it does not."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account by its alias, and what it is worth."""

    alias: str
    net_liquidation: float
    currency: str


@dataclass(frozen=True, slots=True)
class Holdings:
    """What all accounts hold."""

    accounts: Sequence[Account]
    positions: Sequence[Held]


class BarSource(Protocol):
    """A source of contracts, schedules and bars. Every failure is a typed error of `quant_assets.errors`."""

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect, cancelling what is still open at the source."""
        ...

    async def contract_details(self, contract: Contract) -> list[ContractDetails]:
        """Return every instrument that matches.

        Raises:
            UnknownContractError: none does.
        """
        ...

    async def details_of(
        self, contracts: Sequence[Contract], told: Callable[[Contract], None]
    ) -> list[list[ContractDetails]]:
        """Return every instrument that matches, by contract, and say when one is answered; none is an empty list."""
        ...

    async def bars(self, request: BarRequest) -> BarAnswer:
        """Return the bars of one request, or raise; a partial answer is never returned."""
        ...

    async def schedule(
        self, contract: Contract, end: datetime, n_sessions: int, *, use_rth: bool = True
    ) -> list[SessionHours]:
        """Return the last `n_sessions` sessions that end before `end`, ascending: regular hours, or whole ones."""
        ...

    async def head_timestamp(self, contract: Contract, what_to_show: WhatToShow, *, use_rth: bool) -> datetime | None:
        """Return the start of the oldest bar, or None when the source says that there is none."""
        ...

    async def scan(self, request: ScanRequest) -> list[ScanRow]:
        """Return the instruments of a market scan, best first."""
        ...

    async def holdings(self, alias_of: Callable[[str], str]) -> Holdings:
        """Return what the accounts hold; `alias_of` turns an account number into the name that it goes by here."""
        ...
