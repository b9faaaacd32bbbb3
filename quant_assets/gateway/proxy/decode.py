"""What a recorder understands of TWS's answers: bars, schedules and contract details; nothing else is looked into."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from quant_assets.gateway.encoding import FORMAT_EPOCH
from quant_assets.gateway.market import MINUTE_BARS, VALUES, Instrument
from quant_assets.gateway.requests import HistoryRequest
from quant_assets.gateway.wire import SIZES_IN_DETAILS

BARS: Final = 17
DETAILS: Final = 10
SCHEDULE: Final = 106
_HEADER: Final = 5
"""Message id, request id, nominal start and end, number of bars."""
_WIDTH: Final = len(VALUES) + 1
_SMART: Final = "SMART"


def bars_of(fields: Sequence[str], request: HistoryRequest) -> pl.DataFrame:
    """Return the bars of message 17 in the order received: `ts` or, for daily bars, `session`, and the values.

    Raises:
        ValueError: the message is damaged, or its times name no zone, so that nobody can tell what they mean.
    """
    n_bars = int(fields[_HEADER - 1])
    if len(fields) != _HEADER + _WIDTH * n_bars:
        raise ValueError(f"{n_bars} bars announced, {len(fields) - _HEADER} fields sent")
    texts = [pl.Series(fields[_HEADER + i :: _WIDTH], dtype=pl.String) for i in range(_WIDTH)]
    try:
        label = _sessions(texts[0]) if request.bar_size == "1 day" else _instants(texts[0], request.format_date)
        values = [text.cast(dtype).alias(name) for text, (name, dtype) in zip(texts[1:], VALUES.items(), strict=True)]
    except pl.exceptions.PolarsError as cause:
        raise ValueError(f"undecodable bar: {cause}") from cause
    return pl.DataFrame([label, *values])


def _sessions(text: pl.Series) -> pl.Series:
    return text.str.to_date("%Y%m%d", strict=True).alias("session")


def _instants(text: pl.Series, format_date: int) -> pl.Series:
    """Read epoch seconds, `yyyymmdd-hh:mm:ss` (UTC), or `yyyymmdd hh:mm:ss Zone`."""
    utc = MINUTE_BARS["ts"]
    if format_date == FORMAT_EPOCH:
        return (text.cast(pl.Int64) * 1_000_000).cast(utc).alias("ts")
    if text.is_empty():
        return pl.Series("ts", [], dtype=utc)
    if text[0][8:9] == "-":
        return text.str.to_datetime("%Y%m%d-%H:%M:%S", time_unit="us").dt.replace_time_zone("UTC").alias("ts")
    parts = text.str.extract_groups(r"^(?<when>\d{8} +\d\d:\d\d:\d\d) (?<zone>\S+)$").struct.unnest()
    zones = parts["zone"].unique().to_list()
    if len(zones) != 1 or zones[0] is None:
        raise ValueError("times without one zone: ask with formatDate=2")
    local = parts["when"].str.replace(r" +", " ").str.to_datetime("%Y%m%d %H:%M:%S", time_unit="us")
    return local.dt.replace_time_zone(zones[0], ambiguous="earliest").dt.convert_time_zone("UTC").alias("ts")


def schedule_of(fields: Sequence[str]) -> pl.DataFrame:
    """Return the days that message 106 speaks of: session, opens, closes; null where it has no session.

    Raises:
        ValueError, IndexError: the message is damaged, or its zone is not known.
    """
    zone, n_sessions, *flat = fields[4:]
    if not zone:
        raise ValueError("a schedule without a zone")
    if len(flat) != 3 * int(n_sessions):
        raise ValueError(f"{n_sessions} sessions announced, {len(flat)} fields sent")
    opens, closes, sessions = (pl.Series(flat[i::3], dtype=pl.String) for i in range(3))
    try:
        told = pl.DataFrame({"session": sessions.str.to_date("%Y%m%d"), "opens": opens, "closes": closes})
        told = told.with_columns(
            pl.col("opens", "closes")
            .str.to_datetime("%Y%m%d-%H:%M:%S", time_unit="us")
            .dt.replace_time_zone(zone, ambiguous="earliest")
            .dt.convert_time_zone("UTC")
        )
    except pl.exceptions.PolarsError as cause:
        raise ValueError(f"undecodable schedule: {cause}") from cause
    first, last = told["session"].min(), told["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return told
    days = pl.DataFrame({"session": pl.date_range(first, last, eager=True)})
    return days.join(told, on="session", how="left", maintain_order="left")


def details_of(fields: Sequence[str], version: int) -> Instrument:
    """Return the instrument that message 10 describes.

    Raises:
        ValueError, IndexError: the message is damaged.
    """
    has_sizes = version >= SIZES_IN_DETAILS
    x = list(fields[1:] if has_sizes else fields[2:])
    if not has_sizes:
        del x[13]  # the market-data size multiplier of older versions
    n_ids = int(x[29] or 0)
    ids = dict(zip(x[30 : 30 + 2 * n_ids : 2], x[31 : 31 + 2 * n_ids : 2], strict=True))
    after = 30 + 2 * n_ids
    sizes = {"min_size": x[after + 6], "size_step": x[after + 7]} if has_sizes else {}
    return Instrument(
        con_id=int(x[11]),
        symbol=x[1],
        long_name=x[18].encode().decode("unicode-escape"),
        primary_exchange=x[19],
        currency=x[7],
        sec_type=x[2],
        market_name=x[9],
        industry=x[21],
        category=x[22],
        stock_type=x[after + 5],
        min_tick=float(x[12]),
        isin=ids.pop("ISIN", ""),
        timezone=x[24],
        exchange=_SMART if x[2] == "STK" and _SMART in x[15].split(",") else x[6],
        local_symbol=x[8] if x[8] != x[1] else "",
        multiplier=x[13],
        last_trade_date=day_of(x[3]),
        valid_exchanges=x[15],
        other_ids=";".join(f"{tag}={value}" for tag, value in ids.items()),
        trading_hours=x[25],
        liquid_hours=x[26],
        **sizes,
    )


def day_of(expiry: str) -> date | None:
    """Return the day of an expiry, after which a time may follow; None where it is empty, or a month."""
    text = expiry.replace("-", " ").partition(" ")[0]
    return date.fromisoformat(text) if len(text) == len("yyyymmdd") else None
