"""Month copies: one file per table and month, sorted by instrument, from which research reads are answered.

A session file is what is written and checked; a month copy holds the same rows in the order in which research asks for
them, so that a month of one instrument is one row group and not twenty-one files. It is never the only copy. It tells
in its footer which session files it was made from, and each session is served from it only while that very file
stands; of any other session, the file itself is read. A note beside it tells which file was made and proven: a copy
that was rewritten since answers for nothing.
"""

import contextlib
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from quant_assets.control.files import write_text
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptCopyError, CorruptFileError
from quant_assets.lakehouse.footer import read_footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.pages import Chunk, Stretch, chunk_of, read_plain
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
            stat = (Path(root) / self.path).stat()
        except OSError:
            return False
        return self.was(stat.st_size, stat.st_mtime_ns) or self._is_equal(root)

    def was(self, size: int | None, mtime_ns: int | None) -> bool:
        """Return whether the file that was copied had this size and time."""
        return size == self.bytes and mtime_ns == self.mtime_ns

    def _is_equal(self, root: str) -> bool:
        """Return whether another file says that it holds the same, as one does that was restored from a backup."""
        try:
            return read_footer(Path(root) / self.path).content_id == self.content_id
        except (CorruptFileError, FileNotFoundError):
            return False


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one instrument: so many of a row group, from a row of it on."""

    group: int
    start: int
    rows: int


@dataclass(frozen=True)
class CopyIndex:
    """What a copy's footer says: its sources by session, and where the rows of each instrument are."""

    sources: Mapping[date, Source]
    runs: Mapping[int, Run]
    """con_id → where its rows are."""
    places: Mapping[str, int]
    """Column name → its place in the file."""
    types: Mapping[str, Any]
    """Column name → its Arrow type."""
    metadata: Any
    """The parsed Parquet footer."""
    stamp: tuple[int, int, int]
    """Inode, size and modification time of the file that all this was read from."""
    _chunks: dict[tuple[int, tuple[str, ...]], tuple[Chunk | None, ...]] = field(default_factory=dict)

    def runs_of(self, con_ids: Sequence[int]) -> list[Run]:
        """Return where the rows of some instruments are, ascending by instrument."""
        return [self.runs[one] for one in sorted(set(con_ids)) if one in self.runs]

    def chunks(self, descriptor: int, group: int, names: tuple[str, ...]) -> tuple[Chunk | None, ...]:
        """Return where the values of each column of a row group lie, or None for one that has to be decoded.

        Raises:
            KeyError: the copy has no such column.
        """
        known = self._chunks.get((group, names))
        if known is None:
            known = tuple(chunk_of(self.metadata, group, self.places[name], descriptor) for name in names)
            self._chunks[group, names] = known
        return known


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
        self._paths: dict[tuple[str, int, int], Path] = {}

    def index(self, table: Table, month: str) -> CopyIndex | None:
        """Return the index of a month's copy, or None where there is no readable one."""
        return _index(self.layout.copy(table, month))

    def divide(self, table: Table, partitions: Iterable[Partition]) -> Sourced:
        """Decide for each partition whether a copy or its own file answers; only files' stats are looked at."""
        asked = list(partitions)
        claimed = self.claimed(table, asked)
        changed = self.changed(claimed)
        return self.claimed(table, asked, changed) if changed else claimed

    def claimed(self, table: Table, partitions: Iterable[Partition], but: Container[date] = ()) -> Sourced:
        """Let the copies answer for every session that they were made from.

        Whether its file is still the one that was copied has to be looked at (`changed`), before or after the read.

        Args:
            table: whose copies.
            partitions: what is asked for.
            but: sessions for which their own files answer.
        """
        shares: list[Share] = []
        files: dict[date, Path] = {}
        for _, asked in groupby(partitions, lambda one: (one.session.year, one.session.month)):
            month = list(asked)
            path = self._path(table, month[0].session)
            index = _index(path)
            copied = index.sources if index else {}
            held = [one.session for one in month if one.session in copied and one.session not in but]
            if index and held:
                shares.append(Share(path, index, tuple(held)))
            if len(held) < len(month):
                files |= {one.session: self.layout.file(table, one) for one in month if one.session not in held}
        order = [day for share in shares for day in share.sessions] + list(files)
        is_ordered = all(one < other for one, other in pairwise(order))
        return Sourced(tuple(shares), tuple(files.values()), is_ordered)

    def changed(self, sourced: Sourced) -> set[date]:
        """Return the sessions whose file is not the one any more whose rows a copy holds."""
        from pyarrow import fs

        root = str(self.layout.lakehouse.absolute())  # Arrow takes a relative `lake:v2/…` for a URI
        held = [(day, share.index.sources[day]) for share in sourced.shares for day in share.sessions]
        try:  # a year of sessions with one call, during which other threads run
            found = fs.LocalFileSystem().get_file_info([f"{root}/{source.path}" for _, source in held])
        except OSError:
            return {day for day, source in held if not source.stands(root)}
        unlike = [one for one, info in zip(held, found, strict=True) if not one[1].was(info.size, info.mtime_ns)]
        return {day for day, source in unlike if not source.stands(root)}

    def _path(self, table: Table, session: date) -> Path:
        month = table.name, session.year, session.month
        if month not in self._paths:
            self._paths[month] = self.layout.copy(table, month_of(session))
        return self._paths[month]

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
        return frame.select(columns) if frame.columns != list(columns) else frame


