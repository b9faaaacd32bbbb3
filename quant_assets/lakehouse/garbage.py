"""What may be cleared away, what has to stay, and why: leftovers, stale copies and results, unfinished runs, old lines.

Nothing here is ever a table's data: session files and batches are not even looked at. Each thing is removed by itself,
under the lock of those who write it, so that a process that dies in between leaves a lakehouse from which less was
removed, and the next one goes on. Notes, exports and results of stages are written without a lock: of those, age alone
tells that nobody is writing, and to lose one that somebody wanted costs computing it again.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from quant_assets.control.files import below, is_staged_for
from quant_assets.control.locks import hold
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.compaction import Month, month_of_copy, months
from quant_assets.lakehouse.contents import forgotten
from quant_assets.lakehouse.copies import has_copies, note_of
from quant_assets.lakehouse.damage import OBSERVED
from quant_assets.lakehouse.layout import Layout, locks_beside
from quant_assets.lakehouse.leftovers import leftovers
from quant_assets.lakehouse.references import References
from quant_assets.lakehouse.runs import RunDirectory, StageCache
from quant_assets.lakehouse.store import Lakehouse

Kind = Literal["leftover", "copy", "run", "manifest", "cache", "stage"]

_WAIT_S = 10.0
_DAY_S = 86_400.0
_SERVED_WITHIN_S = 30 * _DAY_S
"""Results of stages that no run asked for in so long go: to compute one again takes minutes at the most."""


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
        return self._surveyed(References(self.lake))

    def collect(self) -> list[Item]:
        """Remove what goes; return what was removed. Each thing is judged anew under its lock."""
        references = References(self.lake)
        return [item for item in self._surveyed(references) if item.goes and self._remove(item, references)]

    def doubts(self) -> list[str]:
        """Return which tags and runs cannot be read: whatever they may name stays until that is mended."""
        return References(self.lake).doubts()

    # ------------------------------------------------------------ the survey

    def _surveyed(self, references: References) -> list[Item]:
        found = [*self._leftovers(), *self._copies(), *self._runs(references), *self._manifests(references)]
        return [*found, *self._notes(), *self._stages()]

    def _leftovers(self) -> Iterator[Item]:
        """Files that killed writers left; nobody may ever write again beside one that is in an old session."""
        yield from map(self._leftover, leftovers(self._layout))

    def _leftover(self, path: Path) -> Item:
        young = self._age_s(path) < self.older_than_s
        why = "young: its writer may live" if young else "a killed writer left it"
        return Item("leftover", self._name(path), _size(path), not young, why)

    def _copies(self) -> Iterator[Item]:
        for table in self.tables:
            yield from (self._copy(one) for one in months(self.lake.curated, table) if self._path(one).is_file())
        known = {table.name for table in self.tables if has_copies(table)}
        for path in sorted(self._layout.copies.glob("*/[!.]*.parquet")):
            if path.parent.name not in known:
                yield self._stranger(path)

    def _copy(self, month: Month) -> Item:
        path = self._path(month)
        stays = month.state in ("current", "behind")
        why = f"serves reads: {month.why}" if stays else f"stale: {month.why}"
        return Item("copy", self._name(path), _size(path), not stays, why)

    def _stranger(self, path: Path) -> Item:
        return Item("copy", self._name(path), _size(path), True, f"no table {path.parent.name} has copies")

    def _runs(self, references: References) -> Iterator[Item]:
        for path in sorted(path for path in self._layout.runs.glob("[!.]*") if path.is_dir()):
            yield self._run(path, references)

    def _run(self, path: Path, references: References) -> Item:
        young = min(self._age_s(one) for one in (path, *below(path))) < self.older_than_s
        stays = (
            "finished: runs are for ever"
            if RunDirectory(path).is_finished
            else references.why_stays(path.name) or ("young: its writer may live" if young else "")
        )
        return Item("run", self._name(path), _size(path), not stays, stays or "unfinished, and nothing names it")

    def _manifests(self, references: References) -> Iterator[Item]:
        kept, doubt = references.ids(), next(iter(references.doubts()), "")
        for table in self.tables:
            path = self._layout.manifest(table)
            if path.is_file():
                try:
                    gone = self.lake.raw.manifest(table).superseded(kept, keeps_gone=table.zone in OBSERVED)
                except CorruptFileError as error:
                    yield Item("manifest", self._name(path), _size(path), False, str(error))
                    continue
                if gone and doubt:
                    yield Item("manifest", self._name(path), _size(path), False, doubt)
                    continue
                why = f"{gone} lines are superseded" if gone else "every line stands or is named by a tag or a run"
                yield Item("manifest", self._name(path), _size(path), gone > 0, why, gone)

    def _notes(self) -> Iterator[Item]:
        for path, why in forgotten(self._layout, self.tables):
            yield Item("cache", self._name(path), _size(path), bool(why), why or "speaks of batches that stand")

    def _stages(self) -> Iterator[Item]:
        """Results of stages that wait to be served again: entries, and the objects that they name."""
        entries, objects = StageCache(self._layout.cache).files()
        keeping: set[Path] = set()
        for entry, named in entries.items():
            item = self._entry(entry)
            keeping |= set() if item.goes else set(named)
            yield item
        for one in objects:
            young = self._age_s(one) < self.older_than_s
            why = "an entry names it" if one in keeping else "young: its writer may live" if young else ""
            yield Item("stage", self._name(one), _size(one), not why, why or "no entry that stays names it")

    def _entry(self, path: Path) -> Item:
        age_s = self._age_s(path)
        goes = age_s > max(_SERVED_WITHIN_S, self.older_than_s)
        return Item("stage", self._name(path), _size(path), goes, f"made or served {age_s / _DAY_S:.0f} days ago")

    # ------------------------------------------------------------ the removal

    def _remove(self, item: Item, references: References) -> bool:
        path = self._layout.data / item.path
        with self._lock(item, path):
            if not path.exists():
                return False
            if item.kind == "manifest":
                if references.doubts():
                    return False
                table = next(table for table in self.tables if self._layout.manifest(table) == path)
                manifest, keeps_gone = self.lake.raw.manifest(table), table.zone in OBSERVED
                return manifest.drop_superseded(references.ids(), keeps_gone=keeps_gone) > 0
            if not self._judged_anew(item, path, references).goes:
                return False
            if item.kind == "run":
                shutil.rmtree(path)
                return True
            path.unlink(missing_ok=True)
            if item.kind == "copy":
                note_of(path).unlink(missing_ok=True)
            return True

    def _judged_anew(self, item: Item, path: Path, references: References) -> Item:
        """Return the verdict as it is under the lock: between survey and lock, somebody may have gone on with it."""
        if item.kind == "leftover":
            return self._leftover(path)
        if item.kind == "copy":
            table = next((one for one in self.tables if has_copies(one) and one.name == path.parent.name), None)
            return self._copy(month_of_copy(self.lake.curated, table, path)) if table else self._stranger(path)
        if item.kind == "run":
            return self._run(path, references)
        if item.kind == "stage" and path.suffix == ".json":
            return self._entry(path)
        return item

    def _lock(self, item: Item, path: Path) -> AbstractContextManager[object]:
        """Return the lock of those who write the thing; nobody takes one to write notes, tags or results of stages."""
        name, directory = next(self._locks_of(item, path), ("", self._layout.locks))
        return hold(name, directory, wait_s=_WAIT_S, owner={"run": "gc"}) if name else nullcontext()

    def _locks_of(self, item: Item, path: Path) -> Iterator[tuple[str, Path]]:
        layout = self._layout
        for runs in (layout.runs, layout.backtests):
            if path.is_relative_to(runs) and (item.kind == "run" or path.parent != runs):
                run = runs / path.relative_to(runs).parts[0]
                if run != locks_beside(run):
                    yield run.name, locks_beside(run)
        for name, directory in self._written():
            if path.is_relative_to(layout.copies / name):
                yield f"{name}.copies", layout.locks
            if path.is_relative_to(directory) or self._is_of_manifest(path, f"{name}.jsonl"):
                yield f"{name}.commit", layout.locks

    def _written(self) -> Iterator[tuple[str, Path]]:
        """Yield name and directory of all tables that a store writes; what is staged is declared nowhere."""
        yield from ((table.name, self._layout.table(table)) for table in self.tables)
        yield from ((path.name, path) for path in sorted(self._layout.staging.glob("[!.]*")))

    def _is_of_manifest(self, path: Path, name: str) -> bool:
        return path.parent == self._layout.manifests and (path.name == name or is_staged_for(path, name))

    def _age_s(self, path: Path) -> float:
        try:
            return self.now_s - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _path(self, month: Month) -> Path:
        return self._layout.copy(month.table, month.month)

    def _name(self, path: Path) -> str:
        return self._layout.relative(path)


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a directory; what goes away meanwhile has none."""
    return sum(_bytes(one) for one in (path, *below(path)))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def kept_and_gone(items: Iterable[Item]) -> pl.DataFrame:
    """Return the verdicts as a table: kind, verdict, bytes, path, why; what goes comes first."""
    rows = [(one.kind, "goes" if one.goes else "stays", one.bytes, one.path, one.why) for one in items]
    schema = {"kind": pl.String, "verdict": pl.String, "bytes": pl.Int64, "path": pl.String, "why": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("verdict", "kind", "path")
