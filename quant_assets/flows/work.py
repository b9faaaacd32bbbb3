"""What every flow is handed: stores, calendar, clock, configuration, and the way to the source."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.connectors.base import BarSource, Contract, ContractDetails
from quant_assets.connectors.tws.pacing import Pacer, PacingBudget
from quant_assets.connectors.tws.retry import RetryPolicy
from quant_assets.control.audit import AuditLog
from quant_assets.control.progress import NullProgress, Progress
from quant_assets.domain import venues
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.hours import HOURS, Hours
from quant_assets.domain.tables import RAW_TWS_SCHEDULES, Table
from quant_assets.flows.words import Words
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.settings import Settings

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A connected source, and the rules of asking it."""

    source: BarSource
    pacer: Pacer
    policy: RetryPolicy


class Gate(Protocol):
    """The way to the source: it connects only when a job needs it, and lets one job in at a time."""

    def run(self, job: Callable[[OpenSource], Awaitable[T]], n_instruments: int = 0) -> T:
        """Connect, run the job, which is about so many instruments, disconnect.

        Raises:
            LockHeldError: another process is using the source.
            SourceUnavailableError: it cannot be reached.
        """
        ...

    @property
    def budget(self) -> PacingBudget:
        """The pacing budget, for plans and estimates."""
        ...

    @property
    def n_asked(self) -> int:
        """Requests for data that were sent since the gate was made."""
        ...


