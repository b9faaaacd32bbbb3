"""Reads a Parquet recording into one shape, whichever of the two layouts it has.

vendor layout: symbol, datetime (text with UTC offset, the bar's start), open … volume, and optionally file_row (the
source's row order), dividends. Native layout: con_id, symbol, ts, open … volume, wap, bar_count, and optionally what
(the series; TRADES where it is not said); it is what `quant gateway record` writes, with daily bars, contract details
and schedules in files beside it.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from quant_assets.errors import ConfigurationError, CorruptFileError, UnknownNameError
from quant_assets.gateway.market import MINUTE_BARS, PRICES

RECORDED: Final = pl.Schema(
    {"con_id": pl.Int64(), "symbol": pl.String(), "what": pl.String(), **MINUTE_BARS, "dividend": pl.Float64()}
)
"""Rows by con_id and series, inside them in the source's order: duplicates and stragglers are still there."""

_VENDOR: Final = ("symbol", "datetime", *PRICES, "volume")
_NATIVE: Final = ("con_id", "symbol", "ts", *PRICES, "volume", "wap", "bar_count")
_MEND: Final = f"A recording has the columns {', '.join(_VENDOR)}, or {', '.join(_NATIVE)}."


def con_id_of(symbol: str) -> int:
    """Return the contract id that a recording without ids gives a symbol: positive, 31 bits, the same everywhere."""
    digest = hashlib.blake2b(symbol.encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "big") & 0x7FFFFFFF) or 1


def read_recording(path: Path, symbols: Collection[str] | None = None, con_ids: Collection[int] = ()) -> pl.DataFrame:
    """Return the rows of a recording in the shape RECORDED, rows without prices included.

    Args:
        path: the Parquet file.
        symbols: only these, or None for all.
        con_ids: and these, where the file has ids.

    Raises:
        ConfigurationError: there is no such file, or two symbols would get the same contract id.
        CorruptFileError: it is not Parquet, or lacks a column, or holds unreadable times.
    """
    if not path.is_file():
        raise ConfigurationError(f"recording {path}", "there is no such file.", "Name a Parquet file of minute bars.")
    from quant_assets.gateway.proxy import tape

    try:
        return _shaped(tape.scan(path), symbols, con_ids).collect()
    except pl.exceptions.PolarsError as cause:
        first_line = str(cause).splitlines()[0]
        raise CorruptFileError(path, first_line, _MEND) from cause


def require_recorded(path: Path, symbols: Collection[str], found: Collection[str], others: Collection[str]) -> None:
    """Insist that every symbol was found.

    Args:
        path: the Parquet file.
        symbols: what is asked for.
        found: what there is of it.
        others: names that the files beside it know.

    Raises:
        UnknownNameError: one of `symbols` was not recorded.
    """
    if missing := set(symbols) - set(found):
        known = pl.scan_parquet(path).select(pl.col("symbol").unique()).collect()["symbol"]
        raise UnknownNameError("recorded symbol", min(missing), sorted({*known, *others}))


def _shaped(source: pl.LazyFrame, symbols: Collection[str] | None, con_ids: Collection[int]) -> pl.LazyFrame:
    names = source.collect_schema().names()
    layout = _NATIVE if "con_id" in names else _VENDOR
    missing = [name for name in layout if name not in names]
    if missing:
        raise pl.exceptions.ColumnNotFoundError(f"no column {', '.join(missing)}")
    if symbols is not None:
        is_named = pl.col("symbol").is_in(list(symbols))
        has_id = pl.col("con_id").is_in(list(con_ids)) if layout is _NATIVE else pl.lit(value=False)
        source = source.filter(is_named | has_id)
    shaped = source if layout is _NATIVE else _from_vendor(source, names)
    dividend = pl.col("dividends") if "dividends" in names else pl.lit(0.0)
    what = pl.col("what") if "what" in names else pl.lit("TRADES")
    order = ["con_id", "what", *(["file_row"] if "file_row" in names else [])]
    return (
        shaped.with_columns(dividend.fill_null(0.0).alias("dividend"), what.alias("what"))
        .sort(order, maintain_order=True)
        .select(*RECORDED.names())
        .cast(RECORDED)
    )


def _from_vendor(source: pl.LazyFrame, names: Collection[str]) -> pl.LazyFrame:
    """Give ids, parse times, and mark what the vendor did not record as not available (-1)."""
    ids = source.select(pl.col("symbol").unique()).collect()["symbol"].to_list()
    unknown = [pl.lit(-1).alias(name) for name in ("wap", "bar_count") if name not in names]
    return source.with_columns(
        pl.col("symbol").replace_strict(_ids(ids), return_dtype=pl.Int64).alias("con_id"),
        pl.col("datetime").str.to_datetime("%Y-%m-%d %H:%M:%S%z", time_unit="us").alias("ts"),
        *unknown,
    )


def _ids(symbols: Collection[str]) -> dict[str, int]:
    owners: dict[int, str] = {}
    for symbol in sorted(symbols):
        other = owners.setdefault(con_id_of(symbol), symbol)
        if other != symbol:
            problem = f"symbols {other!r} and {symbol!r} get the same contract id {con_id_of(symbol)}."
            raise ConfigurationError("recording", problem, "Load one of them only, with symbols=, or record con_id.")
    return {symbol: con_id for con_id, symbol in owners.items()}
