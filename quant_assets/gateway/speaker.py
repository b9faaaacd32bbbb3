"""What one client is told: answers, late or wrong where the fault plan wants it, in order and on one connection."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from quant_assets.gateway import messages
from quant_assets.gateway.faults import Fault
from quant_assets.gateway.faults.spoiling import spoiled
from quant_assets.gateway.history import Refusal
from quant_assets.gateway.slots import Job

if TYPE_CHECKING:
    from quant_assets.gateway.server import Gateway

_PIECES = 20
"""In which a slow answer is sent."""
_LINGER_S = 2.0
"""Real seconds in which a client may hang up too before it is cut off."""


class Speaker(asyncio.Protocol):
    """The sending half of a session."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stalled = False
        self._is_hanging_up = False
        self._behind: bytearray | None = None
        """What waits while a slow answer is on its way; None while there is none."""
        self.version = 0

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be said any more."""
        return self._transport is None or self._is_hanging_up or self._transport.is_closing()

    def close(self, *, abort: bool = False) -> None:
        """Close the connection: in order, or at once, as the end of a process does.

        In order means that the client reads all that was said. A socket that is closed over questions nobody read is
        reset, and takes last words with it that are still on their way; so our side ends, and the client's is waited
        for.
        """
        if self._transport is None or self._transport.is_closing():
            return
        if abort:
            self._transport.abort()
        elif not self._is_hanging_up:
            self._is_hanging_up = True
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def send(self, data: bytes) -> None:
        """Write, unless the connection is gone, or it or the gateway is frozen; wait behind a slow answer."""
        if self._transport is None or self.is_closing or self._is_stalled or self._gateway.is_frozen:
            return
        if self._behind is None:
            self._transport.write(data)
        else:
            self._behind += data

    def notify(self, req_id: int, code: int, text: str) -> None:
        """Send an error or a notice."""
        self.send(messages.error(self.version, req_id, code, text))

    def perform(self, job: Job) -> None:
        """Make and send an answer, unless the fault plan wants otherwise."""
        gateway, moment = self._gateway, job.moment
        fault = gateway.faults.fault_at(moment)
        if fault:
            gateway.note_strike(fault.name or fault.action, f"strikes {moment.kind} {moment.symbol}".rstrip())
        delay = gateway.latency_s if job.slot is not None else 0.0
        delay += fault.delay_s if fault and fault.action != "dribble" else 0.0
        if delay > 0:
            self._spawn(self._perform_later(job, fault, delay))
        else:
            self._finish(job, fault)

    def hush(self) -> None:
        """Forget the answers that are still to come."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform_later(self, job: Job, fault: Fault | None, delay_s: float) -> None:
        await self._gateway.clock.sleep(delay_s)
        self._finish(job, fault)

    def _finish(self, job: Job, fault: Fault | None) -> None:
        """A late answer is sent even when the client has cancelled: the two may cross on the wire."""
        action = fault.action if fault else None
        if (
            self.is_closing
            or action == "hang"
            or not self._gateway.answers(job.moment.kind)
            or (job.is_cancelled and action != "late")
        ):
            return
        if fault is None or action == "late":
            self._answer(job)
        elif action == "notice":
            self.notify(messages.NO_REQUEST, fault.code, fault.text)
            self._answer(job)
        elif action in ("error", "error_drop"):
            job.settle("fault", fault.code)
            self.notify(job.moment.req_id, fault.code, fault.text)
        elif action not in ("drop", "reset"):
            self._spoil(job, fault)
        if action in ("half", "drop", "reset", "error_drop"):
            job.settle("fault")
            self.close(abort=action == "reset")

    def _answer(self, job: Job) -> None:
        data = self._made(job)
        if data is not None:
            job.settle("answered")
            self.send(data)

    def _spoil(self, job: Job, fault: Fault) -> None:
        """Send something else than the answer."""
        data = self._made(job)
        if data is None:
            return
        job.settle("fault")
        if fault.action == "dribble":
            self._spawn(self._dribble(data, fault.delay_s))
            return
        self.send(spoiled(data, fault))
        self._is_stalled = self._is_stalled or fault.action == "stall"

    async def _dribble(self, data: bytes, seconds: float) -> None:
        """Send an answer in small pieces; what else is sent meanwhile waits behind it."""
        while self._behind is not None:
            await self._gateway.clock.sleep(seconds / _PIECES)
        self._behind = bytearray()
        step = -(-len(data) // _PIECES)
        for start in range(0, len(data), step):
            if self._transport is not None and not self.is_closing:
                self._transport.write(data[start : start + step])
            await self._gateway.clock.sleep(seconds / _PIECES)
        behind, self._behind = bytes(self._behind), None
        self.send(behind)

    def _made(self, job: Job) -> bytes | None:
        """Return the answer, or None after a refusal has been sent."""
        try:
            return job.make()
        except Refusal as refusal:
            job.settle("no_data" if refusal.is_no_data else "refused", refusal.code)
            self.notify(job.moment.req_id, refusal.code, refusal.text)
            return None
