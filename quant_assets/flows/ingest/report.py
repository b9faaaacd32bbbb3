"""What an ingestion did."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from quant_assets.connectors.tws.pacing import PacingBudget, estimate_s
from quant_assets.flows.work import Work


@dataclass(slots=True)
class IngestReport:
    """Counts of one ingestion."""

    n_requests: int = 0
    """Requests that were sent: those of the plan, repetitions, parts, schedules and confirmations."""
    n_rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    revised: set[date] = field(default_factory=set)
    """Sessions settled before of which TWS now tells other bars."""
    hours_told: set[tuple[str, date]] = field(default_factory=set)
    """Calendar and session where TWS's schedule has other hours."""
    n_planned: int = 0
    """Requests of the plan; retries, splits and confirmations of doubtful answers come on top."""
    pacing_eta_s: float = 0.0
    """Seconds that pacing alone asks for the plan, as it was told before the first request."""
    took_s: float = 0.0
    """Seconds from the connection to the last commit."""

    def plan(self, n_requests: int, budget: PacingBudget) -> None:
        """Note what is going to be asked, and how long that has to take."""
        self.n_planned, self.pacing_eta_s = n_requests, estimate_s(budget, n_requests)

    @contextlib.contextmanager
    def measured(self, work: Work) -> Iterator[None]:
        """Note how long the block takes and how often it asks, whether it ends well or not."""
        began, asked = work.clock.monotonic(), work.gate.n_asked
        try:
            yield
        finally:
            self.took_s = work.clock.monotonic() - began
            self.n_requests += work.gate.n_asked - asked

    def add(self, ledger: pl.DataFrame) -> None:
        """Count the ledger rows of one commit."""
        self.n_rows += int(ledger["n_rows"].sum())
        self.outcomes.update(dict(ledger.group_by("outcome").len().iter_rows()))

    def metadata(self) -> Mapping[str, int]:
        """Return the counts as flat metadata."""
        counts = {"tws_requests": self.n_requests, "rows_received": self.n_rows, **dict(self.outcomes)}
        found = {"revised_sessions": len(self.revised), "hours_told_otherwise": len(self.hours_told)}
        return counts | {name: n for name, n in found.items() if n}

    def history_metadata(self) -> Mapping[str, int | float]:
        """Return the counts with the plan beside them: what was to be asked, and the time that it was to take."""
        times = {"pacing_eta_s": round(self.pacing_eta_s, 1), "took_s": round(self.took_s, 3)}
        return {"planned_requests": self.n_planned, **times, **self.metadata()}
