"""Publishing bronze: the batches are committed already; what is judged is whether a session is complete enough."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.domain.tables import RAW_INSTRUMENTS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS, Table
from quant_assets.flows.curate import universe_of, unsettled
from quant_assets.flows.given_up import GIVEN_UP, NO_PERMISSION, TURNED_DOWN, UNKNOWN, refusals, sentences
from quant_assets.flows.ingest.ledger import read_ledger
from quant_assets.flows.ingest.vintages import daily_needs, unproved, vintages_near
from quant_assets.flows.publishing import NOT_EMPTY, SCHEMA, Finding, Published
from quant_assets.flows.work import Work
from quant_assets.lakehouse.bronze_rules import broken_rules
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import StorageReport

SETTLED = "every_request_settled"
PERMITTED = "every_instrument_permitted"
RECOGNISED = "every_instrument_recognised"
ACCEPTED = "every_request_accepted"
SERVED = "history_served"
PROVED = "history_proved"
KNOWN = "every_member_known"


@dataclass(frozen=True, slots=True)
class _Found:
    """What bronze holds for one partition of an asset, and what the rules say of it."""

    table: Table
    partition: Partition
    rows: int
    content_id: str
    findings: tuple[Finding, ...]
    metadata: Mapping[str, int | float]

    def published(self, work: Work) -> Published:
        """Return it as published, unless a blocking rule is broken."""
        if any(finding.blocking and not finding.passed for finding in self.findings):
            return Published(self.table, self.partition, None, self.findings, self.metadata)
        location = work.layout.relative(work.layout.table(self.table))
        report = StorageReport(
            self.table.name, location, self.partition.key, self.rows, 0, 0, self.rows, self.content_id
        )
        return Published(self.table, self.partition, report, self.findings, self.metadata)


def raw_minutes(work: Work, session: date, added: Mapping[str, int | float]) -> Published:
    """Judge the raw bars of a session: every instrument has an outcome, and at least one has bars."""
    partition, raw = Partition(session), work.lake.raw
    rows = raw.n_rows(RAW_TWS_BARS, partition)
    missing = unsettled(work, session)
    ledger = raw.read(RAW_TWS_REQUESTS, partition).filter(pl.col("bar_size") == "1 min")
    newest = ledger.sort("asked_at").unique("con_id", keep="last", maintain_order=True)
    outcomes = {f"outcome_{name}": n for name, n in newest.group_by("outcome").len().sort("outcome").iter_rows()}
    findings = (
        Finding(NOT_EMPTY, rows > 0, f"TWS has no bar of any instrument on {session}"),
        _schema(work, RAW_TWS_BARS, [partition]),
        Finding(SETTLED, missing.is_empty(), f"no reliable answer for {_some(missing)}; run the session again"),
        *_refused(ledger),
    )
    content = raw.content_id(RAW_TWS_BARS, partition)
    return _Found(RAW_TWS_BARS, partition, rows, content, findings, {**added, **outcomes}).published(work)


def raw_daily(work: Work, session: date, added: Mapping[str, int | float]) -> Published:
    """Judge the daily history for a session: some vintage speaks for each instrument."""
    raw = work.lake.raw
    near = [Partition(vintage) for vintage in vintages_near(work, session)]
    frames = [raw.read(RAW_TWS_DAILY_BARS, vintage, ["con_id", "session"]) for vintage in near]
    rows = pl.concat(frames) if frames else RAW_TWS_DAILY_BARS.empty().select("con_id", "session")
    known = rows.filter(pl.col("session") <= session)
    absent = universe_of(work, session).join(known, on="con_id", how="anti")
    needs, doubted = daily_needs(work, [session]), unproved(work, [session])
    open_ = pl.DataFrame(
        {"symbol": [contract.symbol for contract in (*needs.full, *needs.short)]}, {"symbol": pl.String}
    )
    ledger = read_ledger(work, sorted({*vintages_near(work, session), work.latest_session()}))
    asked = ledger.filter(pl.col("bar_size") == "1 day").join(universe_of(work, session), on="con_id", how="semi")
    findings = (
        Finding(NOT_EMPTY, known.height > 0, f"no daily history reaches back to {session}"),
        _schema(work, RAW_TWS_DAILY_BARS, near),
        Finding(SETTLED, open_.is_empty(), f"no reliable answer for {_some(open_)}; run the session again"),
        Finding(SERVED, absent.is_empty(), f"none for {_some(absent)}", blocking=False),
        Finding(PROVED, doubted.is_empty(), f"nothing proves the answers about {_some(doubted)}", blocking=False),
        *_refused(asked),
    )
    content = combined_id(raw.content_id(RAW_TWS_DAILY_BARS, vintage) for vintage in near)
    return _Found(RAW_TWS_DAILY_BARS, Partition(session), known.height, content, findings, added).published(work)


def raw_details(work: Work, session: date, added: Mapping[str, int]) -> Published:
    """Judge the contract details of a session: whom TWS no longer describes is given up, and the others go on."""
    partition, raw = Partition(session), work.lake.raw
    rows = raw.read(RAW_INSTRUMENTS, partition, ["con_id"])
    absent = universe_of(work, session).join(rows, on="con_id", how="anti").sort("symbol", "con_id")
    undescribed = [
        {
            "con_id": con_id,
            "symbol": symbol,
            "outcome": UNKNOWN,
            "series": "contract details",
            "session": str(session),
            "detail": f"TWS describes {exchange}:{symbol} no longer (error 200: no security definition); {_GONE}.",
        }
        for con_id, symbol, exchange in absent.select("con_id", "symbol", "exchange").iter_rows()
    ]
    findings = (
        Finding(NOT_EMPTY, rows.height > 0, "no contract details"),
        _schema(work, RAW_INSTRUMENTS, [partition]),
        Finding(
            KNOWN,
            absent.is_empty(),
            f"TWS has none for {_some(absent)}; {_GONE}",
            blocking=False,
            metadata={GIVEN_UP: undescribed},
        ),
    )
    content = raw.content_id(RAW_INSTRUMENTS, partition)
    return _Found(RAW_INSTRUMENTS, partition, rows.height, content, findings, added).published(work)


def _refused(ledger: pl.DataFrame) -> Iterator[Finding]:
    """Tell apart who lacks a subscription, whom TWS does not know, and what it always refuses; none of it blocks."""
    rows = refusals(ledger)
    for check, outcome in ((PERMITTED, NO_PERMISSION), (RECOGNISED, UNKNOWN), (ACCEPTED, TURNED_DOWN)):
        found = [row for row in rows if row["outcome"] == outcome]
        text = "; ".join(sentences(found)[:_SHOWN])
        yield Finding(check, not found, text, blocking=False, metadata={GIVEN_UP: found})


def _schema(work: Work, table: Table, partitions: Sequence[Partition]) -> Finding:
    """Hold bronze against its declaration; it warns only, for what TWS served is kept as it was served."""
    found = [f"{one.key}: {rule}" for one in partitions for rule in broken_rules(work.lake.raw, table, one)]
    return Finding(SCHEMA, not found, "; ".join(found[:_SHOWN]), blocking=False, metadata={"failures": found[:_KEPT]})


_SHOWN, _KEPT = 8, 20
_GONE = "take what it no longer knows out of the lists in configs/lists, and materialize the universe again"


def _some(frame: pl.DataFrame) -> str:
    names = frame["symbol"].head(8).to_list()
    return f"{frame.height} instruments: {', '.join(names)}{' …' if frame.height > len(names) else ''}"
