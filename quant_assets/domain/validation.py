"""Pandera models made from the table declarations, and what a frame breaks of them.

A declaration becomes a `pandera.polars.DataFrameSchema` when it is first needed, and is kept: importing Pandera takes
a second that readers need not pay. Every rule is one expression over whole columns; no rule runs per row. Frames are
collected, because Pandera validates only the schema of a LazyFrame.

Of a declaration two schemas are made of the same expressions: one that asks everything in one query, and one with a
check per rule, which tells what is broken and where. Pandera collects several times per check, and most frames are
sound: only those that are not are asked rule by rule.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from quant_assets.domain.tables import Column, Table
from quant_assets.errors import DefectError

_EXAMPLES = 5

_SHAPE = {"COLUMN_NOT_IN_DATAFRAME": "missing", "COLUMN_NOT_IN_SCHEMA": "undeclared", "WRONG_DATATYPE": "dtype"}
"""Pandera's reason → our word, for what is a defect of the program and never of the data."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One rule that a frame breaks."""

    column: str
    """Empty for rules over several columns."""
    check: str
    """missing, undeclared, dtype, not_nullable, ge, gt, le, isin, finite, key_is_unique, or the name of a row rule."""
    n_failures: int
    """Rows that break it; for the shape rules 1."""
    examples: tuple[str, ...] = ()
    """Offending values, or the keys of offending rows; at most five."""

    @property
    def is_shape(self) -> bool:
        """Whether columns or dtypes are wrong, which is our defect; otherwise rows are, which is the data's."""
        return self.check in _SHAPE.values()

    def __str__(self) -> str:
        where = f"{self.column}: " if self.column else ""
        shown = f", such as {', '.join(self.examples)}" if self.examples else ""
        return (
            f"{where}{self.check}" if self.is_shape else f"{where}{self.check} fails in {self.n_failures} rows{shown}"
        )


def validate(table: Table, frame: pl.DataFrame) -> list[Failure]:
    """Return every rule of a declaration that a frame breaks; empty means none.

    Nulls pass every rule but `not_nullable`, as in SQL. NaN counts as null where null is forbidden, and is never
    within bounds: Polars orders it above every number, so that a bound alone would let it through. Infinities are
    out of bounds too. A frame with wrong columns is judged by its shape and by the columns that can be judged.

    Raises:
        DefectError: a row rule of the declaration cannot be evaluated.
    """
    import pandera.errors
    from pandera.config import ValidationDepth, config_context

    # Pandera can be switched off by the environment; what is published must not depend on that.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            sound_model(table).validate(frame)
        except (pandera.errors.SchemaError, pandera.errors.SchemaErrors):
            pass
        else:
            return []
        try:
            model(table).validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as errors:
            return _failures(table, errors.schema_errors)
    raise DefectError(f"A frame breaks the rules of table {table.name!r} taken together, but none of them by itself.")


def model(table: Table) -> Any:
    """Return the Pandera schema of a declaration (`pandera.polars.DataFrameSchema`), a check per rule; built once."""
    return _built(table)[0]


def sound_model(table: Table) -> Any:
    """Return the Pandera schema that passes the same frames as `model`, by one check over all rules; built once."""
    return _built(table)[1]


def _built(table: Table) -> tuple[Any, Any]:
    if id(table) not in _MODELS:
        _MODELS[id(table)] = table, (_by_rule(table), _at_once(table))
    return _MODELS[id(table)][1]


_MODELS: dict[int, tuple[Table, tuple[Any, Any]]] = {}
"""By identity, since a declaration holds a mapping and has no hash; the table is kept so that its id stays its own."""


def _by_rule(table: Table) -> Any:
    import pandera.polars as pa

    columns = {
        column.name: pa.Column(
            column.dtype,
            checks=[
                pa.Check(_selects(rule), name=name, n_failure_cases=_EXAMPLES)
                for name, rule in _column_rules(column).items()
            ],
            nullable=column.nullable,
        )
        for column in table.columns
    }
    checks = [
        pa.Check(_selects(pl.sql_expr(sql)), name=rule, n_failure_cases=_EXAMPLES)
        for rule, sql in table.row_rules.items()
    ]
    if table.key:
        checks.append(pa.Check(_is_unique(table), name="key_is_unique", n_failure_cases=_EXAMPLES))
    return pa.DataFrameSchema(columns, checks=checks, strict=True, name=table.name)


