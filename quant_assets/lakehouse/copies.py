"""Month copies: one file per table and month, sorted by instrument, from which research reads are answered.

A session file is what is written and checked; a month copy holds the same rows in the order in which research asks for
them, so that a month of one instrument is one row group and not twenty-one files. It is never the only copy. It tells
in its footer which session files it was made from, and each session is served from it only while that very file
stands; of any other session, the file itself is read.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptCopyError, CorruptFileError
from quant_assets.lakehouse.footer import read_footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.scanning import of_instruments, scan

KEY = "quant_assets.copy"
"""Where the footer of a copy says what it was made from."""

FEW = 64
"""Up to so many instruments, row groups are picked from the cached index; for more, one scan is faster."""


@dataclass(frozen=True, slots=True)
class Source:
    """The session file whose rows a copy holds."""

    path: str
    bytes: int
    mtime_ns: int
    content_id: str
    n_rows: int

    def stands(self, root: str) -> bool:
        """Return whether the file is still the one that was copied."""
        try:
            stat = os.stat(f"{root}/{self.path}")  # noqa: PTH116 - a year of sessions is looked at per read
        except OSError:
            return False
        if stat.st_size == self.bytes and stat.st_mtime_ns == self.mtime_ns:
            return True
        try:  # restored from a backup, perhaps: what it says decides, not when it was written
            return read_footer(Path(root) / self.path).content_id == self.content_id
        except (CorruptFileError, FileNotFoundError):
            return False


@dataclass(frozen=True)
class CopyIndex:
    """What a copy's footer says: its sources by session, and which instruments each row group holds."""

    sources: Mapping[date, Source]
    lows: npt.NDArray[np.int64]
    highs: npt.NDArray[np.int64]
    places: Mapping[str, int]
    """Column name → its place in the file."""
    metadata: Any
    """The parsed Parquet footer."""
    stamp: tuple[int, int, int]
    """Inode, size and modification time of the file that all this was read from."""

    def groups_of(self, con_ids: Sequence[int]) -> list[int]:
        """Return the row groups that may hold some of the instruments, ascending."""
        ids = np.asarray(con_ids)
        found = np.searchsorted(self.highs, ids)
        inside = found < len(self.highs)
        found, ids = found[inside], ids[inside]
        held: list[int] = np.unique(found[self.lows[found] <= ids]).tolist()
        return held

    def are_alone(self, groups: Sequence[int]) -> bool:
        """Return whether each of the row groups holds one instrument only."""
        return bool((self.lows[groups] == self.highs[groups]).all())


@dataclass(frozen=True, slots=True)
class Share:
    """What one copy answers for."""

    path: Path
    index: CopyIndex
    sessions: tuple[date, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every session of the copy is asked for."""
        return len(self.sessions) == len(self.index.sources)


@dataclass(frozen=True, slots=True)
class Sourced:
    """Where the rows of asked partitions come from."""

    shares: tuple[Share, ...]
    files: tuple[Path, ...]
    is_ordered: bool
    """Whether the rows of the copies and then those of the files, one below the other, ascend by session."""


class MonthCopies:
    """Reads of the month copies of one lakehouse."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._root = str(layout.lakehouse)

    def index(self, table: Table, month: str) -> CopyIndex | None:
        """Return the index of a month's copy, or None where there is no readable one."""
        return _index(self.layout.copy(table, month))

    def divide(self, table: Table, partitions: Iterable[Partition]) -> Sourced:
        """Decide for each partition whether a copy or its own file answers; only files' stats are looked at."""
        months: dict[tuple[int, int], tuple[Path, CopyIndex | None, list[date]]] = {}
        files: dict[date, Path] = {}
        for partition in partitions:
            session = partition.session
            month = session.year, session.month
            if month not in months:
                path = self.layout.copy(table, month_of(session))
                months[month] = path, _index(path), []
            _, index, held = months[month]
            source = index.sources.get(session) if index else None
            if source and source.stands(self._root):
                held.append(session)
            else:
                files[session] = self.layout.file(table, partition)
        shares = [Share(path, index, tuple(days)) for path, index, days in months.values() if index and days]
        order = [day for share in shares for day in share.sessions] + list(files)
        is_ordered = all(one < other for one, other in pairwise(order))
        return Sourced(tuple(shares), tuple(files.values()), is_ordered)

    def read(
        self, table: Table, shares: Sequence[Share], columns: Sequence[str], con_ids: Sequence[int] | None
    ) -> pl.DataFrame:
        """Return the rows that copies answer for, sorted by instrument within each month.

        Raises:
            CorruptCopyError: a copy cannot be decoded, or is another one than the index speaks of: it was replaced or
                removed in between. The session files answer then.
        """
        is_part = not all(share.is_whole for share in shares)
        names = [*columns, *(["session"] if is_part and "session" not in columns else [])]
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(_opened(share)) for share in shares]
            if con_ids is None or len(con_ids) > FEW:
                frame = _scanned(table, shares, streams, names, con_ids)
            else:
                frame = _picked(table, shares, streams, names, con_ids)
        if is_part:
            asked = [day for share in shares for day in share.sessions]
            frame = frame.filter(pl.col("session").is_in(asked))
        return frame.select(columns)


