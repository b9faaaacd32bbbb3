"""Time as an argument. The wall clock is read in this module and nowhere else."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What code that depends on time asks for."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never steps back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the machine's time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep in real time."""
        await asyncio.sleep(seconds)


class ScaledClock:
    """A clock whose waits pass `scale` times as fast, while its calendar keeps the machine's pace.

    The replay gateway and its client share one, so that ten minutes of pacing pass in a second while every
    rule keeps its documented number, and no session closes early. The calendar may start anywhere.
    """

    def __init__(self, scale: float, start: datetime | None = None) -> None:
        if scale <= 0:
            raise ValueError("scale must be positive")
        self.scale = scale
        self._t0 = time.monotonic()
        self._start = start or datetime.now(UTC)

    def now(self) -> datetime:
        """Return the start plus the real time since."""
        return self._start + timedelta(seconds=time.monotonic() - self._t0)

    def monotonic(self) -> float:
        """Return scaled seconds since an arbitrary origin shared by all clocks of the same scale and process."""
        return time.monotonic() * self.scale

    async def sleep(self, seconds: float) -> None:
        """Sleep `seconds` of this clock, which is `seconds / scale` real ones."""
        await asyncio.sleep(seconds / self.scale)


class ManualClock:
    """A clock that moves only when told or slept on; tests read `slept`."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the instant that was set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have been slept or advanced."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._elapsed += seconds
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Advance at once, note the length, and let other tasks run."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


def scale_of(clock: Clock) -> float:
    """Return how many seconds of a clock pass in a real one."""
    return float(getattr(clock, "scale", 1.0))
