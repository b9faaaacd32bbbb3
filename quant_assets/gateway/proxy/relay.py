"""A TCP relay: each client gets its own connection to TWS, and bytes pass unmodified in both directions."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from quant_assets.clock import Clock, SystemClock
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.proxy.listener import Listener
from quant_assets.gateway.proxy.missed import Missed
from quant_assets.gateway.proxy.names import Names
from quant_assets.gateway.proxy.tape import Tape, instruments

_log = logging.getLogger(__name__)
_CHUNK: Final = 2**16
_CONNECT_S: Final = 10.0


class Relay:
    """Passes on what is said between clients and `upstream`, and lets a `Listener` hear it.

    Bytes are listened to before they are handed on, so that a client never has an answer that a killed recorder lost. A
    reset or a close of one side reaches the other as what it was.
    """

    def __init__(
        self,
        tape: Tape,
        upstream: tuple[str, int],
        clock: Clock | None = None,
        tell: Callable[[str], None] = _log.info,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Listen to nothing yet.

        Args:
            tape: where answers are kept.
            upstream: host and port of TWS.
            clock: decides which bars are finished.
            tell: is told of every answer that was kept.
            warn: is told of what was not kept, and of clients turned away; `tell` by default.
        """
        self._tape, self._upstream, self._clock, self._tell = tape, upstream, clock or SystemClock(), tell
        self._warn = warn or tell
        self._names = Names(instruments(tape.path))
        self.missed = Missed(self._warn)
        """What passed by and was not kept."""
        self.sent: Counter[int] = Counter()
        """How often clients sent each message id."""
        self.n_clients = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, which `port` then holds.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port)
        except OSError as cause:
            mend = "Choose another port, or stop the program that listens there."
            problem = f"cannot be listened on: {cause.strerror or cause}."
            raise ConfigurationError(f"recorder address {host}:{port}", problem, mend) from cause
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end all conversations."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.n_clients += 1
        try:
            with suppress(asyncio.CancelledError):  # the end of a conversation that `stop` wanted
                await self._converse(reader, writer)
        finally:
            _end(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = "{}:{}".format(*self._upstream)
        try:
            async with asyncio.timeout(_CONNECT_S):
                far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        except OSError as cause:
            self._warn(f"a client was turned away: {address} is not reachable ({cause.strerror or 'no answer'})")
            return
        listener = Listener(
            self._tape, self._clock, self.sent, self._names, self.missed, tell=self._tell, warn=self._warn
        )
        try:
            await asyncio.gather(
                _pass(reader, far_writer, listener.hear_client), _pass(far_reader, writer, listener.hear_server)
            )
        finally:
            _end(far_writer)


def _end(writer: asyncio.StreamWriter) -> None:
    """Close after what is still to be sent, or at once when the relay stops."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        writer.transport.abort()
    else:
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Callable[[bytes], None]) -> None:
    """Hand on until the end, and hand on the end."""
    try:
        while data := await reader.read(_CHUNK):
            hear(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()
