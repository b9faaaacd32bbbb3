"""One TCP connection to TWS and the requests in flight on it.

The library's own request methods are not used. They answer a timeout with an empty list that a late answer fills
afterwards, leave the request open at the server when the caller is cancelled, and never end at all when the
connection is closed from this side or TWS loses its link. Here every request has a future of its own, which ends in
exactly one of: the answer, a `Refusal`, a `SourceTimeoutError`, a `LinkDownError`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from quant_assets.connectors.tws import history
from quant_assets.connectors.tws.codes import Verdict, classify
from quant_assets.connectors.tws.failures import LinkDownError, Refusal
from quant_assets.connectors.tws.silence import Silence
from quant_assets.errors import SourceTimeoutError

_CLOSE_GRACE_S = 0.5
_FARM_OF = {2105: "historical", 2106: "historical", 2107: "historical", 2157: "contract", 2158: "contract"}
"""Which kind of data a farm serves; the others send quotes, which are not asked for here."""
_ASLEEP = 2107
"""Its text ends in a sentence and not in the farm's name; whichever it is, it wakes when it is asked."""
_NOTICES = frozenset({Verdict.INFORMATION, Verdict.FARM_BROKEN, Verdict.FARM_READY, Verdict.LINK_RESTORED})


@dataclass(frozen=True, slots=True)
class Call:
    """One request: how it is sent, and how the server is told that nobody waits for it any more."""

    what: str
    send: Callable[[int], None]
    timeout_s: float
    cancel: Callable[[int], None] | None = None
    stays_open: bool = False
    """True where the server keeps the request open after its answer, so that it is cancelled in any case."""
    farm: str = ""
    """The kind of data farm that answers it: "historical" or "contract"."""
    key: str = ""
    """The library's name of a request that has no id on the wire."""
    is_question: bool = True
    """False for a sign of life, which asks for no data."""


async def _nothing() -> None:
    pass


