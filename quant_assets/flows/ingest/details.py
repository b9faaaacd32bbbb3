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
from quant_assets.flows.work import OpenSource, Work, batch_ids_from
from quant_assets.lakehouse.layout import Partition


def ingest_details(work: Work, sessions: Sequence[date]) -> IngestReport:
    """Bring the contract details of each session's universe into `raw_instruments`.

    An answer younger than the fetch throttle serves every session of the run, and so does what discovery was told in
    it; one request per instrument at the most. Of a session that it was not given for, it is known from now on; the
    batch that brought it first stays named.

    An instrument that TWS no longer knows gets no row: the others go on, and the session's check names it.

    Raises:
        NotPublishedError: the universe of a session is missing.
    """
    report = IngestReport()
    missing = missing_details(work, sessions)
    if missing.is_empty():
        return report
    known = recent_details(work, sessions).with_columns(
        pl.lit(work.clock.now(), pl.Datetime("us", "UTC")).alias("ingested_at")
    )
    batch_id = work.new_batch_id()
    to_ask = missing.join(known, on="con_id", how="anti").unique("con_id", keep="last", maintain_order=True)
    if not to_ask.is_empty():
        contracts = [contract_of(row) for row in to_ask.sort("con_id").iter_rows(named=True)]
        unheard = [one for one in contracts if one.con_id not in work.described]
        if unheard:
            with report.measured(work):
                work.gate.run(lambda opened: ask_details(work, opened, unheard), len(unheard))
        fetched = _as_rows(work, contracts, batch_id)
        known = pl.concat([known, fetched])
        report.n_rows = fetched.height
    rows = missing.select("session", "con_id").join(known.drop("session"), on="con_id", how="inner")
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
    fresh = rows.filter(pl.col("batch_id") >= batch_ids_from(work.clock.now() - throttle_of(work)))
    return fresh.sort("batch_id").unique("con_id", keep="last", maintain_order=True)


async def ask_details(work: Work, opened: OpenSource, contracts: Sequence[Contract]) -> list[list[ContractDetails]]:
    """Ask for each contract of which this unit of work was told nothing yet; TWS answers at once, and does not pace it.

    A contract that TWS does not know gives an empty list. What is remembered is a single instrument at the place that
    was asked for: without one TWS names every venue, with a symbol alone perhaps several instruments.
    """
    told = dict(work.described)
    to_ask = [contract for contract in contracts if contract.con_id not in told]
    with work.progress.task("contract details", total=len(to_ask)) as task:
        found = await opened.source.details_of(to_ask, lambda contract: task.advance(note=contract.symbol))
    now, answers = work.clock.now(), iter(found)
    for contract, answer in zip(to_ask, found, strict=True):
        if contract.exchange and len({one.con_id for one in answer}) == 1:
            work.described[answer[0].con_id] = (answer[0], now)
    return [[told[one.con_id][0]] if one.con_id in told else next(answers) for one in contracts]


def _as_rows(work: Work, contracts: Sequence[Contract], batch_id: str) -> pl.DataFrame:
    heard = [work.described[one.con_id] for one in contracts if one.con_id in work.described]
    constants = {"batch_id": batch_id, "pipeline_version": quant_assets.__version__}
    rows = [asdict(details) | {"session": at.date(), "ingested_at": at, **constants} for details, at in heard]
    return RAW_INSTRUMENTS.frame(rows)
