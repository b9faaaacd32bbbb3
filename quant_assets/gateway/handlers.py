"""One function per kind of request: fields in, answer bytes out. Nothing here knows of sockets, faults or limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from quant_assets.errors import UnknownNameError
from quant_assets.gateway import accounts, messages
from quant_assets.gateway.accounts import NOTHING, Portfolio
from quant_assets.gateway.faults import MomentKind
from quant_assets.gateway.history import HistoryService, Refusal
from quant_assets.gateway.hours import ZONE, TradingHours, exchange_date, regular
from quant_assets.gateway.market import Instrument, Market
from quant_assets.gateway.ranking import SCAN_CODES
from quant_assets.gateway.requests import WireContract, number

_NET: Final = "NetLiquidation"
_DAYS_OF_HOURS: Final = 6
_MAX_SYMBOLS: Final = 16
_UNKNOWN: Final = "No security definition has been found for the request"
_AMBIGUOUS: Final = "The contract description specified for the request is ambiguous"


@dataclass(frozen=True, slots=True)
class Desk:
    """What a handler needs to know."""

    market: Market
    history: HistoryService
    accounts: str
    version: int
    now: datetime
    portfolio: Portfolio = NOTHING


Handler = Callable[[Desk, Sequence[str]], bytes]


@dataclass(frozen=True, slots=True)
class Route:
    """How a message is counted, answered and described to a fault plan."""

    kind: MomentKind
    handler: Handler
    req_id_at: int = 0
    """Field of the request id; 0 when the message has none."""
    contract_at: int = 0
    """First field of the contract; 0 when the message has none."""


def found(market: Market, contract: WireContract, now: datetime) -> Instrument:
    """Return the instrument that a contract means.

    Raises:
        Refusal: there is none (200).
    """
    matches = all_found(market, contract, now)
    if len(matches) > 1:
        raise Refusal(200, _AMBIGUOUS)
    return matches[0]


def all_found(market: Market, contract: WireContract, now: datetime) -> list[Instrument]:
    """Return every instrument that a contract means, at least one.

    Raises:
        Refusal: there is none (200).
    """
    candidates: Sequence[Instrument]
    if contract.con_id:
        one = market.find(now, con_id=contract.con_id)
        candidates = [one] if one is not None else []
    else:
        candidates = market.instruments(now) if contract.symbol or contract.local_symbol else []
    matches = [x for x in candidates if fits(contract, x)]
    if not matches:
        raise Refusal(200, _UNKNOWN)
    return matches


def fits(contract: WireContract, instrument: Instrument) -> bool:
    """Judge what the contract says beside its id; what it leaves empty fits everything."""
    listings = ("", instrument.exchange, instrument.primary_exchange, "SMART")
    is_named = bool(contract.con_id) or (
        contract.symbol in ("", instrument.symbol) and contract.local_symbol in ("", instrument.name)
    )
    expiry = f"{instrument.last_trade_date:%Y%m%d}" if instrument.last_trade_date else ""
    return (
        is_named
        and contract.sec_type in ("", instrument.sec_type)
        and contract.currency in ("", instrument.currency)
        and expiry.startswith(contract.expiry)
        and contract.exchange in ("", *instrument.places)
        and contract.primary_exchange in listings
    )


def contract_details(desk: Desk, fields: Sequence[str]) -> bytes:
    """Message 9."""
    req_id, contract = number(fields[2]), WireContract.parse(fields[3:])
    answer = b""
    for instrument in all_found(desk.market, contract, desk.now):
        trading, liquid = instrument.trading_hours, instrument.liquid_hours
        if not trading and not liquid:
            texts_of = hours_texts if instrument.exchange == "SMART" else whole_days
            trading, liquid = texts_of(desk.market.hours_of(instrument), desk.now, instrument)
        exchange = contract.exchange or instrument.exchange
        answer += messages.contract_details(desk.version, req_id, instrument, exchange, trading=trading, liquid=liquid)
    return answer + messages.contract_details_end(req_id)


def whole_days(hours: TradingHours, now: datetime, instrument: Instrument) -> tuple[str, str]:
    """Return the hours of what trades around the clock; only a future's liquid hours are fewer."""
    zone = ZoneInfo(instrument.timezone)
    first = hours.closed_by(now)
    days = range(first, min(first + _DAYS_OF_HOURS, len(hours.opens)))
    trading, liquid = (
        ";".join(_span(start, end, zone) for n in days for start, end in kept.intervals(n))
        for kept in (hours, regular(hours, instrument.sec_type, instrument.timezone))
    )
    return trading, liquid


