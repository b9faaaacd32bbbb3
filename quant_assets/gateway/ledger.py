"""The ledger: every history request that the gateway saw, what became of it, and every rule that was broken."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from quant_assets.errors import cannot_write
from quant_assets.gateway.requests import HistoryRequest
from quant_assets.gateway.rules import Breach

Outcome = Literal["open", "answered", "no_data", "refused", "cancelled", "fault", "lost"]
Sink = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class HistoryEntry:
    """One history request as the gateway saw it; `outcome` is "open" until it has ended."""

    at: float
    """The gateway clock's monotonic seconds."""
    asked_at: datetime
    client_id: int
    request: HistoryRequest
    outcome: Outcome = "open"
    code: int = 0
    n_bars: int = 0
    breach: Breach | None = None
    """The rule that the request broke, if any."""
    number: int = 0


@dataclass(frozen=True, slots=True)
class StrikeRecord:
    """Something that was made to go wrong."""

    at: float
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class NoticeRecord:
    """A message to all clients, and how many there were to hear it."""

    at: float
    code: int
    n_clients: int


@dataclass(slots=True)
class HistoryLedger:
    """Every history and head timestamp request since the gateway started, in order of arrival."""

    entries: list[HistoryEntry] = field(default_factory=list)
    sink: Sink | None = None
    """Is told of every change, in order."""

    def add(self, entry: HistoryEntry) -> None:
        """Enter a request that has been judged."""
        self.entries.append(entry)
        entry.number = len(self.entries)
        if self.sink:
            self.sink(_asked(entry))

    def end(self, entry: HistoryEntry, outcome: Outcome, code: int = 0) -> None:
        """Note what became of a request."""
        entry.outcome, entry.code = outcome, code
        if self.sink:
            self.sink(
                {"event": "ended", "number": entry.number, "outcome": outcome, "code": code, "n_bars": entry.n_bars}
            )

    def breaches(self) -> list[HistoryEntry]:
        """Return the requests that broke a rate limit."""
        return [entry for entry in self.entries if entry.breach]

    def outcomes(self) -> Counter[str]:
        """Count the requests by outcome."""
        return Counter(entry.outcome for entry in self.entries)

    def still_open(self) -> list[HistoryEntry]:
        """Return the requests that have been neither answered, refused nor cancelled."""
        return [entry for entry in self.entries if entry.outcome == "open"]


def _asked(entry: HistoryEntry) -> dict[str, Any]:
    request = entry.request
    return {
        "event": "asked",
        "number": entry.number,
        "at": round(entry.at, 3),
        "asked_at": entry.asked_at.isoformat(),
        "client_id": entry.client_id,
        "kind": request.kind,
        "con_id": request.contract.con_id,
        "symbol": request.contract.symbol,
        "end": request.end,
        "duration": request.duration,
        "bar_size": request.bar_size,
        "what": request.what,
        "breach": entry.breach,
    }


class LedgerFile:
    """A sink that appends JSON lines to a file, each as soon as it happens."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as cause:
            raise cannot_write(path, cause) from cause

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_ledger_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a ledger file in order: `asked`, `ended`, `breach`, `strike`, `over` and `notice` events."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            yield event


def breaches_in(path: Path) -> list[dict[str, Any]]:
    """Return what broke a rule, from a ledger file."""
    return [event for event in read_ledger_file(path) if event.get("breach")]
