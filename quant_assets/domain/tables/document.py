"""docs/tables.md, rendered from the declarations: deterministic Markdown, the same bytes for the same tables."""

from collections.abc import Iterable

import polars as pl

from quant_assets.domain.tables.core import Column, Table

_ZONES = {
    "discovery": "What is ingested for a session.",
    "bronze": "As received. Append-only: nothing is overwritten, a re-fetch adds a newer batch.",
    "silver": "Valid, typed, deduplicated. One file per partition, replaced atomically.",
    "gold": "Derived, joined, ready. One file per partition, replaced atomically.",
}

_PARTITIONS = {
    "session": "one per exchange session",
    "vintage": "one per vintage, the session as of which history was fetched",
    "session_profile": "one per session and profile",
}

_HEAD = """\
# Tables

Generated from `quant_assets/domain/tables` by `python tools/generate_docs.py`; CI fails when it is stale. Do not edit.

Times are UTC microseconds. A *provenance* column tells how a row got here and does not enter the content id.
"""


def render(tables: Iterable[Table]) -> str:
    """Return the document for these tables, zone by zone, in the order of their declaration."""
    declared = tuple(tables)
    parts = [_HEAD, _summary(declared)]
    for zone, meaning in _ZONES.items():
        inside = [table for table in declared if table.zone == zone]
        if inside:
            parts.append(f"## {zone}\n\n{meaning}\n")
            parts += [_section(table) for table in inside]
    return "\n".join(parts)


def _summary(tables: Iterable[Table]) -> str:
    rows = [f"| {t.zone} | [`{t.name}`](#{t.name}) | {_cell(t.grain)} | {_cell(t.description)} |" for t in tables]
    return "\n".join(["| zone | table | grain | content |", "|---|---|---|---|", *rows, ""])


def _section(table: Table) -> str:
    facts = [
        f"- **Grain**: {table.grain}",
        f"- **Key**: {_codes(table.key)}",
        f"- **Partition**: {_PARTITIONS[table.partition_by]}{'; several batch files' if table.append_only else ''}",
        f"- **Sorted by**: {_codes(table.order)}",
        f"- **Producer**: `{table.producer}`",
        f"- **Empty partition**: {'legal' if table.may_be_empty else 'an error'}",
    ]
    facts += [f"- **Rule** `{name}`: `{sql}`" for name, sql in table.row_rules.items()]
    head = ["| column | type | unit | null | rules | description |", "|---|---|---|---|---|---|"]
    rows = [_row(column, is_key=column.name in table.key) for column in table.columns]
    return "\n".join([f"### {table.name}\n", table.description, "", *facts, "", *head, *rows, ""])


def _row(column: Column, *, is_key: bool) -> str:
    name = f"**`{column.name}`**" if is_key else f"`{column.name}`"
    cells = (name, _type(column.dtype), _cell(column.unit), "yes" if column.nullable else "", _rules(column))
    description = _cell(column.description) + (" *(provenance)*" if column.provenance else "")
    return f"| {' | '.join(cells)} | {description} |"


def _type(dtype: pl.DataType | type[pl.DataType]) -> str:
    return "Datetime µs UTC" if isinstance(dtype, pl.Datetime) else str(dtype)


def _rules(column: Column) -> str:
    bounds = (("≥", column.ge), (">", column.gt), ("≤", column.le))
    rules = [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
    if column.isin:
        rules.append(" · ".join(f"`{value}`" for value in column.isin))
    return ", ".join(rules)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
