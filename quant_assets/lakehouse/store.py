"""Where tables live: append-only batches in bronze, one atomic file per partition in silver and gold."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import polars as pl

import quant_assets
from quant_assets.clock import Clock, SystemClock
from quant_assets.control.locks import hold
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptCopyError, CorruptFileError, NotPublishedError, StaleInputsError
from quant_assets.lakehouse.content import combined_id, content_id, set_id
from quant_assets.lakehouse.contents import recall, remember
from quant_assets.lakehouse.copies import FEW, MonthCopies, has_copies
from quant_assets.lakehouse.files import replacing, sweep_staged
from quant_assets.lakehouse.footer import Footer, instant_text, known_range
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.listing import newest_below, partitions_below, sessions_below
from quant_assets.lakehouse.manifest import Manifest
from quant_assets.lakehouse.scanning import of_instruments, read_file, read_files

_ROW_GROUP = 390 * 32
"""Rows per Parquet row group: a US session of 32 instruments, so that reading one of them prunes all the others."""
_ZSTD = 1
"""Compression level: written a quarter faster than at the usual 3, for a twentieth more bytes."""

_COMMIT_WAIT_S = 120.0
_WRITERS = 4
"""Files of one batch that are hashed, compressed and flushed at a time; all of that runs outside Python's lock."""
_PLACE = attrgetter("session", "profile")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StorageReport:
    """What a write did; rows = inserted + updated + unchanged always holds."""

    table: str
    location: str
    partition: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    content_id: str

    def __post_init__(self) -> None:
        assert self.rows == self.inserted + self.updated + self.unchanged


@dataclass(frozen=True, slots=True)
class _Ready:
    """One file that is about to be committed."""

    partition: Partition
    file: Path
    frame: pl.DataFrame
    footer: Footer


class _Store:
    """What both stores share: the layout, manifests, locks, and the atomic commit of one file."""

    def __init__(self, layout: Layout, *, run_id: str = "", clock: Clock | None = None) -> None:
        self.layout, self.run_id = layout, run_id
        self.clock = clock or SystemClock()
        self._manifests: dict[str, Manifest] = {}

    def manifest(self, table: Table) -> Manifest:
        """Return the manifest of a table."""
        if table.name not in self._manifests:
            self._manifests[table.name] = Manifest(self.layout.manifest(table), self.layout.lakehouse)
        return self._manifests[table.name]

    def partitions(self, table: Table) -> list[Partition]:
        """Return the partitions that hold at least one file, ascending."""
        return sorted(partitions_below(self.layout.table(table)))

    def sessions(self, table: Table) -> list[date]:
        """Return the sessions (or vintages) that have a directory, ascending; it may hold no file, none is opened."""
        return sessions_below(self.layout.table(table))

    def newest(self, table: Table, until: date | None = None) -> Partition | None:
        """Return the newest partition, up to a session if one is given; older ones cost nothing, however many."""
        return newest_below(self.layout.table(table), until)

    def reindex(self, table: Table) -> int:
        """Rebuild a table's manifest from the footers of its files; returns how many there are.

        Raises:
            CorruptFileError: a file's footer cannot be read.
        """
        with self._lock(table):
            files = self.layout.table(table).glob("*=*/**/[!.]*.parquet")
            return self.manifest(table).rebuild(files, self._now())

    def _commit(self, table: Table, files: Sequence[_Ready]) -> None:
        """Put files in place, each by a rename of its own; called under the table's lock."""
        _at_once(_write, files)
        self.manifest(table).append([(one.file, one.footer) for one in files], self._now())

    def _now(self) -> str:
        return self.clock.now().isoformat()

    def _lock(self, table: Table) -> AbstractContextManager[object]:
        return hold(f"{table.name}.commit", self.layout.locks, wait_s=_COMMIT_WAIT_S, owner={"run": self.run_id})


