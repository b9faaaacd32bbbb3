"""Which exchange's hours an instrument keeps, by its asset class and the exchange that lists it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache

import polars as pl

from quant_assets.domain.calendar import CONTINUOUS, FOREIGN_EXCHANGE, TradingCalendar, own_calendar, owner_of
from quant_assets.domain.hours import HOURS, Hours
from quant_assets.errors import ConfigurationError

BY_ASSET_CLASS: Mapping[str, str] = {"CASH": FOREIGN_EXCHANGE, "CRYPTO": CONTINUOUS}
"""TWS security type -> calendar, whatever the exchange."""

_EXCHANGES: Mapping[str, str] = {
    "XNYS": "NYSE NASDAQ ISLAND ARCA AMEX BATS BEX IEX CBOE PINK SMART NMS ARCAEDGE OTCLNKECN",
    "CMES": "CME GLOBEX CBOT ECBOT NYMEX COMEX",
    "XCBF": "CFE",
    "XEUR": "EUREX DTB",
    "XLON": "LSE LSEETF LSEIOB1",
    "XETR": "IBIS IBIS2 XETRA",
    "XFRA": "FWB FWB2",
    "XPAR": "SBF",
    "XAMS": "AEB",
    "XBRU": "ENEXT.BE",
    "XLIS": "BVL",
    "XMIL": "BVME BVME.ETF",
    "XMAD": "BM",
    "XSWX": "EBS VIRTX",
    "XWBO": "VSE",
    "XSTO": "SFB",
    "XCSE": "CPH",
    "XHEL": "HEX",
    "XOSL": "OSE",
    "XWAR": "WSE",
    "XTSE": "TSE VENTURE",
    "XMEX": "MEXI",
    "XASX": "ASX",
    "XHKG": "SEHK",
    "XTKS": "TSEJ",
    "XSES": "SGX",
    "XBOM": "NSE BSE",
}

_ON_ONE_TIMETABLE = ("STK", "ETF", "CRYPTO")
"""TWS security types that keep the hours of their exchange, whatever the instrument."""
_NEVER_TOLD = ("CRYPTO",)
"""TWS security types of which no schedule can speak against the calendar: a UTC day never ends early, and TWS dates its
sessions by another clock."""

BY_EXCHANGE: Mapping[str, str] = {code: name for name, codes in _EXCHANGES.items() for code in codes.split()}
"""TWS exchange code -> calendar."""

_ASSET_CLASS: Mapping[str, str] = {
    "IDEALPRO": "CASH",
    "PAXOS": "CRYPTO",
    "ZEROHASH": "CRYPTO",
    **dict.fromkeys((*_EXCHANGES["CMES"].split(), *_EXCHANGES["XCBF"].split(), *_EXCHANGES["XEUR"].split()), "FUT"),
}
_CURRENCY: Mapping[str, str] = {
    "XLON": "GBP",
    **dict.fromkeys(("XETR", "XFRA", "XPAR", "XAMS", "XBRU", "XLIS", "XMIL", "XMAD", "XWBO", "XHEL", "XEUR"), "EUR"),
    "XSWX": "CHF",
    "XSTO": "SEK",
    "XCSE": "DKK",
    "XOSL": "NOK",
    "XWAR": "PLN",
    "XTSE": "CAD",
    "XMEX": "MXN",
    "XASX": "AUD",
    "XHKG": "HKD",
    "XTKS": "JPY",
    "XSES": "SGD",
    "XBOM": "INR",
}


COUNTRY: Mapping[str, str] = {
    "XNYS": "US",
    "CMES": "US",
    "XCBF": "US",
    "XEUR": "DE",
    "XLON": "GB",
    "XETR": "DE",
    "XFRA": "DE",
    "XPAR": "FR",
    "XAMS": "NL",
    "XBRU": "BE",
    "XLIS": "PT",
    "XMIL": "IT",
    "XMAD": "ES",
    "XSWX": "CH",
    "XWBO": "AT",
    "XSTO": "SE",
    "XCSE": "DK",
    "XHEL": "FI",
    "XOSL": "NO",
    "XWAR": "PL",
    "XTSE": "CA",
    "XMEX": "MX",
    "XASX": "AU",
    "XHKG": "HK",
    "XTKS": "JP",
    "XSES": "SG",
    "XBOM": "IN",
}
"""Calendar -> ISO 3166 code; what trades around the world has none."""


def asset_class_at(exchange: str) -> str:
    """Return the TWS security type that a name on an exchange means; a stock unless the exchange has none."""
    return _ASSET_CLASS.get(exchange, "STK")


def currency_at(exchange: str) -> str:
    """Return the currency that stocks are quoted in on an exchange; USD where it is not known."""
    return _CURRENCY.get(BY_EXCHANGE.get(exchange, ""), "USD")


_VENUE = ["asset_class", "exchange"]
Told = tuple[tuple[date, Hours | None], ...]
"""Hours of single sessions of one exchange as TWS tells them; None where it has no session."""
_NOTHING_TOLD: Mapping[str, Told] = {}


@lru_cache(maxsize=128)
def calendar(name: str, told: Told = ()) -> TradingCalendar:
    """Return the calendar of one exchange, or of one of its instruments; what is told goes before what is published."""
    return TradingCalendar((name,), told=told)


def calendar_name(
    asset_class: str, exchange: str, configured: tuple[str, ...] = ("XNYS",), overrides: Mapping[str, str] | None = None
) -> str:
    """Return the calendar whose hours an instrument keeps.

    Args:
        asset_class: TWS security type.
        exchange: the exchange that lists it.
        configured: calendars of the lakehouse; a single one answers for exchanges that are not known here.
        overrides: exchange or asset class -> calendar, from configuration; an exchange goes before a class.

    Raises:
        ConfigurationError: the exchange is not known, and several calendars are configured.
    """
    given = overrides or {}
    places = (given.get(exchange), given.get(asset_class), BY_ASSET_CLASS.get(asset_class), BY_EXCHANGE.get(exchange))
    if found := next((name for name in places if name), None):
        return found
    if len(configured) == 1:
        return configured[0]
    raise ConfigurationError(
        "lakehouse.venues",
        f"it is not known which calendar {asset_class} on {exchange or 'no exchange'} follows.",
        f'Add "{exchange or asset_class}": one of {", ".join(configured)}, or another calendar.',
    )


def is_scheduled(asset_class: str) -> bool:
    """Return whether TWS's schedule can speak of the sessions of a TWS security type."""
    return asset_class not in _NEVER_TOLD


