"""Making month copies: written beside, proven equal to every session file, and only then put in place."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import polars as pl

from quant_assets.control.files import naming_full_disk, replacing, sweep_staged
from quant_assets.control.locks import hold
from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptCopyError, CorruptFileError
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.copies import KEY, Source, has_copies, is_proven, month_of, note_proven
from quant_assets.lakehouse.footer import MEND
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.proof import ALTERED
from quant_assets.lakehouse.scanning import read_file, read_files, scan
from quant_assets.lakehouse.store import CuratedStore

State = Literal["current", "behind", "stale", "foreign", "absent"]

_GROUP_ROWS = 21 * 390
"""Rows per row group: a US month of one instrument. Thinner instruments share a group, none is cut in two."""
_BLOCK_ROWS = 1_500_000
"""Rows in memory at once."""
_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Month:
    """One month of a table: its published sessions, and how its copy stands to them."""

    table: Table
    month: str
    sessions: tuple[date, ...]
    state: State
    why: str

    @property
    def is_due(self) -> bool:
        """Whether making the copy changes anything."""
        return self.state != "current"


@dataclass(frozen=True, slots=True)
class Compacted:
    """A copy that was made and proven."""

    table: str
    month: str
    location: str
    sessions: int
    rows: int
    bytes: int
    content_ids: dict[date, str]


def months(store: CuratedStore, table: Table) -> list[Month]:
    """Return every month of a table that has sessions or a copy, ascending; nothing is opened but copies' footers."""
    if not has_copies(table):
        return []
    held: dict[str, list[date]] = {}
    for partition in store.partitions(table):
        held.setdefault(month_of(partition.session), []).append(partition.session)
    copied = {path.stem.removeprefix("month=") for path in store.layout.copies.glob(f"{table.name}/[!.]*.parquet")}
    return [_month(store, table, month, tuple(held.get(month, ()))) for month in sorted(copied | set(held))]


def month_of_copy(store: CuratedStore, table: Table, copy: Path) -> Month:
    """Return the month that one copy of a table is of; no other copy is looked at."""
    month = copy.stem.removeprefix("month=")
    days = (day for day in store.sessions(table) if month_of(day) == month)
    return _month(store, table, month, tuple(day for day in days if store.exists(table, Partition(day))))


def _month(store: CuratedStore, table: Table, month: str, sessions: tuple[date, ...]) -> Month:
    path = store.layout.copy(table, month)
    index = store.copies.index(table, month)
    if index is None:
        return Month(table, month, sessions, *_unread(path))
    root = str(store.layout.lakehouse)
    changed = [day for day, source in sorted(index.sources.items()) if not source.stands(root)]
    if changed:
        return Month(table, month, sessions, "stale", f"{changed[0]} is another file now ({len(changed)} in all)")
    newer = [day for day in sessions if day not in index.sources]
    if newer:
        return Month(table, month, sessions, "behind", f"{newer[0]} was published since ({len(newer)} in all)")
    return Month(table, month, sessions, "current", "every session file is the one that was copied")


