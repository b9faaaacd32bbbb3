"""What an ingestion did."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl


@dataclass(slots=True)
class IngestReport:
    """Counts of one ingestion."""

    n_requests: int = 0
    n_rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    revised: set[date] = field(default_factory=set)
    """Sessions settled before of which TWS now tells other bars."""

    def add(self, ledger: pl.DataFrame) -> None:
        """Count the ledger rows of one commit."""
        self.n_requests += ledger["request_id"].n_unique()
        self.n_rows += int(ledger["n_rows"].sum())
        self.outcomes.update(dict(ledger.group_by("outcome").len().iter_rows()))

    def metadata(self) -> Mapping[str, int]:
        """Return the counts as flat metadata."""
        counts = {"tws_requests": self.n_requests, "rows_received": self.n_rows, **dict(self.outcomes)}
        return counts | ({"revised_sessions": len(self.revised)} if self.revised else {})
