"""How far a long task is: a bar on a terminal, plain log lines elsewhere, nothing in tests."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.wording import eta_text

PROGRESS_LOGGER = __name__
_log = logging.getLogger(PROGRESS_LOGGER)


class Task(Protocol):
    """One thing that advances."""

    def advance(self, steps: int = 1, *, note: str = "", eta_s: float | None = None) -> None:
        """Count `steps` as done; `note` says what was just done, `eta_s` how many seconds the rest will take."""
        ...


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, name: str, *, total: int | None = None) -> AbstractContextManager[Task]:
        """Show a task of `total` steps, None while unknown, for the length of the block."""
        ...


class NullProgress:
    """Shows nothing."""

    @contextlib.contextmanager
    def task(self, name: str, *, total: int | None = None) -> Iterator[Task]:
        """Return a task that nobody sees."""
        _ = name, total
        yield _NullTask()


class _NullTask:
    def advance(self, steps: int = 1, *, note: str = "", eta_s: float | None = None) -> None:
        """Do nothing."""


class ConsoleProgress:
    """A bar on a console; without one, log lines: at start and end, and every `every_s` seconds between."""

    def __init__(self, console: Any = None, *, clock: Clock | None = None, every_s: float = 10.0) -> None:
        self._console = console
        self._clock = clock or SystemClock()
        self._every_s = every_s

    @property
    def has_bar(self) -> bool:
        """Whether a person sees a bar, and needs no lines."""
        return self._console is not None

    def task(self, name: str, *, total: int | None = None) -> AbstractContextManager[Task]:
        """Show a task on the console."""
        if self._console is None:
            return self._lines(name, total)
        from quant_assets.control.bar import bar

        return bar(self._console, name, total)

    @contextlib.contextmanager
    def _lines(self, name: str, total: int | None) -> Iterator[Task]:
        task = _LineTask(name, total, self._clock, self._every_s)
        _log.info("%s: start%s", name, f", {total} to do" if total is not None else "")
        try:
            yield task
        except BaseException:
            task.say("stopped")
            raise
        task.say("done")


@dataclass
class _LineTask:
    """Logs at most one line per `every_s`, so that a backfill of a year does not fill the disk with its progress."""

    name: str
    total: int | None
    clock: Clock
    every_s: float
    done: int = 0
    note: str = ""
    eta_s: float | None = None
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock.monotonic()

    def advance(self, steps: int = 1, *, note: str = "", eta_s: float | None = None) -> None:
        """Count, and log when the last line is long enough ago."""
        self.done += steps
        self.note, self.eta_s = note, eta_s
        now = self.clock.monotonic()
        if now - self._last >= self.every_s:
            self._last = now
            self.say("at")

    def say(self, verb: str) -> None:
        """Log one line."""
        count = f"{self.done}/{self.total} ({self.done / self.total:.0%})" if self.total else str(self.done)
        note = f", {self.note}" if self.note and verb != "done" else ""
        eta = f", {eta_text(self.eta_s)} left" if self.eta_s is not None and verb == "at" else ""
        _log.info("%s: %s %s%s%s", self.name, verb, count, note, eta)


@contextlib.contextmanager
def watched_progress() -> Iterator[ConsoleProgress]:
    """Yield the progress of a person's command: a bar where stderr is a terminal, log lines elsewhere.

    Enter it before anything redirects stderr, as Dagster does while a step runs.
    """
    descriptor = _terminal_of_stderr()
    if descriptor is None:
        yield ConsoleProgress()
        return
    from quant_assets.control.bar import open_console

    with open_console(descriptor) as console:
        yield ConsoleProgress(console if console.is_interactive else None)


def _terminal_of_stderr() -> int | None:
    try:
        descriptor = sys.stderr.fileno()
        return descriptor if os.isatty(descriptor) else None
    except (AttributeError, OSError, ValueError):  # somebody put another stream in its place
        return None
