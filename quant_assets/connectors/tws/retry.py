"""Carrying out a plan: pacing, bounded retries, splitting, and waiting out an outage."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_exception_type, stop_after_attempt

from quant_assets.clock import Clock
from quant_assets.connectors.base import BarAnswer, BarRequest, BarSource
from quant_assets.connectors.tws.failures import TooLongError
from quant_assets.connectors.tws.pacing import Pacer
from quant_assets.connectors.tws.planner import PlannedRequest, halve
from quant_assets.errors import (
    PacingError,
    QuantAssetsError,
    RetryLater,
    SourceTimeoutError,
    SourceUnavailableError,
)


@runtime_checkable
class Recovering(Protocol):
    """A source whose connection can be lost and regained."""

    async def ensure_ready(self) -> None:
        """Return when requests would be answered, or raise SourceUnavailableError."""
        ...


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

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after that many failures."""
        full = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        return full * (1 - self.jitter * Random(f"{self.seed}:{attempt}").random())  # noqa: S311 - spreads load

    def wait(self, state: RetryCallState) -> float:
        """The same, as tenacity asks for it. After a pacing violation the pacer does the waiting."""
        error = state.outcome.exception() if state.outcome else None
        return 0.0 if isinstance(error, PacingError) else self.wait_s(state.attempt_number)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planned request, or of a part of it."""

    planned: PlannedRequest
    result: BarAnswer | QuantAssetsError

    @property
    def answer(self) -> BarAnswer | None:
        """The answer, if there is one."""
        return self.result if isinstance(self.result, BarAnswer) else None

    @property
    def error(self) -> QuantAssetsError | None:
        """The final error, if there is one."""
        return self.result if isinstance(self.result, QuantAssetsError) else None


async def fetch(
    source: BarSource, pacer: Pacer, planned: PlannedRequest, policy: RetryPolicy
) -> AsyncIterator[Outcome]:
    """Carry out one planned request, in parts where it proves too long or too slow, ascending by session.

    Typed errors are yielded, not raised: the other parts, and other instruments, go on.
    """
    waiting = [planned]
    while waiting:
        part = waiting.pop()
        result: BarAnswer | QuantAssetsError
        try:
            result = await _persist(source, pacer, part, policy)
        except (TooLongError, SourceTimeoutError) as error:
            parts = halve(part)
            if parts != [part]:
                waiting.extend(reversed(parts))
                continue
            result = error
        except QuantAssetsError as error:
            result = error
        yield Outcome(part, result)


async def _persist(source: BarSource, pacer: Pacer, part: PlannedRequest, policy: RetryPolicy) -> BarAnswer:
    """Ask until there is an answer, an error that repeating cannot change, or no attempt left."""
    is_divisible = halve(part) != [part]

    def again(error: BaseException) -> bool:
        return isinstance(error, RetryLater) and not (is_divisible and isinstance(error, SourceTimeoutError))

    failed = False
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(again),
        stop=stop_after_attempt(policy.attempts),
        wait=policy.wait,
        sleep=pacer.clock.sleep,
        reraise=True,
    ):
        if failed:
            await recover(source, pacer.clock, policy)
        failed = True
        with attempt:
            return await _ask(source, pacer, part.request)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _ask(source: BarSource, pacer: Pacer, request: BarRequest) -> BarAnswer:
    async with pacer.slot(request):
        return await source.bars(request)


async def recover(source: BarSource, clock: Clock, policy: RetryPolicy) -> None:
    """Wait until the source answers again, no longer than the policy's outage.

    Raises:
        SourceUnavailableError: the outage lasted longer.
    """
    if not isinstance(source, Recovering):
        return
    deadline = clock.monotonic() + policy.outage_s
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(SourceUnavailableError),
        stop=lambda _: clock.monotonic() >= deadline,
        wait=policy.wait,
        sleep=clock.sleep,
        reraise=True,
    ):
        with attempt:
            await source.ensure_ready()


async def fetch_all(
    source: BarSource, pacer: Pacer, plan: Sequence[PlannedRequest], policy: RetryPolicy
) -> AsyncIterator[Outcome]:
    """Carry out a plan with as many requests in flight as the budget allows; outcomes come as they are ready.

    When the source stays away beyond the policy's patience, what is left of the plan gets that error unasked.
    """
    crew = _Crew(source, pacer, iter(plan), policy)
    work = asyncio.ensure_future(crew.run(min(pacer.budget.in_flight, len(plan))))
    work.add_done_callback(lambda _: crew.outcomes.put_nowait(None))
    try:
        while (outcome := await crew.outcomes.get()) is not None:
            yield outcome
            crew.room.release()
        await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


class _Crew:
    """Workers that share one plan."""

    def __init__(self, source: BarSource, pacer: Pacer, plan: Iterator[PlannedRequest], policy: RetryPolicy) -> None:
        self._source, self._pacer, self._plan, self._policy = source, pacer, plan, policy
        self._lost: SourceUnavailableError | None = None
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(4 * pacer.budget.in_flight)
        """Answers that may wait for the reader, who may be slower than the source."""

    async def run(self, n_workers: int) -> None:
        await asyncio.gather(*(self._work() for _ in range(n_workers)))

    async def _work(self) -> None:
        for planned in self._plan:
            if self._lost:
                await self._put(Outcome(planned, self._lost))
                continue
            async for outcome in fetch(self._source, self._pacer, planned, self._policy):
                await self._put(outcome)
                if isinstance(outcome.result, SourceUnavailableError):
                    self._lost = outcome.result

    async def _put(self, outcome: Outcome) -> None:
        await self.room.acquire()
        self.outcomes.put_nowait(outcome)
