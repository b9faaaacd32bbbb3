"""Two producers of one table: `tv_technicals_1d` from our own bars, or from TradingView where it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from quant_assets.connectors.tradingview import TradingViewClient, technicals
from quant_assets.domain.features.agreement import agreement
from quant_assets.domain.tables import TV_TECHNICALS_1D, UNIVERSE, Table
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

PRODUCER = "producer"


@dataclass(frozen=True, slots=True)
class Produced:
    """What is published, and who made it."""

    frame: pl.DataFrame
    inputs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def wanted_producer(work: Work, table: Table, session: date) -> dict[str, str]:
    """Return, as an input of a partition, who should produce it; nothing where there is one producer only.

    TradingView answers for the latest session; of a past one, whoever produced it stays.
    """
    if not _is_asked(work, table):
        return {}
    if session == work.latest_session():
        return {PRODUCER: "tradingview"}
    footer = work.lake.curated.footer(table, Partition(session))
    return {PRODUCER: footer.inputs.get(PRODUCER, "local") if footer else "local"}


def with_second_producer(work: Work, table: Table, session: date, local: pl.DataFrame) -> Produced:
    """Replace rows by TradingView's where it is asked and answers; local rows fill in for what it leaves out.

    A failure of TradingView never costs a session its technicals: the local rows are published, the failure is in the
    metadata and in the audit log, and the next run asks again.
    """
    if not _is_asked(work, table):
        return Produced(local)
    if session != work.latest_session():
        return Produced(
            local, {PRODUCER: "local"}, {PRODUCER: "local: TradingView answers for the latest session only"}
        )
    named = work.lake.curated.read(UNIVERSE, Partition(session)).join(local, on="con_id", how="semi")
    try:
        with TradingViewClient.of(work.settings.manifest.tradingview) as client:
            theirs = technicals(client, named, session)
    except QuantAssetsError as error:
        work.audit.record(
            "technicals_fallback", run_id=work.run_id, status="warn", session=str(session), why=str(error)
        )
        return Produced(local, {PRODUCER: "local"}, {PRODUCER: f"local: {error}"})
    rest = local.join(theirs, on="con_id", how="anti")
    frame = pl.concat([theirs.select(local.columns), rest]).sort("con_id")
    told = {
        PRODUCER: f"tradingview: {theirs.height} instruments; local: {rest.height}",
        "agreement": agreement(local, theirs).to_dicts(),
    }
    return Produced(frame, {PRODUCER: "tradingview"}, told)


def _is_asked(work: Work, table: Table) -> bool:
    config = work.settings.manifest.tradingview
    return table is TV_TECHNICALS_1D and config.enabled and config.technicals
