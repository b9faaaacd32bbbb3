"""What was asked of TWS lately, on disk: IBKR counts a killed process's requests too, and so must the next one.

One JSON line per event, stamped with the wall clock and written before the request is sent. A line that a crash tore
is skipped. Ages are counted on the pacer's clock, which may run faster than the wall.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from quant_assets.clock import Clock, scale_of
from quant_assets.errors import cannot_write

_LONGEST_OPEN_S: Final = 120.0
"""A request without an end was seen by TWS within so many real seconds, or never."""
_COMPACT_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request of an earlier process: how long ago TWS saw it at the latest, on the pacer's clock."""

    age_s: float
    identity: str
    group: str
    weight: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that TWS's refusal imposed: seconds that are left of it, and the share of the rate to go on with."""

    left_s: float
    length_s: float
    share: float


class PacingJournal:
    """The journal of one pacer; the lock on TWS sees to it that one process at a time writes."""

    def __init__(self, path: Path, clock: Clock, horizon_s: float) -> None:
        self._path, self._clock, self._horizon_s = path, clock, horizon_s
        self._scale = scale_of(clock)
        self._run, self._count = uuid4().hex[:8], 0
        self._known: set[str] = set()
        self._file: int | None = None

    def asked(self, identity: str, group: str, weight: int) -> str:
        """Note a request that is about to be sent; returns its key."""
        self._count += 1
        key = f"{self._run}-{self._count}"
        self._known.add(key)
        self._write({"asked": key, "at": self._wall(), "identity": identity, "group": group, "weight": weight})
        return key

    def ended(self, key: str) -> None:
        """Note that a request has been answered, refused or given up."""
        self._write({"ended": key, "at": self._wall()})

    def paused(self, length_s: float, share: float) -> None:
        """Note that TWS refused and everything waits."""
        self._write({"paused": self._run, "at": self._wall(), "length": length_s, "share": share})

    def news(self) -> tuple[list[EarlierRequest], Pause | None]:
        """Return what other processes asked within the horizon and has not been returned before, and their pause."""
        self.close()  # another process may have put a shorter file in its place
        lines = list(self._lines())
        ends = {line["ended"]: line["at"] for line in lines if "ended" in line}
        asked = [line for line in lines if "asked" in line and line["asked"] not in self._known]
        found = [self._past(line, ends.get(line["asked"])) for line in asked]
        self._known.update(line["asked"] for line in asked)
        pauses = [line for line in lines if "paused" in line and line["paused"] != self._run]
        self._compact(lines)
        return [past for past in found if past.age_s < self._horizon_s], self._pause(pauses[-1]) if pauses else None

    def close(self) -> None:
        """Close the file; the next note opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _past(self, line: Mapping[str, Any], end: float | None) -> EarlierRequest:
        seen = min(self._wall(), line["at"] + _LONGEST_OPEN_S) if end is None else end
        return EarlierRequest(self._age_s(seen), line["identity"], line["group"], line["weight"])

    def _pause(self, line: Mapping[str, Any]) -> Pause | None:
        left = line["length"] - self._age_s(line["at"])
        return Pause(left, line["length"], line["share"]) if left > 0 else None

    def _wall(self) -> float:
        return self._clock.now().timestamp()

    def _age_s(self, wall: float) -> float:
        return max(0.0, self._wall() - wall) * self._scale

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for raw in text.splitlines():
            try:
                line = json.loads(raw)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and "at" in line:
                yield line

    def _write(self, line: Mapping[str, object]) -> None:
        """Append in one call; the line break before it ends whatever a crash left there."""
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(self._file, f"\n{json.dumps(line)}\n".encode())
        except OSError as cause:
            raise cannot_write(self._path, cause) from cause

    def _compact(self, lines: list[dict[str, Any]]) -> None:
        """Drop what is over the horizon, once the file has grown; a crash leaves the old file or the new one."""
        if not self._path.exists() or self._path.stat().st_size < _COMPACT_BYTES:
            return
        kept = [line for line in lines if self._age_s(line["at"]) < self._horizon_s + _LONGEST_OPEN_S * self._scale]
        staged = self._path.with_name(f".staged-{self._run}-{self._path.name}")
        staged.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        self.close()
        staged.replace(self._path)
