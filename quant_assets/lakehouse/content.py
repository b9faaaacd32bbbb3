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
    for name, kind in kinds.items():
        column = ordered.get_column(name)
        digest.update(f"{name}:{kind};".encode())
        digest.update(_validity(column))
        if kind == "utf8":
            lengths, joined = _texts(column)
            digest.update(lengths)
            digest.update(joined)
        else:
            digest.update(_numbers(column, kind))
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


def _texts(column: pl.Series) -> tuple[memoryview, memoryview]:
    """Return the lengths of a text column's values, and all of them joined: what Arrow holds, where each value ends."""
    filled = column.fill_null("") if column.null_count() else column
    held = filled.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, joined = held.buffers()
    offsets = np.frombuffer(ends, np.int64)[held.offset : held.offset + len(held) + 1]
    lengths = np.diff(offsets).astype("<i8", copy=False)
    return lengths.data, memoryview(joined or b"")[offsets[0] : offsets[-1]]


def _validity(column: pl.Series) -> memoryview:
    if column.null_count():
        return np.ascontiguousarray(column.is_not_null().to_numpy().astype(np.uint8)).data
    return np.ones(len(column), np.uint8).data


def _numbers(column: pl.Series, kind: str) -> memoryview:
    """Return the bytes of the values; they are copied only where they have to be changed.

    NumPy's dates count days and its instants count microseconds, as the canonical form does.
    """
    filled = _with_zeros(column) if column.null_count() else column
    numbers = filled.to_numpy().astype("<f8" if kind == "f8" else "<i8", copy=False)
    if kind == "f8":
        numbers = numbers + 0.0
        if np.isnan(numbers).any():
            numbers[np.isnan(numbers)] = np.nan
    return np.ascontiguousarray(numbers).data


def _with_zeros(column: pl.Series) -> pl.Series:
    return column.fill_null(value=False) if column.dtype == pl.Boolean else column.to_physical().fill_null(0)
