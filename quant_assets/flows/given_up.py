"""What TWS refuses for good: which instrument, which series, of when, in whose words, and what mends it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from quant_assets.domain.tables import RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import REFUSED, read_ledger
from quant_assets.flows.work import Work

GIVEN_UP: Final = "given_up"
"""Key of a check's metadata: who was given up, as rows of `refusals`."""
NO_PERMISSION, UNKNOWN, TURNED_DOWN = REFUSED

_SERIES = ("bar_size", "what_to_show")
_RECENT = 10
"""Sessions."""
_LATER = "It is asked for again after lakehouse.fetch_throttle_hours, and at once by `quant repair`."


def refusals(ledger: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what was refused when it was asked for last: a row per instrument, series and session.

    Args:
        ledger: rows of `raw_tws_requests`.

    Returns:
        con_id, symbol, outcome, series, session (as text) and detail, ordered by symbol, series and session.
    """
    asked = ledger.sort("asked_at", "request_id").unique(
        ["con_id", *_SERIES, "session"], keep="last", maintain_order=True
    )
    # what is always refused says in its own words when it is asked for again
    later = pl.when(pl.col("outcome") == TURNED_DOWN).then(pl.lit("")).otherwise(pl.lit(f" {_LATER}"))
    found = asked.filter(pl.col("outcome").is_in(REFUSED)).select(
        "con_id",
        "symbol",
        "outcome",
        pl.concat_str(*_SERIES, separator=" ").alias("series"),
        pl.col("session").cast(pl.String),
        pl.concat_str("detail", later),
    )
    return found.sort("symbol", "con_id", "series", "session").to_dicts()


def recent_refusals(work: Work) -> list[dict[str, Any]]:
    """Return what was refused of the newest sessions that TWS was asked about."""
    return refusals(read_ledger(work, work.lake.raw.sessions(RAW_TWS_REQUESTS)[-_RECENT:]))


def sentences(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence per instrument and kind of refusal; of several answers the words of the newest session's.

    Args:
        rows: as `refusals` returns them, of any number of series.
    """
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda one: (one["symbol"], one["con_id"], one["outcome"], one["session"])):
        groups.setdefault((row["con_id"], row["outcome"]), []).append(row)
    return [_sentence(group) for group in groups.values()]


def _sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    last = rows[-1]
    series = ", ".join(sorted({row["series"] for row in rows if row["series"]}))
    first, until = rows[0]["session"], last["session"]
    window = first if first == until else f"{first}..{until}"
    return f"{last['symbol']}: {last['outcome'].replace('_', ' ')}, {series} of {window}. {last['detail']}"
