"""Contract details: what TWS says an instrument is."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

import polars as pl

import quant_assets
from quant_assets.connectors.base import Contract, ContractDetails
from quant_assets.domain.tables import RAW_INSTRUMENTS, UNIVERSE
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.ingest.needs import contract_of
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition


def ingest_details(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Bring the contract details of each session's universe into `raw_instruments`.

    An answer younger than the fetch throttle serves every session of the run; one request per instrument at the most.

    An instrument that TWS no longer knows gets no row: the others go on, and the session's check names it.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    report = IngestReport()
    missing = missing_details(work, sessions)
    if missing.is_empty():
        return report
    known = recent_details(work, sessions)
    to_ask = missing.join(known, on="con_id", how="anti").unique("con_id", keep="last", maintain_order=True)
    if not to_ask.is_empty():
        contracts = [contract_of(row) for row in to_ask.sort("con_id").iter_rows(named=True)]
        with report.measured(work):
            answers = work.gate.run(lambda opened: ask_details(work, opened, contracts))
        fetched = _as_rows(work, [one for found in answers for one in found], contracts)
        known = pl.concat([known, fetched])
        report.n_rows = fetched.height
    batch_id = work.new_batch_id()
    rows = (
        missing.select("session", "con_id")
        .join(known.drop("session"), on="con_id", how="inner")
        .with_columns(pl.lit(batch_id).alias("batch_id"))
    )
    for (session,), part in rows.group_by("session", maintain_order=True):
        assert isinstance(session, date)
        work.lake.raw.append(RAW_INSTRUMENTS, Partition(session), part.select(RAW_INSTRUMENTS.schema.names()), batch_id)
    return report


def missing_details(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return the universe's rows (session and what names the contract) that have no details yet."""
    names = ["session", "con_id", "symbol", "exchange", "currency", "asset_class"]
    universe = pl.concat([work.lake.curated.read(UNIVERSE, Partition(session)) for session in sessions]).select(names)
    have = [work.lake.raw.read(RAW_INSTRUMENTS, Partition(session), ["session", "con_id"]) for session in sessions]
    return universe.join(pl.concat(have), on=["session", "con_id"], how="anti")


def recent_details(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return the newest details per instrument that are younger than the fetch throttle."""
    newest = work.lake.raw.newest(RAW_INSTRUMENTS)
    near = sorted({*sessions, *([newest.session] if newest else [])})
    frames = [work.lake.raw.read(RAW_INSTRUMENTS, Partition(session)) for session in near]
    rows = pl.concat(frames) if frames else RAW_INSTRUMENTS.empty()
    fresh = rows.filter(pl.col("ingested_at") >= work.clock.now() - throttle_of(work))
    return fresh.sort("ingested_at").unique("con_id", keep="last", maintain_order=True)


async def ask_details(work: Work, opened: OpenSource, contracts: Sequence[Contract]) -> list[list[ContractDetails]]:
    """Ask for each contract; TWS answers these at once, and they are not paced like history.

    A contract that TWS does not know gives an empty list.
    """
    with work.progress.task("contract details", total=len(contracts)) as task:
        return await opened.source.details_of(contracts, lambda contract: task.advance(note=contract.symbol))


def _as_rows(work: Work, details: Sequence[ContractDetails], contracts: Sequence[Contract]) -> pl.DataFrame:
    asked = {contract.con_id for contract in contracts}
    now = work.clock.now()
    rows = [
        asdict(one)
        | {"session": now.date(), "batch_id": "", "ingested_at": now, "pipeline_version": quant_assets.__version__}
        for one in details
        if one.con_id in asked
    ]
    return RAW_INSTRUMENTS.frame(rows).unique("con_id", keep="first", maintain_order=True)
