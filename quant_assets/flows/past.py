"""The lakehouse as it was known at an instant: bronze up to then, and what the same transforms make of it.

A past lake is a directory of its own. Whatever is read of it is put there first: a bronze batch that had arrived by the
instant, a stored file that was made from nothing later, or else the partition computed again by the very code that
publishes it. So every reader, and SQL, works on it unchanged, and nothing here knows how a table is made.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from quant_assets.clock import ManualClock
from quant_assets.domain.features import GROUPS, LABELS
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    ALL,
    CERTIFIED_SESSIONS,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    INSTRUMENTS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
    Table,
)
from quant_assets.errors import BrokenChainError, CorruptFileError, DataWrong, DefectError
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.certify import certify
from quant_assets.flows.confirming import BREAKS, breaks_id, concerning
from quant_assets.flows.curate import Curator
from quant_assets.flows.derive import publish_group
from quant_assets.flows.dimension import DETAILS, publish_dimension
from quant_assets.flows.hours import HOURS, MADE_WITH_HOURS, told_hours
from quant_assets.flows.past_directory import directory, link, require_there
from quant_assets.flows.returning import lacks, telling_of
from quant_assets.flows.words import Words
from quant_assets.flows.work import Work
from quant_assets.lakehouse.footer import Footer, read_footer
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore, Lakehouse, RawStore

Origin = Literal["stored", "recomputed", "unknown"]
"""Where a partition of the past came from: the stored file, bronze through the transform, or nowhere."""

Key = tuple[str, str]
"""(table, partition key)"""


class _NoGate:
    """There is no way to the source from the past."""

    def run(self, job: Any, n_instruments: int = 0) -> Any:  # noqa: ARG002
        raise DefectError(f"a reader of the past asked the source for {job}")

    @property
    def budget(self) -> Any:
        raise DefectError("a reader of the past asked for a pacing budget")

    @property
    def n_asked(self) -> int:
        return 0


class _PastRaw(RawStore):
    """Bronze up to an instant; batches are linked into the past lake when they are first asked for."""

    present: RawStore
    as_of: datetime
    seen: set[Key]

    def partitions(self, table: Table) -> list[Partition]:
        """Return the partitions that had a batch by then."""
        return [one for one in self.present.partitions(table) if self.batches(table, one)]

    def newest(self, table: Table, until: date | None = None) -> Partition | None:
        """Return the newest partition that had a batch by then."""
        listed = (Partition(one) for one in reversed(self.sessions(table)) if until is None or one <= until)
        return next((one for one in listed if self.batches(table, one)), None)

    def sessions(self, table: Table) -> list[date]:
        """Return the sessions that have a directory today: each is looked into when it is asked for."""
        return self.present.sessions(table)

    def batch_names(self, table: Table, partition: Partition) -> list[str]:
        """Return the batches that had arrived, of one that was arriving its rows up to then."""
        require_there(self.layout)
        if (key := (table.name, partition.key)) not in self.seen:
            self.seen.add(key)
            for file in self.present.batches(table, partition):
                self._take(table, partition, file)
        return super().batch_names(table, partition)

    def _take(self, table: Table, partition: Partition, file: Path) -> None:
        footer = self.present.manifest(table).lookup(file)
        if footer is None or _after(footer.known_from, self.as_of):
            return
        if not _after(footer.known_until, self.as_of):
            link(file, self.layout.batch(table, partition, file.stem))
            return
        rows = pl.read_parquet(file, hive_partitioning=False).filter(pl.col("ingested_at") <= self.as_of)
        self.append(table, partition, rows, f"{_CUT}{file.stem}")


_CUT = "cut-"
"""Before the name of a batch of which only a part had arrived."""


class _PastCurated(CuratedStore):
    """Silver and gold as they could have been published by an instant, made when they are first asked for."""

    present: CuratedStore
    make: Callable[[Table, Partition], Origin]
    origins: dict[Key, Origin]

    def ensure(self, table: Table, partition: Partition) -> Origin:
        """Put a partition into the past lake, if it can be known there; what is being made is not made again."""
        require_there(self.layout)
        if (key := (table.name, partition.key)) not in self.origins:
            self.origins[key] = "unknown"
            try:
                self.origins[key] = self.make(table, partition)
            except BaseException:
                del self.origins[key]  # whoever asks again is told again
                raise
        return self.origins[key]

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stood in a partition."""
        self.ensure(table, partition)
        return super().footer(table, partition)

    def proved_footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return the same, of rows that are what it says."""
        self.ensure(table, partition)
        return super().proved_footer(table, partition)

    def exists(self, table: Table, partition: Partition) -> bool:
        """Return whether a partition could be known."""
        self.ensure(table, partition)
        return super().exists(table, partition)

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return a partition as it was known."""
        self.ensure(table, partition)
        return super().read(table, partition, columns)

    def read_many(self, table: Table, partitions: Any, *args: Any, **options: Any) -> pl.DataFrame:
        """Return partitions as they were known."""
        wanted = list(partitions)
        for partition in wanted:
            self.ensure(table, partition)
        return super().read_many(table, wanted, *args, **options)

    def partitions(self, table: Table) -> list[Partition]:
        """Return the partitions that could be known."""
        return [one for one in self.present.partitions(table) if self.ensure(table, one) != "unknown"]

    def newest(self, table: Table, until: date | None = None) -> Partition | None:
        """Return the newest partition that could be known; older ones are not made for it."""
        listed = (one for one in reversed(self.present.partitions(table)) if until is None or one.session <= until)
        return next((one for one in listed if self.ensure(table, one) != "unknown"), None)

    def sessions(self, table: Table) -> list[date]:
        """Return the sessions that have a directory today: each is looked into when it is asked for."""
        return self.present.sessions(table)


