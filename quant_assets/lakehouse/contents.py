"""What bronze partitions say, remembered: hashing and judging all rows again on each run would cost more and more.

One small file per partition: the batches that it speaks of, by name, size and time, their content id, and which
declared rules they break. It is valid while exactly these batches stand, and can be deleted at any time: a note that
cannot be read or written is as good as none, and no reason to fail.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from quant_assets.control.files import write_text
from quant_assets.domain.tables import Table
from quant_assets.errors import DiskFullError
from quant_assets.lakehouse.layout import Layout, Partition


def recall(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path]) -> str | None:
    """Return the content id of exactly these batches, if it is known."""
    said = _note(layout, table, partition, batches).get("content_id")
    return str(said) if said else None


def remember(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path], content_id: str) -> None:
    """Note the content id of these batches; a disk that is full or read-only means that it is computed again."""
    _write(layout, table, partition, batches, content_id=content_id)


def recall_failures(
    layout: Layout, table: Table, partition: Partition, batches: Sequence[Path]
) -> tuple[str, ...] | None:
    """Return what exactly these batches break of today's rules, if it is known."""
    note = _note(layout, table, partition, batches)
    return tuple(note["failures"]) if note.get("rules") == table.rules_id else None


def remember_failures(
    layout: Layout, table: Table, partition: Partition, batches: Sequence[Path], failures: Sequence[str]
) -> None:
    """Note what these batches break of today's rules; nothing is worth noting, too."""
    _write(layout, table, partition, batches, rules=table.rules_id, failures=list(failures))


def _note(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path]) -> dict[str, Any]:
    said = _read(layout.content(table, partition))
    return said if said and said.get("batches") == _stamps(batches) else {}


def _write(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path], **known: object) -> None:
    note = {**_note(layout, table, partition, batches), "batches": _stamps(batches), **known}
    try:
        write_text(layout.content(table, partition), json.dumps(note, sort_keys=True) + "\n")
    except (DiskFullError, OSError):
        return


def forgotten(layout: Layout, tables: Iterable[Table]) -> Iterator[tuple[Path, str]]:
    """Yield each note, and why it can go; no reason for one whose batches stand."""
    known = {layout.content(table, Partition.from_key("2000-01-01")).parent: table for table in tables}
    for path in sorted(layout.contents.glob("*/[!.]*.json")):
        table = known.get(path.parent)
        said = _read(path)
        if table is None or not table.append_only or said is None:
            yield path, "it speaks of no bronze table" if said else "it cannot be read"
            continue
        directory = layout.directory(table, Partition.from_key(path.stem))
        yield path, "" if said.get("batches") == _stamps(sorted(directory.glob("[!.]*.parquet"))) else "out of date"


def _stamps(batches: Sequence[Path]) -> list[list[Any]]:
    return [[file.name, stat.st_size, stat.st_mtime_ns] for file in batches for stat in (file.stat(),)]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
