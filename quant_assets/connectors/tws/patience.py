"""How long to go on: back-off, outages, the nightly reset, and the second opinion on a contract that TWS denies."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import ClassVar, Final, Protocol, Self, TypeVar, runtime_checkable
from weakref import WeakSet
from zoneinfo import ZoneInfo

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from quant_assets.clock import Clock
from quant_assets.connectors.tws.failures import (
    NotTwsError,
    PortDroppedError,
    PortRefusedError,
    UnconfirmedContractError,
)
from quant_assets.errors import PacingError, RetryLater, SourceUnavailableError, UnknownContractError

_log = logging.getLogger(__name__)

T = TypeVar("T")
NEW_YORK: Final = ZoneInfo("America/New_York")
_RESET_GRACE: Final = timedelta(minutes=10)
"""TWS needs some minutes after the reset before it answers again."""
_MOST_DOUBLINGS: Final = 64
"""Any wait has reached its cap by then; a long outage takes more attempts than a float has powers of two."""


@runtime_checkable
class Recovering(Protocol):
    """A source whose connection can be lost and regained."""

    async def ensure_ready(self) -> None:
        """Return when requests would be answered, or raise SourceUnavailableError."""
        ...


@runtime_checkable
class Witness(Protocol):
    """A source whose answers can be told apart by the connection that brought them."""

    @property
    def epoch(self) -> int:
        """Which connection to the market this is."""
        ...

    async def renew(self, after: int) -> None:
        """Return on a later connection than number `after`, or raise SourceUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """From one New York time of day to another, possibly over midnight."""

    start: time
    end: time

    def contains(self, instant: datetime) -> bool:
        """Return whether an instant lies inside."""
        now = instant.astimezone(NEW_YORK).time()
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def next_end(self, instant: datetime) -> datetime:
        """Return when the window ends, for an instant inside."""
        local = instant.astimezone(NEW_YORK)
        day = local.date() + timedelta(days=int(local.time() >= self.end))
        return datetime.combine(day, self.end, NEW_YORK).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which waits, something that failed is tried again. Equal seeds wait equally."""

    attempts: int = 5
    base_s: float = 2.0
    cap_s: float = 120.0
    jitter: float = 0.25
    """Each wait is shortened by up to this share, so that clients that failed together do not return together."""
    seed: int = 0
    outage_s: float = 3 * 3600.0
    """How long one outage may last; the nightly reset takes up to an hour and a half."""
    reset: DailyWindow | None = None
    """When TWS and its servers restart; an outage that begins inside may last until its end."""
    quiet: DailyWindow | None = None
    """When nothing is to be asked; whoever asks tells the pacer."""
    confirmations: int = 2
    """On how many connections TWS has to deny a contract before that is believed."""

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after that many failures."""
        full = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
        return full * (1 - self.jitter * Random(f"{self.seed}:{attempt}").random())  # noqa: S311 - spreads load

    def wait(self, state: RetryCallState) -> float:
        """The same, as tenacity asks for it. After a pacing violation the pacer does the waiting."""
        error = state.outcome.exception() if state.outcome else None
        return 0.0 if isinstance(error, PacingError) else self.wait_s(state.attempt_number)

    def is_reset(self, now: datetime) -> bool:
        """Return whether TWS restarts about now."""
        return self.reset is not None and self.reset.contains(now)

    def patience_until(self, now: datetime) -> datetime:
        """Return when an outage that begins now has lasted too long."""
        budget = now + timedelta(seconds=self.outage_s)
        return max(budget, self.reset.next_end(now) + _RESET_GRACE) if self.reset and self.is_reset(now) else budget


def hh_mm(instant: datetime) -> str:
    """The time of day in New York."""
    return f"{instant.astimezone(NEW_YORK):%H:%M}"


class AwayError(Exception):
    """The source stayed away longer than the policy's patience. Never leaves the package."""

    def __init__(self, error: SourceUnavailableError) -> None:
        super().__init__(str(error))
        self.error = error


async def recover(source: object, clock: Clock, policy: RetryPolicy) -> None:
    """Wait until the source answers again, no longer than the policy's patience.

    Raises:
        SourceUnavailableError: the outage lasted longer, or another program has taken TWS's port.
    """
    if not isinstance(source, Recovering):
        return
    began, until = clock.now(), policy.patience_until(clock.now())
    deadline = clock.monotonic() + (until - began).total_seconds()
    with _Teller(source, until, is_reset=policy.is_reset(began)) as teller:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_come_back),
            stop=lambda _: clock.monotonic() >= deadline,
            wait=policy.wait,
            sleep=clock.sleep,
            before_sleep=teller.tell,
            reraise=True,
        ):
            with attempt:
                await source.ensure_ready()