class Link:
    """A connection from the handshake to its end; a later connection is another `Link`."""

    def __init__(self, session: Any, address: str, idle_s: float = 10.0) -> None:
        self._session, self._address = session, address
        self._waiting: dict[int | str, asyncio.Future[Any]] = {}
        self._asked_of: dict[int | str, str] = {}
        self._gone = asyncio.Event()
        self._silence = Silence(idle_s, self._is_waiting, self._on_silence)
        self._broken_farms: set[tuple[str, str]] = set()
        self.down: str = ""
        """Why TWS has no link to the market; empty while it has."""
        self.on_throttled: Callable[[], object] = lambda: None
        """Called when TWS complains about the message rate (100) outside any request."""
        self.on_restored: Callable[[], object] = lambda: None
        """Called when TWS has its link to the market again (1101, 1102)."""
        self.on_asked: Callable[[], object] = lambda: None
        """Called when a request for data has been sent."""
        self.on_silence: Callable[[], Awaitable[object]] = _nothing
        """Awaited when a request waits and nothing at all was heard for a while; may close this link."""
        session.client.conn.hasData += self._silence.heard
        session.client.decoder.handlers[history.MESSAGE_ID] = self._on_bars
        session.errorEvent += self._on_message
        session.client.apiEnd += self._on_gone
        session.client.conn.disconnected += self._on_gone

    @property
    def client(self) -> Any:
        """The library's message sender."""
        return self._session.client

    @property
    def books(self) -> Any:
        """Where the library keeps what accounts hold."""
        return self._session.wrapper

    @property
    def is_open(self) -> bool:
        """Whether the socket still stands, as far as is known on this side."""
        return not self._gone.is_set() and bool(self.client.isReady())

    @property
    def history_fault(self) -> str:
        """Why a historical request would not be answered now; empty when it would."""
        return self.down or self._farm_fault("historical")

    @property
    def lookup_fault(self) -> str:
        """Why a contract would not be looked up now; empty when it would."""
        return self.down or self._farm_fault("contract")

    def _farm_fault(self, kind: str) -> str:
        farms = sorted(name for of, name in self._broken_farms if of == kind)
        return f"{kind} data farm {', '.join(farms)} is disconnected" if farms else ""

    async def drained(self, timeout_s: float) -> None:
        """Return when no request is in flight, or after a while."""
        if self._waiting:
            await asyncio.wait(list(self._waiting.values()), timeout=timeout_s)

    async def ask(self, call: Call) -> Any:
        """Send a request and return its answer.

        Raises:
            Refusal: TWS ended the request with a message.
            SourceTimeoutError: no answer in time; the request was cancelled at the server.
            LinkDownError: the connection or TWS's link to the market broke meanwhile.
        """
        if not self.is_open:
            raise LinkDownError(self._address, "the connection is closed")
        request_id: Any = call.key or self.client.getReqId()
        answer = asyncio.get_running_loop().create_future()
        self._waiting[request_id], self._asked_of[request_id] = answer, call.farm
        inner = self._start(request_id, answer)
        if not call.key:
            self._silence.watch()
        ended = False
        try:
            call.send(request_id)
            if call.is_question:
                self.on_asked()
            async with asyncio.timeout(call.timeout_s):
                result = await answer
        except Refusal:
            ended = True
            raise
        except TimeoutError:
            raise SourceTimeoutError(call.what, call.timeout_s) from None
        else:
            ended = True
            return result
        finally:
            del self._waiting[request_id], self._asked_of[request_id]
            inner.cancel()
            if call.stays_open or not ended:
                self._cancel(call, request_id)

    def _start(self, request_id: int | str, answer: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Register the request with the library and pass its result on.

        The library ends its own future before it reports the error that ended it, possibly with part of the answer,
        so the result is read one tick later, when that report has had its say.
        """
        loop = asyncio.get_running_loop()
        inner: asyncio.Future[Any] = self._session.wrapper.startReq(request_id)
        inner.add_done_callback(lambda done: loop.call_soon(self._settle, answer, done))
        return inner

    def _settle(self, answer: asyncio.Future[Any], inner: asyncio.Future[Any]) -> None:
        if inner.cancelled():
            return
        error = inner.exception()
        if answer.done():
            return
        if error is None:
            answer.set_result(inner.result())
        elif hasattr(error, "code"):
            answer.set_exception(Refusal(error.code, getattr(error, "message", str(error))))
        else:
            answer.set_exception(LinkDownError(self._address, f"the connection broke ({error})"))

    def _cancel(self, call: Call, request_id: int) -> None:
        if call.cancel and self.is_open:
            with suppress(ConnectionError):
                call.cancel(request_id)

    async def _on_silence(self) -> None:
        await self.on_silence()

    def _is_waiting(self) -> bool:
        return self.is_open and any(isinstance(key, int) for key in self._waiting)

    def _on_bars(self, message: list[str]) -> None:
        request_id, start, end = int(message[1]), *message[2:4]
        answer = self._waiting.get(request_id)
        if answer is not None and not answer.done():
            answer.set_result(message)
        self._session.wrapper.historicalDataEnd(request_id, start, end)

    def _on_message(self, request_id: int, code: int, text: str, _contract: Any = None) -> None:
        verdict = classify(code, text)
        answer = self._waiting.get(request_id)
        if answer is not None and verdict not in _NOTICES:
            if not answer.done():
                answer.set_exception(Refusal(code, text))
        elif verdict is Verdict.LINK_DOWN:
            self.down = f"{text} (error {code})"
            self._fail_all(self.down)
        elif verdict is Verdict.LINK_RESTORED:
            self._on_restored()
        elif verdict is Verdict.PACING:
            self.on_throttled()
        else:
            self._note_farm(verdict, code, text)

    def _on_restored(self) -> None:
        """Whether TWS kept its data (1102) or not (1101): what was in flight failed when the link went, and is resent.

        Which farms are broken is told anew after it.
        """
        self.down = ""
        self._broken_farms.clear()
        self.on_restored()

    def _note_farm(self, verdict: Verdict, code: int, text: str) -> None:
        farm = (_FARM_OF.get(code, "quote"), text.rpartition(":")[2].strip())
        if verdict is Verdict.FARM_BROKEN:
            self._broken_farms.add(farm)
            self._fail_all(f"{text} (error {code})", farm[0])
        elif code == _ASLEEP:
            self._broken_farms = {known for known in self._broken_farms if known[0] != farm[0]}
        elif verdict is Verdict.FARM_READY:
            self._broken_farms.discard(farm)

    def _on_gone(self, *_reason: object) -> None:
        self._gone.set()
        self._silence.stop()
        self._fail_all("the connection was closed by the other side")

    def _fail_all(self, cause: str, farm: str = "") -> None:
        """End what is in flight, or the part of it that one kind of farm should answer."""
        for key, answer in self._waiting.items():
            if not answer.done() and farm in ("", self._asked_of[key]):
                answer.set_exception(LinkDownError(self._address, cause))

    async def close(self, cause: str = "disconnected", *, abort: bool = False) -> None:
        """End the connection; what is in flight fails with `cause` and is cancelled at the server first.

        Args:
            cause: why, for the callers who still wait.
            abort: drop the socket at once, for a peer that no longer reads.
        """
        self._fail_all(cause)
        await asyncio.sleep(0)  # the callers wake and send their cancellations
        transport = self.client.conn.transport
        if transport is None:
            return
        if not abort:
            self.client.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_GRACE_S):
                    await self._gone.wait()
        if not self._gone.is_set():
            transport.abort()
            await self._gone.wait()
