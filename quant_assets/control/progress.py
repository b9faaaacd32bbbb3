"""How far a long task is: a bar on a terminal, plain log lines elsewhere, nothing in tests."""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from quant_assets.clock import Clock, SystemClock

_log = logging.getLogger(__name__)


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
    """A bar where stderr is a terminal; otherwise log lines: at start and end, and every `every_s` seconds between."""

    def __init__(self, *, clock: Clock | None = None, every_s: float = 10.0, console: Any = None) -> None:
        self._clock = clock or SystemClock()
        self._every_s = every_s
        self._console = console

    def task(self, name: str, *, total: int | None = None) -> AbstractContextManager[Task]:
        """Show a task on the console."""
        from rich.console import Console

        console = self._console or Console(stderr=True)
        return _bar(console, name, total) if console.is_terminal else self._lines(name, total)

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
def _bar(console: Any, name: str, total: int | None) -> Iterator[Task]:
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    left = TextColumn("{task.fields[eta]}")
    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn(escape(name)), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left, note)
    with RichProgress(*columns, console=console, refresh_per_second=5) as bar:
        yield _BarTask(bar, bar.add_task(name, total=total, eta="", note=""))


class _BarTask:
    def __init__(self, bar: Any, task_id: Any) -> None:
        self._bar, self._id = bar, task_id

    def advance(self, steps: int = 1, *, note: str = "", eta_s: float | None = None) -> None:
        """Move the bar."""
        eta = f"{eta_text(eta_s)} left" if eta_s is not None else ""
        self._bar.update(self._id, advance=steps, note=note, eta=eta)


def eta_text(seconds: float) -> str:
    """Return a duration as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_rest = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_rest:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
