"""Answers that are committed together: few enough, and none of them old, so that a crash costs little."""

from typing import Final, Generic, TypeVar

from quant_assets.clock import SystemClock

GROUP = 64
"""Requests per commit at the most."""
OLDEST_S: Final = 1.0
"""Seconds that an answer waits for others at the most, a hundred times what a commit takes. They are the machine's:
pacing waits for minutes, and what had arrived before is safe meanwhile."""

T = TypeVar("T")
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
