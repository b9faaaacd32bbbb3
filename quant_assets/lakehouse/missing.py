"""What a range of bars lacks, and what becomes of it: nothing is left out without a word."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, pairwise
from typing import Literal, get_args

import polars as pl

from quant_assets.errors import MissingSessionsError, MissingSessionsWarning, UnknownNameError

Missing = Literal["raise", "warn", "ignore"]
"""What becomes of sessions that an answer has to do without."""


def require_treatment(missing: str) -> None:
    """Refuse what is no treatment of missing sessions.

    Raises:
        UnknownNameError: it is none of `Missing`.
    """
    if missing not in get_args(Missing):
        raise UnknownNameError("treatment of missing sessions", missing, get_args(Missing))


def known_later(asked: pl.DataFrame, known: pl.DataFrame) -> list[date]:
    """Return the sessions of which there are bars, and none that was known."""
    return sorted(set(asked["session"].unique()) - set(known["session"].unique()))


@dataclass(frozen=True, slots=True)
class Lack:
    """Sessions of a range that an answer has to do without."""

    table: str
    sessions: Sequence[date]
    """All of the range."""
    absent: Sequence[date]
    """Those that are not there."""
    withheld: Sequence[date]
    """Those of which everything became known later."""
    latest: date
    """The newest session that has closed: nobody can fetch a later one yet."""
    before: Mapping[date, Sequence[date]] = field(default_factory=dict)
    """Daily window → those that it does not reach back to."""
    after: Mapping[tuple[date, str], Sequence[date]] = field(default_factory=dict)
    """The last daily window that holds an instrument, and its symbol → those after it in which it was expected."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.withheld)

    @property
    def missing(self) -> list[date]:
        """All that are missing for whatever reason but knowledge, ascending."""
        return sorted({*self.absent, *chain(*self.before.values()), *chain(*self.after.values())})

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
        n = len({*self.missing, *self.withheld})
        closed = [day for day in self.absent if day <= self.latest]
        parts = [
            *(
                f"before the daily window as of {window}: {self._stretches(days)}"
                for window, days in self.before.items()
            ),
            *([f"not there: {self._stretches(closed)}"] if closed else []),
            *([f"not closed yet: {self._stretches(self.absent[len(closed) :])}"] if closed != [*self.absent] else []),
            *(
                f"after the last daily window that holds {symbol}, as of {window}: {self._stretches(days)}"
                for (window, symbol), days in self.after.items()
            ),
            *([f"known only later: {self._stretches(self.withheld)}"] if self.withheld else []),
        ]
        mends = ["ask for them with an earlier end, or begin with the window"] if self.before else []
        if (lost := sorted({*closed, *chain(*self.after.values())})) and not known_by:
            commands = [f"`quant flow data --sessions {one}..{other}`" for one, other in self._spans(lost)]
            mends.append(f"run {' and '.join(commands)}")
        if known_by and (self.withheld or lost):
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
