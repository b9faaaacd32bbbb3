"""What passes by and is not kept: told once per kind, counted to the end."""

from collections import Counter
from collections.abc import Callable
from typing import Final

ACCOUNTS: Final = "accounts, positions and orders"
REFUSALS: Final = "refused requests"
_KINDS: Final[dict[str, tuple[int, ...]]] = {
    ACCOUNTS: (3, 5, 6, 7, 8, 11, 16, 59, 61, 63, 71, 73, 94, 95, 100, 101),
    "live quotes and ticks": (1, 2, 21, 45, 46, 47, 50, 81, 96, 97, 98, 99),
    "updates of bars": (90,),
    "market depth": (12, 13),
    "news": (14, 83, 84, 85, 86),
    "fundamentals": (51, 104, 105),
    "bond details": (18,),
    "scans": (19, 20),
    "option chains": (75,),
    "symbol searches": (79,),
    "oldest bars": (88,),
    "histograms": (89,),
    "market rules": (93,),
}
_KIND_OF: Final = {message_id: kind for kind, message_ids in _KINDS.items() for message_id in message_ids}
_SILENT: Final = frozenset({9, 15, 49, 52, 53, 54, 55, 57, 58, 62, 64, 72, 74, 76, 80, 82, 87, 102, 103})
"""What a conversation consists of beside its answers: greetings, the time, ends of lists."""
_BECAUSE: Final = {
    ACCOUNTS: "they are never looked into",
    REFUSALS: "a replay answers by what it holds",
    "scans": "a replay ranks what was recorded",
    "symbol searches": "a replay searches what was recorded",
    "oldest bars": "a replay tells the oldest that was recorded",
}


class Missed:
    """Counts by kind; shared by all connections of a recorder."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.counts: Counter[str] = Counter()

    def message(self, message_id: int) -> None:
        """Count a message whose content is not looked into."""
        if message_id not in _SILENT:
            self.add(_KIND_OF.get(message_id, f"messages {message_id}"))

    def add(self, kind: str, because: str = "") -> None:
        """Count one more of a kind; the first one is told."""
        if not self.counts[kind]:
            reason = because or _BECAUSE.get(kind, "a replay has none")
            self._tell(f"not recorded: {kind} ({reason})")
        self.counts[kind] += 1
