"""Tables for people: whole names and numbers, however narrow the terminal; what is too wide is shown row by row."""

import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import click
import polars as pl

_PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""
_SENTENCE = 28
"""A cell with spaces may be broken at them, down to this width."""
_WORD = 40
"""A cell without spaces is broken only where it is wider than this."""
_NAME = 8
"""A column's name may be broken down to this width."""


def print_table(
    rows: Sequence[dict[str, Any]] | pl.DataFrame,
    title: str = "",
    right: Collection[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print rows as a table that fits the terminal.

    Args:
        rows: what to print.
        title: stands above it.
        right: columns that stand right; numbers do in any case.
        spare: columns that are left out, one after the other, where the terminal is too narrow for all; it is said.

    Where not even the shortest cells fit side by side, every row is a block of its own, with a line per column.
    """
    from rich.console import Console

    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    left_out = [name for name in spare if name in frame.columns]
    for n_out in range(len(left_out) + 1):
        shown = frame.drop(left_out[:n_out])
        if (table := _fitting(shown, title, right, console.width)) is not None:
            console.print(table)
            if n_out:
                click.secho(f"no room for: {', '.join(left_out[:n_out])}", dim=True)
            return
    _print_blocks(frame.columns, _cells(frame), title)


def _fitting(frame: pl.DataFrame, title: str, right: Collection[str], width: int) -> Any:
    """Return the table, without lines around the cells where that makes it fit; None where nothing does."""
    cells = _cells(frame)
    columns = list(zip(frame.columns, *cells, strict=True))
    is_right = [dtype.is_numeric() or name in right for name, dtype in frame.schema.items()]
    for has_lines in (True, False):
        borders = 3 * len(columns) + 1 if has_lines else len(columns) - 1
        if (widths := _widths(columns, width - borders)) is not None:
            return _table(frame.columns, cells, widths, is_right, title, has_lines=has_lines)
    return None


def _cells(frame: pl.DataFrame) -> list[list[str]]:
    return [["" if value is None else _shown(value) for value in row] for row in frame.iter_rows()]


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return str(value).replace("+00:00", "Z")
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Share the room among columns, a name and its cells each; None where it is not enough to read them.

    Who needs little gets that, and the widest share what is left.
    """
    wanted = [max(map(len, cells)) for cells in columns]
    widths = [_least(name, cells) for name, *cells in columns]
    spare = room - sum(widths)
    if spare < 0:
        return None
    by_need = sorted(range(len(columns)), key=lambda number: wanted[number] - widths[number])
    for place, number in enumerate(by_need):
        more = min(wanted[number] - widths[number], spare // (len(by_need) - place))
        widths[number] += more
        spare -= more
    return widths


def _least(name: str, cells: Sequence[str]) -> int:
    return max([min(len(name), _NAME), *(min(len(one), _SENTENCE if " " in one else _WORD) for one in cells)])


def _table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    is_right: Sequence[bool],
    title: str,
    *,
    has_lines: bool,
) -> Any:
    from rich.table import Table
    from rich.text import Text

    lean: dict[str, Any] = {} if has_lines else {"box": None, "padding": (0, 1, 0, 0), "pad_edge": False}
    table = Table(title=title or None, title_justify="left", title_style="bold", **lean)
    for name, width, stands_right in zip(names, widths, is_right, strict=True):
        table.add_column(Text(name), justify="right" if stands_right else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print_blocks(names: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    if title:
        click.secho(title, bold=True)
    width = max(map(len, names))
    for number, row in enumerate(rows, start=1):
        click.secho(f"row {number} of {len(rows)}", bold=True)
        for name, cell in zip(names, row, strict=True):
            click.echo(f"  {name:{width}}  {cell}".rstrip())
