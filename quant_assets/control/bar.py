"""The bar that a person watches: how much is done, how fast, and how long it still takes.

Dagster redirects the descriptors 1 and 2 to files while a step runs, and copies what is written there to the terminal
from another process. So the bar holds a descriptor of its own, taken before the run starts.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from quant_assets.control.wording import eta_text, rate_text


@contextlib.contextmanager
def open_console(descriptor: int) -> Iterator[Console]:
    """Yield a console on the terminal behind a descriptor, which stays whatever becomes of the descriptor."""
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as terminal:
        yield Console(file=terminal)


@contextlib.contextmanager
def bar(console: Console, name: str, total: int | None) -> Iterator["BarTask"]:
    """Draw a bar for the length of the block; what is logged meanwhile goes above it."""
    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn(escape(name)), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn(), _Left(), note)
    drawn = RichProgress(*columns, console=console, refresh_per_second=5, redirect_stdout=False)
    with _handlers_of_stderr() as handlers, drawn:
        for handler in handlers:
            handler.setStream(sys.stderr)  # rich's, which draws the bar anew below each line
        yield BarTask(drawn, drawn.add_task(name, total=total, until=None, note=""))


class BarTask:
    """One bar."""

    def __init__(self, drawn: RichProgress, task_id: Any) -> None:
        self._drawn, self._id = drawn, task_id

    def advance(self, steps: int = 1, *, note: str = "", eta_s: float | None = None) -> None:
        """Move the bar."""
        until = None if eta_s is None else self._drawn.get_time() + eta_s
        self._drawn.update(self._id, advance=steps, note=note, until=until)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Show how many were done in a time, over the whole task: pacing lets them come in bursts."""
        return Text(rate_text(task.completed / task.elapsed) if task.elapsed and task.completed else "")


class _Left(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Count down, also while nothing advances."""
        until = task.fields["until"]
        return Text("" if until is None else f"{eta_text(until - task.get_time())} left")


@contextlib.contextmanager
def _handlers_of_stderr() -> Iterator[list[logging.StreamHandler[Any]]]:
    """Yield the root's handlers that write to stderr, and give them their stream back."""
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    streams = [(one, one.stream) for one in handlers if one.stream is sys.stderr]
    try:
        yield [one for one, _ in streams]
    finally:
        for handler, stream in streams:
            handler.setStream(stream)
