"""Bronze: append-only batches."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

import quant_assets
from quant_assets.clock import Clock
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.content import combined_id, set_id
from quant_assets.lakehouse.contents import recall, remember
from quant_assets.lakehouse.footer import Footer, instant_text, known_range, read_footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.listing import stamp
from quant_assets.lakehouse.scanning import read_file
from quant_assets.lakehouse.store.base import Ready, StorageReport, Store, at_once

OnGone = Callable[[Table, Partition, Sequence[str]], None]
"""Is told of a partition whose batches were committed and are not there, before another one is added to it."""


class RawStore(Store):
    """Bronze: immutable batch files. Nothing is ever overwritten; a re-fetch adds a newer batch."""

    def __init__(
        self, layout: Layout, *, run_id: str = "", clock: Clock | None = None, on_gone: OnGone | None = None
    ) -> None:
        super().__init__(layout, run_id=run_id, clock=clock)
        self.on_gone = on_gone
        self._looked: set[tuple[str, Partition]] = set()
        self._told: set[str] = set()
        self._lineages: dict[str, tuple[object, dict[date, str]]] = {}

    def batches(self, table: Table, partition: Partition) -> list[Path]:
        """Return the batch files of a partition."""
        directory = self.layout.directory(table, partition)
        return [directory / name for name in self.batch_names(table, partition)]

    def batch_names(self, table: Table, partition: Partition) -> list[str]:
        """Return the names of the batch files of a partition, ascending."""
        try:
            names = os.listdir(self.layout.directory(table, partition))  # noqa: PTH208 - asked of thousands of sessions
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if name.endswith(".parquet") and not name.startswith("."))

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
        new = [partition for partition in frames if (table.name, partition) not in self._looked]
        self._tell_of_gone(table, new)
        files = at_once(lambda item: self._prepared(table, *item, batch_id), frames.items())
        with self._lock(table):
            if taken := next((one.file for one in files if one.file.exists()), None):
                raise FileExistsError(f"{taken} exists, and bronze is never overwritten")
            self._commit(table, files)
            self._index_strays(table, new)
        return tuple(self._added(table, one) for one in files)

    def _index_strays(self, table: Table, partitions: Iterable[Partition]) -> None:
        """Write the lines that killed writers did not get to: without its line nobody misses a batch that is lost.

        Called under the table's lock. A batch that has a line keeps that one alone, whatever stands there by now.
        """
        manifest, strays = self.manifest(table), []
        for file in (file for one in partitions for file in self.batches(table, one)):
            with contextlib.suppress(CorruptFileError):  # of the manifest, or of the batch: the data audit names either
                if manifest.remembered(file) is None and not manifest.is_foreign(file):
                    strays.append((file, read_footer(file)))
        if strays:
            manifest.append(strays, self._now())

    def retire(self, table: Table, partition: Partition, files: Collection[Path], *, tells: bool = True) -> None:
        """Remove batches whose rows stand elsewhere by now, and have the manifest forget them: they are no loss.

        Batches of the partition that are not there are told of, and forgotten, too. The manifest comes first, so that
        a process that dies in between leaves files that nobody misses later.

        Args:
            table: declaration.
            partition: of the files.
            files: what to remove.
            tells: False where what is not there is known to stand elsewhere.

        Raises:
            LockHeldError: somebody writes the table for longer than two minutes.
        """
        if tells:
            self._tell(table, partition)
        with self._lock(table):
            with contextlib.suppress(CorruptFileError):
                self.manifest(table).forget(self._below(table, partition), files)
            for file in files:
                file.unlink(missing_ok=True)

    def _tell_of_gone(self, table: Table, partitions: Iterable[Partition]) -> None:
        """Look for batches that were committed and are not there: what they said is lost."""
        for partition in partitions:
            self._looked.add((table.name, partition))
            self._tell(table, partition)

    def _tell(self, table: Table, partition: Partition) -> None:
        if self.on_gone:
            with contextlib.suppress(CorruptFileError):  # a manifest is only an index; the data audit names it
                gone = [one.path for one in self.manifest(table).gone(self._below(table, partition))]
                if new := [path for path in gone if path not in self._told]:
                    self._told.update(new)
                    self.on_gone(table, partition, new)

    def _below(self, table: Table, partition: Partition) -> str:
        return f"{self.layout.directory(table, partition).relative_to(self.layout.lakehouse).as_posix()}/"

    def _prepared(self, table: Table, partition: Partition, frame: pl.DataFrame, batch_id: str) -> Ready:
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
        return Ready(partition, self.layout.batch(table, partition, batch_id), ready, footer)

    def _added(self, table: Table, one: Ready) -> StorageReport:
        n, where = one.footer.n_rows, self.layout.relative(one.file)
        return StorageReport(table.name, where, one.partition.key, n, n, 0, 0, one.footer.content_id)

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return all batches of a partition, one below the other; no batch gives an empty frame.

        Raises:
            CorruptFileError: a batch cannot be read, or is one of another partition.
        """
        files = self.batches(table, partition)
        self._in_place(table, files)
        frames = [read_file(table, file, columns) for file in files]
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

    def lineage(self, table: Table) -> Mapping[date, str]:
        """Return, for each session that has batches, an id of the exact set of batches up to it.

        It changes whenever a batch is added, however old the session that it speaks of: what is folded over the whole
        history is made anew by that.
        """
        marks = stamp(self.layout.manifest(table)), stamp(self.layout.table(table))
        known = self._lineages.get(table.name)
        if known is None or known[0] != marks:
            known = self._lineages[table.name] = marks, self._chained(table)
        return known[1]

    def _chained(self, table: Table) -> dict[date, str]:
        said, ids = hashlib.sha256(), {}
        for session in self.sessions(table):
            if names := self.batch_names(table, Partition(session)):
                said.update("".join(f"{session}/{name}\n" for name in names).encode())
                ids[session] = said.hexdigest()
        return ids

    def watermark(self, table: Table, partition: Partition) -> str:
        """Return the newest ingestion time in a partition, ISO 8601; empty when there is no batch."""
        footers = (self.manifest(table).lookup(file) for file in self.batches(table, partition))
        return max((instant_text(footer.known_until) for footer in footers if footer), default="")


def _said(frame: pl.DataFrame, table: Table) -> str:
    return set_id(frame, table.content_columns)
