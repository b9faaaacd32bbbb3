"""Where a fault may strike, what may go wrong there, and the plan that decides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

MomentKind = Literal[
    "handshake",
    "start_api",
    "contract_details",
    "history",
    "head_timestamp",
    "scanner",
    "scanner_parameters",
    "matching_symbols",
    "current_time",
    "account",
]
KINDS: Final[tuple[MomentKind, ...]] = get_args(MomentKind)
Action = Literal[
    "error",
    "error_drop",
    "notice",
    "hang",
    "late",
    "drop",
    "reset",
    "half",
    "stall",
    "dribble",
    "bad_length",
    "garbage",
    "duplicate",
    "bad_bar",
    "empty",
    "truncate",
    "lots",
    "shift",
]
BAR_ACTIONS: Final[frozenset[Action]] = frozenset({"bad_bar", "empty", "truncate", "lots", "shift"})
"""What only an answer with bars can suffer."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a fault may strike."""

    kind: MomentKind
    client_id: int = -1
    req_id: int = -1
    symbol: str = ""
    con_id: int = 0
    message_id: int = 0
    what: str = ""
    """Of a request for history: its tick type."""
    bar_size: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer.

    instead of the answer
        error: `code` and `text` · error_drop: the same, then the connection closes · hang: nothing ·
        drop: the connection closes · reset: it is reset
    the answer, but
        late: after `delay_s` · dribble: a few bytes at a time over `delay_s` · notice: after `code` and `text` without
        a request · garbage: after a message that nobody can read · duplicate: twice
    part of its bytes
        half: half of them, then the connection closes · stall: half of them, then silence on this connection ·
        bad_length: behind a length that is far too big
    other bars
        bad_bar: one price is no number · empty: none · truncate: the first `share` of them · lots: volumes in round
        lots of 100 · shift: four weeks earlier than asked
    """

    action: Action
    code: int = 0
    text: str = ""
    delay_s: float = 0.0
    share: float = 0.6
    name: str = ""


class FaultPlan(Protocol):
    """Decides what goes wrong; asked once per moment, in order of arrival, on the gateway's thread."""

    def fault_at(self, moment: Moment) -> Fault | None:
        """Return the fault of this moment, or None."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    def fault_at(self, moment: Moment) -> Fault | None:  # noqa: ARG002 - the plan's interface
        """Return None."""
        return None


NO_FAULTS: Final = NoFaults()


@dataclass(frozen=True, slots=True)
class Strike:
    """One line of a script: `fault` hits the matching moments after the first `skip`, `times` times (None: always)."""

    kind: MomentKind | Literal["any"]
    fault: Fault
    symbol: str = ""
    skip: int = 0
    times: int | None = 1

    def matches(self, moment: Moment) -> bool:
        """Return whether this line is about such a moment."""
        return self.kind in ("any", moment.kind) and (not self.symbol or self.symbol == moment.symbol)


class ScriptedFaults:
    """Plays a script; the first line that matches and is due wins."""

    def __init__(self, script: Sequence[Strike]) -> None:
        self._script = tuple(script)
        self._seen = [0] * len(self._script)
        self.fired: list[tuple[Moment, Fault]] = []

    def fault_at(self, moment: Moment) -> Fault | None:
        """Return the fault of the first due line that matches."""
        for i, strike in enumerate(self._script):
            if not strike.matches(moment):
                continue
            self._seen[i] += 1
            nth = self._seen[i] - strike.skip
            if nth >= 1 and (strike.times is None or nth <= strike.times):
                self.fired.append((moment, strike.fault))
                return strike.fault
        return None