def _unread(path: Path) -> tuple[State, str]:
    """Return why a copy has no index that counts."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return "absent", "there is none"
    if is_proven(path, stat.st_size, stat.st_mtime_ns):
        return "stale", "it cannot be read"
    return "foreign", "it is not the file that was made and proven"


def compact(store: CuratedStore, table: Table, month: str) -> Compacted:
    """Make the copy of a month anew, prove it, and put it in place.

    Readers see the old copy or the new one. A process that dies leaves a staged file, which the next one removes.

    Raises:
        CorruptFileError: a session file cannot be read, or its rows are not what its footer says.
        CorruptCopyError: what was written is not equal to the session files; the old copy still stands.
        DiskFullError: no space; the old copy still stands.
    """
    target = store.layout.copy(table, month)
    with hold(f"{table.name}.copies", store.layout.locks, wait_s=_WAIT_S, owner={"run": store.run_id}):
        sweep_staged(target.parent)
        days = [one.session for one in store.partitions(table) if month_of(one.session) == month]
        sources = {day: _source(store, table, day) for day in days}
        with replacing(target) as staged:
            rows = _write(store, table, staged, sources)
            prove(store, table, staged, sources)
            note_proven(target, staged)
        return Compacted(
            table=table.name,
            month=month,
            location=store.layout.relative(target),
            sessions=len(sources),
            rows=rows,
            bytes=target.stat().st_size,
            content_ids={day: source.content_id for day, source in sources.items()},
        )


def prove(store: CuratedStore, table: Table, copy: Path, sources: dict[date, Source]) -> None:
    """Compare a copy with its session files, value by value and id by id.

    Raises:
        CorruptFileError: a session file cannot be read, or its rows are not what its footer says.
        CorruptCopyError: the copy differs, or a session got other rows meanwhile.
    """
    per_pass = max(1, _BLOCK_ROWS // max((source.n_rows for source in sources.values()), default=1))
    days = sorted(sources)
    n_rows = 0
    for at in range(0, len(days), per_pass):
        chosen = days[at : at + per_pass]
        held = _sessions(table, copy, chosen).partition_by("session", as_dict=True, maintain_order=True)
        for day in chosen:
            _prove_session(store, table, copy, day, sources[day], held.get((day,), table.empty()))
            n_rows += sources[day].n_rows
    with copy.open("rb") as stream:
        found = pl.scan_parquet(stream, hive_partitioning=False).select(pl.len()).collect().item()
    if found != n_rows:
        raise CorruptCopyError(copy, f"it has {found} rows, its session files {n_rows}")


def _prove_session(
    store: CuratedStore, table: Table, copy: Path, day: date, source: Source, held: pl.DataFrame
) -> None:
    file = store.layout.file(table, Partition(day))
    rows, stat = read_file(table, file), file.stat()
    if content_id(rows, table.content_columns, table.key) != source.content_id:
        if source.stands(str(store.layout.lakehouse)):
            raise CorruptFileError(file, ALTERED, MEND)
        raise CorruptCopyError(copy, f"{day} was published again meanwhile")
    # a file that was written again stands for the one that was copied when its content is equal, provenance or not
    is_same_file = source.was(stat.st_size, stat.st_mtime_ns)
    compared = table.schema.names() if is_same_file else list(table.content_columns)
    if not held.select(compared).equals(rows.select(compared)):
        raise CorruptCopyError(copy, f"{day} differs from {store.layout.relative(file)}")


def _source(store: CuratedStore, table: Table, day: date) -> Source:
    file = store.layout.file(table, Partition(day))
    stat = file.stat()
    footer = store.footer(table, Partition(day))
    assert footer is not None, "the partition was listed"
    path = file.relative_to(store.layout.lakehouse).as_posix()
    return Source(path, stat.st_size, stat.st_mtime_ns, footer.content_id, footer.n_rows)


@dataclass(frozen=True, slots=True)
class _Group:
    """Whole instruments that make one row group: (con_id, rows) of each, ascending."""

    held: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.held)


def _write(store: CuratedStore, table: Table, staged: Path, sources: dict[date, Source]) -> int:
    """Write the rows sorted by instrument, one block of instruments in memory at a time; returns how many."""
    import pyarrow.parquet as pq

    files = [store.layout.file(table, Partition(day)) for day in sorted(sources)]
    groups = _groups(read_files(table, files, ["con_id"]))
    schema = _arrow_schema(table)
    target = staged.absolute()  # Arrow takes a relative `lake:v2/…` for a URI
    writer = pq.ParquetWriter(target, schema, compression="NONE", use_dictionary=_repeating(table))
    with naming_full_disk(staged), writer:
        for block in _blocks(groups):
            where = pl.col("con_id").is_between(block[0].held[0][0], block[-1].held[-1][0])
            rows = read_files(table, files, None, where).sort("con_id", maintain_order=True)
            at = 0
            for group in block:
                piece = rows.slice(at, group.rows).to_arrow(compat_level=pl.CompatLevel.oldest())
                writer.write_table(piece.cast(schema), row_group_size=group.rows)
                at += group.rows
        said = {
            "table": table.name,
            "instruments": [group.held for group in groups],
            "sources": {str(day): asdict(source) for day, source in sources.items()},
        }
        writer.add_key_value_metadata({KEY: json.dumps(said, sort_keys=True)})
    return sum(group.rows for group in groups)


def _groups(con_ids: pl.DataFrame) -> list[_Group]:
    """Gather consecutive instruments until a row group is full."""
    groups: list[_Group] = []
    for con_id, rows in con_ids.group_by("con_id").len().sort("con_id").iter_rows():
        if groups and groups[-1].rows + rows <= _GROUP_ROWS:
            groups[-1] = _Group((*groups[-1].held, (con_id, rows)))
        else:
            groups.append(_Group(((con_id, rows),)))
    return groups


def _blocks(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    block: list[_Group] = []
    for group in groups:
        if block and sum(one.rows for one in block) + group.rows > _BLOCK_ROWS:
            yield block
            block = []
        block.append(group)
    if block:
        yield block


def _repeating(table: Table) -> list[str]:
    """Return the columns that a dictionary makes small; numbers stay plain, because that is what decodes fastest."""
    return [name for name, dtype in table.schema.items() if dtype == pl.String or name in ("session", "con_id")]


def _arrow_schema(table: Table) -> Any:
    """Return the Arrow schema, with columns that cannot be null said to be so: they need no validity to decode."""
    import pyarrow as pa

    declared = table.empty().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return pa.schema([field.with_nullable(table.column(field.name).nullable) for field in declared])


def _sessions(table: Table, copy: Path, days: Sequence[date]) -> pl.DataFrame:
    with copy.open("rb") as stream:
        try:
            return scan(table, [stream], table.schema.names(), pl.col("session").is_in(list(days)))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise CorruptCopyError(copy, str(error).splitlines()[0][:200]) from error
