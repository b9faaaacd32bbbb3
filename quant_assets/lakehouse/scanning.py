"""Reads of several session files at once: only what was asked for is decoded.

Polars plans one scan over all files, skips the row groups whose statistics rule the asked instruments out, and reads
the asked columns alone. It is handed open descriptors and not paths: given paths it opens each several times, and a
writer that replaces a file in between makes it read the index of one file and the pages of another.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import polars as pl

from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.footer import read_parquet

_AT_ONCE = 200
"""Files of one scan: descriptors are open together, and processes may have 1,024 of them."""

_REBUILD = "Materialize the partition again; bronze migrations are in docs/runbook.md."


def read_files(
    table: Table, files: Sequence[Path], columns: Sequence[str] | None = None, where: pl.Expr | None = None
) -> pl.DataFrame:
    """Return rows of several files, in the order of the files; one that does not exist has none.

    Args:
        table: declaration that the files were written from.
        files: session files.
        columns: names to read; all when None.
        where: condition on the rows; statistics of the row groups decide which are decoded at all.

    Raises:
        CorruptFileError: names the file that cannot be decoded, or has other columns.
    """
    names = list(columns or table.schema.names())
    parts = [_scanned(table, files[at : at + _AT_ONCE], names, where) for at in range(0, len(files), _AT_ONCE)]
    return pl.concat(parts) if parts else table.empty().select(names)


def read_file(table: Table, file: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return one file.

    Raises:
        FileNotFoundError: it does not exist.
        CorruptFileError: it cannot be decoded, or has other columns than the table.
    """
    frame = read_parquet(file, list(columns) if columns else None)
    if columns is None and frame.schema != table.schema:
        raise CorruptFileError(file, f"its columns are not those of {table.name} in this release", _REBUILD)
    return frame


def of_instruments(con_ids: Sequence[int] | None) -> pl.Expr | None:
    """Return the condition of some instruments, None for all; its range comes first because statistics decide it."""
    if con_ids is None:
        return None
    low, high = min(con_ids), max(con_ids)
    inside = pl.col("con_id").is_between(low, high)
    has_gaps = high - low + 1 > len(set(con_ids))
    return inside & pl.col("con_id").is_in(list(con_ids)) if has_gaps else inside


def scan(
    table: Table, streams: Sequence[IO[bytes]], names: Sequence[str], where: pl.Expr | None = None
) -> pl.DataFrame:
    """Return some columns of some rows of open files; columns that are not asked for may differ."""
    is_all = list(names) == table.schema.names()
    used = dict.fromkeys([*names, *(where.meta.root_names() if where is not None else [])])
    lazy = pl.scan_parquet(
        list(streams),
        hive_partitioning=False,
        schema={name: table.schema[name] for name in used},
        extra_columns="raise" if is_all else "ignore",
    )
    wanted = lazy.filter(where) if where is not None else lazy
    return wanted.select(names).collect()


def _scanned(table: Table, files: Sequence[Path], names: Sequence[str], where: pl.Expr | None) -> pl.DataFrame:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(stream) for stream in _opened(files)]
        if not streams:
            return table.empty().select(names)
        try:
            return scan(table, streams, names, where)
        except (pl.exceptions.PolarsError, OSError):
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    read_file(table, file)  # names the one that is at fault
            raise


def _opened(files: Sequence[Path]) -> Iterator[IO[bytes]]:
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            yield file.open("rb")
