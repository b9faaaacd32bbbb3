"""The seam where faults enter: before each handshake, start and request the session asks a plan what goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

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
Action = Literal["error", "notice", "hang", "drop", "late", "half", "empty", "truncate"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a fault may strike."""

    kind: MomentKind
    client_id: int = -1
    req_id: int = -1
    symbol: str = ""
    con_id: int = 0
    message_id: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong.

    error: `code` and `text` instead of the answer · notice: `code` and `text` without a request, then the answer ·
    hang: no answer · drop: the connection closes · late: the answer after `delay_s` · half: half of the answer's bytes,
    then the connection closes · empty: an answer without bars · truncate: an answer with the first `share` of its bars.
    """

    action: Action
    code: int = 0
    text: str = ""
    delay_s: float = 0.0
    share: float = 0.6


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


NO_FAULTS: Final = NoFaults()
