"""Carrying out a plan: pacing, bounded retries, splitting, and waiting out an outage."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from quant_assets.connectors.base import BarAnswer, BarSource
from quant_assets.connectors.tws.failures import (
    LinkBreakerError,
    LinkDownError,
    RepeatedRefusalError,
    SourceTransientError,
    TooLongError,
    UnconfirmedContractError,
    UnlistedError,
)
from quant_assets.connectors.tws.pacing import Pacer
from quant_assets.connectors.tws.patience import AwayError, Doubt, RetryPolicy, is_no_doubt, may_pass, persist
from quant_assets.connectors.tws.planner import PlannedRequest, halve
from quant_assets.errors import QuantAssetsError, SourceTimeoutError, SourceUnavailableError

__all__ = ["Agenda", "Outcome", "RetryPolicy", "fetch", "fetch_all", "fetch_with_lulls"]


class Agenda:
    """A plan that knows what nobody has taken from it yet; it is carried out once."""

    def __init__(self, plan: Sequence[PlannedRequest]) -> None:
        self._plan, self._n_taken = plan, 0

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[PlannedRequest]:
        while self._n_taken < len(self._plan):
            self._n_taken += 1
            yield self._plan[self._n_taken - 1]

    @property
    def left(self) -> Sequence[PlannedRequest]:
        """What has not been taken."""
        return self._plan[self._n_taken :]

    def drop(self, is_unwanted: Callable[[PlannedRequest], bool]) -> int:
        """Drop what nobody has taken and nobody wants; return how many there were."""
        kept = [planned for planned in self.left if not is_unwanted(planned)]
        n_dropped = len(self.left) - len(kept)
        self._plan = [*self._plan[: self._n_taken], *kept]
        return n_dropped


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
    source: BarSource,
    pacer: Pacer,
    planned: PlannedRequest,
    policy: RetryPolicy,
    doubt: Doubt | None = None,
    *,
    postpones: bool = False,
) -> AsyncIterator[Outcome]:
    """Carry out one planned request, in parts where it proves too long or too slow, ascending by session.

    Typed errors are yielded, not raised: the other parts, and other instruments, go on.

    Args:
        source: what is asked.
        pacer: when.
        planned: the request.
        policy: how often, and how long.
        doubt: earlier denials of the contract.
        postpones: a first denial of the contract ends it with `UnconfirmedContractError`, instead of asking another
            connection at once.
    """
    waiting = [planned]
    while waiting:
        part = waiting.pop()
        result: BarAnswer | QuantAssetsError
        try:
            result = await _persist(source, pacer, part, policy, doubt, postpones=postpones)
        except AwayError as away:
            result = away.error
        except (TooLongError, SourceTimeoutError, LinkDownError) as error:
            parts = halve(part)
            if parts != [part]:
                waiting.extend(reversed(parts))
                continue
            result = LinkBreakerError(part.request, error) if isinstance(error, LinkDownError) else error
        except QuantAssetsError as error:
            result = error
        yield Outcome(part, result)


async def _persist(
    source: BarSource,
    pacer: Pacer,
    part: PlannedRequest,
    policy: RetryPolicy,
    doubt: Doubt | None,
    *,
    postpones: bool,
) -> BarAnswer:
    """Ask until there is an answer, an error that repeating cannot change, or no attempt left.

    What is too long or too slow is split where it can be, and repeated where it cannot. What TWS refuses every time,
    as too long or in words that are not known, it would refuse for ever; one other answer among them, and it may pass.
    """
    is_divisible = halve(part) != [part]
    failures: list[QuantAssetsError] = []

    def again(error: BaseException) -> bool:
        if isinstance(error, (TooLongError, SourceTimeoutError)):
            return not is_divisible
        return is_no_doubt(error) if postpones else may_pass(error)

    async def ask() -> BarAnswer:
        try:
            async with pacer.slot(part.request, policy.quiet):
                return await source.bars(part.request)
        except QuantAssetsError as error:
            failures.append(error)
            raise

    try:
        return await persist(source, pacer.clock, policy, ask, again, doubt)
    except (TooLongError, UnlistedError) as error:
        if is_divisible and isinstance(error, TooLongError):
            raise
        if len(failures) > 1 and all(isinstance(one, type(error)) for one in failures):
            raise RepeatedRefusalError(error, len(failures)) from error
        raise SourceTransientError(error.what, error.code, error.text) from error


async def fetch_all(
    source: BarSource, pacer: Pacer, plan: Sequence[PlannedRequest] | Agenda, policy: RetryPolicy
) -> AsyncIterator[Outcome]:
    """Carry out a plan with as many requests in flight as the budget allows; outcomes come as they are ready.

    What is refused as an unknown contract is asked again at the end, so that one other connection confirms it all. When
    the source stays away beyond the policy's patience, what is left of the plan gets that error unasked.
    """
    async with aclosing(fetch_with_lulls(source, pacer, plan, policy, None)) as found:
        async for outcome in found:
            if outcome:
                yield outcome


async def fetch_with_lulls(
    source: BarSource,
    pacer: Pacer,
    plan: Sequence[PlannedRequest] | Agenda,
    policy: RetryPolicy,
    lull_s: float | None,
) -> AsyncGenerator[Outcome | None, None]:
    """Carry out a plan as `fetch_all` does, and yield None whenever nothing came for `lull_s`: the pacer waits, or TWS.

    What has arrived can be made safe meanwhile. The time is the machine's: no pacing clock makes a commit faster.
    """
    crew = _Crew(source, pacer, iter(plan), policy)
    work = asyncio.ensure_future(crew.run(min(pacer.budget.in_flight, len(plan))))
    work.add_done_callback(lambda _: crew.outcomes.put_nowait(None))
    try:
        while True:
            try:
                async with asyncio.timeout(lull_s if crew.outcomes.empty() else None):
                    outcome = await crew.outcomes.get()
            except TimeoutError:
                yield None
                continue
            if outcome is None:
                break
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
        self._doubts: list[tuple[PlannedRequest, Doubt]] = []
        self._lost: SourceUnavailableError | None = None
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(4 * pacer.budget.in_flight)
        """Answers that may wait for the reader, who may be slower than the source."""

    async def run(self, n_workers: int) -> None:
        first = ((planned, Doubt(self._source, self._pacer.clock, self._policy)) for planned in self._plan)
        await asyncio.gather(*(self._work(first, postpones=True) for _ in range(n_workers)))
        doubted = iter(self._doubts)
        await asyncio.gather(*(self._work(doubted, postpones=False) for _ in range(n_workers)))

    async def _work(self, plan: Iterator[tuple[PlannedRequest, Doubt]], *, postpones: bool) -> None:
        for planned, doubt in plan:
            if self._lost:
                await self._put(Outcome(planned, self._lost))
                continue
            found = fetch(self._source, self._pacer, planned, self._policy, doubt, postpones=postpones)
            async for outcome in found:
                if postpones and isinstance(outcome.result, UnconfirmedContractError):
                    self._doubts.append((outcome.planned, doubt))
                    continue
                await self._put(outcome)
                if isinstance(outcome.result, SourceUnavailableError):
                    self._lost = outcome.result

    async def _put(self, outcome: Outcome) -> None:
        await self.room.acquire()
        self.outcomes.put_nowait(outcome)
