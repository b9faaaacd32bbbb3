"""Plays a fault script against a gateway: decides at each moment, and lets events begin and end on its clock."""

import asyncio
import logging
from collections.abc import Coroutine
from random import Random

from quant_assets.gateway.faults.events import MARKET_KINDS, Event, Stage, begin, end
from quant_assets.gateway.faults.moments import Fault, Moment
from quant_assets.gateway.faults.script import FaultLine, FaultScript

_log = logging.getLogger(__name__)


class _Line:
    """One line of the script while it is played."""

    def __init__(self, line: FaultLine, seed: str) -> None:
        self.line, self.trouble = line, line.trouble()
        self._random = Random(seed)  # noqa: S311 - replayable, not secret
        self._seen = self._struck = 0
        self._strikes_until = float("-inf")

    def is_due(self, moment: Moment, elapsed: float) -> bool:
        """Return whether this line strikes now; counts the moment when it is one of its own."""
        line = self.line
        if not self._matches(moment, elapsed):
            return False
        if elapsed < self._strikes_until:
            return isinstance(self.trouble, Fault)
        self._seen += 1
        if (line.limit is not None and self._struck >= line.limit) or not self._is_chosen():
            return False
        self._struck += 1
        if line.lasts is not None:
            self._strikes_until = elapsed + line.lasts
        return True

    def pass_by(self, moment: Moment, elapsed: float) -> None:
        """Count a moment at which nothing else can strike."""
        self._seen += self._matches(moment, elapsed) and elapsed >= self._strikes_until

    def _matches(self, moment: Moment, elapsed: float) -> bool:
        line = self.line
        if not line.since <= elapsed < (line.until or float("inf")):
            return False
        is_about = line.symbol in ("", moment.symbol) and line.con_id in (0, moment.con_id)
        is_series = line.what in ("", moment.what) and line.bar_size in ("", moment.bar_size)
        return moment.kind in line.request and is_about and is_series

    def _is_chosen(self) -> bool:
        line = self.line
        if line.probability is not None:
            return self._random.random() < line.probability
        if line.every is not None:
            return self._seen % line.every == 0
        return self._seen >= (line.nth or 1)


class FaultEngine:
    """A `FaultPlan` that plays a script; the gateway starts and stops it with itself."""

    def __init__(self, script: FaultScript) -> None:
        self.script = script
        self._lines = [_Line(line, f"{script.seed}:{place}") for place, line in enumerate(script.faults)]
        self._stage: Stage | None = None
        self._began: float | None = None
        """When the first request for data came, on the stage's clock."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, stage: Stage) -> None:
        """Wait for the first request for data: what happens `at` a time is to happen to somebody."""
        self._stage, self._began = stage, None

    def stop(self) -> None:
        """Forget what has not happened yet."""
        for task in self._tasks:
            task.cancel()
        self._stage = None

    def fault_at(self, moment: Moment) -> Fault | None:
        """Return the fault of the first due line; a due event begins at once, and the next lines are asked.

        The request that sets off an outage is lost to it, and the next lines only count it. What is sent while it
        lasts gets no answer anyway and is not counted, or it would use up the script before the outage is over.
        """
        stage = self._stage
        if stage is None or not stage.answers(moment.kind):
            return None
        if self._began is None and moment.kind in MARKET_KINDS:
            self._begin_to_count(stage)
        elapsed = 0.0 if self._began is None else stage.clock.monotonic() - self._began
        is_lost = False
        for played in self._lines:
            if is_lost:
                played.pass_by(moment, elapsed)
                continue
            if not played.is_due(moment, elapsed):
                continue
            if isinstance(played.trouble, Fault):
                return played.trouble
            self._begin(played.trouble, stage, f"set off by {moment.kind} {moment.symbol}".rstrip())
            is_lost = bool(played.trouble.drops) or not stage.answers(moment.kind)
        return None

    def _begin_to_count(self, stage: Stage) -> None:
        """Set the alarms of everything that happens `at` a time."""
        self._began = stage.clock.monotonic()
        for played in self._lines:
            if played.line.at is not None and isinstance(played.trouble, Event):
                self._spawn(self._at_times(played.line, played.trouble, stage, self._began))

    async def _at_times(self, line: FaultLine, event: Event, stage: Stage, began: float) -> None:
        turn = 0
        assert line.at is not None
        while line.limit is None or turn < line.limit:
            due = began + line.at + turn * (line.repeat or 0.0)
            await stage.clock.sleep(max(0.0, due - stage.clock.monotonic()))
            self._begin(event, stage, f"at {line.at + turn * (line.repeat or 0.0):g} s")
            turn += 1

    def _begin(self, event: Event, stage: Stage, detail: str) -> None:
        stage.note_strike(event.name, f"{detail}, for {event.lasts_s:g} s")
        begin(event, stage)
        self._spawn(_ending(event, stage))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a fault could not be played", exc_info=error)


async def _ending(event: Event, stage: Stage) -> None:
    await stage.clock.sleep(event.lasts_s)
    await end(event, stage)
