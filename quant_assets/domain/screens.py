"""Screens: conditions over the columns of published tables, declared as data and judged in one pass."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Literal

import polars as pl

from quant_assets.domain.tables import (
    CURATED_TWS_1D_BARS,
    FEATURES_PRICE_1M_V1,
    FEATURES_VOLUME_1M_V1,
    TV_TECHNICALS_1D,
    Table,
)
from quant_assets.errors import UnknownNameError

Op = Literal[">", ">=", "<", "<=", "==", "!=", "between", "in", "not_in", "is_null", "not_null"]
Value = float | str | tuple[float | str, ...] | None

METRICS = "metrics"
"""What the daily screen computes from the window of daily bars, as if it were a table."""

METRIC_FIELDS = ("n_sessions", "dollar_volume", "momentum", "volatility")

TABLES: Mapping[str, Table] = {
    table.name: table for table in (CURATED_TWS_1D_BARS, TV_TECHNICALS_1D, FEATURES_PRICE_1M_V1, FEATURES_VOLUME_1M_V1)
}
"""What a screen may read; of a table with several rows per instrument, the last one of the session."""

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_SETS = ("in", "not_in")
_NULLS = ("is_null", "not_null")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a field, what it is compared by, and with what."""

    name: str
    field: str
    """`table.column`, see `fields`."""
    op: Op
    value: Value = None

    def __str__(self) -> str:
        told = "" if self.op in _NULLS else f" {_plain(self.value)}"
        return f"{self.field} {self.op}{told}"


@cache
def fields() -> Mapping[str, pl.DataType]:
    """Return every field that a screen may name, with its type: numbers, flags and words, not keys and times."""
    kept = {
        f"{name}.{column.name}": column.dtype
        for name, table in TABLES.items()
        for column in table.columns
        if column.name not in table.key
        and not column.provenance
        and (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean))
    }
    metrics = {f"{METRICS}.{name}": pl.Int64() if name == "n_sessions" else pl.Float64() for name in METRIC_FIELDS}
    return {name: dtype() if isinstance(dtype, type) else dtype for name, dtype in (kept | metrics).items()}


def check_condition(condition: Condition) -> None:
    """Refuse a condition that means nothing.

    Raises:
        UnknownNameError: no table has the field; suggests the nearest one.
        ValueError: the value does not fit the operator or the field.
    """
    known = fields()
    if condition.field not in known:
        raise UnknownNameError("field", condition.field, known)
    check_value(condition.op, condition.value)
    is_number = known[condition.field].is_numeric()
    given = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    if condition.op not in _NULLS and any(isinstance(one, str) == is_number for one in given):
        raise ValueError(f"{condition.field} holds {'numbers' if is_number else 'words'}, not {condition.value!r}")


def check_value(op: str, value: Value) -> None:
    """Refuse a value that does not fit an operator.

    Raises:
        ValueError: says what fits.
    """
    if op in _NULLS:
        if value is not None:
            raise ValueError(f"{op!r} takes no value")
    elif op in _SETS:
        if not isinstance(value, tuple) or not value:
            raise ValueError(f"{op!r} takes a list of values")
    elif op == "between":
        if not isinstance(value, tuple) or len(value) != _PAIR:
            raise ValueError("'between' takes two values, the lower one first")
        low, high = value
        if isinstance(low, str) or isinstance(high, str) or low > high:
            raise ValueError("'between' takes two numbers, the lower one first")
    elif value is None or isinstance(value, tuple):
        raise ValueError(f"{op!r} takes one value")


_PAIR = 2


def tables_of(names: Sequence[str]) -> list[Table]:
    """Return the tables that fields come from; metrics come from the daily bars."""
    prefixes = {name.partition(".")[0] for name in names}
    wanted = {CURATED_TWS_1D_BARS.name if prefix == METRICS else prefix for prefix in prefixes}
    return [table for name, table in TABLES.items() if name in wanted]


def judge(frame: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """Judge rows by conditions.

    Args:
        frame: con_id and one column per field, named as the field.
        conditions: all of them have to hold; a null holds no comparison.

    Returns:
        con_id and `broken`: the conditions that do not hold, with the value that was found, separated by `;`; empty
        where all hold.
    """
    if not conditions:
        return frame.select("con_id", pl.lit("").alias("broken"))
    texts = [
        pl.when(~_holds(one).fill_null(value=False)).then(pl.format("{}: {} is {}", *_told(one))) for one in conditions
    ]
    return frame.select("con_id", pl.concat_str(texts, separator=";", ignore_nulls=True).alias("broken"))


def _told(condition: Condition) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    value = pl.col(condition.field)
    if fields()[condition.field].is_float():
        value = value.round_sig_figs(_DIGITS)
    return pl.lit(condition.name), pl.lit(f"{condition} wanted, it"), value.cast(pl.String).fill_null("missing")


_DIGITS = 6


def _holds(condition: Condition) -> pl.Expr:
    value, given = pl.col(condition.field), condition.value
    if condition.op == "is_null":
        return value.is_null()
    if condition.op == "not_null":
        return value.is_not_null()
    if condition.op == "between":
        assert isinstance(given, tuple)
        low, high = given
        return value.is_between(low, high)
    if condition.op in _SETS:
        assert isinstance(given, tuple)
        found = reduce(operator.or_, (value == one for one in given))
        return found if condition.op == "in" else ~found
    compared: pl.Expr = _COMPARE[condition.op](value, given)
    return compared & value.is_not_nan() if fields()[condition.field].is_float() else compared


def ranked(frame: pl.DataFrame, by: str, limit: int, *, descending: bool = True) -> pl.DataFrame:
    """Return con_id and rank (from 1) of the best `limit` rows; ties by con_id, rows without a value last."""
    score = pl.col(by).round_sig_figs(_RANK_DIGITS) if frame.schema[by].is_float() else pl.col(by)
    order = frame.select("con_id", score.alias("_score")).sort(
        "_score", "con_id", descending=[descending, False], nulls_last=True
    )
    best = order.head(limit).with_row_index("rank", offset=1)
    return best.select("con_id", pl.col("rank").cast(pl.Int64), pl.col("_score").alias("score"))


_RANK_DIGITS = 9
"""Few enough to be equal on every machine."""


def _plain(value: Value) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
