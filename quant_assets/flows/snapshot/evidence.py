"""Where frozen bars came from: the TWS requests behind them, and what quarantine held back beside them.

A snapshot keeps this for those who have the run directory and no lakehouse. It is told once, when the run is frozen:
request ids are provenance, and a lakehouse that was fetched again has others for the same bars, so that they are no
part of a run's identity.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, QUARANTINE_TWS_BARS, RAW_TWS_DAILY_BARS
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.store import Lakehouse

_REQUEST = ("con_id", "vintage", "what_to_show", "request_id", "batch_id")
_ANSWER = [*_REQUEST, "session", "ingested_at"]


def evidence(lake: Lakehouse, bars: pl.DataFrame, window: Sequence[date]) -> dict[str, Any]:
    """Return `requests` and `quarantine` of frozen bars, as JSON values.

    Args:
        lake: the stores.
        bars: con_id, session, vintage of every frozen bar.
        window: the frozen sessions.
    """
    return {
        "requests": [_plain(row) for row in daily_requests(lake, bars).iter_rows(named=True)],
        "quarantine": quarantined(lake, bars["con_id"].unique().to_list(), window).to_dicts(),
    }


def daily_requests(lake: Lakehouse, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the requests that served daily bars.

    Of a bar that was served twice in one vintage the newest answer counts, as it does when bars are curated.

    Returns:
        con_id, vintage, what_to_show, request_id, batch_id, n_bars, first_session, last_session, ingested_at.
    """
    wanted = bars.select("con_id", "session", "vintage").unique()
    frames = [
        lake.raw.read(RAW_TWS_DAILY_BARS, Partition(vintage), _ANSWER)
        for vintage in sorted(wanted["vintage"].unique().to_list())
    ]
    rows = pl.concat([RAW_TWS_DAILY_BARS.empty().select(_ANSWER), *frames])
    served = rows.join(wanted, on=["con_id", "session", "vintage"], how="semi").sort("ingested_at", "request_id")
    newest = served.unique(["con_id", "session", "vintage", "what_to_show"], keep="last")
    return (
        newest.group_by(_REQUEST)
        .agg(
            pl.len().cast(pl.Int64).alias("n_bars"),
            pl.col("session").min().alias("first_session"),
            pl.col("session").max().alias("last_session"),
            pl.col("ingested_at").max(),
        )
        .sort(_REQUEST)
    )


def quarantined(lake: Lakehouse, con_ids: Sequence[int], window: Sequence[date]) -> pl.DataFrame:
    """Return how many 1-minute bars of the window are in quarantine: con_id, rule, verdict, n_rows, n_sessions."""
    inside = [
        one for one in lake.curated.partitions(QUARANTINE_TWS_BARS) if window and window[0] <= one.session <= window[-1]
    ]
    names = ["con_id", "session", "rule", "verdict"]
    empty = QUARANTINE_TWS_BARS.empty().select(names)
    rows = pl.concat([empty, *(lake.curated.read(QUARANTINE_TWS_BARS, one, names) for one in inside)])
    mine = rows.filter(pl.col("con_id").is_in(list(con_ids)))
    counts = pl.len().cast(pl.Int64).alias("n_rows"), pl.col("session").n_unique().cast(pl.Int64).alias("n_sessions")
    return mine.group_by("con_id", "rule", "verdict").agg(*counts).sort("con_id", "rule", "verdict")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if name in {"vintage", "first_session", "last_session", "ingested_at"} else value
        for name, value in row.items()
    }


def requests_of(lake: Lakehouse, run: RunDirectory, con_id: int) -> list[dict[str, Any]]:
    """Return the requests behind an instrument's frozen bars, when the lakehouse still holds the table they are from.

    A table that was computed anew since says nothing about the run; then the answer is empty.
    """
    table, partition = CURATED_TWS_1D_BARS, Partition(date.fromisoformat(run.inputs["session"]))
    footer = lake.curated.footer(table, partition)
    if footer is None or footer.content_id != run.inputs["tables"][table.name]["content_id"]:
        return []
    window = [date.fromisoformat(text) for text in run.inputs["window"]]
    bars = lake.curated.read(table, partition, ["con_id", "session", "vintage"])
    mine = bars.filter((pl.col("con_id") == con_id) & pl.col("session").is_in(window))
    return [_plain(row) for row in daily_requests(lake, mine).iter_rows(named=True)]
