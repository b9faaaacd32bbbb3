"""Listed symbols that TWS denies though it knew them: set aside, so that a delisting costs nobody else the day."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Final

import polars as pl

from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.given_up import GIVEN_UP, UNKNOWN, sentences
from quant_assets.flows.publishing import Finding, Published
from quant_assets.flows.work import Work

LISTED: Final = "every_listed_symbol_known"
INPUT: Final = "set_aside"
"""Key among the inputs of a universe: who was set aside when it was made, as JSON."""


def last_known(work: Work, names: Collection[str]) -> dict[str, tuple[int, date]]:
    """Return the con_id of each name that some universe has, and the newest session of one that has it.

    Args:
        work: the universes; they are read from the newest on, until every name is found.
        names: `EXCHANGE:SYMBOL`, or a symbol alone.
    """
    found: dict[str, tuple[int, date]] = {}
    store = work.lake.curated
    for partition in reversed(store.partitions(UNIVERSE)):
        rows = store.read_many(UNIVERSE, [partition]).select("con_id", "symbol", "exchange")
        for con_id, symbol, exchange in rows.filter(pl.col("symbol").is_in(_symbols(names))).iter_rows():
            for name in {symbol, f"{exchange}:{symbol}"} & (set(names) - found.keys()):
                found[name] = (con_id, partition.session)
        if len(found) == len(names):
            break
    return found


def _symbols(names: Collection[str]) -> list[str]:
    return [name.rpartition(":")[2] for name in names]


def denied(name: str, source: str, known: tuple[int, date]) -> dict[str, Any]:
    """Return the row of a symbol that is set aside, as `given_up.refusals` has them; without a session yet.

    Args:
        name: as the source writes it.
        source: who names it.
        known: its con_id, and when it was known last.
    """
    con_id, session = known
    detail = (
        f"TWS denies {name} (error 200: no security definition) and knew it on {session}, so it is left out and the "
        "others go on. Take it out of the list when it is delisted, or write its new name; the next session asks again."
    )
    return {"con_id": con_id, "symbol": name, "outcome": UNKNOWN, "series": source, "detail": detail}


def finding(rows: Sequence[Mapping[str, Any]]) -> Finding:
    """Return the check that names who was set aside."""
    told = "; ".join(sentences(rows))
    return Finding(LISTED, not rows, told, blocking=False, metadata={GIVEN_UP: list(rows)})


def with_standing(published: Published, inputs: Mapping[str, str]) -> Published:
    """Return a universe that stands, with those named who were set aside when it was made."""
    rows = json.loads(inputs.get(INPUT, "[]"))
    return published.with_finding(finding(rows)) if rows else published


def recent(work: Work) -> list[dict[str, Any]]:
    """Return who was set aside when the newest universe was made."""
    newest = work.lake.curated.newest(UNIVERSE)
    footer = work.lake.curated.footer(UNIVERSE, newest) if newest else None
    return list(json.loads(footer.inputs.get(INPUT, "[]"))) if footer else []