@dataclass(frozen=True)
class Work:
    """One unit of work: a Dagster run, a command, or a test."""

    settings: Settings
    gate: Gate
    run_id: str = field(default_factory=lambda: uuid4().hex[:12])
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=NullProgress)
    is_repair: bool = False
    """Ask again for what is in doubt, however lately it was asked."""
    asks_known: bool = False
    """Of a repair: ask for known holes as well, once more."""
    begun: float = field(init=False, compare=False)
    """When it was opened, on the clock's monotonic seconds."""

    def __post_init__(self) -> None:
        """Remember when the work began."""
        object.__setattr__(self, "begun", self.clock.monotonic())

    @cached_property
    def layout(self) -> Layout:
        """Paths of the data directory."""
        return Layout(self.settings.data)

    @cached_property
    def lake(self) -> Lakehouse:
        """The stores."""
        return Lakehouse(self.layout, run_id=self.run_id, clock=self.clock, on_gone=self._tell_of_gone)

    def _tell_of_gone(self, table: Table, partition: Partition, paths: Sequence[str]) -> None:
        """Put on record that batches are lost: what is fetched in their place came later, and may differ."""
        _log.warning("%s[%s]: committed batches are gone: %s", table.name, partition.key, ", ".join(paths))
        self.audit.record(
            "batches_gone",
            run_id=self.run_id,
            status="warn",
            table=table.name,
            session=str(partition.session),
            paths=list(paths),
        )

    @cached_property
    def described(self) -> dict[int, tuple[ContractDetails, datetime]]:
        """Contract details that TWS told here, by con_id, and when: it is asked once, whoever wants them."""
        return {}

    @cached_property
    def looked_into(self) -> dict[tuple[str, date, str], pl.DataFrame]:
        """What was found in vintages of daily history, by question, vintage and the id of its batches."""
        return {}

    @cached_property
    def calendar(self) -> TradingCalendar:
        """The configured exchanges' sessions."""
        return TradingCalendar(self.settings.manifest.lakehouse.calendars, self.fetch_delay)

    @property
    def fetch_delay(self) -> timedelta:
        """How long after its exchange's close a series is not asked yet."""
        return timedelta(minutes=self.settings.manifest.lakehouse.fetch_delay_minutes)

    def calendars_of(self, members: pl.DataFrame) -> pl.DataFrame:
        """Return con_id and calendar of each member: whose hours it keeps.

        Args:
            members: con_id, asset_class, exchange; rows of `universe`, for instance.

        Raises:
            ConfigurationError: an exchange is not known, and several calendars are configured.
        """
        lakehouse = self.settings.manifest.lakehouse
        return venues.calendars_of(members, lakehouse.calendars, lakehouse.venues)

    def timetables_of(self, members: pl.DataFrame) -> pl.DataFrame:
        """Return con_id and, as `calendar`, the sessions that it keeps: its exchange's, unless TWS told its own.

        Args:
            members: con_id, asset_class, exchange.

        Raises:
            ConfigurationError: see `calendars_of`.
        """
        return venues.timetables_of(self.calendars_of(members), self.told)

    @cached_property
    def told(self) -> Mapping[str, venues.Told]:
        """Hours in which TWS's schedule differs from a calendar, by timetable: the newest answer of each session."""
        raw = self.lake.raw
        frames = [raw.read(RAW_TWS_SCHEDULES, partition) for partition in raw.partitions(RAW_TWS_SCHEDULES)]
        if not frames:
            return {}
        ordered = pl.concat(frames).sort("ingested_at", "request_id")
        newest = ordered.unique(["calendar", "session"], keep="last").sort("calendar", "session")
        told: dict[str, list[tuple[date, Hours | None]]] = defaultdict(list)
        for name, day, *instants in newest.select("calendar", "session", *HOURS).iter_rows():
            hours = Hours(*instants) if instants[0] else None
            if hours != venues.calendar(name).hours_on(day):
                told[name].append((day, hours))
        return {name: tuple(days) for name, days in told.items()}

    def forget_told(self) -> None:
        """Read TWS's schedules again when they are needed next."""
        self.__dict__.pop("told", None)

    def hours_of(self, session: date, members: pl.DataFrame) -> pl.DataFrame:
        """Return con_id and HOURS of each member in a session, by its own exchange's calendar.

        An instrument whose exchange is closed that day has no row: no minute of it is expected.

        Args:
            session: the session.
            members: con_id, asset_class, exchange; rows of `universe`, for instance.

        Raises:
            ConfigurationError: see `calendars_of`.
        """
        return venues.hours_of(session, self.timetables_of(members), self.told)

    def minutes_of(self, session: date, members: pl.DataFrame) -> pl.DataFrame:
        """Return the minutes of a session: session, ts, minute; with con_id where members keep different hours.

        Args:
            session: the session.
            members: con_id, asset_class, exchange.

        Raises:
            ConfigurationError: see `calendars_of`.
        """
        named = self.timetables_of(members)
        names = named["calendar"].unique().to_list()
        if len(names) == 1 and (only := self.calendar_named(names[0])).is_session(session):
            return only.minutes([session])
        return venues.minutes_of(session, named, self.told)

    def calendar_named(self, name: str) -> TradingCalendar:
        """Return a calendar by its name; hours that TWS tells otherwise go before what is published."""
        return venues.calendar(name, self.told.get(name, ()))

    def calendar_for(self, contract: Contract) -> TradingCalendar:
        """Return the sessions that a contract keeps: those of the exchange that lists it, unless TWS told its own.

        Raises:
            ConfigurationError: see `calendars_of`.
        """
        calendar, own = self._names_of(contract)
        return self.calendar_named(own if own in self.told else calendar)

    def timetable_of(self, contract: Contract) -> str:
        """Return the name under which TWS's schedule of a contract is kept.

        Raises:
            ConfigurationError: see `calendars_of`.
        """
        return self._names_of(contract)[1]

    def _names_of(self, contract: Contract) -> tuple[str, str]:
        lakehouse = self.settings.manifest.lakehouse
        calendar = venues.calendar_name(contract.sec_type, contract.venue, lakehouse.calendars, lakehouse.venues)
        return calendar, venues.timetable_name(calendar, contract.sec_type, contract.con_id)

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log."""
        return AuditLog(self.layout.audit, self.clock)

    @cached_property
    def words(self) -> Words:
        """What people said about quarantined rows."""
        return Words(self.layout.overrides, self.layout.audit)

    @property
    def source_label(self) -> str:
        """Where prices come from, in words for people; invented ones say so."""
        manifest = self.settings.manifest
        if manifest.tws.mode == "live":
            return f"TWS at {manifest.tws.host}:{manifest.tws.port}"
        if manifest.replay.market == "synthetic":
            return f"SYNTHETIC market (seed {manifest.replay.seed}): every price is invented"
        return f"recording {Path(manifest.replay.market).name}, served by the replay gateway"

    def latest_session(self) -> date:
        """Return the newest session that can be asked for."""
        return self.calendar.latest(self.clock.now())

    def new_batch_id(self) -> str:
        """Return a name for a bronze batch; names sort by time."""
        return f"{batch_ids_from(self.clock.now())}-{uuid4().hex[:8]}"


def batch_ids_from(instant: datetime) -> str:
    """Return the text from which on the ids of the batches sort that were begun at an instant or later."""
    return f"{instant:%Y%m%dT%H%M%S%fZ}"
