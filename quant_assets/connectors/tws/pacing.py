"""IBKR's pacing rules, kept on our side so that TWS never has to enforce them.

A request counts from its answer, not from when it was sent: TWS saw it at some instant before the answer, so each
rule holds at TWS whatever the network did in between. With instant answers the two are the same.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Self

from quant_assets.clock import Clock, scale_of
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws.failures import UntoldError
from quant_assets.connectors.tws.forecast import Asked, Forecast, Lane
from quant_assets.connectors.tws.journal import PacingJournal
from quant_assets.connectors.tws.patience import DailyWindow, hh_mm
from quant_assets.connectors.tws.windows import TINY_S, Entry, Window
from quant_assets.errors import PacingError, SourceTimeoutError, SourceUnavailableError

_log = logging.getLogger(__name__)

_RECOVERY = 0.125
"""The part of the full rate that a full window of answers brings back."""
_MANY_WINDOWS = 512
"""From here on, windows of contracts and requests that are long over are forgotten."""
_GLANCE_S = 0.25
"""Real seconds after which those who wait look at the turnstile again."""


@dataclass(frozen=True, slots=True)
class PacingBudget:
    """What may be asked of TWS, below IBKR's own limits (60 per 600 s, 6 in 2 s, 50 open, 50 messages per second)."""

    requests_per_window: int = 55
    window_s: float = 600.0
    identical_s: float = 15.0
    per_contract: int = 5
    per_contract_s: float = 2.0
    messages_per_s: int = 45
    in_flight: int = 6
    pause_s: float = 15.0
    max_pause_s: float = 600.0
    enforced: bool = True
    """False measures the bare path: only `in_flight` is kept."""

    def __post_init__(self) -> None:
        if not 1 <= self.in_flight <= 50:  # noqa: PLR2004 - IBKR's bound
            raise ValueError(f"in_flight must be between 1 and 50, not {self.in_flight}")
        if min(self.requests_per_window, self.per_contract, self.messages_per_s) < 1:
            raise ValueError("every pacing limit must be at least 1")


@dataclass(frozen=True, slots=True)
class Paced:
    """What the rules look at in one historical request."""

    identity: Hashable
    group: Hashable
    weight: int = 1

    @classmethod
    def of(cls, request: BarRequest) -> Self:
        """A bar request; quotes of both sides count twice. Regular hours or not makes no difference to IBKR."""
        weight = 2 if str(request.what_to_show) == "BID_ASK" else 1
        subject = (request.end, request.duration, request.bar_size)
        return cls.about(request.contract, request.what_to_show, *subject, weight=weight)

    @classmethod
    def about(cls, contract: Contract, what: str, *subject: Hashable, weight: int = 1) -> Self:
        """Any historical request on a contract: identical when `subject` is the same too."""
        group = (contract.con_id, contract.symbol, contract.exchange, what)
        return cls((*group, *subject), group, weight)

    @property
    def identity_text(self) -> str:
        """What makes two requests identical, as it is kept on disk."""
        return str(self.identity)

    @property
    def group_text(self) -> str:
        """Contract, exchange and tick type, as they are kept on disk."""
        return str(self.group)


