"""What differs between two runs: inputs, configuration, code, environment, selection, weights, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quant_assets.domain.verification import turnover_of
from quant_assets.settings.nested import leaves

_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Fate:
    """How far an instrument came in a run: `selected`, or the stage that left it out, and why."""

    symbol: str
    stage: str
    reason: str = ""

    @property
    def is_selected(self) -> bool:
        """Whether it may get weight."""
        return self.stage == "selected"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run says about itself."""

    run_id: str
    session: str
    profile: str
    tables: Mapping[str, Mapping[str, Any]]
    """Frozen tables: partition, content_id, n_rows."""
    bars: Mapping[int, tuple[str, str]]
    """con_id → symbol and content id of the frozen bars."""
    window: Sequence[str]
    config: Mapping[str, Any]
    code_version: str
    environment: Mapping[str, Any]
    fates: Mapping[int, Fate]
    weights: Mapping[int, float]
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """The differences between run A and run B; every part is empty where nothing differs."""

    a: str
    b: str
    tables: list[dict[str, Any]]
    """table, and partition, content_id and n_rows of each side."""
    bars: list[dict[str, Any]]
    """con_id, symbol and the content id of each side, None where an instrument was not frozen."""
    window: dict[str, Any]
    config: list[dict[str, Any]]
    code: dict[str, str]
    environment: list[dict[str, Any]]
    selection: list[dict[str, Any]]
    """con_id, symbol, `came` or `went`, and the stage and reason of the side without it."""
    weights: list[dict[str, Any]]
    """con_id, symbol, weight on each side, change; the largest change first."""
    turnover: float
    """Half the sum of |changes|; 1 exchanges the whole portfolio."""
    metrics: list[dict[str, Any]]

    @property
    def is_equal(self) -> bool:
        """Whether the runs saw the same, did the same, and hold the same."""
        parts = (self.tables, self.bars, self.window, self.config, self.code, self.environment, self.selection)
        return not any(parts) and not self.weights and not self.metrics


def compare(a: RunFacts, b: RunFacts) -> RunDiff:
    """Return what differs between two runs; the order matters only for signs and names."""
    return RunDiff(
        a=a.run_id,
        b=b.run_id,
        tables=changed("table", a.tables, b.tables),
        bars=_bars(a, b),
        window=_window(a.window, b.window),
        config=changed("key", dict(flat(a.config)), dict(flat(b.config))),
        code={} if a.code_version == b.code_version else {"a": a.code_version, "b": b.code_version},
        environment=changed("key", dict(flat(a.environment)), dict(flat(b.environment))),
        selection=_selection(a.fates, b.fates),
        weights=_weights(a, b),
        turnover=round(turnover_of(b.weights, a.weights), _DIGITS),
        metrics=_metrics(a.metrics, b.metrics),
    )


def changed(named: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries that differ as rows of name (in the column `named`), a and b, by name; absent is None."""
    names = sorted({*a, *b})
    return [{named: name, "a": a.get(name), "b": b.get(name)} for name in names if a.get(name) != b.get(name)]


def flat(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with their dotted paths, and of lists of mappings with their places."""
    return leaves(value, opens_lists=True)


def _bars(a: RunFacts, b: RunFacts) -> list[dict[str, Any]]:
    rows = []
    for con_id in sorted({*a.bars, *b.bars}):
        (symbol_a, id_a), (symbol_b, id_b) = a.bars.get(con_id, ("", None)), b.bars.get(con_id, ("", None))
        if id_a != id_b:
            rows.append({"con_id": con_id, "symbol": symbol_b or symbol_a, "a": id_a, "b": id_b})
    return sorted(rows, key=lambda row: (row["a"] is not None, row["b"] is not None, row["symbol"]))


def _window(a: Sequence[str], b: Sequence[str]) -> dict[str, Any]:
    if list(a) == list(b):
        return {}
    return {"a": _span(a), "b": _span(b), "only_a": sorted({*a} - {*b}), "only_b": sorted({*b} - {*a})}


def _span(window: Sequence[str]) -> str:
    return f"{window[0]}..{window[-1]} ({len(window)})" if window else ""


def _selection(a: Mapping[int, Fate], b: Mapping[int, Fate]) -> list[dict[str, Any]]:
    """Name who is selected on one side only, with what became of it on the other."""
    unknown = Fate("", "unknown", "not in the universe of that run")
    rows = []
    for con_id in sorted({*a, *b}):
        before, after = a.get(con_id, unknown), b.get(con_id, unknown)
        if before.is_selected != after.is_selected:
            other, change = (before, "came") if after.is_selected else (after, "went")
            symbol = after.symbol or before.symbol
            told = {"stage": other.stage, "reason": other.reason}
            rows.append({"con_id": con_id, "symbol": symbol, "change": change, **told})
    return sorted(rows, key=lambda row: (row["change"], row["symbol"]))


def _weights(a: RunFacts, b: RunFacts) -> list[dict[str, Any]]:
    rows = []
    for con_id in sorted({*a.weights, *b.weights}):
        before, after = a.weights.get(con_id, 0.0), b.weights.get(con_id, 0.0)
        if change := round(after - before, _DIGITS):
            fate = b.fates.get(con_id) or a.fates.get(con_id)
            symbol = fate.symbol if fate else str(con_id)
            rows.append({"con_id": con_id, "symbol": symbol, "a": before, "b": after, "change": change})
    return sorted(rows, key=lambda row: (-abs(row["change"]), row["symbol"]))


def _metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keep the order of the metrics: it is that of the report."""
    rows = []
    for name in dict.fromkeys([*a, *b]):
        before, after = a.get(name), b.get(name)
        if before != after:
            is_number = isinstance(before, int | float) and isinstance(after, int | float)
            change = {"change": round(after - before, _DIGITS)} if is_number else {}  # type: ignore[operator]
            rows.append({"metric": name, "a": before, "b": after, **change})
    return rows
