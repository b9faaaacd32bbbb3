"""The way to TWS: a real one, or the replay gateway started inside this process; the client cannot tell which."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Self, TypeVar

from quant_assets.clock import Clock, ScaledClock, SystemClock
from quant_assets.connectors.tws.client import TwsClient
from quant_assets.connectors.tws.connection import Timeouts, TwsAddress
from quant_assets.connectors.tws.pacing import Pacer, PacingBudget
from quant_assets.connectors.tws.patience import DailyWindow, RetryPolicy
from quant_assets.control.audit import AuditLog
from quant_assets.control.locks import hold
from quant_assets.control.pausing import Turnstile
from quant_assets.control.status import read_status, status_path, write_status
from quant_assets.errors import ConfigurationError, CorruptFileError, LockHeldError
from quant_assets.flows.work import OpenSource
from quant_assets.gateway.accounts import Portfolio
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.faults import NO_FAULTS, FaultEngine, FaultPlan, FaultScript
from quant_assets.gateway.market import Market
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import ACCOUNT
from quant_assets.lakehouse.aside import make_way
from quant_assets.lakehouse.layout import Layout
from quant_assets.settings import Settings
from quant_assets.settings.manifest import ReplayConfig

_log = logging.getLogger(__name__)

T = TypeVar("T")
STAGE = "ingestion"
"""The stage that status and control files speak of: everything that asks TWS."""


class TwsGate:
    """Connects when a job needs it, lets one job in at a time, and disconnects after it.

    In `replay` mode the gateway starts with the first job and stops with `close`; its pacing clock and the client's
    are the same, so that IBKR's rules hold with their documented numbers while the waiting is shortened.
    """

    def __init__(self, settings: Settings, *, run_id: str = "", clock: Clock | None = None) -> None:
        self._settings, self._run_id, self._clock = settings, run_id, clock
        self._embedded: EmbeddedGateway | None = None
        self._was_reached = False
        self.n_asked = 0
        """Requests for data that were sent: repetitions, schedules and confirmations are among them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the embedded gateway, if it was started."""
        if self._embedded:
            self._embedded.stop()
            self._embedded = None

    @property
    def is_replay(self) -> bool:
        """Whether requests go to the embedded replay gateway."""
        return self._settings.manifest.tws.mode == "replay"

    @cached_property
    def clock(self) -> Clock:
        """The clock that waits are counted on, and that tells the replay gateway's day."""
        if self._clock:
            return self._clock
        return ScaledClock(self._settings.manifest.replay.time_scale) if self.is_replay else SystemClock()

    @cached_property
    def budget(self) -> PacingBudget:
        """What may be asked of the source."""
        tws = self._settings.manifest.tws
        return PacingBudget(requests_per_window=tws.max_requests_per_10_min, in_flight=tws.max_in_flight)

    @cached_property
    def pacer(self) -> Pacer:
        """One pacer for all jobs, so that the rules hold across connections, and across processes that were killed."""
        return Pacer(self.budget, self.clock, self._layout.pacing(is_replay=self.is_replay), self.turnstile)

    @cached_property
    def turnstile(self) -> Turnstile:
        """Where requests wait while a person has paused the ingestion."""
        audit = AuditLog(self._layout.audit, self.clock)

        def tell(state: str, reason: str) -> None:
            audit.record(f"ingestion_{state}", run_id=self._run_id, status="ok", detail=reason)

        return Turnstile(STAGE, self._layout.lakehouse, self.clock, tell)

    @cached_property
    def _layout(self) -> Layout:
        return Layout(self._settings.data)

    @cached_property
    def policy(self) -> RetryPolicy:
        """How long to go on when something fails."""
        tws = self._settings.manifest.tws
        quiet = None if self.is_replay else tws.quiet_hours
        if tws.quiet_hours and self.is_replay:
            hours = f"{tws.quiet_hours.start:%H:%M} to {tws.quiet_hours.end:%H:%M} New York"
            _log.warning("tws.quiet_hours (%s) are kept in live mode only: a replay disturbs nobody", hours)
        return RetryPolicy(
            attempts=tws.attempts,
            outage_s=tws.outage_s,
            reset=DailyWindow(tws.reset_window.start, tws.reset_window.end),
            quiet=DailyWindow(quiet.start, quiet.end) if quiet else None,
            confirmations=tws.contract_confirmations,
        )

    def run(self, job: Callable[[OpenSource], Awaitable[T]], n_instruments: int = 0) -> T:
        """Connect, run the job, disconnect; one process at a time. The status says how many instruments it is about.

        Raises:
            LockHeldError: another process is using TWS, and went on doing so for `lakehouse.lock_wait_s`.
            SourceUnavailableError: TWS cannot be reached.
        """
        wait_s = self._settings.manifest.lakehouse.lock_wait_s
        owner = {"run": self._run_id, "stage": STAGE}
        with hold("tws", self._layout.locks, wait_s=wait_s, owner=owner) as held:
            self.turnstile.lock_id = held.lock_id
            with self._told(held.lock_id, n_instruments), asyncio.Runner() as runner:
                return runner.run(self._connected(job))

    @contextmanager
    def _told(self, lock_id: str, n_instruments: int) -> Iterator[None]:
        """Keep `ingestion_status.json` true: a job runs, ended well, or stopped and can be run again."""
        own = partial(write_status, lock_id=lock_id, candidate_count=n_instruments)
        status = partial(own, STAGE, self._layout.lakehouse, clock=self.clock)
        status("ingestion", can_resume=True)
        try:
            yield
        except BaseException:
            status("ingestion", health_check="error", can_resume=True)
            raise
        status("complete", health_check="ok")

    def mend_status(self) -> None:
        """Write a status anew that cannot be read, after a cycle that ended well; whoever asks meanwhile writes it."""
        if not self._is_unreadable():
            return
        owner = {"run": self._run_id, "stage": STAGE}
        with suppress(LockHeldError), hold("tws", self._layout.locks, owner=owner) as held:
            if self._is_unreadable():
                directory = self._layout.lakehouse
                make_way(self._layout, status_path(STAGE, directory), self.clock.now())
                own = partial(write_status, lock_id=held.lock_id, clock=self.clock)
                own(STAGE, directory, "complete", health_check="ok")

    def _is_unreadable(self) -> bool:
        try:
            read_status(STAGE, self._layout.lakehouse)
        except CorruptFileError:
            return True
        return False

    async def _connected(self, job: Callable[[OpenSource], Awaitable[T]]) -> T:
        tws = self._settings.manifest.tws
        timeouts = Timeouts.bounded(tws.connect_timeout_s, tws.request_timeout_s)
        client = TwsClient(
            self._address(),
            self.clock,
            timeouts,
            pacer=self.pacer,
            patience=self.policy,
            waits=self._was_reached,
            on_asked=self._count,
        )
        async with client:
            self._was_reached = True
            self.pacer.catch_up()
            return await job(OpenSource(client, self.pacer, self.policy))

    def _count(self) -> None:
        self.n_asked += 1

    def _address(self) -> TwsAddress:
        tws = self._settings.manifest.tws
        if not self.is_replay:
            return TwsAddress(tws.host, tws.port, tws.client_id, tws.client_id_range)
        replay = self._settings.manifest.replay
        if replay.port:
            return TwsAddress(tws.host, replay.port, tws.client_id, tws.client_id_range)
        if self._embedded is None:
            faults = open_faults(replay)
            portfolio = Portfolio({ACCOUNT: replay.positions} if replay.positions else {})
            self._embedded = EmbeddedGateway(
                lambda: open_market(replay), Rules(), self.clock, faults=faults, portfolio=portfolio
            )
        return TwsAddress(self._embedded.host, self._embedded.port, tws.client_id, tws.client_id_range)

    def requests_served(self) -> int:
        """Return how many requests for data the embedded gateway has answered; 0 when none was needed."""
        return self._embedded.data_requests() if self._embedded else 0


def open_faults(replay: ReplayConfig) -> FaultPlan:
    """Return what goes wrong at the replay gateway.

    Raises:
        ConfigurationError: the script does not exist, or is malformed.
    """
    return FaultEngine(FaultScript.load(Path(replay.faults))) if replay.faults else NO_FAULTS


def open_market(replay: ReplayConfig) -> Market:
    """Return the market that the replay gateway serves.

    Raises:
        ConfigurationError: the recording does not exist.
        CorruptFileError: it cannot be read.
    """
    if replay.market == "synthetic":
        from quant_assets.gateway.synthetic import SyntheticMarket

        return SyntheticMarket(seed=replay.seed)
    from quant_assets.gateway.recording import RecordedMarket

    path = Path(replay.market)
    if not path.is_file():
        raise ConfigurationError(
            "replay.market", f"there is no recording at {path}.", "Give a Parquet file, or `synthetic`."
        )
    return RecordedMarket.open(path, symbols=replay.symbols or None)
