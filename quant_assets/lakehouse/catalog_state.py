"""What the last summary of the lakehouse saw of each table, so that the next one looks at what was committed since."""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from quant_assets.control.files import write_text
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.proof import proved
from quant_assets.lakehouse.store import Lakehouse

_COMPARED = 1 << 12
"""Bytes before the lines that were added which have to be those of the last look."""


@dataclass(frozen=True, slots=True)
class Held:
    """One partition as its files describe it."""

    partition: Partition
    rows: int
    bytes: int
    unreadable: tuple[str, ...] = ()


@dataclass
class CatalogState:
    """What the last summary saw of each table, so that the next one looks only at what was committed since.

    A table's manifest grows by a line with each commit: lines beyond the remembered length name the partitions to look
    at again. A manifest that was replaced, or a directory that changed without a line, means a look at all of them.
    What somebody does inside a session's directory by hand is seen by a full refresh (`quant lake catalog`,
    `quant audit data`), which starts from an empty state.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, layout: Layout) -> "CatalogState":
        """Return the state of the last summary; an empty one when there is none."""
        try:
            return cls(dict(json.loads(layout.catalog_state.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, layout: Layout) -> None:
        """Replace the state atomically."""
        write_text(layout.catalog_state, json.dumps(self.tables) + "\n")

    def held(self, lakehouse: Lakehouse, table: Table) -> list[Held]:
        """Return every partition of a table, ascending."""
        before = self.tables.get(table.name)
        known: dict[str, list[Any]] = dict(before["held"]) if before else {}
        now, changed = _look(lakehouse.layout, table, before)
        if changed is None:
            known, changed = {}, {one.key for one in lakehouse.curated.partitions(table)}
        for key in changed:
            partition = Partition.from_key(key)
            if _files(lakehouse, table, partition):
                one = _held(lakehouse, table, partition)
                known[key] = [one.rows, one.bytes, list(one.unreadable)]
            else:
                known.pop(key, None)
        self.tables[table.name] = {**now, "held": known}
        found = (Held(Partition.from_key(key), rows, size, tuple(bad)) for key, (rows, size, bad) in known.items())
        return sorted(found, key=lambda one: one.partition)


def _look(layout: Layout, table: Table, before: dict[str, Any] | None) -> tuple[dict[str, Any], set[str] | None]:
    """Return how a table stands, and the keys of the partitions that were committed since the last look.

    The keys are None when only a full look can tell. Everything is asked of one open file: by the time that a path is
    opened it may be another file's, and that one may even have the inode of one before.
    """
    directory = _stat(layout.table(table))
    now: dict[str, Any] = {"inode": 0, "length": 0, "last": "", "directory": directory.st_mtime_ns if directory else 0}
    added = b""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), layout.manifest(table).open("rb") as stream:
        stat = os.fstat(stream.fileno())
        now |= {"inode": stat.st_ino, "length": stat.st_size, "last": _last(stream, stat.st_size)}
        if before and before["length"] < stat.st_size and _last(stream, before["length"]) == before.get("last"):
            added = stream.read(stat.st_size - before["length"])
    if before is None or before["inode"] != now["inode"]:
        return now, None
    if not added:
        is_same = all(before.get(name) == value for name, value in now.items())
        return now, set() if is_same else None
    try:
        return now, {json.loads(line)["partition"] for line in added.splitlines()}
    except (ValueError, KeyError, TypeError):
        return now, None


def _last(stream: IO[bytes], length: int) -> str:
    """Return a digest of the last bytes of a file up to a length; what follows is read next."""
    begin = max(0, length - _COMPARED)
    stream.seek(begin)
    return hashlib.sha256(stream.read(length - begin)).hexdigest()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _held(lakehouse: Lakehouse, table: Table, partition: Partition) -> Held:
    rows, size, unreadable = 0, 0, []
    manifest = lakehouse.raw.manifest(table)
    for file in _files(lakehouse, table, partition):
        try:
            size += file.stat().st_size
            footer = proved(table, file, manifest)
        except FileNotFoundError:
            continue
        except CorruptFileError:
            unreadable.append(lakehouse.layout.relative(file))
        else:
            rows += footer.n_rows if footer else 0
    return Held(partition, rows, size, tuple(unreadable))


def _files(lakehouse: Lakehouse, table: Table, partition: Partition) -> list[Path]:
    if table.append_only:
        return lakehouse.raw.batches(table, partition)
    file = lakehouse.layout.file(table, partition)
    return [file] if file.exists() else []
