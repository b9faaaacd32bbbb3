"""What both stores share: the layout, manifests, locks, and the atomic commit of files."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.files import replacing, sweep_staged
from quant_assets.control.locks import hold
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.aside import make_way
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.listing import newest_below, partitions_below, sessions_below
from quant_assets.lakehouse.manifest import Manifest

_ROW_GROUP = 390 * 32
"""Rows per Parquet row group: a US session of 32 instruments, so that reading one of them prunes all the others."""
_ZSTD = 1
"""Compression level: written a quarter faster than at the usual 3, for a twentieth more bytes."""

_COMMIT_WAIT_S = 120.0
_WRITERS = 4
"""Files of one batch that are hashed, compressed and flushed at a time; all of that runs outside Python's lock."""

T = TypeVar("T")
R = TypeVar("R")


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
class Ready:
    """One file that is about to be committed."""

    partition: Partition
    file: Path
    frame: pl.DataFrame
    footer: Footer


class Store:
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

    def damaged_manifest(self, table: Table) -> CorruptFileError | None:
        """Return what is wrong with a table's manifest; the footers of the files answer from then on if anything is."""
        try:
            self.manifest(table).entries()
        except CorruptFileError as error:
            path = self.layout.manifest(table)
            self._manifests[table.name] = Manifest(path.with_suffix(".ignored"), self.layout.lakehouse)
            return error
        return None

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
            make_way(self.layout, self.layout.manifest(table), self.clock.now())
            files = self.layout.table(table).glob("*=*/**/[!.]*.parquet")
            return self.manifest(table).rebuild(files, self._now())

    def _commit(self, table: Table, files: Sequence[Ready]) -> None:
        """Put files in place, each by a rename of its own; called under the table's lock."""
        for one in files:
            make_way(self.layout, one.file, self.clock.now())
        at_once(_write, files)
        self.manifest(table).append([(one.file, one.footer) for one in files], self._now())

    def _in_place(self, table: Table, files: Iterable[Path]) -> None:
        """Make sure that no file is that of another partition; only files that changed since the commit are opened.

        Raises:
            CorruptFileError: names the file that is, or that no store has written.
        """
        manifest = self.manifest(table)
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                if not _is_committed(manifest, file):
                    manifest.footer_of(file)

    def _now(self) -> str:
        return self.clock.now().isoformat()

    def _lock(self, table: Table) -> AbstractContextManager[object]:
        return hold(f"{table.name}.commit", self.layout.locks, wait_s=_COMMIT_WAIT_S, owner={"run": self.run_id})


def at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what each item comes to, several at a time."""
    given = list(items)
    if len(given) <= 1:
        return [work(item) for item in given]
    with ThreadPoolExecutor(min(_WRITERS, len(given))) as workers:
        return list(workers.map(work, given))


def _is_committed(manifest: Manifest, file: Path) -> bool:
    try:
        return manifest.describes(file)
    except CorruptFileError:
        return False  # the manifest is damaged: the file answers for itself


def _write(one: Ready) -> None:
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
