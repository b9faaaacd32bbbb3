"""What changed between two states of one table's partition: rows, columns, and how far."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from quant_assets.domain.tables import Table


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """How one column changed in the rows that both states have."""

    n_rows: int
    largest: float | None = None
    """Largest relative change of a number; None for other columns, and where a number appeared or went."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows by fate, and the columns that changed."""

    n_added: int
    n_removed: int
    n_changed: int
    columns: dict[str, ColumnChange] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether the two states say the same."""
        return not (self.n_added or self.n_removed or self.n_changed)


def difference(
    before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str], columns: Sequence[str], *, tolerance: float = 0.0
) -> Difference:
    """Compare two states row by row.

    Args:
        before: one state.
        after: the other.
        key: columns that name a row; unique in both.
        columns: columns that are compared.
        tolerance: largest relative difference of a number that is none.
    """
    keys, values = list(key), [name for name in columns if name not in key]
    both = before.select(*keys, *values).join(
        after.select(*keys, *values), on=keys, how="inner", suffix="_after", nulls_equal=True
    )
    differs = {name: _differs(name, before.schema[name], tolerance) for name in values}
    marked = both.with_columns(expression.alias(f"{name}_differs") for name, expression in differs.items())
    flags = [f"{name}_differs" for name in values]
    n_changed = marked.filter(pl.any_horizontal(flags)).height if flags else 0
    found = {}
    for name in values:
        changed = marked.filter(pl.col(f"{name}_differs"))
        if changed.height:
            largest = changed.select(_relative(name).max()).item() if before.schema[name].is_numeric() else None
            found[name] = ColumnChange(changed.height, largest)
    return Difference(after.height - both.height, before.height - both.height, n_changed, found)


def _relative(name: str) -> pl.Expr:
    return ((pl.col(f"{name}_after") - pl.col(name)) / pl.col(name)).abs()


def _differs(name: str, dtype: pl.DataType, tolerance: float) -> pl.Expr:
    unequal = pl.col(name).ne_missing(pl.col(f"{name}_after"))
    if tolerance and dtype.is_numeric():
        return unequal & (_relative(name) > tolerance).fill_null(value=True)
    return unequal


def of_table(table: Table, before: pl.DataFrame, after: pl.DataFrame) -> Difference:
    """Compare two states of a partition by the table's key and content."""
    return difference(before, after, table.key, table.content_columns)
