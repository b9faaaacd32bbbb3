"""Content ids: what a frame says, as one number that no machine, library or file format changes."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import takewhile

import numpy as np
import polars as pl

from quant_assets.domain.tables.core import in_strict_order

_FEW = 5_000


def content_id(frame: pl.DataFrame, columns: Sequence[str], order: Sequence[str]) -> str:
    """Return the sha256 of the canonical content of `columns`, rows in `order`.

    Canonical: per column its name, a byte of validity per row, and the values little-endian with nulls as zero, all
    NaNs alike and -0.0 as 0.0; text as UTF-8 with its lengths; dates as days, instants as microseconds since 1970.

    Raises:
        TypeError: a column has a dtype without a canonical form.
    """
    digest = hashlib.sha256()
    schema = frame.schema
    kinds = {name: _kind(schema[name]) for name in columns}
    ordered = frame if not order or _is_ordered(frame, order) else frame.sort(order, nulls_last=True)
    digest.update(f"rows={ordered.height};".encode())
    # all columns in one query each: a query for every step of every column costs more than small files take to write
    valid = ordered.select(pl.col(name).is_not_null().cast(pl.UInt8) for name in kinds)
    values = ordered.select(_values(name, kind, schema[name]) for name, kind in kinds.items())
    texts = ordered.select(pl.col(name).fill_null("").str.join("") for name, kind in kinds.items() if kind == "utf8")
    for name, kind in kinds.items():
        digest.update(f"{name}:{kind};".encode())
        digest.update(np.ascontiguousarray(valid.get_column(name).to_numpy()).data)
        digest.update(_canonical(values.get_column(name), kind))
        if kind == "utf8":
            digest.update((texts.get_column(name).item() or "").encode())
    return digest.hexdigest()


def set_id(frame: pl.DataFrame, columns: Sequence[str]) -> str:
    """Return the content id of a set of rows: equal ones count once, and their order does not matter.

    Rows whose columns before the first measured one ascend strictly are such a set in its order already, which is
    cheaper to see than to make.

    Raises:
        TypeError: a column has a dtype without a canonical form.
    """
    said = frame.select(columns)
    if in_strict_order(said, list(takewhile(lambda name: not said.schema[name].is_float(), columns))):
        return content_id(said, columns, ())
    return content_id(said.unique(), columns, columns)


def _is_ordered(frame: pl.DataFrame, order: Sequence[str]) -> bool:
    """Return whether a sort can be saved; of few rows, looking costs more than sorting."""
    return frame.height > _FEW and in_strict_order(frame, order)


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


def _values(name: str, kind: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column as numbers; of text, the lengths."""
    column = pl.col(name)
    if kind == "utf8":
        return column.fill_null("").str.len_bytes().cast(pl.Int64)
    if kind == "f8":
        return column.cast(pl.Float64).fill_null(0.0)
    physical = column if dtype == pl.Boolean else column.to_physical()
    return physical.cast(pl.Int64).fill_null(0)


def _canonical(values: pl.Series, kind: str) -> memoryview:
    """Return the bytes of the numbers; they are copied only where they have to be changed."""
    numbers = values.to_numpy().astype("<i8" if kind != "f8" else "<f8", copy=False)
    if kind == "f8":
        numbers = numbers + 0.0
        if np.isnan(numbers).any():
            numbers[np.isnan(numbers)] = np.nan
    return np.ascontiguousarray(numbers).data