@dataclass(frozen=True)
class _PastLakehouse(Lakehouse):
    stores: tuple[RawStore, CuratedStore] | None = None

    @cached_property
    def raw(self) -> RawStore:
        assert self.stores is not None
        return self.stores[0]

    @cached_property
    def curated(self) -> CuratedStore:
        assert self.stores is not None
        return self.stores[1]


@dataclass(frozen=True)
class _PastWork(Work):
    stores: tuple[RawStore, CuratedStore] | None = None
    said: Words | None = None

    @cached_property
    def words(self) -> Words:
        assert self.said is not None
        return self.said

    @cached_property
    def lake(self) -> Lakehouse:
        return _PastLakehouse(self.layout, run_id=self.run_id, clock=self.clock, stores=self.stores)


@dataclass
class PastLake:
    """A past lake and the unit of work that reads it; use `open_past`."""

    present: Work
    as_of: datetime
    root: Path
    origins: dict[Key, Origin] = field(default_factory=dict)

    @cached_property
    def work(self) -> Work:
        """Unit of work on the past lake: its clock stands at the instant, and no source can be asked."""
        clock = ManualClock(self.as_of)
        settings = replace(self.present.settings, data=self.root)
        layout = type(self.present.layout)(self.root)
        raw = _PastRaw(layout, run_id="past", clock=clock)
        raw.present, raw.as_of, raw.seen = self.present.lake.raw, self.as_of, set()
        curated = _PastCurated(layout, run_id="past", clock=clock)
        curated.present, curated.make, curated.origins = self.present.lake.curated, self._make, self.origins
        said = self.present.words.until(self.as_of)
        return _PastWork(settings, _NoGate(), "past", clock, stores=(raw, curated), said=said)

    @property
    def curated(self) -> CuratedStore:
        """The store that readers of the past read."""
        return self.work.lake.curated

    def summary(self) -> dict[str, int]:
        """Return how many partitions came from where."""
        return dict(sorted(Counter(self.origins.values()).items()))

    @cached_property
    def _curator(self) -> Curator:
        return Curator(self.work)

    @cached_property
    def _adjuster(self) -> Adjuster:
        return Adjuster(self.work)

    def _make(self, table: Table, partition: Partition) -> Origin:
        """Link the stored file when nothing later entered it, else compute the partition again."""
        if table is UNIVERSE:
            return self._universe(partition)
        looked: Footer | None = None
        while (standing := self._standing(table, partition)) and standing != looked:
            if linked := self._linked(table, partition, standing.content_id):
                self.curated.manifest(table).append([(linked, standing)], self.as_of.isoformat())
                return "stored"
            looked = standing  # another process has published: what it put there is looked at, too
        if partition.profile or self.present.calendar.hours(partition.session).opens_at > self.as_of:
            return "unknown"
        try:
            self._publish(table, partition.session)
        except BrokenChainError:
            raise
        except DataWrong:
            pass  # not enough was known by then
        return "recomputed" if self.work.layout.file(table, partition).is_file() else "unknown"

    def _linked(self, table: Table, partition: Partition, content_id: str) -> Path | None:
        """Put the stored file into the past lake, if it still has a content; return where it is then."""
        file, linked = (one.layout.file(table, partition) for one in (self.present, self.work))
        try:
            link(file, linked)
        except FileNotFoundError:
            return None
        if read_footer(linked).content_id == content_id:
            return linked
        linked.unlink()
        return None

    def _standing(self, table: Table, partition: Partition) -> Footer | None:
        """Return the footer by which the stored file was made from what was known, and from all of it; None if none.

        The index tells on which inputs a file was last confirmed, the file itself on which it was made: one will do.
        """
        file = self.present.layout.file(table, partition)
        try:
            confirmed = self.present.lake.curated.proved_footer(table, partition)
            footers = (confirmed, read_footer(file)) if confirmed else ()
            return next((one for one in footers if self._is_of_then(one, partition)), None)
        except (CorruptFileError, FileNotFoundError):
            return None

    def _is_of_then(self, footer: Footer, partition: Partition) -> bool:
        if not footer.watermark or _after(footer.watermark, self.as_of):
            return False
        current: dict[str, Callable[[], str]] = {
            RAW_TWS_BARS.name: lambda: self.work.lake.raw.input_id(RAW_TWS_BARS, partition),
            "overrides": lambda: self.work.words.id_of(partition.session),
            CURATED_TWS_1M_BARS.name: lambda: self._content(CURATED_TWS_1M_BARS, partition),
            CURATED_TWS_1D_BARS.name: lambda: self._content(CURATED_TWS_1D_BARS, partition),
            INSTRUMENTS.name: lambda: self._content(INSTRUMENTS, partition),
            DETAILS: lambda: self.work.lake.raw.lineage(RAW_INSTRUMENTS).get(partition.session, ""),
        }
        if footer.table == ADJUSTMENT_FACTORS.name:
            told = telling_of(self.work, partition.session)["vintage"].to_list()
            if lacks(self.work, footer, told):
                return False
        breaks = breaks_id(self.work, concerning(self.work, footer.table, partition.session))
        if footer.table in MADE_WITH_HOURS:
            hours = told_hours(self.work, footer.table, partition.session)
            if footer.inputs.get(HOURS) != hours.get(HOURS):
                return False
        return footer.inputs.get(BREAKS, "") == breaks and all(
            footer.inputs[name] == ask() for name, ask in current.items() if name in footer.inputs
        )

    def _content(self, table: Table, partition: Partition) -> str:
        footer = self.curated.footer(table, partition)
        return footer.content_id if footer else ""

    def _publish(self, table: Table, session: date) -> None:
        group = next((one for one in (*GROUPS.values(), *LABELS.values()) if one.table is table), None)
        if group:
            publish_group(self.work, group, session)
        elif table.producer == CURATED_TWS_1M_BARS.producer:
            self._curator.minute_bars(session)
        elif table is CURATED_TWS_1D_BARS:
            self._curator.daily_bars(session)
        elif table.producer == INSTRUMENTS.producer:
            for earlier in self._dimensions_to_make(session):
                self.curated.exists(INSTRUMENTS, Partition(earlier))  # to ask for it makes it
            publish_dimension(self.work, session)
        elif table is ADJUSTMENT_FACTORS:
            self._adjuster.publish(session)
        elif table is CERTIFIED_SESSIONS:
            certify(self.work, session)
        self._same_pass(table, Partition(session))

    def _dimensions_to_make(self, session: date) -> list[date]:
        """Return the sessions before one whose dimension has to be computed again, ascending: each builds on another.

        They are made in this order, for to ask for the newest first would descend into the whole history at once.
        """
        described = self.work.lake.raw.lineage(RAW_INSTRUMENTS)
        earlier: list[date] = []
        for one in (day for day in reversed(self.present.lake.curated.sessions(INSTRUMENTS)) if day < session):
            if (INSTRUMENTS.name, str(one)) in self.origins or self._standing(INSTRUMENTS, Partition(one)):
                break
            earlier += [one] if one in described else []
        return earlier[::-1]

    def _same_pass(self, table: Table, partition: Partition) -> None:
        """Note what one pass made together with a table, so that none of it is made twice."""
        made = [
            one for one in ALL if one.producer == table.producer and self.work.layout.file(one, partition).is_file()
        ]
        unnoted = [one for one in made if self.origins.get((one.name, partition.key), "unknown") == "unknown"]
        self.origins.update({(one.name, partition.key): "recomputed" for one in unnoted})

    def _universe(self, partition: Partition) -> Origin:
        """Take the members that were observed by then, or that somebody had asked TWS about by then."""
        store = self.present.lake.curated
        if not store.exists(UNIVERSE, partition):
            return "unknown"
        members, footer = store.read_standing(UNIVERSE, partition)
        asked = self.work.lake.raw.read(RAW_TWS_REQUESTS, partition, ["con_id"])["con_id"].unique().to_list()
        known = members.filter((pl.col("observed_at") <= self.as_of) | pl.col("con_id").is_in(asked))
        if known.is_empty():
            return "unknown"
        if known.height == members.height and self._linked(UNIVERSE, partition, footer.content_id):
            return "stored"
        self.work.lake.curated.write(UNIVERSE, partition, known)
        return "recomputed"


@contextlib.contextmanager
def open_past(work: Work, as_of: datetime) -> Iterator[PastLake]:
    """Open the lakehouse as it was known at an instant; the directory is removed at the end.

    Args:
        work: on the lakehouse of now.
        as_of: aware instant; what was ingested after it does not exist.
    """
    with directory(work.layout, work.clock.now(), work.run_id) as root:
        yield PastLake(work, as_of.astimezone(UTC), root)


def _after(text: str, instant: datetime) -> bool:
    return bool(text) and datetime.fromisoformat(text) > instant