class CuratedStore(_Store):
    """Silver and gold: one file per partition, replaced atomically, never rewritten with equal content."""

    @cached_property
    def copies(self) -> MonthCopies:
        """Month copies, which `read_many` prefers while they are current."""
        return MonthCopies(self.layout)

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition, or None when nothing is published."""
        return self.manifest(table).lookup(self.layout.file(table, partition))

    def exists(self, table: Table, partition: Partition) -> bool:
        """Return whether a partition is published."""
        return self.layout.file(table, partition).is_file()

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return one published partition.

        Raises:
            NotPublishedError: it does not exist.
            CorruptFileError: it cannot be read.
        """
        try:
            return read_file(table, self.layout.file(table, partition), columns)
        except FileNotFoundError:
            raise NotPublishedError(table.name, partition.key, _materialize(table, partition)) from None

    def read_many(
        self,
        table: Table,
        partitions: Iterable[Partition],
        columns: Sequence[str] | None = None,
        con_ids: Sequence[int] | None = None,
        *,
        in_order: bool = True,
    ) -> pl.DataFrame:
        """Return those of the given partitions that are published, one below the other.

        A month copy answers for the sessions whose files are still the ones that it was made from; otherwise the
        files are read. Either way only the row groups of the asked instruments and the asked columns are decoded.

        Args:
            table: declaration.
            partitions: what is asked for; they are answered in ascending order.
            columns: names to read; all when None.
            con_ids: instruments to read; all when None, none when empty.
            in_order: rows come in the order of the partitions' files. False saves a sort when many instruments are
                read: the rows of one instrument ascend in time, and nothing else is promised.

        Raises:
            CorruptFileError: names the file that cannot be read.
        """
        names, asked = list(columns or table.schema.names()), sorted(dict.fromkeys(partitions), key=_PLACE)
        if con_ids is not None and not con_ids:
            return table.empty().select(names)
        where = of_instruments(con_ids)
        is_wide = con_ids is None or len(con_ids) > FEW  # to sort them all takes longer than to read files in order
        if not has_copies(table) or len(asked) <= 1 or (in_order and is_wide):
            return read_files(table, [self.layout.file(table, one) for one in asked], names, where)
        try:
            return self._with_copies(table, asked, names, con_ids, in_order=in_order)
        except CorruptCopyError as error:
            _log.warning("%s The session files are read instead.", error)
            return read_files(table, [self.layout.file(table, one) for one in asked], names, where)

    def _with_copies(
        self,
        table: Table,
        asked: Sequence[Partition],
        names: Sequence[str],
        con_ids: Sequence[int] | None,
        *,
        in_order: bool,
    ) -> pl.DataFrame:
        sourced = self.copies.divide(table, asked)
        if not sourced.shares:
            return read_files(table, sourced.files, names, of_instruments(con_ids))
        n_asked = 2 if con_ids is None else len(set(con_ids))
        must_sort = not sourced.is_ordered or (in_order and n_asked > 1)
        read = [*names, *(["session"] if must_sort and "session" not in names else [])]
        parts = [self.copies.read(table, sourced.shares, read, con_ids)]
        if sourced.files:
            parts.append(read_files(table, sourced.files, read, of_instruments(con_ids)))
        frame = pl.concat(parts) if len(parts) > 1 else parts[0]
        # each session comes from one source, and is sorted in it: a stable sort by session is the order of the files
        return frame.sort("session", maintain_order=True).select(names) if must_sort else frame

    def write(
        self,
        table: Table,
        partition: Partition,
        frame: pl.DataFrame,
        *,
        inputs: Mapping[str, str] | None = None,
        watermark: str = "",
        warnings: Mapping[str, str] | None = None,
    ) -> StorageReport:
        """Commit one partition, unless its content already stands.

        Args:
            table: declaration; the frame must have its shape.
            partition: where it goes.
            frame: the whole partition.
            inputs: input name → content id that the frame was computed from.
            watermark: newest knowledge time among the inputs, ISO 8601 UTC.
            warnings: check that did not pass and does not block → what it said.

        Raises:
            ShapeError: the frame differs from the declaration.
            StaleInputsError: what stands was computed from newer inputs.
            DiskFullError: no space; what stood before still stands.
        """
        ready, watermark = table.conform(frame), instant_text(watermark)
        file = self.layout.file(table, partition)
        footer = Footer(
            table=table.name,
            partition=partition.key,
            content_id=content_id(ready, table.content_columns, table.key),
            n_rows=ready.height,
            inputs=dict(inputs or {}),
            watermark=watermark,
            run_id=self.run_id,
            version=quant_assets.__version__,
            warnings=dict(warnings or {}),
            **known_range(ready),
        )
        with self._lock(table):
            standing = self._standing(table, partition)
            if standing and instant_text(standing.watermark) > watermark:
                raise StaleInputsError(table.name, partition.key, standing.watermark, watermark or "unknown")
            if standing and standing.content_id == footer.content_id:
                if (confirmed := standing.confirmed_by(footer)) != standing:
                    self.manifest(table).append([(file, confirmed)], self._now())
                return self._report(table, partition, footer, unchanged=ready.height)
            before = self._readable(table, partition) if standing else None
            self._commit(table, [_Ready(partition, file, ready, footer)])
        return self._compared(table, partition, footer, before, ready)

    def _standing(self, table: Table, partition: Partition) -> Footer | None:
        """Return the footer that stands; a corrupt derived file is replaced, for it can be recomputed."""
        try:
            return self.footer(table, partition)
        except CorruptFileError:
            return None

    def _readable(self, table: Table, partition: Partition) -> pl.DataFrame | None:
        try:
            return self.read(table, partition)
        except CorruptFileError:
            return None

    def _compared(
        self, table: Table, partition: Partition, footer: Footer, before: pl.DataFrame | None, after: pl.DataFrame
    ) -> StorageReport:
        """Count rows by fate: the key is new, the key stood with other values, or nothing changed."""
        if before is None or before.is_empty():
            return self._report(table, partition, footer, inserted=after.height)
        known, same = _known_and_same(table, before, after)
        return self._report(
            table, partition, footer, inserted=after.height - known, updated=known - same, unchanged=same
        )

    def _report(
        self,
        table: Table,
        partition: Partition,
        footer: Footer,
        *,
        inserted: int = 0,
        updated: int = 0,
        unchanged: int = 0,
    ) -> StorageReport:
        return StorageReport(
            table=table.name,
            location=self.layout.relative(self.layout.file(table, partition)),
            partition=partition.key,
            rows=inserted + updated + unchanged,
            inserted=inserted,
            updated=updated,
            unchanged=unchanged,
            content_id=footer.content_id,
        )


