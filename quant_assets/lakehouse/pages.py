"""Numbers of a month copy that lie on disk as they lie in memory, read without decoding.

Copies are written uncompressed. In a row group, a number column without nulls is one page: a header, where nulls would
be allowed a few bytes that say that there are none, and then the values. They are read straight into the column that
is returned, for just the rows of the asked instruments. Whatever is written in another way (text, dictionaries,
several pages, nulls) is left to a Parquet reader.
"""

import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.errors import CorruptCopyError

_BYTES = 8
"""Bytes of a value: INT64 (also instants) and DOUBLE."""
_LONGEST_HEADER = 256
_CAN_SCATTER = hasattr(os, "preadv") and sys.byteorder == "little"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group: what the page begins with, at `offset`, and the values after it."""

    offset: int
    header: bytes


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive rows of one row group, and where the asked columns lie in it."""

    descriptor: int
    path: Path
    chunks: tuple[Chunk, ...]
    start: int
    rows: int


def chunk_of(metadata: Any, group: int, place: int, descriptor: int) -> Chunk | None:
    """Return where a column's values lie, or None when they have to be decoded.

    Args:
        metadata: parsed Parquet footer.
        group: row group.
        place: of the column in the file.
        descriptor: of the file; the page's header is read.
    """
    column = metadata.row_group(group).column(place)
    n_values = column.num_values
    length = column.total_compressed_size - _BYTES * n_values
    is_plain = (
        _CAN_SCATTER
        and column.physical_type in ("INT64", "DOUBLE")
        and column.compression == "UNCOMPRESSED"
        and not column.has_dictionary_page
        and set(column.encodings) <= {"PLAIN", "RLE"}
        and 0 < length <= _LONGEST_HEADER
    )
    if not is_plain:
        return None
    header = os.pread(descriptor, length, column.data_page_offset)
    levels = _none_is_null(n_values) if metadata.schema.column(place).max_definition_level else b""
    size = _varint(2 * (_BYTES * n_values + len(levels)))
    is_one_page = header.startswith(b"\x15\x00\x15" + size + b"\x15" + size) and header.endswith(levels)
    return Chunk(column.data_page_offset, header) if is_one_page else None


def _none_is_null(n_values: int) -> bytes:
    """Return how a page says that each of its values is defined: one run of ones."""
    run = _varint(2 * n_values) + b"\x01"
    return struct.pack("<I", len(run)) + run


def _varint(number: int) -> bytes:
    """Return a number with seven bits to a byte, the lowest first; Thrift doubles those that may be negative."""
    said = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        said.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*said, number])


def read_plain(stretches: Sequence[Stretch], names: Sequence[str], types: Sequence[Any]) -> pl.DataFrame:
    """Return the rows of all stretches, one below the other.

    Args:
        stretches: each with a chunk per name.
        names: columns.
        types: their Arrow types.

    Raises:
        CorruptCopyError: a page is not what the footer says.
    """
    import pyarrow as pa

    n_rows = sum(one.rows for one in stretches)
    buffers = [pa.allocate_buffer(_BYTES * n_rows) for _ in names]  # Arrow's pool: fresh memory would cost page faults
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    at = 0
    for one in stretches:
        end = at + _BYTES * one.rows
        for chunk, view in zip(one.chunks, views, strict=True):
            _read(one, chunk, view[at:end])
        at = end
    arrays = [pa.Array.from_buffers(kind, n_rows, [None, buffer]) for kind, buffer in zip(types, buffers, strict=True)]
    frame = pl.from_arrow(pa.Table.from_arrays(arrays, names=list(names)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read(stretch: Stretch, chunk: Chunk, into: memoryview) -> None:
    """Read the values of one column, and make sure by the page's header that they are what was written."""
    header = bytearray(len(chunk.header))
    if stretch.start == 0:
        read = os.preadv(stretch.descriptor, [header, into], chunk.offset)
    else:
        read = os.preadv(stretch.descriptor, [header], chunk.offset)
        read += os.preadv(stretch.descriptor, [into], chunk.offset + len(header) + _BYTES * stretch.start)
    if read != len(header) + len(into) or header != chunk.header:
        raise CorruptCopyError(stretch.path, f"there is no page of numbers at byte {chunk.offset}")
