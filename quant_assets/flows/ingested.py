"""Publishing bronze: the batches are committed already; what is judged is whether a session is complete enough."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from quant_assets.domain.tables import RAW_INSTRUMENTS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS, Table
from quant_assets.flows.curate import universe_of, unsettled
from quant_assets.flows.ingest.daily import vintages_near
from quant_assets.flows.ingest.ledger import REFUSED
from quant_assets.flows.publishing import NOT_EMPTY, SCHEMA, Finding, Published
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import StorageReport

SETTLED = "every_request_settled"
PERMITTED = "every_instrument_permitted"


def raw_minutes(work: Work, session: date, added: Mapping[str, int]) -> Published:
    """Judge the raw bars of a session: every instrument has an outcome, and at least one has bars."""
    partition, raw = Partition(session), work.lake.raw
    rows = sum(footer.n_rows for file in raw.batches(RAW_TWS_BARS, partition) if (footer := raw.manifest(RAW_TWS_BARS).lookup(file)))
    missing = unsettled(work, session)
    ledger = raw.read(RAW_TWS_REQUESTS, partition).filter(pl.col("bar_size") == "1 min")
    newest = ledger.sort("asked_at").unique("con_id", keep="last", maintain_order=True)
    counts = dict(newest.group_by("outcome").len().sort("outcome").iter_rows())
    refused = newest.filter(pl.col("outcome").is_in(REFUSED))
    findings = (
        Finding(NOT_EMPTY, rows > 0, f"TWS has no bar of any instrument on {session}"),
        Finding(SCHEMA, passed=True),
        Finding(SETTLED, missing.is_empty(), f"no reliable answer for {_some(missing)}; run the session again"),
        Finding(PERMITTED, refused.is_empty(), f"refused: {_some(refused)}", blocking=False),
    )
    return _published(work, RAW_TWS_BARS, partition, rows, findings, {**added, **{f"outcome_{k}": v for k, v in counts.items()}})


def raw_daily(work: Work, session: date, added: Mapping[str, int]) -> Published:
    """Judge the daily history for a session: some vintage speaks for each instrument."""
    raw = work.lake.raw
    near = vintages_near(work, session)
    frames = [raw.read(RAW_TWS_DAILY_BARS, Partition(v), ["con_id", "session"]) for v in near]
    rows = pl.concat(frames) if frames else RAW_TWS_DAILY_BARS.empty().select("con_id", "session")
    known = rows.filter(pl.col("session") <= session)
    absent = universe_of(work, session).join(known, on="con_id", how="anti")
    findings = (
        Finding(NOT_EMPTY, known.height > 0, f"no daily history reaches back to {session}"),
        Finding(SCHEMA, passed=True),
        Finding("history_served", absent.is_empty(), f"none for {_some(absent)}", blocking=False),
    )
    return _published(work, RAW_TWS_DAILY_BARS, Partition(session), known.height, findings, added, vintages=near)


def raw_details(work: Work, session: date, added: Mapping[str, int]) -> Published:
    """Judge the contract details of a session: every member of the universe has some."""
    partition = Partition(session)
    rows = work.lake.raw.read(RAW_INSTRUMENTS, partition, ["con_id"])
    absent = universe_of(work, session).join(rows, on="con_id", how="anti")
    findings = (
        Finding(NOT_EMPTY, rows.height > 0, "no contract details"),
        Finding(SCHEMA, passed=True),
        Finding("every_member_known", absent.is_empty(), f"none for {_some(absent)}"),
    )
    return _published(work, RAW_INSTRUMENTS, partition, rows.height, findings, added)


def _published(
    work: Work,
    table: Table,
    partition: Partition,
    rows: int,
    findings: tuple[Finding, ...],
    metadata: Mapping[str, int],
    vintages: list[date] | None = None,
) -> Published:
    if any(finding.blocking and not finding.passed for finding in findings):
        return Published(table, partition, None, findings, metadata)
    raw = work.lake.raw
    if vintages is None:
        content, location = raw.content_id(table, partition), work.layout.directory(table, partition)
    else:
        content, location = raw.input_id(table, Partition(vintages[-1])), work.layout.table(table)
    report = StorageReport(table.name, work.layout.relative(location), partition.key, rows, 0, 0, rows, content)
    return Published(table, partition, report, findings, metadata)


def _some(frame: pl.DataFrame) -> str:
    names = frame["symbol"].head(8).to_list()
    return f"{frame.height} instruments: {', '.join(names)}{' …' if frame.height > len(names) else ''}"
