"""How long pacing will take: the budget's windows played forward from what they hold, with instant answers."""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from quant_assets.connectors.tws.windows import TINY_S, Window


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rules look at in one historical request that is still to be sent."""

    identity: Hashable
    group: Hashable
    weight: int = 1


class Lane:
    """A window whose units leave it in the order in which they came."""

    def __init__(self, limit: int, span_s: float, leaving: Iterable[tuple[float, int]] = ()) -> None:
        self.limit, self._span_s = limit, span_s
        self._leaving = deque(leaving)
        self._used = sum(weight for _, weight in self._leaving)

    @classmethod
    def of(cls, window: Window, now: float) -> "Lane":
        """Return the lane that a window is, as if what is open in it were answered now."""
        return cls(window.limit, window.span_s, window.leaving(now))

    def ready_at(self, now: float, weight: int, share: float = 1.0) -> float:
        """Return when `weight` more units fit, if nothing enters before; `share` scales the limit."""
        while self._leaving and self._leaving[0][0] <= now + TINY_S:
            self._used -= self._leaving.popleft()[1]
        excess = self._used + weight - max(weight, int(self.limit * share))
        at = now
        for leaves_at, freed in self._leaving:
            if excess <= 0:
                break
            at, excess = leaves_at, excess - freed
        return at

    def enter(self, now: float, weight: int) -> None:
        """Count units that are answered at once."""
        self._leaving.append((now + self._span_s, weight))
        self._used += weight


@dataclass
class Forecast:
    """The state of a pacer, to be played forward."""

    now: float
    history: Lane
    messages: Lane
    lane_of_group: Callable[[Hashable], Lane]
    lane_of_identity: Callable[[Hashable], Lane]
    in_flight: int
    paused_until: float = 0.0
    share: float = 1.0
    recovery: float = 0.0
    """What one answer brings back of the share."""
    _lanes: dict[tuple[str, Hashable], Lane] = field(default_factory=dict)

    def seconds(self, requests: Iterable[Asked]) -> float:
        """Return how long it takes until the last request is admitted.

        As many requests as may be in flight wait side by side; the first whose rules all allow it goes.
        """
        began, left = self.now, iter(requests)
        waiting = list(islice(left, self.in_flight))
        while waiting:
            place, self.now = self._first(waiting)
            self._admit(waiting.pop(place))
            waiting.extend(islice(left, 1))
        return self.now - began

    def _first(self, waiting: list[Asked]) -> tuple[int, float]:
        """Return the place of the request that is admitted first, and when."""
        earliest = max(self.paused_until, self.messages.ready_at(self.now, 1))
        found, found_at = 0, math.inf
        for place, asked in enumerate(waiting):
            history = self.history.ready_at(self.now, asked.weight, self.share)
            at = max(self.now, earliest, history, *(lane.ready_at(self.now, n) for lane, n in self._own(asked)))
            if at < found_at:
                found, found_at = place, at
            if at <= max(self.now, earliest):
                break  # nobody can be earlier
        return found, found_at

    def _admit(self, asked: Asked) -> None:
        self.history.enter(self.now, asked.weight)
        self.messages.enter(self.now, 1)
        for lane, units in self._own(asked):
            lane.enter(self.now, units)
        self.share = min(1.0, self.share + self.recovery)

    def _own(self, asked: Asked) -> Iterator[tuple[Lane, int]]:
        yield self._lane(("same", asked.identity), self.lane_of_identity), 1
        yield self._lane(("group", asked.group), self.lane_of_group), asked.weight

    def _lane(self, key: tuple[str, Hashable], made: Callable[[Hashable], Lane]) -> Lane:
        if key not in self._lanes:
            self._lanes[key] = made(key[1])
        return self._lanes[key]
