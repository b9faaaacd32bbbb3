"""Content ids: what a frame says, as one number that no machine, library or file format changes."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from quant_assets.domain.tables.core import in_strict_order


def content_id(frame: pl.DataFrame, columns: Sequence[str], order: Sequence[str]) -> str:
    """Return the sha256 of the canonical content of `columns`, rows in `order`.

    Canonical: per column its name, a byte of validity per row, and the values little-endian with nulls as zero, all
    NaNs alike and -0.0 as 0.0; text as UTF-8 with its lengths; dates as days, instants as microseconds since 1970.

    Raises:
        TypeError: a column has a dtype without a canonical form.
    """
    digest = hashlib.sha256()
    ordered = frame if not order or in_strict_order(frame, order) else frame.sort(order, nulls_last=True)
    digest.update(f"rows={ordered.height};".encode())
    for name in columns:
        series = ordered.get_column(name)
        digest.update(f"{name}:{_kind(series.dtype)};".encode())
        digest.update(series.is_not_null().cast(pl.UInt8).to_numpy().tobytes())
        for block in _blocks(series):
            digest.update(block)
    return digest.hexdigest()


def combined_id(ids: Iterable[str]) -> str:
    """Return one id for several, independent of their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_float():
        return "f8"
    if dtype.is_integer() or dtype in (pl.Date, pl.Boolean) or isinstance(dtype, pl.Datetime):
        return "i8"
    if dtype == pl.String:
        return "utf8"
    raise TypeError(f"dtype {dtype} has no canonical form")


def _blocks(series: pl.Series) -> Iterable[bytes]:
    kind = _kind(series.dtype)
    if kind == "utf8":
        text = series.fill_null("")
        yield text.str.len_bytes().cast(pl.Int64).to_numpy().astype("<i8").tobytes()
        yield (text.str.join("").item() or "").encode()
    elif kind == "f8":
        values = series.cast(pl.Float64).fill_null(0.0).to_numpy().astype("<f8")
        values = np.where(np.isnan(values), np.nan, values) + 0.0
        yield values.tobytes()
    else:
        physical = series.to_physical() if series.dtype != pl.Boolean else series
        yield physical.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()