def _at_once(table: Table) -> Any:
    import pandera.polars as pa

    rules = [rule for column in table.columns for rule in _column_rules(column).values()]
    rules += [pl.sql_expr(sql) for sql in table.row_rules.values()]
    present = [_has_no_null(column) for column in table.columns if not column.nullable]
    asked = [one.alias(str(place)) for place, one in enumerate([*present, *(rule.all() for rule in rules)])]

    def is_sound(data: Any) -> bool:
        holds = all(data.lazyframe.select(asked).collect().row(0)) if asked else True
        return holds and not table.n_repeated_keys(data.lazyframe.select(table.key).collect())

    columns = {column.name: pa.Column(column.dtype, nullable=True) for column in table.columns}
    return pa.DataFrameSchema(columns, checks=[pa.Check(is_sound, name="sound")], strict=True, name=table.name)


def _has_no_null(column: Column) -> pl.Expr:
    """Return whether a column has no null; NaN counts as one."""
    here = pl.col(column.name)
    known = here.null_count() == 0
    return known & ~here.is_nan().any() if column.dtype in _FLOATS else known


_FLOATS = (pl.Float64, pl.Float32)


def _column_rules(column: Column) -> dict[str, pl.Expr]:
    here = pl.col(column.name)
    rules: dict[str, pl.Expr] = {}
    if column.ge is not None:
        rules["ge"] = here >= column.ge
    if column.gt is not None:
        rules["gt"] = here > column.gt
    if column.le is not None:
        rules["le"] = here <= column.le
    if rules and column.dtype in _FLOATS:
        rules["finite"] = here.is_finite()
    if column.isin:
        rules["isin"] = here.is_in(list(column.isin))
    return rules


def _selects(rule: pl.Expr) -> Callable[[Any], pl.LazyFrame]:
    return lambda data: data.lazyframe.select(rule)


def _is_unique(table: Table) -> Callable[[Any], pl.LazyFrame | bool]:
    """Count first, which is cheap; look for the offending rows only when there are any."""

    def check(data: Any) -> pl.LazyFrame | bool:
        keys = data.lazyframe.select(table.key)
        if not table.n_repeated_keys(keys.collect()):
            return True
        unique: pl.LazyFrame = keys.select(~pl.struct(table.key).is_duplicated())
        return unique

    return check


def _failures(table: Table, errors: Iterable[Any]) -> list[Failure]:
    found = [_failure(table, error) for error in errors]
    has_wrong_shape = any(failure.is_shape for failure in found)
    broken = [failure for failure in found if failure.n_failures < 0]
    if broken and not has_wrong_shape:
        raise DefectError(
            f"Rule {broken[0].check!r} of table {table.name!r} cannot be evaluated: {broken[0].examples[0]}"
        )
    return [failure for failure in found if failure.n_failures >= 0]


def _failure(table: Table, error: Any) -> Failure:
    """Translate one of Pandera's errors; a rule that could not run comes back with -1 rows."""
    reason = error.reason_code.name
    check = error.check if isinstance(error.check, str) else error.check.name
    owner = getattr(error.schema, "name", "") or ""
    column = "" if owner == table.name else owner
    if reason in _SHAPE:
        return Failure(column or str(error.failure_cases), _SHAPE[reason], 1, (str(error.args[0]),) if column else ())
    if reason == "CHECK_ERROR" or error.check_output is None:
        return Failure(column, check, -1, (str(error.args[0]),))
    passed = error.check_output.to_series(0)
    return Failure(column, check, int((~passed).sum()), _examples(table, error.failure_cases, column))


def _examples(table: Table, cases: pl.DataFrame, column: str) -> tuple[str, ...]:
    few = cases.head(_EXAMPLES)
    if column:
        return tuple(str(value) for value in few.to_series(0).unique(maintain_order=True))
    keys = few.select(name for name in table.key if name in few.columns)
    return tuple(" ".join(f"{name}={value}" for name, value in row.items()) for row in keys.iter_rows(named=True))
