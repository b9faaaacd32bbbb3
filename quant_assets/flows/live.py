"""Near real time: finished minutes of sessions that are still open, held apart from everything else until they close.

What is captured waits in `staging`, where no reader, no transform and no catalog looks. After the close of every
exchange involved, and the delay, it is moved into bronze as an older answer beside the one that the data cycle fetches
then: it settles nothing, so no session is taken for complete because part of it was seen live. What it adds is the
time at which a value was first known, and what was seen if the source stays away after the close.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from quant_assets.connectors.base import BarAnswer, BarRequest, SessionHours
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.control.locks import hold
from quant_assets.domain.hours import Hours
from quant_assets.domain.instruments import minute_series
from quant_assets.domain.tables import RAW_TWS_BARS, UNIVERSE
from quant_assets.errors import (
    ConfigurationError,
    CorruptFileError,
    NotPublishedError,
    QuantAssetsError,
    SourceUnavailableError,
)
from quant_assets.flows.ingest.needs import contract_of
from quant_assets.flows.ingest.rows import MinuteRows
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.scanning import read_file

STAGED = replace(
    RAW_TWS_BARS,
    name="staged_tws_bars",
    zone="staging",
    description="Finished minutes of open sessions, waiting for the close; no reader knows this table.",
)
"""Not among the declared tables on purpose: what is not declared can be neither read nor queried nor transformed."""

_LIVE = "live-"
"""How the names of promoted batches begin."""
_MINUTE = timedelta(minutes=1)
_LONGEST_S = 86400
_WAIT_S = 120.0
"""For another process to have promoted: it reads and writes what one day's rounds staged."""


