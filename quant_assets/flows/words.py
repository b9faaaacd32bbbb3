"""What people said about quarantined rows and lost minutes, proved before anybody acts on it, and as of any instant.

A word is in force when the chain of `overrides.jsonl` is whole and the audit log tells of its hash. A word is written
in three steps: the audit log tells that it begins, the line is appended, the audit log tells that it is said. So a
writer that dies on the way leaves a line that can be told from a forged one, or no line where none was promised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from quant_assets.control.audit import AuditLog, ChainFinding, digest, numbered, read, verify
from quant_assets.errors import BrokenChainError, CorruptFileError
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import instant_text

BEGUN: Final = "_begun"
"""Ends the name of the event that tells of a line before it is there."""

Line = dict[str, Any]
_State = tuple[int, int, int] | None
"""Inode, size and time of a file, None where there is none: another one means that something changed."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something about the overrides that cannot be right."""

    line: int
    """In overrides.jsonl, counted from 1; 0 for one that is not there."""
    problem: str
    detail: str
    is_tampering: bool


@dataclass(frozen=True)
class Words:
    """The words of one data directory."""

    path: Path
    """overrides.jsonl."""
    audit: Path
    """The audit log, in which every word is anchored."""
    as_of: datetime | None = None
    """Instant after which nothing was said; None for all that was said."""
    _proved: dict[_State, tuple[Line, ...]] = field(default_factory=dict, repr=False, compare=False)

    def until(self, as_of: datetime) -> "Words":
        """Return the words that had been said by an instant."""
        return replace(self, as_of=as_of)

    def lines(self, session: date | None = None) -> Sequence[Line]:
        """Return the words about a session, or all of them, the oldest first.

        Raises:
            BrokenChainError: the file was altered, or it and the audit log do not tell of the same words.
        """
        wanted = None if session is None else str(session)
        return [line for line in self._all() if self._was_said(line) and wanted in (None, line["session"])]

    def id_of(self, session: date) -> str:
        """Return one id for all that was said about a session; empty when nothing was.

        Raises:
            BrokenChainError: see `lines`.
        """
        hashes = [line["hash"] for line in self.lines(session)]
        return combined_id(hashes) if hashes else ""

    def watermark(self, session: date) -> str:
        """Return when the last word about a session was said, ISO 8601 UTC; empty when nothing was.

        Raises:
            BrokenChainError: see `lines`.
        """
        return max((instant_text(line["timestamp"]) for line in self.lines(session)), default="")

    def doubts(self) -> list[Doubt]:
        """Return everything that is wrong with the words, the first line first; empty means that all are proved."""
        return self._judged()[1]

    def _was_said(self, line: Line) -> bool:
        return self.as_of is None or datetime.fromisoformat(line["timestamp"]) <= self.as_of

    def _all(self) -> tuple[Line, ...]:
        """Return the proved words; they are judged again when the file is another one.

        No file is a file like any other: only the audit log knows whether there ever was one.
        """
        state = self._state()
        if state not in self._proved:
            lines, doubted = self._judged()
            if wrong := next((one for one in doubted if one.is_tampering), None):
                raise BrokenChainError(self.path, wrong.line, wrong.detail, self.audit)
            self._proved[state] = lines
        return self._proved[state]

    def _state(self) -> _State:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _judged(self) -> tuple[tuple[Line, ...], list[Doubt]]:
        """Return the lines, and what is wrong with them; of files that cannot be read nothing is proved."""
        try:
            return self._compared()
        except CorruptFileError as error:
            told = f"{error.path.name} cannot be read: {error.cause}"
            return (), [Doubt(0, "unreadable", told, is_tampering=True)]

    def _compared(self) -> tuple[tuple[Line, ...], list[Doubt]]:
        """Return the lines, and what is wrong with them.

        Words may be said meanwhile. Every line that is read first was announced before; every word that the audit log
        then tells of as said is in the file when its hashes are read after that.
        """
        lines, chain = dict(numbered(self.path)), verify(self.path)
        begun, said = self._anchors()
        gone = said - {line["hash"] for line in read(self.path)}
        return tuple(lines.values()), [
            *(_of_chain(one) for one in chain),
            *([_all_removed(len(gone))] if gone and not self.path.exists() else map(_removed, sorted(gone))),
            *_unsaid(lines, begun, said),
        ]

    def _anchors(self) -> tuple[set[str], set[str]]:
        """Return the hashes of words that were begun, and of words that were said, by the audit log's own lines."""
        begun: set[str] = set()
        said: set[str] = set()
        for line in read(self.audit, holding=b'"override"'):
            if isinstance(anchor := line.get("override"), str) and digest(line) == line["hash"]:
                (begun if str(line.get("event")).endswith(BEGUN) else said).add(anchor)
        return begun, said


def say(words: Words, audit: AuditLog, event: str, *, run_id: str, symbol: str, body: Line) -> Line:
    """Append a word and anchor it in the audit log; return it as it was written.

    Raises:
        BrokenChainError: the words of before cannot be proved, so nothing is put on top of them.
        DiskFullError, ConfigurationError: see `AuditLog.record`.
    """
    words.lines()
    told = {key: body[key] for key in ("session", "row", "con_id", "minutes", "who", "why") if key in body}

    def begin(line: Line) -> None:
        audit.record(f"{event}{BEGUN}", run_id=run_id, symbol=symbol, override=line["hash"], **told)

    log = AuditLog(words.path, audit.clock)
    line = log.record(event, run_id=run_id, symbol=symbol, announce=begin, **body)
    audit.record(event, run_id=run_id, symbol=symbol, override=line["hash"], **told)
    return line


def _of_chain(one: ChainFinding) -> Doubt:
    return Doubt(one.line, one.problem, one.detail, one.is_tampering)


def _removed(one: str) -> Doubt:
    told = f"the audit log tells of override {one[:12]}, which is not there"
    return Doubt(0, "removed", told, is_tampering=True)


def _all_removed(n: int) -> Doubt:
    told = f"it is gone, and the audit log tells of {n} {'word' if n == 1 else 'words'} in it"
    return Doubt(0, "removed", told, is_tampering=True)


def _unsaid(lines: dict[int, Line], begun: set[str], said: set[str]) -> Iterator[Doubt]:
    for number, line in lines.items():
        if (one := line["hash"]) in said:
            continue
        if one in begun:
            told = f"who wrote override {one[:12]} died before the audit log told that it is said; it counts"
            yield Doubt(number, "unfinished", told, is_tampering=False)
        else:
            yield Doubt(number, "not_audited", f"the audit log does not tell of override {one[:12]}", is_tampering=True)