class Pacer:
    """Admits requests when every rule allows it, and slows down when TWS refuses all the same.

    With a `journal`, what a killed process asked counts too. A `turnstile` is the last thing that a request passes; it
    holds those who come, and those who wait for the rules already, while somebody has asked for a pause.
    """

    def __init__(
        self,
        budget: PacingBudget,
        clock: Clock,
        journal: Path | None = None,
        turnstile: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.budget, self.clock = budget, clock
        self._turnstile = turnstile
        self._journal = PacingJournal(journal, clock, budget.window_s) if journal and budget.enforced else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(budget.in_flight)
        self._history = Window(budget.requests_per_window, budget.window_s)
        self._messages = Window(budget.messages_per_s, 1.0)
        self._keyed: dict[Hashable, Window] = {}
        self._share, self._pause_s, self._paused_until = 1.0, 0.0, 0.0
        self._told_quiet: datetime | None = None
        """The end of the quiet hours that the log knows of."""
        self._waiting: list[Paced] = []
        """Requests that have a place and wait until the rules allow them."""
        self._unseen: list[tuple[float, str, Paced]] = []
        """Requests that got no answer: when they were given up, their keys in the journal, and what they were."""

    @property
    def share(self) -> float:
        """The part of the request rate that is used at present, between 0 and 1."""
        return self._share

    @asynccontextmanager
    async def slot(self, request: BarRequest | Paced, quiet: DailyWindow | None = None) -> AsyncIterator[None]:
        """Hold one of the in-flight places for one historical request, from the moment every rule allows it.

        That moment is never inside the `quiet` hours. A `PacingError` inside slows this pacer down, and so does a
        refusal in a language that is not understood.
        """
        paced = paced_of(request)
        async with self._places():
            with self._waits(paced):
                entries = await self._admit(paced, quiet)
            if not self.budget.enforced:
                yield
                return
            key = self._journal.asked(paced.identity_text, paced.group_text, paced.weight) if self._journal else ""
            try:
                yield
            except (PacingError, UntoldError):
                self.refused()
                raise
            except (SourceTimeoutError, SourceUnavailableError):
                self._unseen.append((self.clock.monotonic(), key, paced))
                raise
            else:
                self._recover()
            finally:
                self._leave(entries)
                if self._journal:
                    self._journal.ended(key)

    def reconnected(self) -> None:
        """Count again what got no answer: a TWS that had hung may have read it only now, from the old connection."""
        now = self.clock.monotonic()
        for given_up_at, key, paced in self._unseen:
            if now - given_up_at < self.budget.window_s:
                windows = self._windows(paced)
                self._leave([window.enter(now, weight) for window, weight in windows if window is not self._messages])
                if self._journal:
                    self._journal.ended(key)
        self._unseen.clear()

    @asynccontextmanager
    async def message(self, quiet: DailyWindow | None = None) -> AsyncIterator[None]:
        """Wait until one more message of any other kind may be sent, outside the `quiet` hours."""
        await self._clear(quiet, lambda: self._messages.wait_s(self.clock.monotonic()))
        entry = self._messages.enter(self.clock.monotonic())
        try:
            yield
        finally:
            self._leave([entry])

    @contextmanager
    def _waits(self, paced: Paced) -> Iterator[None]:
        self._waiting.append(paced)
        try:
            yield
        finally:
            self._waiting.remove(paced)

    async def _clear(self, quiet: DailyWindow | None, wait_s: Callable[[], float]) -> None:
        """Return when there is no pause, no quiet hour and no rule to wait for, all at the same moment.

        Whoever waits for one of them obeys the others meanwhile: a wait for the budget may take ten minutes, the quiet
        hours may take an hour.
        """
        while True:
            if self._turnstile:
                await self._turnstile()
            wait = max(self._quiet_s(quiet), wait_s() if self.budget.enforced else 0.0)
            if wait <= 0:
                return
            glance = _GLANCE_S * scale_of(self.clock)
            await self.clock.sleep(min(wait, glance) if self._turnstile else wait)

    def _quiet_s(self, quiet: DailyWindow | None) -> float:
        now = self.clock.now()
        if quiet is None or not quiet.contains(now):
            return 0.0
        end = quiet.next_end(now)
        if end != self._told_quiet:
            self._told_quiet = end
            _log.info("quiet hours until %s New York", hh_mm(end))
        return max(1.0, (end - now).total_seconds())

    def _places(self) -> asyncio.Semaphore:
        """The in-flight places, made anew for each event loop: the pacer outlives a connection, a semaphore cannot."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._slots = loop, asyncio.Semaphore(self.budget.in_flight)
            self.catch_up()
        return self._slots

    def catch_up(self) -> None:
        """Count what other processes asked since this pacer's last job; only one at a time uses TWS.

        Asking does it by itself; estimates are right from here on.
        """
        if self._journal is None:
            return
        requests, pause = self._journal.news()
        now = self.clock.monotonic()
        for past in requests:
            windows = self._windows_of(past.identity, past.group, past.weight)
            self._leave([w.enter(now, weight) for w, weight in windows if w is not self._messages], now - past.age_s)
        if pause and now + pause.left_s > self._paused_until:
            self._paused_until, self._pause_s = now + pause.left_s, pause.length_s
            self._share = min(self._share, pause.share)

    async def _admit(self, paced: Paced, quiet: DailyWindow | None) -> list[Entry]:
        # Looked up anew after each sleep: while this request slept, its windows may have been forgotten and made anew.
        await self._clear(quiet, lambda: self._wait_s(self._windows(paced), paced.weight))
        if not self.budget.enforced:
            return []
        now = self.clock.monotonic()
        return [window.enter(now, weight) for window, weight in self._windows(paced)]

    def _windows(self, paced: Paced) -> list[tuple[Window, int]]:
        """The windows that count this request, and what it counts there."""
        return self._windows_of(paced.identity_text, paced.group_text, paced.weight)

    def _windows_of(self, identity_text: str, group_text: str, weight: int) -> list[tuple[Window, int]]:
        budget = self.budget
        if len(self._keyed) > _MANY_WINDOWS:
            now = self.clock.monotonic()
            self._keyed = {key: window for key, window in self._keyed.items() if not window.is_idle(now)}
        identical = self._keyed.setdefault(("same", identity_text), Window(1, budget.identical_s))
        group = self._keyed.setdefault(("group", group_text), Window(budget.per_contract, budget.per_contract_s))
        return [(self._history, weight), (self._messages, 1), (identical, 1), (group, weight)]

    def _wait_s(self, windows: list[tuple[Window, int]], weight: int) -> float:
        now = self.clock.monotonic()
        waits = [window.wait_s(now, units) for window, units in windows]
        waits.append(self._history.wait_s(now, weight, self._share))
        waits.append(self._paused_until - now)
        longest = max(waits)
        return longest if longest > TINY_S else 0.0

    def _leave(self, entries: list[Entry], at: float | None = None) -> None:
        left = self.clock.monotonic() if at is None else at
        for entry in entries:
            entry.at, entry.is_open = left, False

    def refused(self) -> float:
        """Note a pacing violation: pause all history, and go on at half the rate. Returns the seconds of the pause.

        Refusals during a pause belong to requests that were in flight when it began, and change nothing.
        """
        now = self.clock.monotonic()
        if now >= self._paused_until:
            self._pause_s = min(self.budget.max_pause_s, max(self.budget.pause_s, 2 * self._pause_s))
            self._paused_until = now + self._pause_s
            self._share = max(self._share / 2, 1 / self.budget.requests_per_window)
            if self._journal:
                self._journal.paused(self._pause_s, self._share)
        return self._paused_until - now

    def _recover(self) -> None:
        """One request went well: a full window of them brings back an eighth of the rate."""
        self._share = min(1.0, self._share + _RECOVERY / self.budget.requests_per_window)
        if self._share == 1.0:
            self._pause_s = 0.0

    def estimate(self, pending: int | Iterable[BarRequest | Paced]) -> float:
        """Return the seconds until the last of some requests is admitted, by what counts at present.

        The budget is played forward from its state: what lately asked requests use of it, the pause, the reduced rate,
        and those that wait for their turn already. Answers are taken for instant, and a number of requests for
        requests of as many contracts.
        """
        if not self.budget.enforced:
            return 0.0
        now, budget = self.clock.monotonic(), self.budget
        forecast = Forecast(
            now,
            Lane.of(self._history, now),
            Lane.of(self._messages, now),
            lambda group: self._lane(("group", group), budget.per_contract, budget.per_contract_s),
            lambda identity: self._lane(("same", identity), 1, budget.identical_s),
            budget.in_flight,
            self._paused_until,
            self._share,
            _RECOVERY / budget.requests_per_window,
        )
        more = _of_many_contracts(pending) if isinstance(pending, int) else map(paced_of, pending)
        return forecast.seconds(_asked(chain(list(self._waiting), more)))

    def _lane(self, key: Hashable, limit: int, span_s: float) -> Lane:
        known = self._keyed.get(key)
        return Lane.of(known, self.clock.monotonic()) if known else Lane(limit, span_s)


def paced_of(request: BarRequest | Paced) -> Paced:
    """Return what the rules look at in a request."""
    return request if isinstance(request, Paced) else Paced.of(request)


def _asked(requests: Iterable[Paced]) -> Iterator[Asked]:
    return (Asked(one.identity_text, one.group_text, one.weight) for one in requests)


def _of_many_contracts(n_requests: int) -> Iterator[Paced]:
    return (Paced(("any", number), ("any", number)) for number in range(n_requests))


def estimate_s(budget: PacingBudget, n_requests: int) -> float:
    """Seconds that pacing costs `n_requests` requests of as many contracts with instant answers, starting idle."""
    if not budget.enforced:
        return 0.0
    idle = Forecast(
        0.0,
        Lane(budget.requests_per_window, budget.window_s),
        Lane(budget.messages_per_s, 1.0),
        lambda _: Lane(budget.per_contract, budget.per_contract_s),
        lambda _: Lane(1, budget.identical_s),
        budget.in_flight,
    )
    return idle.seconds(_asked(_of_many_contracts(n_requests)))
