"""Answers that are committed together: few enough, and none of them old, so that a crash costs little."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, ParamSpec, TypeVar

from quant_assets.clock import SystemClock

GROUP = 64
"""Requests per commit at the most."""
OLDEST_S: Final = 1.0
"""Seconds that an answer waits for others at the most, a hundred times what a commit takes. They are the machine's:
pacing waits for minutes, and what had arrived before is safe meanwhile."""

T = TypeVar("T")
P = ParamSpec("P")
_machine: Final = SystemClock()


class Group(Generic[T]):
    """What has arrived and is not committed."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        """Add what has arrived."""
        if not self._items:
            self._since = _machine.monotonic()
        self._items.append(item)

    @property
    def items(self) -> list[T]:
        """All of it, in the order in which it arrived."""
        return self._items

    @property
    def is_old(self) -> bool:
        """Whether the first of it has waited for long enough."""
        return bool(self._items) and _machine.monotonic() - self._since >= OLDEST_S

    def taken(self) -> list[T]:
        """Return all of it, and begin anew."""
        items, self._items = self._items, []
        return items


async def apart(commit: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Commit in a thread of its own, so that the socket is read meanwhile.

    A cancellation waits for its end: what follows on it commits the rest, and must not meet a commit half done.
    """
    doing = asyncio.ensure_future(asyncio.to_thread(commit, *args, **kwargs))
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise
