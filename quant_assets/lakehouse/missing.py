"""What a range of bars lacks, and what becomes of it: nothing is left out without a word."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Literal, get_args

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1D_BARS
from quant_assets.errors import MissingSessionsError, MissingSessionsWarning, UnknownNameError
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.reading import Plan
from quant_assets.lakehouse.store import CuratedStore

Missing = Literal["raise", "warn", "ignore"]
"""What becomes of sessions that an answer has to do without."""


def require_treatment(missing: str) -> None:
    """Refuse what is no treatment of missing sessions.

    Raises:
        UnknownNameError: it is none of `Missing`.
    """
    if missing not in get_args(Missing):
        raise UnknownNameError("treatment of missing sessions", missing, get_args(Missing))


def before_window(store: CuratedStore, plan: Plan, sessions: Sequence[date], bars: pl.DataFrame) -> tuple[date, ...]:
    """Return the sessions that the daily window of a plan does not reach back to, whoever is asked about.

    Another column is read only where none of the bars that were asked for reaches back to the first session.
    """
    if (bars["session"] <= sessions[0]).any():
        return ()
    begins = store.read_many(plan.table, [Partition(day) for day in plan.files], ["session"])["session"].min()
    return tuple(day for day in sessions if not isinstance(begins, date) or day < begins)


def known_later(asked: pl.DataFrame, known: pl.DataFrame) -> list[date]:
    """Return the sessions of which there are bars, and none that was known."""
    return sorted(set(asked["session"].unique()) - set(known["session"].unique()))


@dataclass(frozen=True, slots=True)
class Lack:
    """Sessions of a range that an answer has to do without."""

    table: str
    sessions: Sequence[date]
    """All of the range."""
    missing: Sequence[date]
    """Those that are not there, or lie before the daily window."""
    withheld: Sequence[date]
    """Those of which everything became known later."""
    latest: date
    """The newest session that has closed: nobody can fetch a later one yet."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.withheld)

    def treat(self, missing: Missing, known_by: datetime | None) -> None:
        """Refuse, warn, or say nothing.

        Raises:
            MissingSessionsError: `missing` is `raise`.
        """
        if missing == "ignore":
            return
        error = MissingSessionsError(self.table, self.missing, self.withheld, self._sentence(known_by))
        if missing == "raise":
            raise error
        warnings.warn(MissingSessionsWarning(str(error)), stacklevel=3)

    def _sentence(self, known_by: datetime | None) -> str:
        n = len(self.missing) + len(self.withheld)
        parts, mends = [], []
        is_window = self.table == CURATED_TWS_1D_BARS.name
        if self.missing:
            what = f"before the daily window as of {self.sessions[-1]}" if is_window else "not there"
            closed = [day for day in self.missing if day <= self.latest]
            told = ((what, closed), ("not closed yet", self.missing[len(closed) :]))
            parts += [f"{one}: {self._stretches(days)}" for one, days in told if days]
            if is_window:
                mends.append("ask for them with an earlier end, or begin with the window")
            elif closed and not known_by:
                commands = [f"`quant flow data --sessions {one}..{other}`" for one, other in self._spans(closed)]
                mends.append(f"run {' and '.join(commands)}")
        if self.withheld:
            parts.append(f"known only later: {self._stretches(self.withheld)}")
        if known_by and (self.withheld or not is_window):
            mends.append(f"ask as of a later instant than {known_by:%Y-%m-%d %H:%M:%SZ}")
        mends.append('read with missing="warn" or missing="ignore" to do without them')
        mend = ", or ".join(mends)
        return f"lacks {n} of {len(self.sessions)} sessions; {'; '.join(parts)}. {mend[0].upper()}{mend[1:]}."

    def _stretches(self, days: Sequence[date]) -> str:
        """Return consecutive sessions as `A..B (n)`."""
        place = self._places()
        told = [
            f"{one}..{other} ({place[other] - place[one] + 1})" if one != other else str(one)
            for one, other in self._spans(days)
        ]
        return ", ".join(told)

    def _spans(self, days: Sequence[date]) -> list[tuple[date, date]]:
        """Return the first and last session of each stretch of consecutive ones."""
        place = self._places()
        breaks = [later for earlier, later in pairwise(days) if place[later] != place[earlier] + 1]
        ends = [*(days[days.index(one) - 1] for one in breaks), days[-1]]
        return list(zip([days[0], *breaks], ends, strict=True))

    def _places(self) -> dict[date, int]:
        return {day: number for number, day in enumerate(self.sessions)}
