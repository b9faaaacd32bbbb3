"""Scans in TradingView's words, and what an answer has to look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from quant_assets.connectors.scanners import Scanner
from quant_assets.domain.screens import Condition

Cell = float | int | str | bool | None

_OPERATIONS: Mapping[str, str] = {
    ">": "greater",
    ">=": "egreater",
    "<": "less",
    "<=": "eless",
    "==": "equal",
    "!=": "nequal",
    "between": "in_range",
    "in": "in_range",
    "not_in": "not_in_range",
    "is_null": "empty",
    "not_null": "nempty",
}

_SUFFIX: Mapping[str, str] = {"1h": "|60", "4h": "|240", "1d": "", "1W": "|1W", "1M": "|1M"}
_INDICATORS = (
    "Recommend.",
    "RSI",
    "ADX",
    "AO",
    "CCI20",
    "Stoch.",
    "MACD.",
    "Mom",
    "EMA",
    "SMA",
    "VWMA",
    "HullMA",
    "BB.",
)
"""Beginnings of the columns that depend on the bars' interval; prices, volumes and fundamentals do not."""


@dataclass(frozen=True, slots=True)
class ScanQuery:
    """One scan."""

    name: str
    """For messages."""
    columns: tuple[str, ...]
    filters: tuple[Mapping[str, Any], ...] = ()
    types: tuple[str, ...] = ()
    tickers: tuple[str, ...] = ()
    """Ask for these only; empty asks the whole market."""
    sort: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100

    def payload(self, market: str, first: int, last: int) -> dict[str, Any]:
        """Return the body of the request for rows `first` to `last`, the last one exclusive."""
        body: dict[str, Any] = {
            "markets": [market],
            "symbols": {"query": {"types": list(self.types)}, "tickers": list(self.tickers)},
            "options": {"lang": "en"},
            "columns": list(self.columns),
            "filter": [dict(one) for one in self.filters],
            "range": [first, last],
            "ignore_unknown_fields": False,
        }
        return {**body, "sort": dict(self.sort)} if self.sort else body


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One instrument of an answer: TradingView's name, and its value of each column."""

    name: str
    values: Mapping[str, Cell]


class AnswerRow(BaseModel):
    """One row as it is sent."""

    model_config = ConfigDict(extra="ignore")

    s: StrictStr
    d: list[Cell]


class Answer(BaseModel):
    """A whole answer as it is sent; `error` comes with status 400."""

    model_config = ConfigDict(extra="ignore")

    totalCount: StrictInt  # noqa: N815 - its own spelling
    data: list[AnswerRow] | None = None
    error: str | None = None


def query_of(name: str, scanner: Scanner, interval: str) -> ScanQuery:
    """Return the query of a scanner; its filters' and its rank's columns are asked for too.

    Args:
        name: of the scanner.
        scanner: one whose source is TradingView.
        interval: of the bars behind indicators: 1h, 4h, 1d, 1W or 1M.
    """
    conditions = scanner.conditions()
    extra = scanner.tradingview.columns if scanner.tradingview else ()
    named = [*(one.field for one in conditions), *([scanner.rank.by] if scanner.rank else []), *extra]
    columns = tuple(dict.fromkeys(with_interval(one, interval) for one in named)) or ("name",)
    rank = scanner.rank
    return ScanQuery(
        name=f"scanner {name!r}",
        columns=columns,
        filters=tuple(_filter(one, interval) for one in conditions),
        types=scanner.tradingview.types if scanner.tradingview else (),
        sort={"sortBy": with_interval(rank.by, interval), "sortOrder": "desc" if rank.descending else "asc"}
        if rank
        else {},
        limit=scanner.limit,
    )


def with_interval(column: str, interval: str) -> str:
    """Return a column's name for bars of an interval: `RSI|60` is the RSI of hours."""
    return column + _SUFFIX[interval] if column.startswith(_INDICATORS) else column


def _filter(condition: Condition, interval: str) -> dict[str, Any]:
    body: dict[str, Any] = {"left": with_interval(condition.field, interval), "operation": _OPERATIONS[condition.op]}
    if condition.value is not None:
        body["right"] = list(condition.value) if isinstance(condition.value, tuple) else condition.value
    return body


def results(answer: Answer, columns: Sequence[str]) -> list[ScanResult]:
    """Return the rows of an answer.

    Raises:
        ValueError: a row is not as long as the columns that were asked for, or has no `EXCHANGE:SYMBOL`.
    """
    found = []
    for row in answer.data or []:
        if len(row.d) != len(columns):
            raise ValueError(f"{row.s} has {len(row.d)} values for {len(columns)} columns")
        if ":" not in row.s:
            raise ValueError(f"{row.s!r} is no EXCHANGE:SYMBOL")
        found.append(ScanResult(row.s, dict(zip(columns, row.d, strict=True))))
    return found
