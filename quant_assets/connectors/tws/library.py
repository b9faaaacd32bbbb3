"""The only place where the IB client library is imported, and where its values become ours.

`ib_insync` is the declared dependency; its successor `ib_async` speaks the same wire protocol and is taken when it is
the one installed. Never install both: their event libraries overwrite each other's files.
"""

import importlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise, starmap
from operator import attrgetter
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from quant_assets.connectors.base import (
    Account,
    Contract,
    ContractDetails,
    Held,
    Holdings,
    ScanRequest,
    ScanRow,
    SessionHours,
)
from quant_assets.errors import ConfigurationError


@cache
def load() -> ModuleType:
    """Import the library. Call it inside a running loop: ib_insync asks for one while it is imported."""
    for name in ("ib_insync", "ib_async"):
        try:
            library = importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name != name:
                raise
        else:
            _quieten(name)
            return library
    raise ConfigurationError("environment", "no IB client library is installed.", "Run: pip install ib_insync")


class _NoAccounts(logging.Filter):
    """Takes account numbers out of what the library logs, whoever set its level."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _ACCOUNT.sub("(account)", record.getMessage()), ()
        return True


_AT_ONCE = 65536

_ACCOUNT = re.compile(r"\b(?:DU|DF|U|F|I|DI)\d{5,9}[A-Z]?\b")
"""IBKR's account numbers: live and paper, individual and advisor's."""


def _quieten(name: str) -> None:
    """Silence the library's own log unless somebody set its level: each of its errors reaches the caller, typed."""
    for part in ("", ".ib", ".client", ".wrapper", ".connection", ".decoder"):
        logging.getLogger(f"{name}{part}").addFilter(_NoAccounts())
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def new_session() -> Any:
    """Return a fresh, unconnected `IB` that raises on request errors, queues nothing and asks for no account data."""
    session = load().IB()
    session.RaiseRequestErrors = True
    # The library holds back what exceeds 45 messages a second, silently, and our timeouts would count that queue as
    # the source's slowness. The pacer counts messages itself, below the same limit, where the wait is visible.
    session.client.MaxRequests = 0
    # Its own listener subscribes to the account summary after an outage.
    session.errorEvent.clear()
    _hear_out(session.client.conn)
    return session


def _hear_out(connection: Any) -> None:
    """Let the connection read what came before its end.

    TWS says why before it hangs up. When a write finds the line dead first, asyncio ends the connection with those
    words unread, and "too many messages" would be any lost connection, after which nobody slows down.
    """
    lose = connection.connection_lost

    def hear_out(error: Exception | None) -> None:
        try:
            if error and connection.transport:
                for data in _unread(connection.transport.get_extra_info("socket")):
                    connection.data_received(data)
        finally:
            lose(error)

    connection.connection_lost = hear_out


def _unread(line: Any) -> Iterator[bytes]:
    """Yield what the system still holds of a connection; asyncio's view of a socket does not read, a duplicate does."""
    with suppress(OSError), line.dup() as reader:
        while data := reader.recv(_AT_ONCE):
            yield data


def to_library_contract(contract: Contract) -> Any:
    """Our contract as the library's: pairs and coins by what is bought, futures by the exchange's spelling."""
    symbol, local_symbol = contract.symbol, ""
    if contract.sec_type in _BASE_AND_QUOTE:
        symbol = contract.symbol.partition(".")[0]
    elif contract.sec_type in _BY_LOCAL_SYMBOL:
        symbol, local_symbol = "", contract.symbol
    return load().Contract(
        conId=contract.con_id,
        symbol=symbol,
        localSymbol=local_symbol,
        secType=contract.sec_type,
        exchange=contract.exchange,
        primaryExchange=contract.primary_exchange,
        currency=contract.currency,
    )


def from_library_contract(contract: Any) -> Contract:
    """The library's contract as ours."""
    return Contract(
        symbol=_label(contract),
        con_id=contract.conId,
        exchange=contract.exchange,
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        sec_type=contract.secType,
    )


