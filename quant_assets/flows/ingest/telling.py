"""Saying how far a plan is: on the console after every answer, in the audit log every few seconds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Final

from quant_assets.clock import scale_of
from quant_assets.connectors.base import BarRequest
from quant_assets.connectors.tws.pacing import Paced, Pacer
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.connectors.tws.retry import Agenda
from quant_assets.control.progress import Task
from quant_assets.flows.work import Work

EVERY_S: Final = 5.0
"""Between two lines of the audit log; a year's backfill must not bury what else it says."""
_LOOK_S: Final = 1.0
"""Between two looks at the pacing budget, which take a while when thousands of requests are left."""


class Teller:
    """Counts the answers of one ingestion, over all its rounds, and tells how long the rest will take.

    The time is told in seconds of the work's clock, a machine's by default, whatever the pace of the pacing clock.

    Args:
        work: the console and the audit log.
        event: name in the audit log: `ingest_minutes`, for instance.
        table: name on the console.
        total: requests of the plan. It grows where doubts are asked about again and requests are split.
    """

    def __init__(self, work: Work, event: str, table: str, total: int) -> None:
        self._work, self._event, self._table = work, event, table
        self.current, self.total = 0, total
        self.n_given_up = 0
        """Requests that were planned, and never asked."""
        self._pacer: Pacer | None = None
        self._agenda = Agenda(())
        self._task: Task | None = None
        self._n_later = total
        """Requests of later rounds, as far as they are planned."""
        self._told_at = self._looked_at = work.clock.monotonic()
        self._left_s = 0.0

    def start(self, pacer: Pacer) -> None:
        """The source is connected, and nothing has been asked."""
        self._pacer = pacer
        self._look()
        self._record("started")

    @contextmanager
    def round(self, plan: Sequence[PlannedRequest]) -> Iterator[Agenda]:
        """Show the requests of a round; what is taken from the agenda is being asked."""
        self._agenda = Agenda(plan)
        self._n_later = max(0, self.total - self.current - len(plan))
        self._grow()
        with self._work.progress.task(self._table, total=len(plan)) as self._task:
            self._look()
            self._task.advance(0, eta_s=self._left_s)
            yield self._agenda

    def answered(self, note: str) -> None:
        """Count one answer, or one final error."""
        self.current += 1
        self._grow()
        now = self._work.clock.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._look()
        if self._task:
            self._task.advance(note=note, eta_s=self.left_s)
        if now - self._told_at >= EVERY_S:
            self._record("running")

    def give_up(self, is_unwanted: Callable[[PlannedRequest], bool]) -> None:
        """Drop from the round what is not being asked yet, and nobody wants; the others go on."""
        n_dropped = self._agenda.drop(is_unwanted)
        self.n_given_up += n_dropped
        self.total -= n_dropped
        if n_dropped:
            self._look()

    def done(self, rows: int) -> None:
        """Everything has been asked and committed."""
        self.total, self._left_s = self.current, 0.0
        self._record("done", rows)

    @property
    def left_s(self) -> float:
        """Seconds until the last request can be asked, as far as pacing knows."""
        return max(0.0, self._left_s - (self._work.clock.monotonic() - self._looked_at))

    def _grow(self) -> None:
        self.total = max(self.total, self.current + len(self._agenda.left) + self._n_later)

    def _look(self) -> None:
        assert self._pacer
        self._looked_at = self._work.clock.monotonic()
        later = (Paced(("later", number), ("later", number)) for number in range(self._n_later))
        left: Iterator[BarRequest | Paced] = chain((one.request for one in self._agenda.left), later)
        pace = scale_of(self._work.clock) / scale_of(self._pacer.clock)
        self._left_s = self._pacer.estimate(left) * pace

    def _record(self, status: str, rows: int | None = None) -> None:
        self._told_at = self._work.clock.monotonic()
        self._work.audit.record(
            self._event,
            run_id=self._work.run_id,
            status=status,
            rows=rows,
            current=self.current,
            total=self.total,
            eta_s=round(self.left_s, 1),
        )