def _index(path: Path) -> CopyIndex | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a path of pathlib takes as long as the question itself
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
    """Read just the rows of some instruments, with footers that were parsed before."""
    found = [
        (share, stream, runs)
        for share, stream in zip(shares, streams, strict=True)
        if (runs := share.index.runs_of(con_ids))
    ]
    if not found:
        return table.empty().select(names)
    plain = _plain_names(found, tuple(names))
    others = [name for name in names if name not in plain]
    parts = [_plain(found, plain)] if plain else []
    parts += [_decoded(table, found, others)] if others else []
    return parts[0] if len(parts) == 1 else parts[0].hstack(parts[1].get_columns()).select(names)


_Found = Sequence[tuple[Share, IO[bytes], Sequence[Run]]]
"""Copies, their open files, and the rows that are read of each."""


def _plain_names(found: _Found, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that need no decoding in any of the row groups.

    Raises:
        CorruptCopyError: a copy lacks a column.
    """
    decoded: set[str] = set()
    for share, stream, runs in found:
        try:
            laid = [share.index.chunks(stream.fileno(), run.group, names) for run in runs]
        except KeyError as error:
            raise CorruptCopyError(share.path, f"it has no column {error}") from None
        for chunks in laid:
            if None in chunks:
                decoded |= {name for name, chunk in zip(names, chunks, strict=True) if chunk is None}
    return tuple(name for name in names if name not in decoded) if decoded else names


def _plain(found: _Found, names: tuple[str, ...]) -> pl.DataFrame:
    """Read columns that need no decoding."""
    stretches = []
    for share, stream, runs in found:
        descriptor, path, index = stream.fileno(), share.path, share.index
        for run in runs:
            chunks = cast("tuple[Chunk, ...]", index.chunks(descriptor, run.group, names))
            stretches.append(Stretch(descriptor, path, chunks, run.start, run.rows))
    types = found[0][0].index.types
    return read_plain(stretches, names, [types[name] for name in names])


def _decoded(table: Table, found: _Found, names: Sequence[str]) -> pl.DataFrame:
    """Read columns through a Parquet reader: whole row groups, and of them the rows of the runs."""
    import pyarrow as pa

    pieces = []
    for share, stream, runs in found:
        groups = sorted({run.group for run in runs})
        sizes = [share.index.metadata.row_group(group).num_rows for group in groups]
        starts = dict(zip(groups, accumulate(sizes, initial=0), strict=False))
        rows = _row_groups(share, stream, groups, names)
        pieces += [rows.slice(starts[run.group] + run.start, run.rows) for run in runs]
    frame = pl.from_arrow(pa.concat_tables(pieces), schema={name: table.schema[name] for name in names})
    assert isinstance(frame, pl.DataFrame)
    return frame


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


def note_of(copy: Path) -> Path:
    """Return where it is told which copy was proven."""
    return copy.with_suffix(".json")


def is_proven(copy: Path, size: int, mtime_ns: int) -> bool:
    """Return whether a copy of this size and time is the one that was made and proven."""
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads(note_of(copy).read_text(encoding="utf-8")) == _noted(size, mtime_ns))
    return False


def note_proven(copy: Path, proven: Path) -> None:
    """Tell that a file was proven, which takes the place of a copy next; until then, session files answer."""
    stat = proven.stat()
    write_text(note_of(copy), json.dumps(_noted(stat.st_size, stat.st_mtime_ns)) + "\n")


def _noted(size: int, mtime_ns: int) -> dict[str, int]:
    return {"bytes": size, "mtime_ns": mtime_ns}


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

    if not is_proven(Path(path), size, mtime_ns):
        raise ValueError(f"{path} is not the copy that was proven")
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - the key of the cache is text
            metadata = pq.read_metadata(stream)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from None
    said = json.loads(metadata.metadata[KEY.encode()])
    schema = metadata.schema.to_arrow_schema()
    return CopyIndex(
        sources={date.fromisoformat(day): Source(**source) for day, source in said["sources"].items()},
        runs=_runs(said["instruments"]),
        places={name: place for place, name in enumerate(schema.names)},
        types={one.name: one.type for one in schema},
        metadata=metadata,
        stamp=(inode, size, mtime_ns),
    )


def _runs(groups: Sequence[Sequence[tuple[int, int]]]) -> dict[int, Run]:
    """Return where instruments are, from the (con_id, rows) of each row group."""
    runs: dict[int, Run] = {}
    for group, held in enumerate(groups):
        starts = accumulate((rows for _, rows in held), initial=0)
        runs |= {con_id: Run(group, start, rows) for (con_id, rows), start in zip(held, starts, strict=False)}
    return runs
