"""The recorder as a program of its own."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quant_assets.gateway.proxy.probe import problem_of
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
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Record until interrupted (Ctrl-C or a termination signal); returns what the recording then holds.

    Raises:
        ConfigurationError: the file or the port cannot be used.
        CorruptFileError: the file exists and is no recording.
        LockHeldError: another recorder writes to it.
    """
    with Tape(path) as tape:
        relay = Relay(tape, upstream, tell=tell, warn=warn)
        await relay.start(host, port)
        on_ready(relay)
        probing = asyncio.ensure_future(_probe(upstream, warn))
        try:
            await _interrupted()
        finally:
            probing.cancel()
            await relay.stop()
            tape.merge()
        if lost := tape.undescribed():
            warn(f"no contract details were recorded of {', '.join(lost)}: a replay knows only what requests said")
        return tape.sizes() | {"not_recorded": dict(sorted(relay.missed.counts.items()))}


async def _probe(upstream: tuple[str, int], warn: Callable[[str], None]) -> None:
    if problem := await problem_of(*upstream):
        warn("{}:{} is {problem}".format(*upstream, problem=problem))


async def _interrupted() -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    await event.wait()
