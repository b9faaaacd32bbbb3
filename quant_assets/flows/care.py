"""Looking after the lakehouse: which sessions are missing, and what is wrong with what is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from quant_assets.domain.hours import n_open_minutes
from quant_assets.domain.tables import (
    ALL,
    CURATED_TWS_1M_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
    Table,
)
from quant_assets.errors import CorruptFileError
from quant_assets.flows.accepting import accepted_holes
from quant_assets.flows.ingest.ledger import contradicted, holes, is_known, open_holes, read_ledger
from quant_assets.flows.ingest.vintages import unproved
from quant_assets.flows.outdated import Outdated, outdated_sessions
from quant_assets.flows.work import Work
from quant_assets.lakehouse.damage import OBSERVED
from quant_assets.lakehouse.layout import Partition

DATA_TABLES = tuple(table for table in ALL if table.is_expected and not table.append_only)
"""What the data cycle derives per session; bronze is judged by what stands on it."""


def missing_sessions(work: Work, first: date | None = None, last: date | None = None) -> list[date]:
    """Return the sessions of a range that some table of the data cycle lacks, ascending.

    The range is, when left out, from the first published universe to the newest closed session. Nothing published
    means that nothing is missing: a lakehouse begins where its owner begins it.
    """
    stored = work.lake.curated.partitions(UNIVERSE)
    if not stored:
        return []
    span = work.calendar.between(first or stored[0].session, last or work.latest_session())
    return [session for session in span if not _is_whole(work, session)]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair would ask for."""

    missing: list[date]
    """Sessions that some table lacks."""
    holes: pl.DataFrame
    """session, con_id, symbol, outcome, detail, n_asked, asked_at, is_known, missing (minutes; null where it is the
    daily history that is in doubt)."""
    outdated: Mapping[date, Outdated] = field(default_factory=dict)
    """Sessions of which a table lacks what came since; nothing has to be asked for that."""

    @property
    def sessions(self) -> list[date]:
        """Sessions to run again, ascending."""
        return self.sessions_of(asks_known=False)

    def sessions_of(self, *, asks_known: bool) -> list[date]:
        """Return the sessions to run again, ascending; those with nothing but known holes only on request."""
        wanted = self.holes.filter(~pl.col("is_known") | pl.lit(asks_known))
        return sorted({*self.missing, *self.outdated, *wanted["session"].to_list()})

    def stretches(self, calendar_sessions: Sequence[date], *, asks_known: bool = False) -> list[list[date]]:
        """Return the sessions to run again, grouped so that one run mends each group."""
        return runs_of(self.sessions_of(asks_known=asks_known), calendar_sessions)


def repair_plan(work: Work, first: date | None = None, last: date | None = None) -> RepairPlan:
    """Return what is missing of a range: whole sessions, minutes that nothing explains, and daily history in doubt.

    Args:
        work: stores and configuration.
        first: start of the range; the first published universe when left out.
        last: its end; the newest closed session when left out.
    """
    published = [one.session for one in work.lake.curated.partitions(UNIVERSE)]
    inside = [day for day in published if (first or day) <= day <= (last or day)]
    minutes = _minute_holes(work, inside)
    days = daily_holes(work, inside).with_columns(pl.lit(None, pl.Int64).alias("missing"))
    everything = pl.concat([minutes, days.select(minutes.columns)]).sort("session", "con_id", "missing")
    outdated = outdated_sessions(work, inside[0], inside[-1]) if inside else {}
    return RepairPlan(missing_sessions(work, first, last), everything, outdated)


