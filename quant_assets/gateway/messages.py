"""Builders of the gateway's answers. Layouts are those of server versions 157 to 178."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quant_assets.gateway.accounts import Held
from quant_assets.gateway.hours import ZONE
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.wire import ADVANCED_REJECT, ISSUER_ID, SIZES_IN_DETAILS, frame, message

NO_REQUEST: Final = -1
"""The request id of notices that answer nothing."""
FARMS_OK: Final = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)


def hello(version: int, now: datetime) -> bytes:
    """Answer the greeting with the version to be spoken and the server's time."""
    return message(version, f"{now.astimezone(ZONE):%Y%m%d %H:%M:%S} EST")


def managed_accounts(accounts: str) -> bytes:
    """Name the accounts, separated by commas."""
    return message(15, 1, accounts)


def next_valid_id(order_id: int) -> bytes:
    """Give the first request and order id."""
    return message(9, 1, order_id)


def error(version: int, req_id: int, code: int, text: str) -> bytes:
    """Report an error of a request, or a notice (request id -1)."""
    rest = [""] if version >= ADVANCED_REJECT else []
    return message(4, 2, req_id, code, text, *rest)


def current_time(now: datetime) -> bytes:
    """Tell the time in epoch seconds."""
    return message(49, 1, int(now.timestamp()))


def contract_details(
    version: int, req_id: int, instrument: Instrument, exchange: str, *, trading: str, liquid: str
) -> bytes:
    """Describe one instrument; the list ends with `contract_details_end`."""
    x, has_sizes = instrument, version >= SIZES_IN_DETAILS
    ids = [*([f"ISIN={x.isin}"] if x.isin else []), *(x.other_ids.split(";") if x.other_ids else [])]
    fields: list[object] = [10] if has_sizes else [10, 8]
    expiry = f"{x.last_trade_date:%Y%m%d}" if x.last_trade_date else ""
    fields += [req_id, x.symbol, x.sec_type, expiry, "0", "", exchange, x.currency, x.name, x.market_name]
    fields += [x.symbol if x.sec_type in ("STK", "FUT") else x.name]
    fields += [x.con_id, x.min_tick] if has_sizes else [x.con_id, x.min_tick, 1]
    venues = x.valid_exchanges or ",".join(dict.fromkeys(x.places))
    fields += [x.multiplier, "LMT,MKT", venues, 1, 0, _escaped(x.long_name), x.primary_exchange, expiry[:6]]
    fields += [x.industry, x.category, x.category, x.timezone, trading, liquid, "", ""]
    fields += [len(ids), *(text for pair in ids for text in pair.split("=", 1)), 1, "", "", "26", expiry, x.stock_type]
    if has_sizes:
        fields += [x.min_size, x.size_step, "100"]
    elif version == SIZES_IN_DETAILS - 1:
        fields.append("100")
    return message(*fields)


def _escaped(text: str) -> str:
    """Escape what is not ASCII, as TWS does in long names."""
    return text.encode("unicode-escape").decode()


def contract_details_end(req_id: int) -> bytes:
    """End the list of contract details."""
    return message(52, 1, req_id)


def bars(req_id: int, start: str, end: str, n_bars: int, body: bytes) -> bytes:
    """Send all bars of a request; `body` is their fields, each ended by NUL."""
    return frame(f"17\0{req_id}\0{start}\0{end}\0{n_bars}\0".encode() + body)


def schedule(req_id: int, zone: str, sessions: Sequence[tuple[date, datetime, datetime]]) -> bytes:
    """Send date, opening and closing of each session, or of each part of one that pauses, in exchange time.

    Where the zone's name is TWS's own, in UTC.
    """
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone, place = "UTC", ZoneInfo("UTC")
    rows = [(_local(opens, place), _local(closes, place), f"{day:%Y%m%d}") for day, opens, closes in sessions]
    flat = [text for row in rows for text in row]
    return message(106, req_id, rows[0][0], rows[-1][1], zone, len(rows), *flat)


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y%m%d-%H:%M:%S}"


def head_timestamp(req_id: int, instant: datetime, format_date: int) -> bytes:
    """Send the oldest bar's start: epoch seconds in format 2, UTC text otherwise."""
    is_epoch = format_date == 2  # noqa: PLR2004 - TWS's code for epoch seconds
    text = str(int(instant.timestamp())) if is_epoch else f"{instant.astimezone(UTC):%Y%m%d-%H:%M:%S}"
    return message(88, req_id, text)


def scanner_rows(req_id: int, found: Sequence[Instrument]) -> bytes:
    """Send the rows of a scan; like TWS, contracts only and no prices."""
    flat: list[object] = []
    for rank, x in enumerate(found):
        flat += [rank, x.con_id, x.symbol, x.sec_type, "", "0", "", "SMART", x.currency, x.symbol]
        flat += [x.market_name, x.symbol, "", "", "", ""]
    return message(20, 3, req_id, len(found), *flat)


def scanner_parameters(codes: Iterable[tuple[str, str]]) -> bytes:
    """Send the document that lists the scan codes."""
    types = "".join(
        f"<ScanType><displayName>{name}</displayName><scanCode>{code}</scanCode><instruments>STK</instruments></ScanType>"
        for code, name in codes
    )
    xml = f'<?xml version="1.0" encoding="UTF-8"?><ScanParameterResponse><ScanTypeList varName="scanTypeList">{types}'
    return message(19, 1, xml + "</ScanTypeList></ScanParameterResponse>")


def matching_symbols(version: int, req_id: int, found: Sequence[Instrument]) -> bytes:
    """Send the instruments that a search found."""
    flat: list[object] = []
    for x in found:
        flat += [x.con_id, x.symbol, x.sec_type, x.primary_exchange, x.currency, 0]
        flat += [_escaped(x.long_name), ""] if version >= ISSUER_ID else []
    return message(79, req_id, len(found), *flat)


def position(held: Held) -> bytes:
    """Tell one position; the list ends with `end_of("positions")`."""
    return message(61, 3, held.account, *_contract_of(held), held.quantity, held.average_cost)


def portfolio_value(held: Held) -> bytes:
    """Tell one position with what it is worth."""
    values = (held.quantity, held.price, held.market_value, held.average_cost, 0, 0)
    fields = _contract_of(held, place=held.instrument.primary_exchange or held.instrument.exchange)
    return message(7, 8, *fields, *values, held.account)


def _contract_of(held: Held, place: str = "") -> list[object]:
    x = held.instrument
    expiry = f"{x.last_trade_date:%Y%m%d}" if x.last_trade_date else ""
    return [x.con_id, x.symbol, x.sec_type, expiry, "0", "", x.multiplier, place, x.currency, x.name, x.symbol]


def account_value(req_id: int, account: str, tag: str, value: float, currency: str) -> bytes:
    """Tell one figure of an account summary."""
    return message(63, 1, req_id, account, tag, f"{value:.2f}", currency)


def end_of(kind: str, *values: object) -> bytes:
    """End a list: of positions or values, or one that is always empty here, of orders or executions."""
    codes = {"positions": (62, 1), "open_orders": (53, 1), "completed_orders": (102,), "account": (54, 1)}
    codes |= {"account_multi": (74, 1), "executions": (55, 1), "account_summary": (64, 1)}
    return message(*codes[kind], *values)