def _index(path: Path) -> CopyIndex | None:
    try:
        stat = path.stat()
        return _load(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the session files answer; `quant lake compact` makes it anew


def _opened(share: Share) -> IO[bytes]:
    """Open a copy, and make sure that it is the one that the index was read from."""
    try:
        stream = share.path.open("rb", buffering=0)
    except OSError as error:
        raise CorruptCopyError(share.path, error.strerror or "it cannot be opened") from None
    stat = os.fstat(stream.fileno())
    if share.index.stamp != (stat.st_ino, stat.st_size, stat.st_mtime_ns):
        stream.close()
        raise CorruptCopyError(share.path, "it was replaced while it was read")
    return stream


def _scanned(
    table: Table,
    shares: Sequence[Share],
    streams: Sequence[IO[bytes]],
    names: Sequence[str],
    con_ids: Sequence[int] | None,
) -> pl.DataFrame:
    try:
        return scan(table, streams, names, of_instruments(con_ids))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptCopyError(shares[0].path, str(error).splitlines()[0][:200]) from error


def _picked(
    table: Table, shares: Sequence[Share], streams: Sequence[IO[bytes]], names: Sequence[str], con_ids: Sequence[int]
) -> pl.DataFrame:
    """Decode just the row groups of some instruments, with footers that were parsed before."""
    import pyarrow as pa

    groups = [share.index.groups_of(con_ids) for share in shares]
    is_alone = all(share.index.are_alone(held) for share, held in zip(shares, groups, strict=True))
    read = [*names, *(["con_id"] if not is_alone and "con_id" not in names else [])]
    tables = [
        _row_groups(share, stream, held, read)
        for share, stream, held in zip(shares, streams, groups, strict=True)
        if held
    ]
    if not tables:
        return table.empty().select(names)
    frame = pl.from_arrow(pa.concat_tables(tables), schema={name: table.schema[name] for name in read})
    assert isinstance(frame, pl.DataFrame)
    return frame if is_alone else frame.filter(pl.col("con_id").is_in(list(con_ids))).select(names)


def _row_groups(share: Share, stream: IO[bytes], groups: list[int], names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream, metadata=share.index.metadata, pre_buffer=False) as file:
            places = [share.index.places[name] for name in names]
            # the reader itself takes places; given names, pyarrow walks the whole schema for each read
            return file.reader.read_row_groups(groups, column_indices=places, use_threads=len(groups) > 1)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CorruptCopyError(share.path, str(error).splitlines()[0][:200]) from error


def has_copies(table: Table) -> bool:
    """Return whether month copies are made of a table: minutes of instruments, derived, a file per session."""
    is_derived = table.partition_by == "session" and not table.append_only and not table.may_be_empty
    return is_derived and table.order[0] == "con_id" and {"session", "ts"} <= set(table.key)


def month_of(session: date) -> str:
    """Return `2024-03`."""
    return f"{session.year:04d}-{session.month:02d}"


@lru_cache(maxsize=512)
def _load(path: str, inode: int, size: int, mtime_ns: int) -> CopyIndex:
    """Parse a copy's footer, once per file: the stat is the key, because a replaced file is another one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - the key of the cache is text
            metadata = pq.read_metadata(stream)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from None
    said = json.loads(metadata.metadata[KEY.encode()])
    groups = np.asarray(said["groups"], dtype=np.int64).reshape(-1, 2)
    return CopyIndex(
        sources={date.fromisoformat(day): Source(**source) for day, source in said["sources"].items()},
        lows=groups[:, 0],
        highs=groups[:, 1],
        places={metadata.schema.column(place).name: place for place in range(metadata.num_columns)},
        metadata=metadata,
        stamp=(inode, size, mtime_ns),
    )