def _minute_holes(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return sessions of instruments that lack minutes: what is in doubt, and what the daily volume contradicts."""
    doubts = open_holes(work, sessions)
    counted = doubts.join(_missing_minutes(work, doubts), on=["session", "con_id"], how="left")
    agreed = contradicted(work, sessions).join(doubts, on=["session", "con_id"], how="anti")
    accepted = accepted_holes(work, sessions)
    everything = pl.concat([counted, agreed]).join(accepted, on=["session", "con_id"], how="left")
    is_known = pl.col("is_known") | pl.col("note").is_not_null()
    detail = pl.coalesce(pl.format("accepted by {}", "note"), "detail")
    threshold = work.settings.manifest.lakehouse.repair_min_minutes
    found = everything.with_columns(is_known.alias("is_known"), detail.alias("detail")).select(counted.columns)
    return found.filter(pl.col("missing") >= threshold)


def daily_holes(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return the sessions whose windows lack a daily series because nothing proves what TWS answered.

    Returns:
        As `open_holes`, one row per session and instrument: the newest answer in doubt; known when each series that is
        in doubt was given up.
    """
    vintages = [one for one in work.lake.raw.sessions(RAW_TWS_REQUESTS) if sessions and one >= min(sessions)]
    doubts = _daily_doubts(read_ledger(work, vintages).filter(pl.col("bar_size") == "1 day"))
    lacking = unproved(work, sessions if not doubts.is_empty() else [])
    about = lacking.join(doubts, on="con_id").filter(pl.col("vintage") >= pl.col("session"))
    instrument, said = ["session", "con_id", "symbol"], ["outcome", "detail", "n_asked", "asked_at"]
    of_series = (
        about.sort("vintage", "asked_at")
        .group_by(*instrument, "what_to_show", maintain_order=True)
        .agg(pl.col(said).last(), pl.col("is_known").any())
    )
    return (
        of_series.sort("asked_at", "what_to_show")
        .group_by(instrument, maintain_order=True)
        .agg(pl.col(said).last(), pl.col("is_known").all())
        .sort("session", "con_id")
    )


def _daily_doubts(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the newest answer in doubt per vintage and series, but for what a later vintage has proved."""
    series = ["con_id", "what_to_show"]
    proofs = ledger.filter(pl.col("proof") != "").select(*series, proved="session", reach="asked_from")
    found = holes(ledger).rename({"session": "vintage"}).drop("symbol")
    is_proved = (pl.col("proved") >= pl.col("vintage")) & (pl.col("reach") <= pl.col("asked_from"))
    proved = found.join(proofs, on=series).filter(is_proved)
    return found.join(proved, on=[*series, "vintage"], how="anti").with_columns(
        is_known().alias("is_known"), pl.format("daily {}: {}", "what_to_show", "detail").alias("detail")
    )


def _missing_minutes(work: Work, holes: pl.DataFrame) -> pl.DataFrame:
    """Return session, con_id, missing: minutes of the instrument's own hours without an observed bar."""
    shape = {"session": pl.Date, "con_id": pl.Int64, "missing": pl.Int64}
    frames = [_missing_in(work, session) for session in holes["session"].unique().sort()]
    return pl.concat(frames) if frames else pl.DataFrame(schema=shape)


def _missing_in(work: Work, session: date) -> pl.DataFrame:
    partition = Partition(session)
    hours = work.hours_of(session, work.lake.curated.read(UNIVERSE, partition))
    columns = ["con_id", "ts", "is_imputed_close"]
    bars = work.lake.curated.read_many(CURATED_TWS_1M_BARS, [partition], columns=columns)
    present = (
        bars.filter(~pl.col("is_imputed_close"))
        .group_by("con_id")
        .agg(pl.col("ts").n_unique().cast(pl.Int64).alias("present"))
    )
    return hours.join(present, on="con_id", how="left").select(
        pl.lit(session).alias("session"), "con_id", (n_open_minutes() - pl.col("present").fill_null(0)).alias("missing")
    )


def _is_whole(work: Work, session: date) -> bool:
    return all(_stands(work, table, Partition(session)) for table in DATA_TABLES)


def _stands(work: Work, table: Table, partition: Partition) -> bool:
    try:
        return work.lake.curated.proved_footer(table, partition) is not None
    except CorruptFileError:
        return table.zone in OBSERVED  # nobody can compute it again: the data audit names it


def runs_of(sessions: Sequence[date], calendar_sessions: Sequence[date]) -> list[list[date]]:
    """Group sessions into stretches without a session between them, so that one run mends each."""
    place = {session: number for number, session in enumerate(calendar_sessions)}
    stretches: list[list[date]] = []
    for session in sessions:
        if stretches and place[session] == place[stretches[-1][-1]] + 1:
            stretches[-1].append(session)
        else:
            stretches.append([session])
    return stretches


def spans_of(sessions: Sequence[date], calendar_sessions: Sequence[date]) -> list[str]:
    """Write sessions as options take them: `A..B` for a stretch without a session between, a lone one as itself."""
    return [f"{one[0]}..{one[-1]}" if len(one) > 1 else str(one[0]) for one in runs_of(sessions, calendar_sessions)]
