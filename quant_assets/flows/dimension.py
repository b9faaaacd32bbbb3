"""The dimension of instruments: who each one is, as all contract details up to a session tell it."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from quant_assets.domain import instruments as instruments_domain
from quant_assets.domain.costs import SCHEDULES
from quant_assets.domain.tables import EXCHANGES, EXECUTION, INSTRUMENTS, RAW_INSTRUMENTS, UNIVERSE, Table
from quant_assets.errors import NotPublishedError
from quant_assets.errors.base import listed
from quant_assets.flows.curate import universe_of
from quant_assets.flows.publishing import MAKE_INPUTS, Finding, Published, publish_frame, unchanged
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

DETAILS = "details"
"""The input of the dimension: all contract details of the sessions up to its own."""
DESCRIBED = "members_described"
COVERAGE = 0.95
"""Share of the members that have to be described; below it a warning is shown."""

_VERSION = "2"


def publish_dimension(work: Work, session: date) -> list[Published]:
    """Publish `instruments`, the dimension as known at a session, and `execution` and `exchanges` beside it.

    The dimension is that of a session before, and what is new: its cost does not grow with the history. What it is made
    from is all that was ever told of the sessions up to its own, so the order in which they came is no matter.

    Raises:
        NotPublishedError: the details or the universe of the session are missing.
    """
    partition, raw, curated = Partition(session), work.lake.raw, work.lake.curated
    lineage, universe = raw.lineage(RAW_INSTRUMENTS), curated.footer(UNIVERSE, partition)
    if session not in lineage:
        raise NotPublishedError(RAW_INSTRUMENTS.name, partition.key, MAKE_INPUTS)
    inputs = {
        DETAILS: lineage[session],
        "transform": _VERSION,
        UNIVERSE.name: universe.content_id if universe else "",
    }
    standing = [unchanged(work, table, partition, inputs) for table in (INSTRUMENTS, EXECUTION, EXCHANGES)]
    if all(standing):
        return [one for one in standing if one]
    members = universe_of(work, session)
    before, watermark = _before(work, session, lineage)
    newer = [Partition(one) for one in lineage if one <= session and (before is None or one > before.session)]
    frame = instruments_domain.extended(
        curated.read(INSTRUMENTS, before) if before else INSTRUMENTS.empty(),
        pl.concat([raw.read(RAW_INSTRUMENTS, one) for one in newer]),
        members,
        session,
    )
    watermark = max([watermark, *(raw.watermark(RAW_INSTRUMENTS, one) for one in newer)])
    execution = instruments_domain.execution(frame, SCHEDULES["ibkr_fixed_us"])
    exchanges = instruments_domain.exchanges(frame, work.calendars_of(members))
    made: tuple[tuple[Table, pl.DataFrame, list[Finding]], ...] = (
        (INSTRUMENTS, frame, [_coverage(frame)]),
        (EXECUTION, execution, []),
        (EXCHANGES, exchanges, []),
    )
    return [
        publish_frame(work, table, partition, rows, inputs=inputs, watermark=watermark, findings=findings)
        for table, rows, findings in made
    ]


def _before(work: Work, session: date, lineage: Mapping[date, str]) -> tuple[Partition | None, str]:
    """Return the newest earlier dimension that holds all that is known of its sessions, and its watermark."""
    curated = work.lake.curated
    for one in (day for day in reversed(curated.sessions(INSTRUMENTS)) if day < session and day in lineage):
        footer = curated.footer(INSTRUMENTS, Partition(one))
        told = (footer.inputs.get("transform"), footer.inputs.get(DETAILS)) if footer else None
        if footer and told == (_VERSION, lineage[one]):
            return Partition(one), footer.watermark
    return None, ""


def _coverage(instruments: pl.DataFrame) -> Finding:
    """Warn when TWS tells too little about too many: sector caps and order sizes rest on it."""
    told = instruments_domain.described(instruments)
    share = float(told.select(pl.col("is_described").mean()).item() or 0.0)
    lacking = told.filter(~pl.col("is_described"))["symbol"].to_list()
    text = f"{share:.0%} of {told.height} members are described, {COVERAGE:.0%} wanted; not: {listed(lacking)}"
    return Finding(DESCRIBED, share >= COVERAGE, text, blocking=False, metadata={"described": round(share, 4)})


def outdated_dimensions(work: Work, first: date, last: date = date.max) -> dict[date, str]:
    """Return the sessions of a range whose dimension lacks contract details that came since, ascending.

    Details of an older session change every later dimension: from when on an instrument is known is part of it.

    Returns:
        Session → id of the details that it should be made from.
    """
    lineage, curated = work.lake.raw.lineage(RAW_INSTRUMENTS), work.lake.curated
    footers = {day: curated.footer(INSTRUMENTS, Partition(day)) for day in lineage if first <= day <= last}
    made_from = {day: one.inputs.get(DETAILS) for day, one in footers.items() if one}
    return {day: lineage[day] for day, used in made_from.items() if used not in (None, lineage[day])}
