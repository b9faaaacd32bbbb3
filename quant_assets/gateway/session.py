"""One client's connection: greeting, message rate, faults, and the slots that its history requests occupy."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quant_assets.gateway import handlers, messages
from quant_assets.gateway.faults import Fault, Moment, MomentKind
from quant_assets.gateway.handlers import ROUTES, Desk, Route
from quant_assets.gateway.history import Refusal
from quant_assets.gateway.requests import HistoryRequest, WireContract, number, parse_head, parse_history
from quant_assets.gateway.rules import PACING_TEXT, HistoryEntry, MessageRate
from quant_assets.gateway.validation import Problem, has_no_zone, head_problem, history_problem
from quant_assets.gateway.wire import FrameBuffer, WireError, fields_of, parse_hello

if TYPE_CHECKING:
    from quant_assets.gateway.server import Gateway

_log = logging.getLogger(__name__)

START_API, CANCEL_SCANNER, HISTORY, CANCEL_HISTORY, HEAD, CANCEL_HEAD = 71, 23, 20, 25, 87, 90
_CANCELLED = "Historical Market Data Service error message:API historical data query cancelled: "
_WHOLE = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """An answer to be made: `make` is called with the share of the bars to send."""

    moment: Moment
    make: Callable[[float], bytes]
    entry: HistoryEntry | None = None


class Session(asyncio.Protocol):
    """Speaks to one client; created by the gateway for each connection."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._frames = FrameBuffer()
        self._rate = MessageRate(gateway.rules, gateway.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots: dict[int, HistoryEntry] = {}
        self._transport: asyncio.Transport | None = None
        self.version = 0
        self.client_id = -1

    # ------------------------------------------------------------ connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the gateway's sessions."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._gateway.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Free everything that the client occupied."""
        self._gateway.sessions.discard(self)
        for task in self._tasks:
            task.cancel()
        for entry in self._slots.values():
            if entry.outcome == "open":
                entry.outcome = "lost"
        self._slots.clear()

    def close(self, *, abort: bool = False) -> None:
        """Close the connection: in order, or with a reset."""
        if self._transport is not None:
            (self._transport.abort if abort else self._transport.close)()

    def send(self, data: bytes) -> None:
        """Write, unless the connection is gone or the gateway is frozen."""
        if self._transport is not None and not self._transport.is_closing() and not self._gateway.is_frozen:
            self._transport.write(data)

    def notify(self, req_id: int, code: int, text: str) -> None:
        """Send an error or a notice."""
        self.send(messages.error(self.version, req_id, code, text))

    def data_received(self, data: bytes) -> None:
        """Handle every whole frame that has arrived."""
        self._frames.feed(data)
        try:
            while (payload := self._frames.next_frame()) is not None:
                self._on_frame(payload)
        except WireError as cause:
            _log.warning("closed a connection: %s", cause)
            self.close()

    def _on_frame(self, payload: bytes) -> None:
        if not self.version:
            self._greet(payload)
        elif not self._is_too_fast():
            fields = fields_of(payload)
            try:
                self._on_message(number(fields[0]), fields)
            except (IndexError, ValueError) as cause:
                _log.warning("malformed request %s: %r", fields, cause)
                self.notify(messages.NO_REQUEST, 320, "Error reading request. Message is malformed.")

    def _greet(self, payload: bytes) -> None:
        low, high = parse_hello(payload)
        self._gateway.requests.add("handshake")
        version = self._gateway.version_for(low, high)
        if version is None:
            raise WireError(f"client speaks {low}..{high}")
        self.version = version
        answer = messages.hello(version, self._gateway.now())
        self._perform(Job(Moment("handshake"), lambda _: answer))

    def _is_too_fast(self) -> bool:
        if not self._rate.is_exceeded():
            return False
        limit = self._gateway.rules.messages_a_second
        text = f"Max rate of messages per second has been exceeded:max={limit} ({self._rate.strikes})"
        self.notify(messages.NO_REQUEST, 100, text)
        if self._rate.is_out:
            self.close()
        return True

    # ------------------------------------------------------------ requests

    def _on_message(self, message_id: int, fields: Sequence[str]) -> None:
        if message_id == START_API:
            self._start_api(number(fields[2]))
        elif message_id == HISTORY:
            self._ask_history(parse_history(fields), history_problem)
        elif message_id == HEAD:
            self._ask_history(parse_head(fields), lambda request, _: head_problem(request))
        elif message_id in (CANCEL_HISTORY, CANCEL_HEAD):
            self._cancel(message_id, number(fields[2] if message_id == CANCEL_HISTORY else fields[1]))
        elif message_id == CANCEL_SCANNER:
            self._gateway.requests.add("cancel")
        elif (route := ROUTES.get(message_id)) is not None:
            self._ask(message_id, route, fields)
        else:
            self._gateway.requests.add("ignored")
            _log.info("ignored message %s", fields[:4])

    def _start_api(self, client_id: int) -> None:
        self._gateway.requests.add("start_api")
        if client_id in self._gateway.client_ids():
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            self.notify(messages.NO_REQUEST, 326, text)
            self.close()
            return
        self.client_id = client_id
        accounts = messages.managed_accounts(self._gateway.accounts) + messages.next_valid_id(1)
        farms = [messages.error(self.version, messages.NO_REQUEST, *farm) for farm in messages.FARMS_OK]
        self._perform(Job(self._moment("start_api"), lambda _: accounts + b"".join(farms)))

    def _ask(self, message_id: int, route: Route, fields: Sequence[str]) -> None:
        self._gateway.requests.add(route.kind)
        contract = WireContract.parse(fields[route.contract_at :]) if route.contract_at else None
        req_id = number(fields[route.req_id_at]) if route.req_id_at else messages.NO_REQUEST
        moment = replace(self._moment(route.kind, req_id, contract), message_id=message_id)
        self._perform(Job(moment, lambda _: route.handler(self._desk(), fields)))

    def _ask_history(self, request: HistoryRequest, problem_of: Callable[[HistoryRequest, object], Problem | None]) -> None:
        raise NotImplementedError
