"""What the ledger knows of the sessions that are asked for now."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

import polars as pl

from quant_assets.domain.outcomes import DOUBTFUL, NOTHING

Key = tuple[date, int]
"""Session and con_id."""

_WITHOUT_BARS = (*NOTHING, "shifted")


@dataclass(slots=True)
class EarlierAnswers:
    """Earlier answers about 1-minute bars, by session and instrument; it grows with each commit."""

    last: dict[Key, str] = field(default_factory=dict)
    """The newest outcome."""
    doubted: dict[Key, set[str]] = field(default_factory=dict)
    """Durations of the requests whose answers nothing proves, or something contradicts."""
    stored: set[Key] = field(default_factory=set)
    """Those of which bronze holds bars."""
    n_nothing: Counter[Key] = field(default_factory=Counter)
    """Answers without a bar of the session."""
    scheduled: set[Key] = field(default_factory=set)
    """Those for which TWS's schedule was asked in this run."""

    @classmethod
    def of(cls, ledger: pl.DataFrame, contradicted: Collection[Key] = ()) -> Self:
        """Read it from ledger rows of 1-minute bars.

        Args:
            ledger: the rows.
            contradicted: sessions of instruments that are asked for again although an answer to them is proved.
        """
        past = cls()
        for row in ledger.sort("asked_at", "request_id").iter_rows(named=True):
            past.add(row)
            if (key := (row["session"], row["con_id"])) in contradicted and row["duration"]:
                past.doubted.setdefault(key, set()).add(row["duration"])
        return past

    def add(self, row: dict[str, Any]) -> None:
        """Add one ledger row."""
        key = (row["session"], row["con_id"])
        self.last[key] = row["outcome"]
        if row["bars_batch_id"]:
            self.stored.add(key)
        if row["proof"] or row["outcome"] not in DOUBTFUL:
            return
        self.doubted.setdefault(key, set()).add(row["duration"])
        if row["outcome"] in _WITHOUT_BARS:
            self.n_nothing[key] += 1

    def is_heard(self, key: Key) -> bool:
        """Return whether it was heard twice that there is nothing."""
        return self.last[key] in NOTHING and self.n_nothing[key] > 1

    def told(self, answers: pl.DataFrame, rereads: Collection[Key]) -> pl.DataFrame:
        """Add to `completeness.ANSWERS` what is known from before."""
        keys = list(answers.select("session", "con_id").iter_rows())
        return answers.with_columns(
            pl.Series("n_nothing", [self.n_nothing[key] for key in keys], pl.Int64),
            pl.Series("is_reread", [key in rereads for key in keys], pl.Boolean),
        )
