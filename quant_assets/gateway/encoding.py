"""Bars as wire text: whole columns at once, kept for the next client that asks the same."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import polars as pl

from quant_assets.gateway.hours import WIRE_ZONE, ZONE
from quant_assets.gateway.market import PRICES

FORMAT_EPOCH: Final = 2
FORMAT_DAY_AND_TIME: Final = 3
_CACHE_BYTES: Final = 48 * 2**20


def encoded(frame: pl.DataFrame, format_date: int) -> bytes:
    """Return the fields of all bars, each ended by NUL: date, open, high, low, close, volume, wap, count."""
    if frame.is_empty():
        return b""
    volume = frame["volume"]
    is_whole = bool((volume == volume.floor()).all())
    columns = [
        _date_text(frame, format_date),
        *(pl.col(name).cast(pl.String) for name in PRICES),
        (pl.col("volume").cast(pl.Int64) if is_whole else pl.col("volume")).cast(pl.String),
        *(pl.col(name).cast(pl.String) for name in ("wap", "bar_count")),
    ]
    text: str = frame.select(pl.concat_str(columns, separator="\0").str.join("\0")).item()
    return text.encode() + b"\0"


def _date_text(frame: pl.DataFrame, format_date: int) -> pl.Expr:
    """Daily bars are always `yyyymmdd`, whatever the format."""
    if "session" in frame.columns:
        return pl.col("session").dt.strftime("%Y%m%d")
    if format_date == FORMAT_EPOCH:
        return pl.col("ts").dt.epoch("s").cast(pl.String)
    zone = "" if format_date == FORMAT_DAY_AND_TIME else f" {WIRE_ZONE}"
    return pl.col("ts").dt.convert_time_zone(ZONE.key).dt.strftime(f"%Y%m%d %H:%M:%S{zone}")


class BodyCache:
    """The most recently used bodies, bounded by their bytes."""

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._max_bytes, self._held = max_bytes, 0
        self._bodies: OrderedDict[Hashable, tuple[int, bytes]] = OrderedDict()

    def get(self, key: Hashable) -> tuple[int, bytes] | None:
        """Return (number of bars, body) or None."""
        found = self._bodies.get(key)
        if found is not None:
            self._bodies.move_to_end(key)
        return found

    def put(self, key: Hashable, n_bars: int, body: bytes) -> None:
        """Keep a body, dropping the least recently used ones."""
        self._bodies[key] = (n_bars, body)
        self._held += len(body)
        while self._held > self._max_bytes:
            _, (_, dropped) = self._bodies.popitem(last=False)
            self._held -= len(dropped)
