"""The parts of a table declaration."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import polars as pl

from quant_assets.errors import ShapeError

Zone = Literal["discovery", "bronze", "silver", "gold", "staging"]
PartitionBy = Literal["session", "vintage", "session_profile"]

UTC_MICROS = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it holds, in which unit, and which values are legal."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    unit: str
    description: str
    nullable: bool = False
    provenance: bool = False
    """True for columns that tell how a row got here; they do not enter the content id."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    isin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table, declared once; stores, checks, docs, asset metadata and SQL views read this."""

    name: str
    zone: Zone
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    grain: str
    description: str
    producer: str
    partition_by: PartitionBy = "session"
    append_only: bool = False
    """True for bronze tables, whose partitions hold several immutable batch files."""
    may_be_empty: bool = False
    """True where zero rows is a legal answer; everywhere else an empty partition is an error."""
    on_request: bool = False
    """True where a session need not have a partition: the table exists where the manifest asks for it, or
    where an answer gives a reason to ask."""
    sort_by: tuple[str, ...] = ()
    row_rules: Mapping[str, str] = field(default_factory=dict)
    """Rule name → SQL condition over the columns that every row keeps, for example `high >= low`."""

    @cached_property
    def schema(self) -> pl.Schema:
        """Column names and dtypes, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def is_expected(self) -> bool:
        """Whether every session of the universe has to have a partition; what a run makes of a session is on demand."""
        return self.partition_by == "session" and not self.on_request

    @property
    def order(self) -> tuple[str, ...]:
        """Columns that the stored file is sorted by."""
        return self.sort_by or self.key

    @cached_property
    def content_columns(self) -> tuple[str, ...]:
        """Columns that make up the content id: all but provenance."""
        return tuple(column.name for column in self.columns if not column.provenance)

    @cached_property
    def rules_id(self) -> str:
        """A digest of everything that judges a frame of this table: it changes when a rule does, and only then."""
        rules = [
            (c.name, str(c.dtype), c.nullable, c.ge, c.gt, c.le, c.isin) for c in sorted(self.columns, key=_by_name)
        ]
        text = json.dumps([self.key, self.may_be_empty, rules, sorted(self.row_rules.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def column(self, name: str) -> Column:
        """Return a column by name."""
        return next(column for column in self.columns if column.name == name)

    def empty(self) -> pl.DataFrame:
        """Return a frame with this table's shape and no rows."""
        return pl.DataFrame(schema=self.schema)

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Build a frame of this table's shape from row mappings; absent columns are null."""
        names = self.schema.names()
        return pl.DataFrame([{name: row.get(name) for name in names} for row in rows], schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with declared column order and row order.

        Raises:
            ShapeError: a column is missing, unknown, of another dtype, null where it must not be, or the key is
                not unique.
        """
        problems = [*self._shape_problems(frame)]
        if problems:
            raise ShapeError(self.name, problems)
        names = self.schema.names()
        chosen = frame if frame.columns == names else frame.select(names)
        is_ordered = in_strict_order(chosen, self.order)
        ordered = chosen if is_ordered else chosen.sort(self.order, nulls_last=True)
        is_unique = is_ordered and set(self.order) <= set(self.key)
        if problems := [*self._nulls(ordered), *([] if is_unique else self._repetitions(ordered))]:
            raise ShapeError(self.name, problems)
        return ordered

    def _shape_problems(self, frame: pl.DataFrame) -> list[str]:
        declared, found = self.schema, frame.schema
        problems = [f"column {name!r} is missing" for name in declared if name not in found]
        problems += [f"column {name!r} is not declared" for name in found if name not in declared]
        problems += [
            f"column {name!r} is {found[name]}, declared {dtype}"
            for name, dtype in declared.items()
            if name in found and found[name] != dtype
        ]
        return problems

    def _nulls(self, frame: pl.DataFrame) -> list[str]:
        required = (frame.get_column(column.name) for column in self.columns if not column.nullable)
        return [f"column {one.name!r} has {one.null_count()} nulls" for one in required if one.null_count()]

    def _repetitions(self, frame: pl.DataFrame) -> list[str]:
        n_duplicates = self.n_repeated_keys(frame)
        return [f"key {self.key} repeats in {n_duplicates} rows"] if n_duplicates else []

    def n_repeated_keys(self, frame: pl.DataFrame) -> int:
        """Return how many rows have a key that an earlier row has.

        Nothing is hashed where a part of the key ascends strictly, as it does in most frames in their declared order.
        """
        part = [name for name in self.order if name in self.key]
        if not self.key or in_strict_order(frame, part):
            return 0
        return frame.height - frame.select(self.key).n_unique()


def in_strict_order(frame: pl.DataFrame, order: Sequence[str]) -> bool:
    """Return whether every row comes after the one before it: sorted, without nulls, and no two rows alike.

    One pass over neighbours costs a tenth of a sort. NaN is not looked for: no order of a table has floats.
    """
    if not order:
        return False
    columns = [pl.col(name) for name in order]
    after, equal = pl.lit(value=False), pl.lit(value=True)
    for column in columns:
        before = column.shift(1)
        after = after | (equal & (column > before))
        equal = equal & (column == before)
    ascending = after.slice(1).all(ignore_nulls=False)
    known = pl.all_horizontal(column.null_count() == 0 for column in columns)
    return bool(frame.select((known & ascending.fill_null(value=False)).alias("_")).item())


def _by_name(column: Column) -> str:
    return column.name
