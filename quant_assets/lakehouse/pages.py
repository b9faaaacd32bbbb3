"""Numbers of a month copy that lie on disk as they lie in memory, read without decoding.

Copies are written uncompressed. In a row group, a number column without nulls is one page: a header, where nulls would
be allowed a few bytes that say that there are none, and then the values. They are read straight into the column that
is returned, for just the rows of the asked instruments. Whatever is written in another way (text, dictionaries,
several pages, nulls) is left to a Parquet reader.
"""

import os
import struct
import sys
from collections.abc import Iterator, Sequence
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
        _read(one, views, at)
        at += _BYTES * one.rows
    arrays = [pa.Array.from_buffers(kind, n_rows, [None, buffer]) for kind, buffer in zip(types, buffers, strict=True)]
    return pl.DataFrame(pa.RecordBatch.from_arrays(arrays, names=list(names)))


def _read(stretch: Stretch, views: Sequence[memoryview], at: int) -> None:
    """Read a stretch into the columns, and make sure by the pages' headers that they are what was written.

    What lies side by side in the file is read at once: a call for a whole row group, not one for each of its columns.
    """
    rows = slice(at, at + _BYTES * stretch.rows)
    headers = [bytearray(len(chunk.header)) for chunk in stretch.chunks]
    pieces: list[tuple[int, bytearray | memoryview]] = []
    for chunk, header, view in zip(stretch.chunks, headers, views, strict=True):
        values = chunk.offset + len(header) + _BYTES * stretch.start
        pieces += [(chunk.offset, header), (values, view[rows])]
    for offset, parts in _side_by_side(pieces):
        if os.preadv(stretch.descriptor, parts, offset) != sum(map(len, parts)):
            raise CorruptCopyError(stretch.path, f"it ends before what is to be read from byte {offset} on")
    if headers != [chunk.header for chunk in stretch.chunks]:
        raise CorruptCopyError(stretch.path, f"there is no page of numbers at byte {stretch.chunks[0].offset}")


def _side_by_side(
    pieces: Sequence[tuple[int, bytearray | memoryview]],
) -> Iterator[tuple[int, list[bytearray | memoryview]]]:
    """Gather (offset, buffer) of which one begins where the one before ends."""
    begin = reached = pieces[0][0]
    parts: list[bytearray | memoryview] = []
    for offset, part in pieces:
        if offset != reached:
            yield begin, parts
            begin, parts = offset, []
        parts.append(part)
        reached = offset + len(part)
    yield begin, parts
