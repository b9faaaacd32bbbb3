"""What one client says: its greeting, its message rate, its requests, and the slots that they occupy."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quant_assets.gateway import messages
from quant_assets.gateway.faults import Moment, MomentKind
from quant_assets.gateway.handlers import ROUTES, Desk, Route
from quant_assets.gateway.requests import WireContract, number, parse_head, parse_history
from quant_assets.gateway.rules import MessageRate
from quant_assets.gateway.slots import HistorySlots, Job
from quant_assets.gateway.speaker import Speaker
from quant_assets.gateway.wire import FrameBuffer, WireError, fields_of, parse_hello

if TYPE_CHECKING:
    from quant_assets.gateway.server import Gateway

_log = logging.getLogger(__name__)

START_API, HISTORY, HEAD = 71, 20, 87
CANCEL_SCANNER, CANCEL_HISTORY, CANCEL_HEAD = 23, 25, 90
CANCELS = (CANCEL_SCANNER, CANCEL_HISTORY, CANCEL_HEAD)


class Session(Speaker):
    """Listens to one client; created by the gateway for each connection."""

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__(gateway)
        self._frames = FrameBuffer()
        self._rate = MessageRate(gateway.rules, gateway.clock)
        self._slots = HistorySlots(gateway, self)
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
        self.hush()
        self._slots.lose()

    def data_received(self, data: bytes) -> None:
        """Handle every whole frame that has arrived, until the connection is being closed."""
        if self.is_closing:
            return
        self._frames.feed(data)
        try:
            while not self.is_closing and (payload := self._frames.next_frame()) is not None:
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
                _log.warning("malformed request %s: %r", fields, cause, exc_info=True)
                self.notify(messages.NO_REQUEST, 320, "Error reading request. Message is malformed.")

    def _greet(self, payload: bytes) -> None:
        low, high = parse_hello(payload)
        self._gateway.requests.add("handshake")
        version = self._gateway.version_for(low, high)
        if version is None:
            raise WireError(f"client speaks {low}..{high}")
        self.version = version
        answer = messages.hello(version, self._gateway.now())
        self.perform(Job(Moment("handshake"), lambda: answer))

    def _is_too_fast(self) -> bool:
        if not self._rate.is_exceeded():
            return False
        self._gateway.note_breach(self.client_id, "messages")
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
            self._slots.ask(parse_history(fields))
        elif message_id == HEAD:
            self._slots.ask(parse_head(fields))
        elif message_id in CANCELS:
            self._gateway.requests.add("cancel")
            self._cancel(message_id, fields)
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
        farms = [
            messages.error(self.version, messages.NO_REQUEST, *farm)
            for farm in (*messages.FARMS_OK, *self._gateway.standing)
        ]
        self.perform(Job(self.moment("start_api"), lambda: accounts + b"".join(farms)))

    def _ask(self, message_id: int, route: Route, fields: Sequence[str]) -> None:
        self._gateway.requests.add(route.kind)
        contract = WireContract.parse(fields[route.contract_at :]) if route.contract_at else None
        req_id = number(fields[route.req_id_at]) if route.req_id_at else messages.NO_REQUEST
        moment = replace(self.moment(route.kind, req_id, contract), message_id=message_id)
        self.perform(Job(moment, lambda: route.handler(self.desk(), fields)))

    def _cancel(self, message_id: int, fields: Sequence[str]) -> None:
        if message_id == CANCEL_HISTORY:
            self._slots.cancel(number(fields[2]))
        elif message_id == CANCEL_HEAD:
            self._slots.release_head(number(fields[1]))

    def moment(
        self, kind: MomentKind, req_id: int = messages.NO_REQUEST, contract: WireContract | None = None
    ) -> Moment:
        """Describe what is about to happen to the fault plan."""
        symbol, con_id = (contract.symbol, contract.con_id) if contract else ("", 0)
        return Moment(kind, self.client_id, req_id, symbol, con_id)

    def desk(self) -> Desk:
        """Return what handlers need to know, now."""
        gateway = self._gateway
        return Desk(gateway.market, gateway.history, gateway.accounts, self.version, gateway.now(), gateway.portfolio)
