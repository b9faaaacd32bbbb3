"""A nothing that was heard before the daily history came: what that knows proves it, and no other request has to."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.domain.outcomes import NOTHING
from quant_assets.domain.tables import RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import holes, read_ledger
from quant_assets.flows.ingest.witnesses import daily_volumes, minutes_traded
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


def settle_idle(work: Work, sessions: Sequence[date]) -> None:
    """Enter into the ledger that instruments without a minute did not trade, where the daily history says so by now.

    Args:
        work: stores.
        sessions: sessions to look at.
    """
    found = holes(read_ledger(work, sessions).filter(pl.col("bar_size") == "1 min"))
    silent = found.filter(pl.col("outcome").is_in(NOTHING))
    if silent.is_empty():
        return
    daily = daily_volumes(work, silent["session"].unique().sort().to_list())
    idle = silent.join(daily.filter(pl.col("daily_volume") == 0), on=["session", "con_id"], how="semi")
    for (day,), rows in idle.partition_by("session", as_dict=True).items():
        still = rows.join(minutes_traded(work, day, day), on="con_id", how="anti")
        if not still.is_empty():
            batch_id = work.new_batch_id()
            work.lake.raw.append(RAW_TWS_REQUESTS, Partition(day), _proved(work, still, batch_id), batch_id)


def _proved(work: Work, silent: pl.DataFrame, batch_id: str) -> pl.DataFrame:
    """Return the ledger rows of nothings as the daily history proves them."""
    is_told = pl.col("outcome") == "no_data"
    ours = pl.lit("no bar, and the daily history knows of no trade")
    now = pl.lit(work.clock.now(), dtype=silent.schema["asked_at"])
    return silent.select(RAW_TWS_REQUESTS.schema.names()).with_columns(
        pl.when(is_told).then("outcome").otherwise(pl.lit("no_trades")).alias("outcome"),
        pl.lit("daily").alias("proof"),
        pl.when(is_told).then("detail").otherwise(ours).alias("detail"),
        now.alias("asked_at"),
        now.alias("ingested_at"),
        pl.lit(batch_id).alias("batch_id"),
        pl.format("{}-{}", pl.lit(batch_id), "con_id").alias("request_id"),
        pl.lit(None, pl.String).alias("bars_batch_id"),
    )