def _may_come_back(error: BaseException) -> bool:
    return isinstance(error, SourceUnavailableError) and not isinstance(error, NotTwsError)


_DROPS: Final = 3
"""As many times an unknown TWS may end the connection during the greeting; then it is misconfigured."""


async def reach(source: Recovering, clock: Clock, policy: RetryPolicy) -> None:
    """Connect for the first time. A TWS that is not there is told at once.

    One that ends the connection is asked again, some times; if nobody is there any more then, it restarts, and is
    waited for.

    Raises:
        SourceUnavailableError: nobody is there, or the restart lasted longer than the policy's patience.
    """
    for n_dropped in range(_DROPS):
        try:
            await source.ensure_ready()
        except PortDroppedError:
            if n_dropped == _DROPS - 1:
                raise
            await clock.sleep(policy.wait_s(n_dropped + 1))
        except PortRefusedError:
            if not n_dropped:
                raise
            await recover(source, clock, policy)
            return
        else:
            return


class _Teller:
    """Tells the log once that an outage is being waited out, and once that it is over, however many wait."""

    _told: ClassVar[WeakSet[object]] = WeakSet()

    def __init__(self, source: object, until: datetime, *, is_reset: bool) -> None:
        self._source, self._until, self._is_reset = source, until, is_reset
        self._is_speaker = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._is_speaker:
            return
        self._told.discard(self._source)
        if kind is None:
            _log.warning("TWS answers again; the interrupted requests are sent anew")

    def tell(self, state: RetryCallState) -> None:
        """Say why, and until when."""
        error = state.outcome.exception() if state.outcome else None
        if self._source in self._told or not isinstance(error, SourceUnavailableError):
            return
        self._told.add(self._source)
        self._is_speaker = True
        why = "TWS restarting" if self._is_reset else f"TWS at {error.address} is not available: {error.cause}"
        _log.warning("%s, retry until %s New York", why, hh_mm(self._until))


class Doubt:
    """Counts on which connections TWS denied a contract.

    It can outlive one `persist`: doubts that were gathered first are then all settled on one other connection.
    """

    def __init__(self, source: object, clock: Clock, policy: RetryPolicy) -> None:
        self._source, self._clock, self._policy = source, clock, policy
        self._epochs: set[int] = set()

    async def ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask on a connection that has not denied it yet, and turn a denial into a doubt while it is one.

        Raises:
            UnconfirmedContractError: denied, and not often enough to be believed.
            UnknownContractError: denied, and believed.
        """
        if not isinstance(self._source, Witness):
            return await ask()
        if self._epochs:
            await self._source.renew(max(self._epochs))
        epoch = self._source.epoch
        try:
            return await ask()
        except UnknownContractError as denial:
            self._epochs.add(epoch)
            if self._policy.is_reset(self._clock.now()) or len(self._epochs) < self._policy.confirmations:
                raise UnconfirmedContractError(denial, len(self._epochs)) from denial
            raise


def may_pass(error: BaseException) -> bool:
    """Return whether repeating can help."""
    return isinstance(error, RetryLater)


def is_no_doubt(error: BaseException) -> bool:
    """Return whether repeating can help, and it is no denial: that is for another connection, once all are known."""
    return may_pass(error) and not isinstance(error, UnconfirmedContractError)


async def persist(
    source: object,
    clock: Clock,
    policy: RetryPolicy,
    ask: Callable[[], Awaitable[T]],
    again: Callable[[BaseException], bool] = may_pass,
    doubt: Doubt | None = None,
) -> T:
    """Ask until there is an answer, an error that repeating cannot change, or no attempt left.

    Args:
        source: what is asked.
        clock: its time.
        policy: how often, and how long.
        ask: the question.
        again: whether an error is worth another attempt.
        doubt: earlier denials of the same contract.

    Raises:
        AwayError: the source stayed away.
    """
    doubt, failed = doubt or Doubt(source, clock, policy), False
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(again),
        stop=stop_after_attempt(policy.attempts),
        wait=policy.wait,
        sleep=clock.sleep,
        reraise=True,
    ):
        if failed:
            try:
                await recover(source, clock, policy)
            except SourceUnavailableError as error:
                raise AwayError(error) from error
        failed = True
        with attempt:
            return await doubt.ask(ask)
    raise AssertionError("unreachable: the last attempt returns or raises")
