"""A clean slate: take away what can be computed again, and leave what was observed.

Bronze and discovery are observations: what TWS answered, what the scanners and the account said on a day. Nobody can
ask for them again, so they survive a wipe unless somebody types the word. Silver and gold are functions of them.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from quant_assets.control.locks import hold
from quant_assets.domain.tables import ALL, UNIVERSE, Table
from quant_assets.errors import ConfigurationError, NotPublishedError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.copies import has_copies
from quant_assets.lakehouse.damage import OBSERVED
from quant_assets.lakehouse.layout import Layout

WORD = "irreplaceable"
"""What has to be typed before observations are removed."""

DERIVED = ("silver", "gold")
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Wiped:
    """One table, and what a wipe takes from it."""

    zone: str
    table: str
    files: int
    bytes: int


def wipe_plan(work: Work, zones: Sequence[str], word: str = "") -> list[Wiped]:
    """Count what a wipe of some zones would remove; nothing is changed.

    Raises:
        ConfigurationError: observations are to be removed, and the word is not the one.
    """
    if set(zones) & set(OBSERVED) and word != WORD:
        problem = f"{' and '.join(sorted(set(zones) & set(OBSERVED)))} cannot be computed again"
        raise ConfigurationError("wipe", f"{problem}: TWS serves minutes for months only.", f"Type --bronze={WORD}.")
    return [_counted(work.layout, table) for table in ALL if table.zone in zones]


def wipe(work: Work, zones: Sequence[str], word: str = "") -> list[Wiped]:
    """Remove the files of all tables of some zones, their manifests and everything that was derived from them.

    Runs in data/artifacts stay, and so do tags and signed decisions: they are records. A process that dies in between
    leaves fewer files, and the next wipe removes the rest.

    Raises:
        ConfigurationError: see `wipe_plan`.
        LockHeldError: somebody is writing one of the tables, or copies of it.
    """
    plan = wipe_plan(work, zones, word)
    tables = [table for table in ALL if table.zone in zones]
    with ExitStack() as stack:
        for name in _locks(tables):
            stack.enter_context(hold(name, work.layout.locks, wait_s=_WAIT_S, owner={"run": "wipe"}))
        for table in tables:
            _remove(work.layout, table)
        work.layout.catalog.unlink(missing_ok=True)
    work.audit.record("wiped", run_id=work.run_id, status="ok", zones=list(zones), files=sum(one.files for one in plan))
    return plan


def rebuildable(work: Work, first: date | None = None, last: date | None = None) -> list[date]:
    """Return the sessions that observations stand for, ascending.

    Raises:
        NotPublishedError: there are none in the range.
    """
    stored = [one.session for one in work.lake.curated.partitions(UNIVERSE)]
    found = [day for day in stored if (first or day) <= day <= (last or day)]
    if not found:
        held = f"The lakehouse holds {stored[0]}..{stored[-1]}." if stored else "Run `quant flow data`."
        span = f"{first or 'the beginning'}..{last or 'the end'}" if stored else ""
        raise NotPublishedError(UNIVERSE.name, span, f"There is nothing to rebuild from. {held}")
    return found


def content_ids(work: Work, tables: Sequence[Table] = ALL) -> dict[str, str]:
    """Return `table[partition]` → content id of everything that is published."""
    found = {}
    for table in tables:
        store = work.lake.raw if table.append_only else work.lake.curated
        for partition in store.partitions(table):
            if table.append_only:
                found[f"{table.name}[{partition.key}]"] = work.lake.raw.content_id(table, partition)
            elif footer := work.lake.curated.footer(table, partition):
                found[f"{table.name}[{partition.key}]"] = footer.content_id
    return found


def _locks(tables: Sequence[Table]) -> list[str]:
    """Return the names of the locks of all who write what a wipe removes: the tables, and their month copies."""
    return [f"{table.name}.commit" for table in tables] + [f"{one.name}.copies" for one in tables if has_copies(one)]


def _counted(layout: Layout, table: Table) -> Wiped:
    """Count files without a lock: one that goes away meanwhile counts for nothing."""
    sizes = []
    for path in _files(layout, table):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return Wiped(table.zone, table.name, len(sizes), sum(sizes))


def _remove(layout: Layout, table: Table) -> None:
    """Remove files, then directories that became empty; the manifest first, because files outlive their index well."""
    layout.manifest(table).unlink(missing_ok=True)
    for path in _files(layout, table):
        path.unlink(missing_ok=True)
    root = layout.table(table)
    for directory in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()


def _files(layout: Layout, table: Table) -> list[Path]:
    """Return the files of a table that a store wrote, its copies and its notes; what people set aside stays.

    What a killed writer left of a table or a copy is among them; notes are written without a lock, so theirs are not.
    """
    stored = layout.table(table).glob("*=*/**/*.parquet")
    copies = (path for kind in ("parquet", "json") for path in (layout.copies / table.name).glob(f"*.{kind}"))
    return sorted([*stored, *copies, *(layout.contents / table.name).glob("[!.]*.json")])
