"""TWS's schedule as the judge of the hours: asked where bars contradict the calendar, and only then.

An exchange has one timetable for all its shares and is asked about once. A future, a pair or any other instrument has
its own, beside its exchange's calendar. Coins are asked about never.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain

import polars as pl

import quant_assets
from quant_assets.connectors.base import Contract, SessionHours
from quant_assets.connectors.tws.planner import Need
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain import venues
from quant_assets.domain.calendar import TradingCalendar, day_start, exchange_calendar
from quant_assets.domain.completeness import ANSWERS, SEEN, disputed, judge_minutes, seen, together
from quant_assets.domain.hours import HOURS, Hours
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_SCHEDULES
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.ingest import groups
from quant_assets.flows.ingest.past import Key
from quant_assets.flows.ingest.report import IngestReport
from quant_assets.flows.ingest.witnesses import daily_volumes, is_regular, told_days
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

_log = logging.getLogger(__name__)

Session = tuple[str, date]
"""Timetable and session."""

_SEVERAL = 2
"""Shares that have to be silent before their exchange is in question, and not they."""
_LONGEST = 300
"""Sessions of one question; TWS takes 365 days."""
_SPARE = 2
"""Sessions that TWS may have beyond those of the calendar."""


def is_told(work: Work, name: str, day: date) -> bool:
    """Return whether TWS has told a session's hours, whether or not they are those of the calendar."""
    return name in work.lake.raw.read(RAW_TWS_SCHEDULES, Partition(day), ["calendar"])["calendar"]


def denied(work: Work, needs: Sequence[Need]) -> list[Need]:
    """Return what traded by its daily history though its exchange is closed that day, and TWS was not asked why."""
    scheduled = [one for one in needs if venues.is_scheduled(one.contract.sec_type)]
    closed = [one for one in scheduled if not work.calendar_for(one.contract).is_session(one.session)]
    if not closed:
        return []
    traded = daily_volumes(work, sorted({one.session for one in closed})).filter(pl.col("daily_volume") > 0)
    known = set(traded.select("session", "con_id").iter_rows())
    return [
        one
        for one in closed
        if (one.session, one.contract.con_id) in known
        and not is_told(work, work.timetable_of(one.contract), one.session)
    ]