def timetable_name(calendar: str, asset_class: str, con_id: int) -> str:
    """Return the name under which an instrument's hours are told: its exchange's for shares, else its own."""
    return calendar if asset_class in _ON_ONE_TIMETABLE else own_calendar(calendar, con_id)


def timetables_of(named: pl.DataFrame, told: Iterable[str]) -> pl.DataFrame:
    """Return con_id and calendar of each instrument: its own one where something was told of it.

    Args:
        named: con_id, calendar of its exchange.
        told: names of timetables.
    """
    own = [(*owned, name) for name in told if (owned := owner_of(name))]
    found = pl.DataFrame(own, schema={"calendar": pl.String, "con_id": pl.Int64, "own": pl.String}, orient="row")
    joined = named.join(found, on=["calendar", "con_id"], how="left", maintain_order="left")
    return joined.select("con_id", pl.coalesce("own", "calendar").alias("calendar"))


def calendars_of(
    members: pl.DataFrame, configured: tuple[str, ...] = ("XNYS",), overrides: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return con_id and calendar of each member.

    Args:
        members: con_id, asset_class, exchange; rows of `universe`, for instance.
        configured: see `calendar_name`.
        overrides: likewise.

    Raises:
        ConfigurationError: see `calendar_name`.
    """
    venues = members.select(_VENUE).unique().fill_null("")
    names = [calendar_name(kind, place, configured, overrides) for kind, place in venues.iter_rows()]
    mapped = venues.with_columns(pl.Series("calendar", names, dtype=pl.String))
    keyed = members.select("con_id", *_VENUE).unique("con_id", keep="first", maintain_order=True)
    return keyed.join(mapped, on=_VENUE, how="left", maintain_order="left", nulls_equal=True).select(
        "con_id", "calendar"
    )


def hours_of(session: date, named: pl.DataFrame, told: Mapping[str, Told] = _NOTHING_TOLD) -> pl.DataFrame:
    """Return when each instrument trades in a session.

    Args:
        session: the session, as the partition is named.
        named: con_id, calendar.
        told: by calendar.

    Returns:
        con_id and HOURS, in the order of `named`. An instrument whose exchange is closed has no row.
    """
    calendars = ((name, calendar(name, told.get(name, ()))) for name in _names(named))
    found = [(name, hours) for name, one in calendars if (hours := one.hours_on(session))]
    table = pl.DataFrame(
        [(name, *hours.row) for name, hours in found], schema={"calendar": pl.String(), **HOURS}, orient="row"
    )
    return named.join(table, on="calendar", how="inner", maintain_order="left").select("con_id", *HOURS)


def minutes_of(session: date, named: pl.DataFrame, told: Mapping[str, Told] = _NOTHING_TOLD) -> pl.DataFrame:
    """Return the expected minutes of each instrument in a session: session, con_id, ts, minute (0 at its open)."""
    calendars = ((name, calendar(name, told.get(name, ()))) for name in _names(named))
    grids = [
        one.minutes([session]).with_columns(pl.lit(name).alias("calendar"))
        for name, one in calendars
        if one.is_session(session)
    ]
    schema = {"session": pl.Date(), "ts": HOURS["opens_at"], "minute": pl.Int64(), "calendar": pl.String()}
    grid = pl.concat(grids) if grids else pl.DataFrame(schema=schema)
    return named.join(grid, on="calendar", how="inner").select("session", "con_id", "ts", "minute")


def _names(named: pl.DataFrame) -> Iterator[str]:
    yield from named["calendar"].unique().sort()
