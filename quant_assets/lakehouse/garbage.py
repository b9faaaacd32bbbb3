"""What may be cleared away, what has to stay, and why: leftovers, stale copies and results, unfinished runs, old lines.

Nothing here is ever a table's data: session files and bronze are not even looked at. Each thing is removed by itself,
under the lock of those who write it, so that a process that dies in between leaves a lakehouse from which less was
removed, and the next one goes on.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from quant_assets.control.locks import hold
from quant_assets.domain.tables import SNAPSHOTS, Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.compaction import months
from quant_assets.lakehouse.contents import forgotten
from quant_assets.lakehouse.copies import has_copies, note_of
from quant_assets.lakehouse.damage import OBSERVED
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, StageCache
from quant_assets.lakehouse.store import Lakehouse

Kind = Literal["leftover", "copy", "run", "manifest", "cache", "stage"]

_WAIT_S = 10.0
_DAY_S = 86_400.0
_SERVED_WITHIN_S = 30 * _DAY_S
"""Results of stages that no run asked for in so long go: to compute one again takes minutes at the most."""
_ID = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that somebody might take for garbage, and the verdict on it."""

    kind: Kind
    path: str
    bytes: int
    goes: bool
    why: str
    lines: int = 0
    """Of a manifest: how many lines go."""


@dataclass(frozen=True)
class Garbage:
    """The survey of one data directory, and its removal.

    Args:
        lake: the stores.
        tables: declarations.
        now_s: seconds since 1970.
        older_than_s: leftovers and unfinished runs younger than this may belong to somebody who is writing.
    """

    lake: Lakehouse
    tables: tuple[Table, ...]
    now_s: float
    older_than_s: float

    @property
    def _layout(self) -> Layout:
        return self.lake.layout

    def survey(self) -> list[Item]:
        """Return everything that was looked at, by kind and path; nothing is changed."""
        references = referenced_ids(self._layout)
        found = [*self._leftovers(), *self._copies(), *self._runs(references), *self._manifests(references)]
        return [*found, *self._caches(), *self._stages()]

    def collect(self) -> list[Item]:
        """Remove what goes; return what was removed. Each thing is judged anew under its lock."""
        return [item for item in self.survey() if item.goes and self._remove(item)]

    # ------------------------------------------------------------ the survey

    def _leftovers(self) -> Iterator[Item]:
        """Files that killed writers left; those in bronze are left to bronze's next writer."""
        roots = [self._layout.lakehouse / zone for zone in ("discovery", "silver", "gold", "_copies", "_metadata")]
        roots += [self._layout.runs, self._layout.cache]
        for path in sorted(path for root in roots for path in root.rglob(".staged-*")):
            young = self._age_s(path) < self.older_than_s
            why = "young: its writer may live" if young else "a killed writer left it"
            yield Item("leftover", self._name(path), _size(path), not young, why)

    def _copies(self) -> Iterator[Item]:
        for table in self.tables:
            for month in months(self.lake.curated, table):
                path = self._layout.copy(table, month.month)
                if path.is_file():
                    stays = month.state in ("current", "behind")
                    why = f"serves reads: {month.why}" if stays else f"stale: {month.why}"
                    yield Item("copy", self._name(path), _size(path), not stays, why)
        known = {table.name for table in self.tables if has_copies(table)}
        for path in sorted(self._layout.copies.glob("*/[!.]*.parquet")):
            if path.parent.name not in known:
                yield Item("copy", self._name(path), _size(path), True, f"no table {path.parent.name} has copies")

    def _runs(self, references: frozenset[str]) -> Iterator[Item]:
        shown = self._runs_of_snapshots()
        for path in sorted(path for path in self._layout.runs.glob("[!.]*") if path.is_dir()):
            run, size = RunDirectory(path), _size(path)
            young = max((self._age_s(file) for file in path.rglob("*")), default=self._age_s(path)) < self.older_than_s
            stays = (
                "finished: runs are for ever"
                if run.is_finished
                else "a snapshot names it"
                if path.name in shown
                else "a tag or another run names it"
                if path.name in references
                else "young: its writer may live"
                if young
                else ""
            )
            yield Item("run", self._name(path), size, not stays, stays or "unfinished, and nothing names it")

    def _runs_of_snapshots(self) -> set[str]:
        store = self.lake.curated
        rows = store.read_many(SNAPSHOTS, store.partitions(SNAPSHOTS), ["run_id"])
        return set(rows["run_id"].to_list())

    def _manifests(self, references: frozenset[str]) -> Iterator[Item]:
        for table in self.tables:
            path = self._layout.manifest(table)
            if path.is_file():
                try:
                    gone = self.lake.raw.manifest(table).superseded(references, keeps_gone=table.zone in OBSERVED)
                except CorruptFileError as error:
                    yield Item("manifest", self._name(path), _size(path), False, str(error))
                    continue
                why = f"{gone} lines are superseded" if gone else "every line stands or is named by a tag or a run"
                yield Item("manifest", self._name(path), _size(path), gone > 0, why, gone)

    def _caches(self) -> Iterator[Item]:
        for path, why in forgotten(self._layout, self.tables):
            yield Item("cache", self._name(path), _size(path), bool(why), why or "speaks of batches that stand")

    def _stages(self) -> Iterator[Item]:
        """Results of stages that wait to be served again: entries, and the objects that they name."""
        entries, objects = StageCache(self._layout.cache).files()
        keeping: set[Path] = set()
        for entry, named in entries.items():
            goes = self._age_s(entry) > max(_SERVED_WITHIN_S, self.older_than_s)
            days = f"{self._age_s(entry) / _DAY_S:.0f} days ago"
            keeping |= set() if goes else set(named)
            yield Item("stage", self._name(entry), _size(entry), goes, f"made or served {days}")
        for one in objects:
            young = self._age_s(one) < self.older_than_s
            why = "an entry names it" if one in keeping else "young: its writer may live" if young else ""
            yield Item("stage", self._name(one), _size(one), not why, why or "no entry that stays names it")

    # ------------------------------------------------------------ the removal

    def _remove(self, item: Item) -> bool:
        path = self._layout.data / item.path
        with self._lock(item, path):
            if item.kind == "manifest":
                table = next(table for table in self.tables if self._layout.manifest(table) == path)
                references, keeps_gone = referenced_ids(self._layout), table.zone in OBSERVED
                return self.lake.raw.manifest(table).drop_superseded(references, keeps_gone=keeps_gone) > 0
            if item.kind == "run":
                return self._remove_run(path)
            if item.kind == "copy" and not self._is_still_stale(item):
                return False
            path.unlink(missing_ok=True)
            if item.kind == "copy":
                note_of(path).unlink(missing_ok=True)
            return True

    def _remove_run(self, path: Path) -> bool:
        if RunDirectory(path).is_finished or path.name in self._runs_of_snapshots():
            return False
        shutil.rmtree(path)
        return True

    def _is_still_stale(self, item: Item) -> bool:
        return any(one.path == item.path and one.goes for one in self._copies())

    def _lock(self, item: Item, path: Path) -> AbstractContextManager[object]:
        """Return the lock of those who write the thing."""
        owner = {"run": "gc"}
        if item.kind == "run":
            return hold(path.name, self._layout.runs / ".locks", wait_s=_WAIT_S, owner=owner)
        for table in self.tables:
            if path.is_relative_to(self._layout.copies / table.name):
                return hold(f"{table.name}.copies", self._layout.locks, wait_s=_WAIT_S, owner=owner)
            if path.is_relative_to(self._layout.table(table)) or path == self._layout.manifest(table):
                return hold(f"{table.name}.commit", self._layout.locks, wait_s=_WAIT_S, owner=owner)
        return nullcontext()

    def _age_s(self, path: Path) -> float:
        try:
            return self.now_s - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _name(self, path: Path) -> str:
        return self._layout.relative(path)


def referenced_ids(layout: Layout) -> frozenset[str]:
    """Return every content id and run id that a tag or a run names; what cannot be read counts with all its words."""
    sources = [*sorted(layout.metadata.glob("tags/*.json")), *sorted(layout.runs.glob("*/config/inputs.json"))]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sources]
    runs = {path.name for path in layout.runs.glob("[!.]*")}
    named = {name for name in runs for text, path in zip(texts, sources, strict=True) if _names(text, name, path)}
    return frozenset({found for text in texts for found in _ID.findall(text)} | named)


def _names(text: str, run: str, source: Path) -> bool:
    """Return whether a file names a run; a run's own inputs always do, and do not count."""
    return run in text and source.parent.parent.name != run


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def kept_and_gone(items: Iterable[Item]) -> pl.DataFrame:
    """Return the verdicts as a table: kind, verdict, bytes, path, why; what goes comes first."""
    rows = [(one.kind, "goes" if one.goes else "stays", one.bytes, one.path, one.why) for one in items]
    schema = {"kind": pl.String, "verdict": pl.String, "bytes": pl.Int64, "path": pl.String, "why": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("verdict", "kind", "path")
