"""When is decided, on what, and which sessions earn: the folds of a walk-forward backtest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from quant_assets.errors import ConfigurationError

Window = Literal["rolling", "expanding"]
RHYTHMS = ("monthly", "weekly")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a backtest walks.

    `rebalance`: `monthly`, `weekly`, or every so many sessions. `embargo`: sessions between the close that is decided
    after and the close that is traded at; with 0 both are the same close, which nobody can do. `purge`: youngest
    sessions that the decision does not look at, for labels that reach forward; simple returns need none.
    """

    rebalance: str = "monthly"
    window: Window = "rolling"
    embargo: int = 1
    purge: int = 0

    def __post_init__(self) -> None:
        if self.rebalance not in RHYTHMS and not (self.rebalance.isdigit() and int(self.rebalance) > 0):
            raise ConfigurationError(
                "rebalance", f"{self.rebalance!r} is no rhythm.", "Legal: monthly, weekly, or a number of sessions."
            )
        if self.window not in ("rolling", "expanding"):
            raise ConfigurationError("window", f"{self.window!r} is no window.", "Legal: rolling, expanding.")
        if self.embargo < 0 or self.purge < 0:
            raise ConfigurationError("embargo and purge", "they count sessions, and must not be negative.")


@dataclass(frozen=True, slots=True)
class Fold:
    """One decision and the sessions that it earns.

    The decision sees nothing after the close of `known`. It is traded at the close of `traded`; `earns` are the
    sessions from the next one until the next fold's trade.
    """

    number: int
    known: date
    traded: date
    earns: tuple[date, ...]


def plan_folds(sessions: Sequence[date], first: date, last: date, plan: Plan) -> tuple[Fold, ...]:
    """Cut the sessions from `first` to `last` into folds.

    Args:
        sessions: the calendar's sessions, ascending, from the beginning of history to at least `last`.
        first: the first session that earns.
        last: the last one.
        plan: rhythm, embargo and purge.

    Raises:
        ConfigurationError: no session lies between, or history does not reach back far enough to decide.
    """
    earning = [place for place, day in enumerate(sessions) if first <= day <= last]
    if not earning:
        raise ConfigurationError("sessions", f"no session of the history lies between {first} and {last}.")
    starts = [place for place in earning if place == earning[0] or _turns(plan.rebalance, sessions, place, earning[0])]
    back = 1 + plan.embargo + plan.purge
    if starts[0] - back < 0:
        raise ConfigurationError(
            "sessions",
            f"the first decision would be {back} sessions before {sessions[starts[0]]}, where history has not begun.",
            f"The history begins with {sessions[0]}.",
        )
    ends = [*starts[1:], earning[-1] + 1]
    return tuple(
        Fold(number, sessions[start - back], sessions[start - 1], tuple(sessions[start:end]))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    )


def _turns(rhythm: str, sessions: Sequence[date], place: int, first: int) -> bool:
    """Return whether a new period begins with a session."""
    day, before = sessions[place], sessions[place - 1]
    if rhythm == "monthly":
        return (day.year, day.month) != (before.year, before.month)
    if rhythm == "weekly":
        return day.isocalendar()[:2] != before.isocalendar()[:2]
    return (place - first) % int(rhythm) == 0