class RawStore(_Store):
    """Bronze: immutable batch files. Nothing is ever overwritten; a re-fetch adds a newer batch."""

    def batches(self, table: Table, partition: Partition) -> list[Path]:
        """Return the batch files of a partition."""
        return sorted(self.layout.directory(table, partition).glob("[!.]*.parquet"))

    def append(self, table: Table, partition: Partition, frame: pl.DataFrame, batch_id: str) -> StorageReport:
        """Commit one batch of one partition; see `append_all`."""
        (report,) = self.append_all(table, {partition: frame}, batch_id)
        return report

    def append_all(
        self, table: Table, frames: Mapping[Partition, pl.DataFrame], batch_id: str
    ) -> tuple[StorageReport, ...]:
        """Commit one batch that speaks of several partitions: a file in each, all under one hold of the lock.

        Each file is a commit of its own. A process that dies on the way leaves some of them, all whole.

        Raises:
            ShapeError: a frame differs from the declaration; nothing was added.
            FileExistsError: this batch id is taken in one of the partitions; nothing was added.
            DiskFullError: no space; files of other partitions may have been added.
        """
        if not frames:
            return ()
        files = _at_once(lambda item: self._ready(table, *item, batch_id), frames.items())
        with self._lock(table):
            if taken := next((one.file for one in files if one.file.exists()), None):
                raise FileExistsError(f"{taken} exists, and bronze is never overwritten")
            self._commit(table, files)
        return tuple(self._added(table, one) for one in files)

    def _ready(self, table: Table, partition: Partition, frame: pl.DataFrame, batch_id: str) -> _Ready:
        ready = table.conform(frame)
        footer = Footer(
            table=table.name,
            partition=partition.key,
            content_id=_said(ready, table),
            n_rows=ready.height,
            run_id=self.run_id,
            version=quant_assets.__version__,
            **known_range(ready),
        )
        return _Ready(partition, self.layout.batch(table, partition, batch_id), ready, footer)

    def _added(self, table: Table, one: _Ready) -> StorageReport:
        n, where = one.footer.n_rows, self.layout.relative(one.file)
        return StorageReport(table.name, where, one.partition.key, n, n, 0, 0, one.footer.content_id)

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return all batches of a partition, one below the other; no batch gives an empty frame.

        Raises:
            CorruptFileError: a batch cannot be read.
        """
        frames = [read_file(table, file, columns) for file in self.batches(table, partition)]
        return pl.concat(frames) if frames else table.empty().select(columns or pl.all())

    def n_rows(self, table: Table, partition: Partition) -> int:
        """Return how many rows all batches of a partition have; only footers are read."""
        footers = (self.manifest(table).lookup(file) for file in self.batches(table, partition))
        return sum(footer.n_rows for footer in footers if footer)

    def content_id(self, table: Table, partition: Partition) -> str:
        """Return one id for all that a partition says, however it is cut into batches.

        Equal rows that arrived twice count once, so that a rerun after a crash equals an undisturbed run.
        """
        files = self.batches(table, partition)
        if len(files) == 1 and (footer := self.manifest(table).lookup(files[0])):
            return footer.content_id
        if not files:
            return _said(table.empty(), table)
        if known := recall(self.layout, table, partition, files):
            return known
        said = _said(self.read(table, partition, table.content_columns), table)
        if self.batches(table, partition) == files:
            remember(self.layout, table, partition, files, said)
        return said

    def input_id(self, table: Table, partition: Partition) -> str:
        """Return an id of the exact set of batches, cheap to compute: it changes whenever a batch is added."""
        return combined_id(file.name for file in self.batches(table, partition))

    def watermark(self, table: Table, partition: Partition) -> str:
        """Return the newest ingestion time in a partition, ISO 8601; empty when there is no batch."""
        footers = (self.manifest(table).lookup(file) for file in self.batches(table, partition))
        return max((instant_text(footer.known_until) for footer in footers if footer), default="")


@dataclass(frozen=True)
class Lakehouse:
    """The stores of one data directory, as one value to hand around."""

    layout: Layout
    run_id: str = ""
    clock: Clock | None = None

    @cached_property
    def raw(self) -> RawStore:
        """Bronze."""
        return RawStore(self.layout, run_id=self.run_id, clock=self.clock)

    @cached_property
    def curated(self) -> CuratedStore:
        """Silver, gold and discovery."""
        return CuratedStore(self.layout, run_id=self.run_id, clock=self.clock)


def _known_and_same(table: Table, before: pl.DataFrame, after: pl.DataFrame) -> tuple[int, int]:
    """Count the rows whose key stood before, and those of them whose content did; places tell when the keys agree."""
    key, content = list(table.key), list(table.content_columns)
    if before.select(key).equals(after.select(key)):
        old = before.select(pl.col(name).alias(f"_{name}") for name in content)
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"_{name}")) for name in content)
        return after.height, after.hstack(old).select(same.sum()).item()
    known = after.join(before.select(key), on=key, how="semi", nulls_equal=True).height
    return known, after.join(before.select(content), on=content, how="semi", nulls_equal=True).height


T = TypeVar("T")
R = TypeVar("R")


def _at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what each item comes to, several at a time."""
    given = list(items)
    if len(given) <= 1:
        return [work(item) for item in given]
    with ThreadPoolExecutor(min(_WRITERS, len(given))) as workers:
        return list(workers.map(work, given))


def _write(one: _Ready) -> None:
    sweep_staged(one.file.parent)
    with replacing(one.file) as staged:
        one.frame.write_parquet(
            staged,
            compression="zstd",
            compression_level=_ZSTD,
            row_group_size=_ROW_GROUP,
            statistics=True,
            metadata=one.footer.to_metadata(),
        )


def _said(frame: pl.DataFrame, table: Table) -> str:
    return set_id(frame, table.content_columns)


def _materialize(table: Table, partition: Partition) -> str:
    return (
        f"Run `dagster asset materialize -m quant_assets.definitions --select {table.producer} "
        f"--partition '{partition.key}'`, or `quant flow {'alpha' if partition.profile else 'data'}`."
    )
