"""Async tests without a plugin: each on a loop of its own, as a run of the product has."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def on_a_fresh_loop(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner() as runner:
            runner.run(test(*args, **kwargs))

    return on_a_fresh_loop