def hours_texts(hours: TradingHours, now: datetime, instrument: Instrument | None = None) -> tuple[str, str]:
    """Return trading and liquid hours of the coming days, in TWS's form; extended hours are 04:00 to 20:00 or 17:00."""
    trading, liquid = [], []
    zone = ZoneInfo(instrument.timezone) if instrument else ZONE
    for i in range(_DAYS_OF_HOURS):
        day = exchange_date(now) + timedelta(days=i)
        n = hours.ordinal_on_or_before(day)
        if hours.session(n) != day:
            trading.append(f"{day:%Y%m%d}:CLOSED")
            liquid.append(f"{day:%Y%m%d}:CLOSED")
            continue
        late = hours.close_at(n).astimezone(zone) + timedelta(hours=4)
        trading.append(f"{day:%Y%m%d}:0400-{day:%Y%m%d}:{late:%H%M}")
        liquid += [_span(start, end, zone) for start, end in hours.intervals(n)]
    return ";".join(trading), ";".join(liquid)


def _span(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    return f"{start.astimezone(zone):%Y%m%d:%H%M}-{end.astimezone(zone):%Y%m%d:%H%M}"


def matching_symbols(desk: Desk, fields: Sequence[str]) -> bytes:
    """Message 81: symbols that begin with the pattern, then names that contain it."""
    pattern = fields[2].upper()
    everyone = desk.market.instruments(desk.now)
    by_symbol = [x for x in everyone if x.symbol.startswith(pattern)]
    by_name = [x for x in everyone if pattern in x.long_name.upper() and x not in by_symbol]
    return messages.matching_symbols(desk.version, number(fields[1]), (by_symbol + by_name)[:_MAX_SYMBOLS])


def scanner(desk: Desk, fields: Sequence[str]) -> bytes:
    """Message 22: id, rows, instrument, location, scan code, … ; filters are not applied."""
    req_id, n_rows, code = number(fields[1]), number(fields[2]), fields[5]
    try:
        best = desk.market.scan(code, n_rows, desk.now)
    except UnknownNameError as cause:
        text = f"Historical Market Data Service error message:Scan code {code} is not known. {cause}"
        raise Refusal(162, text) from cause
    return messages.scanner_rows(req_id, best)


def scanner_parameters(_desk: Desk, _fields: Sequence[str]) -> bytes:
    """Message 24."""
    return messages.scanner_parameters((code, name) for code, (name, _) in SCAN_CODES.items())


def current_time(desk: Desk, _fields: Sequence[str]) -> bytes:
    """Message 49."""
    return messages.current_time(desk.now)


def positions(desk: Desk, _fields: Sequence[str]) -> bytes:
    """Message 61."""
    held = desk.portfolio.held(desk.market, desk.now)
    return b"".join(map(messages.position, held)) + messages.end_of("positions")


def account_updates(desk: Desk, fields: Sequence[str]) -> bytes:
    """Message 6: subscribe, account; the end of a subscription is not answered."""
    if fields[2] != "1":
        return b""
    held = [one for one in desk.portfolio.held(desk.market, desk.now) if one.account == fields[3]]
    return b"".join(map(messages.portfolio_value, held)) + messages.end_of("account", fields[3])


def account_summary(desk: Desk, fields: Sequence[str]) -> bytes:
    """Message 62: id, group, tags; the net liquidation value is the only tag that is known."""
    req_id, held = number(fields[2]), desk.portfolio.held(desk.market, desk.now)
    values = [
        messages.account_value(
            req_id, account, _NET, desk.portfolio.net_liquidation(account, held), accounts.BASE_CURRENCY
        )
        for account in desk.portfolio.quantities
        if _NET in fields[4].split(",")
    ]
    return b"".join(values) + messages.end_of("account_summary", req_id)


def cancelled(_desk: Desk, _fields: Sequence[str]) -> bytes:
    """Messages 63 and 64: nothing is sent on after the first list, so there is nothing to end; TWS is silent, too."""
    return b""


def _ends(kind: str, *copied: int) -> Handler:
    """Return a handler that ends an empty list, repeating some of the request's fields."""

    def handler(_desk: Desk, fields: Sequence[str]) -> bytes:
        return messages.end_of(kind, *(fields[i] for i in copied))

    return handler


ROUTES: Final[dict[int, Route]] = {
    5: Route("account", _ends("open_orders")),
    6: Route("account", account_updates),
    7: Route("account", _ends("executions", 2)),
    9: Route("contract_details", contract_details, req_id_at=2, contract_at=3),
    16: Route("account", _ends("open_orders")),
    22: Route("scanner", scanner, req_id_at=1),
    24: Route("scanner_parameters", scanner_parameters),
    49: Route("current_time", current_time),
    61: Route("account", positions),
    62: Route("account", account_summary),
    63: Route("account", cancelled),
    64: Route("account", cancelled),
    76: Route("account", _ends("account_multi", 2)),
    81: Route("matching_symbols", matching_symbols, req_id_at=1),
    99: Route("account", _ends("completed_orders")),
}
"""Message number -> route. History and head timestamps (20, 87) occupy slots and are handled by the session itself."""
