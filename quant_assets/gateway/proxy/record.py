"""The recorder as a program of its own."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quant_assets.gateway.proxy.relay import Relay
from quant_assets.gateway.proxy.tape import Tape


async def record(
    path: Path,
    upstream: tuple[str, int],
    port: int,
    *,
    host: str = "127.0.0.1",
    on_ready: Callable[[Relay], None],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Record until interrupted (Ctrl-C or a termination signal); returns what the recording then holds.

    Raises:
        ConfigurationError: the file or the port cannot be used.
        CorruptFileError: the file exists and is no recording.
        LockHeldError: another recorder writes to it.
    """
    with Tape(path) as tape:
        relay = Relay(tape, upstream, tell=tell)
        await relay.start(host, port)
        on_ready(relay)
        try:
            await _interrupted()
        finally:
            await relay.stop()
            tape.merge()
        return tape.sizes()


async def _interrupted() -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    await event.wait()
