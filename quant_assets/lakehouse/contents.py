"""What partitions of several batches say, remembered: hashing all rows again on each run would cost more and more.

One small file per partition: the batches that it speaks of, by name, size and time, and their content id. It is valid
while exactly these batches stand, and can be deleted at any time.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from quant_assets.domain.tables import Table
from quant_assets.errors import DiskFullError
from quant_assets.lakehouse.files import write_text
from quant_assets.lakehouse.layout import Layout, Partition


def recall(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path]) -> str | None:
    """Return the content id of exactly these batches, if it is known."""
    said = _read(layout.content(table, partition))
    return str(said["content_id"]) if said and said.get("batches") == _stamps(batches) else None


def remember(layout: Layout, table: Table, partition: Partition, batches: Sequence[Path], content_id: str) -> None:
    """Note the content id of these batches; a full disk only means that it is computed again."""
    text = json.dumps({"batches": _stamps(batches), "content_id": content_id}, sort_keys=True)
    try:
        write_text(layout.content(table, partition), text + "\n")
    except DiskFullError:
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
    except (FileNotFoundError, ValueError):
        return None
    return said if isinstance(said, dict) else None