@dataclass(frozen=True, slots=True)
class Open:
    """An instrument whose exchange is open, and the part of its session that is not staged yet."""

    row: dict[str, object]
    session: date
    hours: Hours
    since: datetime


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to."""

    n_open: int
    n_asked: int
    n_rows: int
    failures: tuple[str, ...] = ()
    promoted: tuple[date, ...] = ()


def capture(work: Work) -> Round:
    """Stage the newest finished minutes of every instrument whose exchange is open; promote what has closed.

    One short request per instrument, under the same pacing as everything else. An instrument that fails is asked
    again in the next round, from its last staged minute on.

    Raises:
        ConfigurationError: capturing is not enabled.
        NotPublishedError: there is no universe to capture.
        SourceUnavailableError: TWS cannot be reached.
        LockHeldError: another process promotes for longer than two minutes.
    """
    if not work.settings.manifest.capture.enabled:
        raise ConfigurationError(
            "capture.enabled", "near real time is off.", "Set it to true in configs/manifest.json."
        )
    promoted = promote(work)
    waiting = open_now(work)
    due = [one for one in waiting if one.since + _MINUTE <= work.clock.now()]
    answers, failures = work.gate.run(lambda opened: _ask(work, opened, due), len(due)) if due else ([], [])
    n_rows = _stage(work, answers)
    done = Round(len(waiting), len(due), n_rows, tuple(failures), tuple(promoted))
    status = "warn" if failures else "ok"
    work.audit.record("captured", run_id=work.run_id, status=status, rows=n_rows, total=len(due))
    return done


def open_now(work: Work) -> list[Open]:
    """Return the newest universe's instruments whose exchange is open, each with its first minute not staged yet.

    Raises:
        NotPublishedError: there is no universe.
        LockHeldError: another process promotes for longer than two minutes.
    """
    newest = work.lake.curated.newest(UNIVERSE)
    if newest is None:
        raise NotPublishedError(UNIVERSE.name, str(work.latest_session()), "Run `quant flow data` once.")
    now = work.clock.now()
    staged = _staged_until(work)
    found = []
    for row in work.lake.curated.read(UNIVERSE, newest).sort("con_id").iter_rows(named=True):
        calendar = work.calendar_for(contract_of(row))
        for day in (now.date(), now.date() + timedelta(days=1)):  # a trade date may begin on the evening before
            hours = calendar.hours_on(day)
            if hours and hours.opens_at <= now < hours.closes_at:
                since = staged.get((row["con_id"], day), hours.opens_at)
                found.append(Open(row, day, hours, since))
    return found


def promote(work: Work) -> list[date]:
    """Move staged sessions that have closed, and waited out the delay, into bronze; return them.

    Raises:
        LockHeldError: another process promotes for longer than two minutes.
    """
    with _staging(work):
        done = [one.session for one in work.lake.raw.partitions(STAGED) if _is_promoted(work, one)]
        _forget_gone(work)
        return done


def _is_promoted(work: Work, partition: Partition) -> bool:
    """Move what is staged of a session if it is time; called under the lock of the staging area.

    The files are listed once: what a round stages meanwhile is not among them, and waits. The batch is named by what
    is in it, so that a process that dies between the two steps repeats nothing.
    """
    raw = work.lake.raw
    files = raw.batches(STAGED, partition)
    rows = pl.concat([STAGED.empty(), *(read_file(STAGED, file) for file in files)])
    if not rows.is_empty() and _closes_at(work, partition.session, rows) + work.fetch_delay > work.clock.now():
        return False
    names = hashlib.sha256("\n".join(file.stem for file in files).encode()).hexdigest()
    batch_id = f"{_LIVE}{partition.session:%Y%m%d}-{names[:12]}"
    known = {file.stem for file in raw.batches(RAW_TWS_BARS, partition)}
    if not rows.is_empty() and batch_id not in known:
        renamed = rows.with_columns(pl.lit(batch_id).alias("batch_id"))
        raw.append(RAW_TWS_BARS, partition, renamed.select(RAW_TWS_BARS.schema.names()), batch_id)
    raw.retire(STAGED, partition, files)
    work.audit.record("promoted", run_id=work.run_id, status="ok", rows=rows.height, session=str(partition.session))
    return True


def _forget_gone(work: Work) -> None:
    """Forget sessions of which nothing is staged any more, so that the manifest speaks of what waits only.

    What is promoted is forgotten with its files. A lakehouse of an older release tells of promoted files for ever:
    those sessions have a live batch in bronze. Where there is none, what was staged is lost.
    """
    raw = work.lake.raw
    with suppress(CorruptFileError):
        for key in sorted({entry.footer.partition for entry in raw.manifest(STAGED).gone()}):
            partition = Partition.from_key(key)
            if not raw.batch_names(STAGED, partition):
                was_promoted = any(name.startswith(_LIVE) for name in raw.batch_names(RAW_TWS_BARS, partition))
                raw.retire(STAGED, partition, (), tells=not was_promoted)


def _staging(work: Work) -> AbstractContextManager[object]:
    """Exclude other promoters: each of them removes files that others may have listed, and not read yet."""
    return hold("staging", work.layout.locks, wait_s=_WAIT_S, owner={"run": work.run_id})


def _closes_at(work: Work, session: date, rows: pl.DataFrame) -> datetime:
    """Return when the last exchange of the staged instruments closes; of one that is not known any more, the day's end.

    The universe may have changed since: an instrument that left it keeps its rows waiting until the day is over.
    """
    newest = work.lake.curated.newest(UNIVERSE)
    members = work.lake.curated.read_many(UNIVERSE, [newest] if newest else []).join(rows, on="con_id", how="semi")
    latest = work.hours_of(session, members)["closes_at"].max()
    is_known = members["con_id"].n_unique() == rows["con_id"].n_unique()
    day_end = datetime.combine(session + timedelta(days=1), datetime.min.time(), work.clock.now().tzinfo)
    return latest if is_known and isinstance(latest, datetime) else day_end


def _staged_until(work: Work) -> dict[tuple[int, date], datetime]:
    """Return the end of the newest staged minute by instrument and session."""
    raw = work.lake.raw
    with _staging(work):
        frames = [raw.read(STAGED, one, ["con_id", "session", "ts"]) for one in raw.partitions(STAGED)]
    if not frames:
        return {}
    newest = pl.concat(frames).group_by("con_id", "session").agg(pl.col("ts").max() + _MINUTE)
    return {(con_id, session): until for con_id, session, until in newest.iter_rows()}


async def _ask(work: Work, opened: OpenSource, due: Sequence[Open]) -> tuple[list[Outcome], list[str]]:
    """Ask for what is new of each instrument; one that fails does not cost the others theirs."""
    answers, failures = [], []
    with work.progress.task("capture", total=len(due)) as task:
        for one in due:
            request = _request(work, one)
            task.advance(note=request.contract.symbol)
            try:
                async with opened.pacer.slot(request, opened.policy.quiet):
                    answer = await opened.source.bars(request)
            except SourceUnavailableError:
                raise
            except QuantAssetsError as error:
                failures.append(str(error))
                continue
            finished = answer.bars.filter((pl.col("ts") >= one.since) & (pl.col("ts") + _MINUTE <= answer.answered_at))
            covers = (SessionHours(one.session, *one.hours.row),)
            planned = PlannedRequest(request, covers, frozenset({one.session}))
            answers.append(Outcome(planned, BarAnswer(request, finished, answer.asked_at, answer.answered_at)))
    return answers, failures


def _request(work: Work, one: Open) -> BarRequest:
    """Return the request for the minutes from the last staged one up to now, in seconds of the wall clock."""
    contract = contract_of(one.row)
    series = minute_series(contract.sec_type, use_rth=work.settings.manifest.lakehouse.use_rth)
    minutes = int((work.clock.now() - one.since) / _MINUTE) + 1
    seconds = min(minutes * 60, _LONGEST_S)
    return BarRequest(contract, None, f"{seconds} S", "1 min", series.what_to_show, series.use_rth)


def _stage(work: Work, outcomes: Sequence[Outcome]) -> int:
    if not outcomes:
        return 0
    batch_id, n_rows = work.new_batch_id(), 0
    rows = MinuteRows.of(outcomes, batch_id, work.calendar_for, work.clock.now())
    for part in rows.bars.partition_by("session"):
        work.lake.raw.append(STAGED, Partition(part.item(0, "session")), part, batch_id)
        n_rows += part.height
    return n_rows
