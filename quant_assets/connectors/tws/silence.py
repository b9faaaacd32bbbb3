"""The watchdog of one connection: a peer that says nothing at all while a request waits has to give a sign of life."""

import asyncio
from collections.abc import Awaitable, Callable


class Silence:
    """Counts the time since the last byte, while somebody waits.

    Args:
        limit_s: how long the peer may be silent, in real seconds.
        is_waiting: whether a request is in flight.
        ask: asks for a sign of life; it may end the connection.
    """

    def __init__(self, limit_s: float, is_waiting: Callable[[], bool], ask: Callable[[], Awaitable[object]]) -> None:
        self._limit_s, self._is_waiting, self._ask = limit_s, is_waiting, ask
        self._heard_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def heard(self, _data: bytes = b"") -> None:
        """Note that bytes arrived."""
        self._heard_at = asyncio.get_running_loop().time()

    def watch(self) -> None:
        """A request has been sent; count from now, unless others wait already."""
        if self._alarm is None and self._asking is None:
            self.heard()
            self._set_alarm()

    def stop(self) -> None:
        """The connection is gone."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_at(self._heard_at + self._limit_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._is_waiting():
            return
        if self._heard_at + self._limit_s > asyncio.get_running_loop().time():
            self._set_alarm()
        else:
            self._asking = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            await self._ask()
        finally:
            self._asking = None
        if self._is_waiting():
            self.heard()
            self._set_alarm()