def to_details(details: Any) -> ContractDetails:
    """One contract-details answer. A size of zero means that the source did not tell."""
    contract = details.contract
    return ContractDetails(
        con_id=contract.conId,
        symbol=_label(contract),
        exchange=contract.exchange,
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        asset_class=contract.secType,
        min_tick=details.minTick,
        min_size=details.minSize or None,
        size_increment=details.sizeIncrement or None,
        timezone=details.timeZoneId,
        trading_hours=details.tradingHours,
        liquid_hours=details.liquidHours,
        long_name=details.longName,
        industry=details.industry,
        category=details.category,
        ids=";".join(f"{pair.tag}={pair.value}" for pair in details.secIdList or ()),
        multiplier=float(contract.multiplier) if contract.multiplier else None,
        last_trade_date=_day(expiry) if len(expiry := contract.lastTradeDateOrContractMonth) == _DAY_TEXT else None,
    )


_BASE_AND_QUOTE = ("CASH", "CRYPTO")
_BY_LOCAL_SYMBOL = ("FUT",)
_DAY_TEXT = len("20261218")


def _label(contract: Any) -> str:
    """Return what names an instrument alone: many futures and pairs share a symbol."""
    if contract.secType in (*_BASE_AND_QUOTE, *_BY_LOCAL_SYMBOL) and contract.localSymbol:
        return str(contract.localSymbol)
    return str(contract.symbol)


def to_holdings(books: Any, alias_of: Callable[[str], str]) -> Holdings:
    """What the library gathered about accounts, under their aliases, in a stable order."""
    values = {
        (account, con_id): item.marketValue
        for account, items in books.portfolio.items()
        for con_id, item in items.items()
    }
    positions = [
        Held(
            account=alias_of(account),
            contract=from_library_contract(one.contract),
            quantity=one.position,
            average_cost=one.avgCost,
            market_value=values.get((account, con_id)),
        )
        for account, kept in books.positions.items()
        for con_id, one in kept.items()
    ]
    accounts = [
        Account(alias_of(one.account), float(one.value), one.currency)
        for one in books.acctSummary.values()
        if one.tag == "NetLiquidation"
    ]
    return Holdings(
        sorted(accounts, key=attrgetter("alias", "currency")),
        sorted(positions, key=lambda one: (one.account, one.contract.con_id)),
    )


def to_hours(schedule: Any) -> list[SessionHours]:
    """A schedule answer as UTC instants, ascending."""
    zone = ZoneInfo(schedule.timeZone)
    parts: dict[date, list[tuple[datetime, datetime]]] = defaultdict(list)
    for part in schedule.sessions:
        parts[_day(part.refDate)].append((_instant(part.startDateTime, zone), _instant(part.endDateTime, zone)))
    return [_session(day, sorted(parts[day])) for day in sorted(parts)]


def _session(day: date, parts: list[tuple[datetime, datetime]]) -> SessionHours:
    """Return a session from its parts; of several pauses the longest is one, and the others count as trading."""
    opens_at, closes_at = parts[0][0], max(end for _, end in parts)
    pauses = [(end, start) for (_, end), (start, _) in pairwise(parts) if end < start]
    longest = max(pauses, key=lambda pause: pause[1] - pause[0], default=(None, None))
    return SessionHours(day, opens_at, closes_at, *longest)


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _instant(text: str, zone: ZoneInfo) -> datetime:
    return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=zone).astimezone(UTC)


def to_subscription(request: ScanRequest) -> tuple[Any, list[Any]]:
    """A scan as the library's subscription and its filter tags."""
    library = load()
    subscription = library.ScannerSubscription(
        numberOfRows=request.n_rows,
        instrument=request.instrument,
        locationCode=request.location,
        scanCode=request.scan_code,
    )
    return subscription, list(starmap(library.TagValue, request.filters))


def to_scan_row(row: Any) -> ScanRow:
    """One row of a scan."""
    return ScanRow(rank=row.rank, contract=from_library_contract(row.contractDetails.contract))


def end_text(end: datetime | None) -> str:
    """`end` in the only spelling that no setting of TWS can reinterpret: UTC with a dash; None is the source's now."""
    return f"{end.astimezone(UTC):%Y%m%d-%H:%M:%S}" if end else ""
