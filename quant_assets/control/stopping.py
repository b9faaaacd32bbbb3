"""Ending a server that runs until it is told to stop."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


async def until_stopped(server: Coroutine[Any, Any, None]) -> None:
    """Run a server until it ends, or until Ctrl-C or SIGTERM; its own clean-up runs to the end.

    The handlers are set explicitly, because a shell may start a background job with these signals ignored, and such
    a server could then only be killed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(server)
    for number in STOPPING:
        loop.add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
