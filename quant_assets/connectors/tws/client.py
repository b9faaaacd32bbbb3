"""`TwsClient`: the source of bars that is TWS, or the replay gateway; the code cannot tell.

It reads and never trades: there is no method that sends an order, and only `holdings` asks about accounts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar

from quant_assets.clock import Clock
from quant_assets.connectors.base import (
    BarAnswer,
    BarRequest,
    Contract,
    ContractDetails,
    Holdings,
    ScanRequest,
    ScanRow,
    SessionHours,
)
from quant_assets.connectors.tws import history, library, requests
from quant_assets.connectors.tws.codes import Verdict
from quant_assets.connectors.tws.connection import Timeouts, TwsAddress, open_link
from quant_assets.connectors.tws.facets import Connecting, Looking
from quant_assets.connectors.tws.failures import (
    LinkDownError,
    Refusal,
    SourceTransientError,
    UnconfirmedContractError,
)
from quant_assets.connectors.tws.link import Call, Link
from quant_assets.connectors.tws.pacing import Paced, Pacer
from quant_assets.connectors.tws.patience import (
    AwayError,
    DailyWindow,
    Doubt,
    RetryPolicy,
    is_no_doubt,
    may_pass,
    persist,
    reach,
    recover,
)
from quant_assets.domain.instruments import WhatToShow
from quant_assets.errors import SourceTimeoutError, SourceUnavailableError, UnknownContractError

_log = logging.getLogger(__name__)

T = TypeVar("T")


class TwsClient:
    """A read-only connection to TWS, one at a time, with every failure typed.

    `bars` sends its request at once: `fetch` paces it, because only there is known when a request is repeated or
    split. With a `pacer`, every other method waits for its turn by itself; with `patience`, it repeats what may pass,
    waits out outages, and believes that a contract is unknown only when two connections say so. `on_asked` is called
    for each request for data that is sent, repetitions included.
    """

    def __init__(
        self,
        address: TwsAddress,
        clock: Clock,
        timeouts: Timeouts | None = None,
        *,
        pacer: Pacer | None = None,
        patience: RetryPolicy | None = None,
        waits: bool = False,
        on_asked: Callable[[], object] = lambda: None,
    ) -> None:
        self._address, self._clock, self._pacer = address, clock, pacer
        self._timeouts = timeouts or Timeouts()
        self._patience, self._waits, self._on_asked = patience, waits, on_asked
        self._link: Link | None = None
        self._client_id: int | None = None
        self._connecting = asyncio.Lock()
        self._probing = asyncio.Lock()
        self._renewing = asyncio.Lock()
        self.epoch = 0
        """How many connections to the market there have been, TWS's own included: two answers of different epochs are
        independent witnesses."""

    # ------------------------------------------------------------ life of the connection

    async def __aenter__(self) -> Self:
        """Connect. A TWS that was there before (`waits`), or that restarts every night about now, is waited for."""
        policy = self._patience
        if policy is None:
            await self.connect()
        elif self._waits or policy.is_reset(self._clock.now()):
            await recover(Connecting(self), self._clock, policy)
        else:
            await reach(Connecting(self), self._clock, policy)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._link:
            await self._link.close()

    @property
    def is_connected(self) -> bool:
        """Whether the socket stands; nothing is said about whether somebody reads at its other end."""
        return self._link is not None and self._link.is_open

    async def connect(self) -> None:
        """Connect once, unless connected.

        Raises:
            PortRefusedError: nothing listens there.
            PortSilentError: the port is open and the API does not answer.
            ClientIdInUseError: every client id of the range is taken.
        """
        async with self._connecting:
            if self.is_connected:
                return
            link, self._client_id = await open_link(
                self._address, self._timeouts.connect_s, first_id=self._client_id, idle_s=self._timeouts.idle_s
            )
            if self._pacer:
                link.on_throttled = self._pacer.refused
                self._pacer.reconnected()
            link.on_asked = self._on_asked
            link.on_restored = self._next_epoch
            link.on_silence = lambda: self._probe(link)
            self._link = link
            self._next_epoch()
            _log.info("connected to TWS at %s as client %d, connection %d", self._address, self._client_id, self.epoch)

    def _next_epoch(self) -> None:
        self.epoch += 1

    async def renew(self, after: int) -> None:
        """Return on a later connection than number `after`; what is in flight on the old one is answered first.

        Raises:
            SourceUnavailableError: there is no other connection to be had.
        """
        async with self._renewing:
            if self._link and self.epoch <= after:
                await self._link.drained(self._timeouts.history_s)
                await self._link.close("a second connection is asked for its opinion")
        await self.connect()

    async def ensure_ready(self) -> None:
        """Connect if need be, once, and return when a historical request would be answered now.

        Raises:
            SourceUnavailableError: it would not: no connection, or TWS has lost its own.
        """
        await self.connect()
        self._history_link()

    async def ensure_lookups(self) -> None:
        """The same for a contract lookup.

        Raises:
            SourceUnavailableError: it would not be answered.
        """
        await self.connect()
        self._lookup_link()

    async def _probe(self, link: Link) -> bool:
        """Ask for the time. A peer that does not tell it is dead, whatever the socket says, and is dropped."""
        async with self._probing:
            try:
                await link.ask(requests.time_call(link.client, self._timeouts.probe_s))
            except (SourceTimeoutError, SourceUnavailableError):
                await link.close("TWS stopped answering", abort=True)
                return False
            return True

    # ------------------------------------------------------------ questions

    async def current_time(self) -> datetime:
        """TWS's own time."""
        async with self._probing, self._message():
            answer: datetime = await self._look_up(lambda tws: requests.time_call(tws, self._timeouts.probe_s))
        return answer.astimezone(UTC)

    async def contract_details(self, contract: Contract) -> list[ContractDetails]:
        """Return every instrument that matches.

        Raises:
            UnknownContractError: none does.
        """
        return await self._patiently(lambda: self._details(contract), Looking(self))

    async def details_of(
        self, contracts: Sequence[Contract], told: Callable[[Contract], None]
    ) -> list[list[ContractDetails]]:
        """Return every instrument that matches, by contract; what TWS denies is asked again at the end.

        However many it denies, one other connection confirms them all.
        """
        doubts = [Doubt(Looking(self), self._clock, self._patience or RetryPolicy()) for _ in contracts]
        found: dict[int, list[ContractDetails]] = {}
        for again in (is_no_doubt, may_pass):
            for place, contract in enumerate(contracts):
                if place in found:
                    continue
                with contextlib.suppress(*([UnconfirmedContractError] if again is is_no_doubt else [])):
                    found[place] = await self._matches(contract, again, doubts[place])
                    told(contract)
        return [found[place] for place in range(len(contracts))]

    async def _matches(
        self, contract: Contract, again: Callable[[BaseException], bool], doubt: Doubt
    ) -> list[ContractDetails]:
        """Return every instrument that matches; none where TWS denies that there is one, and that is believed."""
        try:
            return await self._patiently(lambda: self._details(contract), Looking(self), again, doubt)
        except UnknownContractError:
            return []

    async def _details(self, contract: Contract) -> list[ContractDetails]:
        await self._unless_renewing()
        async with self._message():
            call = requests.details_call(self._lookup_link().client, contract, self._timeouts.lookup_s)
            return [library.to_details(details) for details in await self._look_up(lambda _: call)]

    async def bars(self, request: BarRequest) -> BarAnswer:
        """Return the bars of one request, or raise; a partial answer is never returned."""
        await self._unless_renewing()
        link, asked_at, text = self._history_link(), self._clock.now(), ""
        call = requests.bars_call(link.client, request, self._timeouts.history_s)
        try:
            frame = history.to_frame(await self._ask(link, call), request.bar_size)
        except Refusal as no_data:
            frame, text = history.no_bars(request.bar_size), no_data.text
        except ValueError as error:
            raise SourceTransientError(call.what, 0, str(error)) from error
        return BarAnswer(request, frame, asked_at, self._clock.now(), text)

    async def schedule(
        self, contract: Contract, end: datetime, n_sessions: int, *, use_rth: bool = True
    ) -> list[SessionHours]:
        """Return the last `n_sessions` sessions that end before `end`, ascending: regular hours, or whole ones."""
        within_s = self._timeouts.history_s

        async def ask() -> Any:
            async with self._turn(Paced.about(contract, "SCHEDULE", end, n_sessions)):
                return await self._look_up(
                    lambda tws: requests.schedule_call(tws, contract, end, n_sessions, within_s, use_rth=use_rth)
                )

        answer = await self._patiently(ask, self)
        return [hours for hours in library.to_hours(answer) if hours.closes_at <= end][-n_sessions:]

    async def head_timestamp(self, contract: Contract, what_to_show: WhatToShow, *, use_rth: bool) -> datetime | None:
        """Return the start of the oldest bar, or None when TWS says that there is none."""

        async def ask() -> datetime:
            link = self._open_link()
            async with self._turn(Paced.about(contract, what_to_show, "head")):
                call = requests.head_call(link.client, contract, what_to_show, use_rth, self._timeouts.lookup_s)
                found: datetime = await self._ask(link, call)
                return found

        try:
            answer = await self._patiently(ask, self)
        except Refusal:
            return None
        return answer.astimezone(UTC) if answer.tzinfo else answer.replace(tzinfo=UTC)

    async def scan(self, request: ScanRequest) -> list[ScanRow]:
        """Return the instruments of a market scan, best first."""

        async def ask() -> Any:
            link = self._open_link()
            async with self._message():
                return await self._ask(link, requests.scan_call(link.client, request, self._timeouts.lookup_s))

        try:
            rows = await self._patiently(ask, Connecting(self))
        except Refusal:
            return []
        return [library.to_scan_row(row) for row in rows]

    async def holdings(self, alias_of: Callable[[str], str]) -> Holdings:
        """Return what the accounts hold; account numbers go no further than this method.

        Raises:
            SourceTimeoutError: TWS did not tell in time.
        """

        async def ask() -> Holdings:
            link, within_s = self._lookup_link(), self._timeouts.lookup_s
            for kept in (link.books.positions, link.books.portfolio, link.books.acctSummary):
                kept.clear()
            await self._told(lambda tws: requests.positions_call(tws, within_s))
            await self._told(lambda tws: requests.net_liquidation_call(tws, within_s))
            for account in link.client.getAccounts():
                await self._told(partial(requests.values_call, account=account, timeout_s=within_s))
            return library.to_holdings(link.books, alias_of)

        return await self._patiently(ask, Looking(self))

    async def _told(self, call: Callable[[Any], Call]) -> None:
        await self._unless_renewing()
        async with self._message():
            await self._look_up(call)

    # ------------------------------------------------------------ how they are asked

    def _open_link(self) -> Link:
        if self._link is None or not self._link.is_open:
            raise LinkDownError(str(self._address), "not connected")
        return self._link

    def _history_link(self) -> Link:
        """The link, unless it is known that no historical request would be answered on it."""
        link = self._open_link()
        if link.history_fault:
            raise LinkDownError(str(self._address), link.history_fault)
        return link

    def _lookup_link(self) -> Link:
        """The link, unless it is known that no contract would be looked up on it."""
        link = self._open_link()
        if link.lookup_fault:
            raise LinkDownError(str(self._address), link.lookup_fault)
        return link

    async def _patiently(
        self,
        ask: Callable[[], Awaitable[T]],
        source: object,
        again: Callable[[BaseException], bool] = may_pass,
        doubt: Doubt | None = None,
    ) -> T:
        if self._patience is None:
            return await ask()
        try:
            return await persist(source, self._clock, self._patience, ask, again, doubt)
        except AwayError as away:
            raise away.error from away

    async def _unless_renewing(self) -> None:
        """Send nothing on a connection that is about to be given up."""
        async with self._renewing:
            pass

    def _message(self) -> AbstractAsyncContextManager[None]:
        return self._pacer.message(self._quiet) if self._pacer else nullcontext()

    def _turn(self, paced: Paced) -> AbstractAsyncContextManager[None]:
        return self._pacer.slot(paced, self._quiet) if self._pacer else nullcontext()

    @property
    def _quiet(self) -> DailyWindow | None:
        return self._patience.quiet if self._patience else None

    async def _look_up(self, call: Callable[[Any], Call]) -> Any:
        """Ask something to which "no data" is no answer."""
        link = self._open_link()
        made = call(link.client)
        try:
            return await self._ask(link, made)
        except Refusal as no_data:
            raise no_data.as_error(made.what, str(self._address)) from no_data

    async def _ask(self, link: Link, call: Call) -> Any:
        """Ask, with every refusal typed except "no data", which each question answers in its own way."""
        try:
            return await link.ask(call)
        except Refusal as refusal:
            if refusal.verdict is Verdict.NO_DATA:
                raise
            raise refusal.as_error(call.what, str(self._address)) from refusal
        except SourceTimeoutError:
            if not call.key:
                await self._probe(link)
            raise
