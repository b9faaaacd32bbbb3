"""Sliding windows: how much may happen in how much time."""

from dataclasses import dataclass

TINY_S = 1e-6
"""Waits below this are rounding, not waiting."""


@dataclass(slots=True)
class Entry:
    """Units that are counted: from when they end, or for as long as they are open."""

    at: float
    weight: int
    is_open: bool


class Window:
    """At most `limit` units in any `span_s` seconds."""

    def __init__(self, limit: int, span_s: float) -> None:
        self.limit, self.span_s = limit, span_s
        self._entries: list[Entry] = []

    def wait_s(self, now: float, weight: int = 1, share: float = 1.0) -> float:
        """Seconds until `weight` more units fit, if nothing else happens before; `share` scales the limit."""
        self._forget(now)
        excess = sum(e.weight for e in self._entries) + weight - max(weight, int(self.limit * share))
        wait = 0.0
        for at, freed in sorted((now if e.is_open else e.at, e.weight) for e in self._entries):
            if excess <= 0:
                break
            wait, excess = at + self.span_s - now, excess - freed
        return wait

    def enter(self, now: float, weight: int = 1) -> Entry:
        """Count units; they stay counted for `span_s` after `leave`."""
        entry = Entry(now, weight, is_open=True)
        self._entries.append(entry)
        return entry

    def leaving(self, now: float) -> list[tuple[float, int]]:
        """Return when how many units leave, ascending, as if what is open were answered now."""
        self._forget(now)
        return sorted(((now if e.is_open else e.at) + self.span_s, e.weight) for e in self._entries)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is counted any more."""
        self._forget(now)
        return not self._entries

    def _forget(self, now: float) -> None:
        self._entries = [e for e in self._entries if e.is_open or now - e.at < self.span_s - TINY_S]