def outlived(work: Work, done: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Return those of some ledger rows that were settled before TWS told longer hours of their session.

    Args:
        work: stores and calendars.
        done: ledger rows that settle their sessions.
        members: rows of `universe`.
    """
    wider = {
        name: [day for day, hours in days if hours and _is_wider(hours, venues.calendar(name).hours_on(day))]
        for name, days in work.told.items()
    }
    days = {day for of in wider.values() for day in of}
    if days.isdisjoint(done["session"]):
        return done.clear()
    told = pl.concat([work.lake.raw.read(RAW_TWS_SCHEDULES, Partition(day)) for day in sorted(days)])
    since = told.group_by("calendar", "session").agg(pl.col("ingested_at").max().alias("_told_at"))
    keeping = work.timetables_of(members).join(since, on="calendar")
    return done.join(keeping.select("con_id", "session", "_told_at"), on=["con_id", "session"]).filter(
        pl.col("asked_at") < pl.col("_told_at")
    )


def _is_wider(hours: Hours, known: Hours | None) -> bool:
    return known is None or hours.opens_at < known.opens_at or hours.closes_at > known.closes_at


def again(
    work: Work, day: date, contracts: Iterable[Contract], asked: pl.DataFrame, daily: pl.DataFrame, batch_id: str
) -> pl.DataFrame:
    """Return the ledger rows of stored bars of a session as they are judged by the hours that hold now.

    Args:
        work: stores and calendars.
        day: the session.
        contracts: the instruments.
        asked: one ledger row of each, of the answer that brought the bars.
        daily: `completeness.DAILY_VOLUMES`.
        batch_id: commit that the rows belong to.
    """
    batches = asked.select("con_id", pl.col("bars_batch_id").alias("batch_id"))
    stored = work.lake.raw.read(RAW_TWS_BARS, Partition(day)).join(
        batches, on=["con_id", "batch_id"], how="semi", maintain_order="left"
    )
    request_of = dict(stored.unique("con_id", keep="first").select("con_id", "request_id").iter_rows())
    spans = dict.fromkeys(("first_asked", "last_asked", "first_row", "last_row"), day)
    answers = [
        {
            "session": day,
            "con_id": one.con_id,
            "request_id": request_of[one.con_id],
            **dict(zip(HOURS, work.calendar_for(one).hours(day).row, strict=True)),
            "is_share": one.sec_type == "STK",
            "words": "",
            **spans,
            "n_nothing": 0,
            "is_reread": False,
        }
        for one in contracts
        if one.con_id in request_of
    ]
    judged = judge_minutes(pl.DataFrame(answers, schema=ANSWERS), stored, daily, RAW_TWS_BARS.empty())
    said, now = ["outcome", "proof", "detail"], pl.lit(work.clock.now())
    rows = asked.drop(said).join(judged.select("con_id", *said), on="con_id", maintain_order="left")
    return rows.with_columns(
        *(now.cast(asked.schema[name]).alias(name) for name in ("asked_at", "ingested_at")),
        pl.lit(batch_id).alias("batch_id"),
        pl.format("{}-{}", pl.lit(batch_id), "con_id").alias("request_id"),
    ).select(asked.columns)


@dataclass
class Schedules:
    """What one run's bars say of the exchanges' hours, and what TWS's schedule says where they contradict it."""

    work: Work
    opened: OpenSource
    report: IngestReport
    asked: dict[Session, set[Contract]] = field(default_factory=lambda: defaultdict(set))
    """Instruments that have an answer, by session."""
    _served: dict[Session, Counter[Contract]] = field(default_factory=lambda: defaultdict(Counter))
    """Bars of those that have some."""
    _seen: list[pl.DataFrame] = field(default_factory=list)

    def watch(self, group: Iterable[Outcome], answers: pl.DataFrame, rows: pl.DataFrame, daily: pl.DataFrame) -> None:
        """Note what a group of answers says.

        Args:
            group: what became of the requests.
            answers: `completeness.ANSWERS` of them.
            rows: their rows of `raw_tws_bars`.
            daily: `completeness.DAILY_VOLUMES`.
        """
        contracts = {one.planned.request.contract for one in group}
        scheduled = {one.con_id: one for one in contracts if venues.is_scheduled(one.sec_type)}
        named = pl.DataFrame(
            [(con_id, self.work.timetable_of(one)) for con_id, one in scheduled.items()],
            schema={"con_id": pl.Int64, "calendar": pl.String},
            orient="row",
        )
        answered = answers.join(named, on="con_id")
        counts = dict(_counted(rows, ["session", "con_id"]))
        for name, day, con_id in answered.select("calendar", "session", "con_id").iter_rows():
            self.asked[name, day].add(scheduled[con_id])
            if n_rows := counts.get((day, con_id)):
                self._served[name, day][scheduled[con_id]] += n_rows
        self._seen.append(seen(rows, answered, daily))

    def in_question(self) -> set[Session]:
        """Return the sessions whose bars, or whose want of any, contradict the hours."""
        found = disputed(together(pl.concat([pl.DataFrame(schema=SEEN), *self._seen])))
        silent = {(name, day) for (name, day), asked in self.asked.items() if len(asked) >= _enough(name)}
        return {*found.iter_rows(), *(one for one in silent if not self._served[one])}

    async def settle(self, sessions: Collection[Session], alive: Mapping[str, Contract] | None = None) -> set[Session]:
        """Ask TWS about sessions that it has not told yet; return those whose hours are other ones now.

        Args:
            sessions: what is in question.
            alive: by calendar, an instrument that is known to have traded; one with bars is found when left out.
        """
        before = dict(self.work.told)
        for name in sorted({name for name, _ in sessions}):
            days = sorted(day for one, day in sessions if one == name and not is_told(self.work, name, day))
            witness = (alive or {}).get(name) or self._witness(name, days)
            for some in _stretches(self.work.calendar_named(name), days):
                if witness:
                    await self._ask(name, some, witness)
        self.work.forget_told()
        after = self.work.told
        return {(name, day) for name, days in after.items() for day, _ in set(days) - set(before.get(name, ()))}

    def _witness(self, name: str, days: Sequence[date]) -> Contract | None:
        """Return an instrument that trades on the exchange: with bars in this run, or in the session before."""
        totals: Counter[Contract] = Counter()
        for (of, _), served in self._served.items():
            if of == name:
                totals.update(served)
        if totals:
            return min(totals, key=lambda one: (-totals[one], one.con_id))
        before = {earlier for day in days if (earlier := self.work.calendar_named(name).previous(day))}
        frames = [self.work.lake.raw.read(RAW_TWS_BARS, Partition(day), ["con_id"]) for day in sorted(before)]
        alive = set(pl.concat(frames)["con_id"]) if frames else set()
        known = {one for (of, _), asked in self.asked.items() if of == name for one in asked if one.con_id in alive}
        return min(known, key=lambda one: one.con_id, default=None)

    async def _ask(self, name: str, days: Sequence[date], witness: Contract) -> None:
        calendar = self.work.calendar_named(name)
        n_sessions = calendar.count(days[0], days[-1]) + sum(not calendar.is_session(day) for day in days) + _SPARE
        end = day_start(days[-1]) + timedelta(days=1)
        try:
            told = await self.opened.source.schedule(witness, end, n_sessions, use_rth=is_regular(witness))
        except QuantAssetsError as error:
            _log.warning("no schedule of %s, so the calendar %s stands: %s", witness, name, error)
            return
        await groups.apart(self._keep, calendar, days, witness, told)

    def _keep(
        self, calendar: TradingCalendar, days: Sequence[date], witness: Contract, told: Sequence[SessionHours]
    ) -> None:
        """Keep what was in question, and whatever else is told otherwise than the calendar has it."""
        name, opened = calendar.names[0], {one.session: one.hours for one in told}
        first = min(opened, default=date.max)
        wanted = {day for day in days if day >= first} | {
            day for day, hours in opened.items() if hours != calendar.hours_on(day)
        }
        batch_id = self.work.new_batch_id()
        for day in sorted(wanted):
            if day not in opened and self._served.get((name, day)):
                _log.warning("TWS's schedule has no session of %s on %s, but bars; the calendar stands", name, day)
                continue
            self._tell(calendar, day, opened.get(day), witness)
            row = _row(name, day, opened.get(day), witness, batch_id) | {"ingested_at": self.work.clock.now()}
            self.work.lake.raw.append(RAW_TWS_SCHEDULES, Partition(day), RAW_TWS_SCHEDULES.frame([row]), batch_id)

    def _tell(self, calendar: TradingCalendar, day: date, hours: Hours | None, witness: Contract) -> None:
        """Log where the schedule differs, with both sides and whose schedule it is."""
        known = calendar.hours_on(day)
        if hours == known:
            return
        told, published = _in_words(hours), _in_words(known)
        _log.warning(
            "%s on %s: TWS says %s, the calendar %s; TWS's hours hold", calendar.names[0], day, told, published
        )
        self.report.hours_told.add((calendar.names[0], day))
        self.work.audit.record(
            "hours_differ",
            run_id=self.work.run_id,
            status="warn",
            symbol=str(witness),
            calendar=calendar.names[0],
            session=str(day),
            told=told,
            published=published,
        )

    def shut(self, changed: Collection[Session]) -> list[tuple[Contract, date]]:
        """Return the instruments that were asked about, of sessions that TWS does not have."""
        told = {name: dict(days) for name, days in self.work.told.items()}
        closed = sorted((name, day) for name, day in changed if told[name][day] is None)
        return [(one, day) for name, day in closed for one in sorted(self.asked[name, day], key=lambda one: one.con_id)]

    async def closed(self, silent: Iterable[Need]) -> list[tuple[Contract, date]]:
        """Return those of some sessions without a bar that TWS does not have.

        What shares a timetable is asked about in turn, until one has the session: then their exchange was open, as it
        was where it has bars, or where TWS has told of it before. One that lacks it speaks for itself alone, for it
        may have left the exchange, and so does one that TWS denies.
        """
        asked: dict[str, dict[Contract, list[date]]] = defaultdict(lambda: defaultdict(list))
        for need in silent:
            if venues.is_scheduled(need.contract.sec_type):
                asked[self.work.timetable_of(need.contract)][need.contract].append(need.session)
        return [one for name, days in asked.items() for one in await self._lacking(name, days)]

    async def _lacking(self, name: str, silent: Mapping[Contract, Sequence[date]]) -> list[tuple[Contract, date]]:
        days = sorted(set(chain.from_iterable(silent.values())))
        opened = {day for day in days if self._served.get((name, day)) or is_told(self.work, name, day)}
        lacking = []
        for contract, some in silent.items():
            if rest := [day for day in some if day not in opened]:
                told = await told_days(self.work, self.opened.source, contract, rest)
                opened |= {day for day, is_open in told.items() if is_open}
                lacking += [(contract, day) for day, is_open in told.items() if not is_open]
        return [(contract, day) for contract, day in lacking if day not in opened]

    def concerns(self, contract: Contract, day: date, sessions: Collection[Session]) -> bool:
        """Return whether an instrument keeps the hours of one of some sessions."""
        return (self.work.timetable_of(contract), day) in sessions


def _enough(name: str) -> int:
    """Return how many instruments have to be silent before their timetable is in question."""
    return 1 if name != exchange_calendar(name) else _SEVERAL


def _stretches(calendar: TradingCalendar, days: Sequence[date]) -> list[list[date]]:
    """Cut into as few stretches as one question each can cover."""
    parts: list[list[date]] = []
    for day in days:
        if parts and calendar.count(parts[-1][0], day) <= _LONGEST:
            parts[-1].append(day)
        else:
            parts.append([day])
    return parts


def _counted(rows: pl.DataFrame, keys: Sequence[str]) -> Iterable[tuple[Key, int]]:
    return (((day, con_id), n) for day, con_id, n in rows.group_by(keys).len().iter_rows())


def _in_words(hours: Hours | None) -> str:
    if hours is None:
        return "closed"
    return " and ".join(f"{start:%H:%M} to {end:%H:%M}" for start, end in hours.intervals) + " UTC"


def _row(name: str, day: date, hours: Hours | None, witness: Contract, batch_id: str) -> dict[str, object]:
    return {
        "calendar": name,
        "session": day,
        **dict(zip(HOURS, hours.row if hours else [None] * len(HOURS), strict=True)),
        "con_id": witness.con_id,
        "symbol": witness.symbol,
        "batch_id": batch_id,
        "request_id": f"{batch_id}-{name}",
        "pipeline_version": quant_assets.__version__,
    }
