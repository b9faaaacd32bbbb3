"""Silver and gold: one atomic file per partition."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import cache, cached_property, partial, reduce
from operator import and_
from pathlib import Path

import polars as pl

import quant_assets
from quant_assets.domain.tables import CANDIDATES, Table
from quant_assets.errors import CorruptCopyError, CorruptFileError, NotPublishedError, StaleInputsError
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.copies import FEW, MonthCopies, Sourced, has_copies
from quant_assets.lakehouse.footer import Footer, instant_text, known_range
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.proof import proved
from quant_assets.lakehouse.scanning import of_instruments, read_file, read_files
from quant_assets.lakehouse.store.base import Ready, StorageReport, Store

_SOON = 64
"""Whether copies are current is looked at while they are read; for so few sessions that is not worth a thread."""
_log = logging.getLogger(__name__)


class CuratedStore(Store):
    """Silver and gold: one file per partition, replaced atomically, never rewritten with equal content."""

    @cached_property
    def copies(self) -> MonthCopies:
        """Month copies, which `read_many` prefers while they are current."""
        return MonthCopies(self.layout)

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition, or None when nothing is published."""
        return self.manifest(table).lookup(self.layout.file(table, partition))

    def proved_footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition; rows are hashed where the file is not the one that was committed.

        Size and time tell that, which costs nothing; a file with equal rows stands, wherever it comes from.

        Raises:
            CorruptFileError: it cannot be read, or its rows are not what its footer says.
        """
        try:
            return proved(table, self.layout.file(table, partition), self.manifest(table))
        except FileNotFoundError:
            return None

    def indexed_footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition, proved, and described by the manifest from then on.

        A writer that died between the rename and its line left a file that would be hashed by every look at it, and
        that the catalog counts as what stood before.

        Raises:
            CorruptFileError: see `proved_footer`.
            DiskFullError: there is no space for the line.
        """
        footer = self.proved_footer(table, partition)
        if footer and not self._is_indexed(table, partition):
            with self._lock(table):
                footer = self.proved_footer(table, partition)
                if footer and not self._is_indexed(table, partition):
                    self.manifest(table).append([(self.layout.file(table, partition), footer)], self._now())
        return footer

    def _is_indexed(self, table: Table, partition: Partition) -> bool:
        try:
            return self.manifest(table).describes(self.layout.file(table, partition))
        except FileNotFoundError:
            return False

    def exists(self, table: Table, partition: Partition) -> bool:
        """Return whether a partition is published."""
        return self.layout.file(table, partition).is_file()

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return one published partition.

        Raises:
            NotPublishedError: it does not exist.
            CorruptFileError: it cannot be read, or is the file of another partition.
        """
        file = self.layout.file(table, partition)
        self._in_place(table, [file])
        try:
            return read_file(table, file, columns)
        except FileNotFoundError:
            raise NotPublishedError(table.name, partition.key, _materialize(table, partition)) from None

    def read_standing(self, table: Table, partition: Partition) -> tuple[pl.DataFrame, Footer]:
        """Return one published partition and what is known of it, both of the same content.

        Raises:
            NotPublishedError: it does not exist.
            CorruptFileError: see `read`.
        """
        before = self.footer(table, partition)
        while True:  # each further turn takes another commit by somebody else
            frame, after = self.read(table, partition), self.footer(table, partition)
            if before and after and before.content_id == after.content_id:
                return frame, after
            before = after

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
            CorruptFileError: names the file that cannot be read, or is that of another partition.
        """
        names, asked = list(columns or table.schema.names()), sorted(set(partitions))
        if con_ids is not None and not con_ids:
            return table.empty().select(names)
        where = of_instruments(con_ids)
        is_wide = con_ids is None or len(con_ids) > FEW  # to sort them all takes longer than to read files in order
        if not has_copies(table) or len(asked) <= 1 or (in_order and is_wide):
            return self._files(table, [self.layout.file(table, one) for one in asked], names, where)
        try:
            return self._with_copies(table, asked, names, con_ids, in_order=in_order)
        except CorruptCopyError as error:
            _log.warning("%s The session files are read instead.", error)
            return self._files(table, [self.layout.file(table, one) for one in asked], names, where)

    def _files(self, table: Table, files: Sequence[Path], names: Sequence[str], where: pl.Expr | None) -> pl.DataFrame:
        self._in_place(table, files)
        return read_files(table, files, names, where)

    def _with_copies(
        self,
        table: Table,
        asked: Sequence[Partition],
        names: Sequence[str],
        con_ids: Sequence[int] | None,
        *,
        in_order: bool,
    ) -> pl.DataFrame:
        if len(asked) <= _SOON:
            return self._sourced(table, self.copies.divide(table, asked), names, con_ids, in_order=in_order)
        claimed = self.copies.claimed(table, asked)
        look = self._look(claimed)
        frame = self._sourced(table, claimed, names, con_ids, in_order=in_order)
        if changed := look():
            current = self.copies.claimed(table, asked, changed)
            return self._sourced(table, current, names, con_ids, in_order=in_order)
        return frame

    def _look(self, claimed: Sourced) -> Callable[[], set[date]]:
        """Begin to look which copied sessions have changed; what is returned waits for the answer.

        Where no thread can be had, as after the end of the main one, the answer is looked for when it is asked.
        """
        try:
            return _beside(os.getpid()).submit(self.copies.changed, claimed).result
        except RuntimeError:
            return partial(self.copies.changed, claimed)

    def _sourced(
        self, table: Table, sourced: Sourced, names: Sequence[str], con_ids: Sequence[int] | None, *, in_order: bool
    ) -> pl.DataFrame:
        if not sourced.shares:
            return self._files(table, sourced.files, names, of_instruments(con_ids))
        n_asked = 2 if con_ids is None else len(set(con_ids))
        must_sort = not sourced.is_ordered or (in_order and n_asked > 1)
        read = [*names, *(["session"] if must_sort and "session" not in names else [])]
        parts = [self.copies.read(table, sourced.shares, read, con_ids)]
        if sourced.files:
            parts.append(self._files(table, sourced.files, read, of_instruments(con_ids)))
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
        identity: str = "",
    ) -> StorageReport:
        """Commit one partition, unless its content already stands.

        Args:
            table: declaration; the frame must have its shape.
            partition: where it goes.
            frame: the whole partition.
            inputs: input name → content id that the frame was computed from.
            watermark: newest knowledge time among the inputs, ISO 8601 UTC.
            warnings: check that did not pass and does not block → what it said.
            identity: the frame's content id, where the caller has conformed the frame already (see `identity`).

        Raises:
            ShapeError: the frame differs from the declaration.
            StaleInputsError: what stands was computed from newer inputs.
            DiskFullError: no space; what stood before still stands.
        """
        ready, watermark = frame if identity else table.conform(frame), instant_text(watermark)
        file = self.layout.file(table, partition)
        footer = Footer(
            table=table.name,
            partition=partition.key,
            content_id=identity or self.identity(table, ready),
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
            if standing and standing.content_id == footer.content_id and self._is_proved(table, partition):
                confirmed = standing.confirmed_by(footer)
                if confirmed != standing or not self._is_indexed(table, partition):
                    self.manifest(table).append([(file, confirmed)], self._now())
                return self._report(table, partition, footer, unchanged=ready.height)
            before = self._readable(table, partition) if standing else None
            self._commit(table, [Ready(partition, file, ready, footer)])
        return self._compared(table, partition, footer, before, ready)

    @staticmethod
    def identity(table: Table, frame: pl.DataFrame) -> str:
        """Return the content id of a frame that has conformed to its table, and so is in the table's order."""
        varying = [name for name in table.key if name in table.order or not _is_constant(frame.get_column(name))]
        return content_id(frame, table.content_columns, () if varying == list(table.order) else table.key)

    def _standing(self, table: Table, partition: Partition) -> Footer | None:
        """Return the footer that stands; a corrupt derived file is replaced, for it can be recomputed."""
        try:
            return self.footer(table, partition)
        except CorruptFileError:
            return None

    def _is_proved(self, table: Table, partition: Partition) -> bool:
        try:
            return self.proved_footer(table, partition) is not None
        except CorruptFileError:
            return False

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


@cache
def _beside(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - the key of the cache
    """Return a thread for what is done beside the reading, one per process: a fork copies none of its parent's.

    That makes no read after a fork safe. Polars has threads of its own and may wait for them forever: processes that
    read have to be spawned.
    """
    return ThreadPoolExecutor(1, "beside-reading")


def _is_constant(column: pl.Series) -> bool:
    return column.is_empty() or (column.null_count() == 0 and bool(column.min() == column.max()))


def _known_and_same(table: Table, before: pl.DataFrame, after: pl.DataFrame) -> tuple[int, int]:
    """Count the rows whose key stood before, and those of them whose content did; places tell when the keys agree."""
    key, content = list(table.key), list(table.content_columns)
    differing = {name for name in (*key, *content) if not _equal(before, after, name)}
    if differing.isdisjoint(key):
        kept = [after[name].eq_missing(before[name]) for name in content if name in differing]
        return after.height, int(reduce(and_, kept).sum()) if kept else after.height
    known = after.join(before.select(key), on=key, how="semi", nulls_equal=True).height
    return known, after.join(before.select(content), on=content, how="semi", nulls_equal=True).height


def _equal(before: pl.DataFrame, after: pl.DataFrame, name: str) -> bool:
    return before.get_column(name).equals(after.get_column(name), null_equal=True)


def _materialize(table: Table, partition: Partition) -> str:
    cycle = "alpha" if partition.profile and table.name != CANDIDATES.name else "data"
    return (
        f"Run `dagster asset materialize -m quant_assets.definitions --select {table.producer} "
        f"--partition '{partition.key}'`, or `quant flow {cycle}`."
    )
