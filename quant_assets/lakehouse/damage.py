"""Damage: which files are lost, cannot be read, or do not hold what was committed."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quant_assets.control.progress import NullProgress, Progress
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.footer import MEND, Footer, read_footer
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.manifest import NEVER_COMMITTED, Manifest
from quant_assets.lakehouse.proof import prove
from quant_assets.lakehouse.store import Lakehouse

OBSERVED = ("bronze", "discovery")
"""Zones of what nobody can compute again."""

_READERS = 4
"""Files that are decoded and hashed at a time; both run outside Python's lock."""

Kind = Literal["damaged", "gone", "foreign"]
Wanted = Callable[[Table, Partition], bool]


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not what was committed."""

    table: Table
    partition: Partition
    path: str
    """Relative to the data directory."""
    kind: Kind
    why: str

    def __str__(self) -> str:
        """Return what to tell of it."""
        told = {"gone": "is gone", "foreign": "was never committed", "damaged": f"is damaged: {self.why}"}
        return f"{self.path} {told[self.kind]}"


@dataclass(frozen=True, slots=True)
class _File:
    table: Table
    partition: Partition
    path: Path
    manifest: Manifest


def everything(table: Table, partition: Partition) -> bool:
    """Want every partition."""
    _ = table, partition
    return True


def damages(
    lake: Lakehouse,
    tables: Iterable[Table],
    wanted: Wanted = everything,
    *,
    quick: bool = False,
    progress: Progress | None = None,
) -> list[Damage]:
    """Look at the files of tables, by table and path.

    Args:
        lake: the stores.
        tables: declarations.
        wanted: which partitions to look at.
        quick: hash only files that, by size and time, are not the ones that were committed.
        progress: shows how far the hashing is.
    """
    chosen = [(table, _manifest(lake, table)) for table in tables]
    lost = [one for table, manifest in chosen for one in _gone(lake, table, manifest, wanted)]
    files = [one for table, manifest in chosen for one in _files(lake, table, manifest, wanted)]
    found: list[Damage] = []
    hashed: list[tuple[_File, Footer]] = []
    for one in files:
        try:
            if (footer := _footer(one)) and not (quick and one.manifest.describes(one.path)):
                hashed.append((one, footer))
        except CorruptFileError as error:
            found.append(_damage(lake, one, error))
        except FileNotFoundError:
            continue
    with (
        (progress or NullProgress()).task("prove files", total=len(hashed)) as task,
        ThreadPoolExecutor(_READERS) as readers,
    ):
        for (one, footer), wrong in zip(hashed, readers.map(_proved, hashed), strict=True):
            task.advance(note=one.table.name)
            still = _judged_anew(one, footer, wrong) if wrong else None
            found += [_damage(lake, one, still)] if still else []
    return sorted([*lost, *found], key=lambda one: (one.table.name, one.path))


def _manifest(lake: Lakehouse, table: Table) -> Manifest:
    """Return a table's manifest; of a damaged one nothing counts, and the files answer for themselves."""
    store = lake.raw if table.append_only else lake.curated
    store.damaged_manifest(table)
    return store.manifest(table)


def _gone(lake: Lakehouse, table: Table, manifest: Manifest, wanted: Wanted) -> Iterator[Damage]:
    """Yield files that were committed and are not there; derived ones are missing, and named as that."""
    for entry in manifest.gone() if table.zone in OBSERVED else ():
        partition = Partition.from_key(entry.footer.partition)
        if wanted(table, partition):
            path = lake.layout.relative(lake.layout.lakehouse / entry.path)
            yield Damage(table, partition, path, "gone", "the manifest tells of it")


def _files(lake: Lakehouse, table: Table, manifest: Manifest, wanted: Wanted) -> Iterator[_File]:
    store = lake.raw if table.append_only else lake.curated
    for partition in store.partitions(table):
        if not wanted(table, partition):
            continue
        if table.append_only:
            held = lake.raw.batches(table, partition)
        else:
            file = lake.layout.file(table, partition)
            held = [file] if file.exists() else []
        yield from (_File(table, partition, path, manifest) for path in held)


def _footer(one: _File) -> Footer | None:
    """Return what a file has to hold: a batch is written once, so only what was committed first counts.

    Raises:
        CorruptFileError: the footer cannot be read, or names another content than the manifest.
    """
    footer = one.manifest.lookup(one.path)
    committed = one.manifest.remembered(one.path) if one.table.append_only else None
    if footer and committed and committed.content_id != footer.content_id:
        raise CorruptFileError(one.path, "it is not the batch that the manifest tells of", MEND)
    return footer


def _proved(item: tuple[_File, Footer]) -> CorruptFileError | None:
    one, footer = item
    try:
        own = read_footer(one.path)
        prove(one.table, one.path, footer)
    except FileNotFoundError:
        return None  # removed meanwhile, by somebody who had the lock
    except CorruptFileError as error:
        return error
    is_own = (own.content_id, own.n_rows) == (footer.content_id, footer.n_rows)
    return None if is_own else CorruptFileError(one.path, "its footer is not the one that the manifest tells of", MEND)


def _judged_anew(one: _File, footer: Footer, wrong: CorruptFileError) -> CorruptFileError | None:
    """Return what is wrong with a file, unless it was published anew since its footer was looked up, and is sound.

    Footers are looked up minutes before the last file is hashed. A batch is never published anew.
    """
    found: CorruptFileError | None = wrong
    while found and not one.table.append_only:
        try:
            current = _footer(one)
        except CorruptFileError as error:
            return error
        except FileNotFoundError:
            return None
        if current is None or current == footer:
            return found if current else None
        footer, found = current, _proved((one, current))
    return found


def _damage(lake: Lakehouse, one: _File, error: CorruptFileError) -> Damage:
    kind: Kind = "foreign" if error.cause == NEVER_COMMITTED else "damaged"
    return Damage(one.table, one.partition, lake.layout.relative(one.path), kind, error.cause)
