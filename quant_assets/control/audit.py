"""The audit log: one JSON object per line, each carrying the hash of the line before it.

Appending takes a short OS lock, reads the last line from the end of the file and writes one line with O_APPEND, so
that several processes share one log and its length never matters. `kill -9` can tear the last line only; the next
append ends the torn bytes with a newline and continues the chain from the last whole line, and `verify` reports them
as torn, not as tampering.

An event that cannot be recorded raises DiskFullError. The audit log is a file of record: what a run did must be
provable, and on a full disk the data of that run cannot be committed either, so going on would only hide the first
failure behind a later one.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock

from quant_assets.clock import Clock, SystemClock
from quant_assets.errors import CorruptFileError, cannot_write

GENESIS = "0" * 64
"""`prev_hash` of the first line."""

_BLOCK = 65536
_BEGINNING = b'{"timestamp"'

_Announce = Callable[[dict[str, Any]], None] | None

Problem = Literal["torn", "not_json", "hash_mismatch", "chain_broken"]


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """One line that is not what it should be."""

    line: int
    """Counted from 1."""
    problem: Problem
    detail: str

    @property
    def is_tampering(self) -> bool:
        """Whether somebody changed, removed or inserted lines; torn bytes are what a killed process leaves."""
        return self.problem != "torn"


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Appends events to one file."""

    path: Path
    clock: Clock = field(default_factory=SystemClock)

    def record(
        self,
        event: str,
        *,
        run_id: str = "",
        symbol: str = "",
        rows: int | None = None,
        status: str = "",
        current: int | None = None,
        total: int | None = None,
        eta_s: float | None = None,
        announce: Callable[[dict[str, Any]], None] | None = None,
        **extra: Any,
    ) -> dict[str, Any]:
        """Append one event and return it as it was written.

        Args:
            event: what happened, in snake case.
            run_id: run that it belongs to.
            symbol: instrument that it is about, if one.
            rows: rows that it concerned, if any.
            status: ok, warn, error, started, done, …
            current: steps done; with `total` it becomes `progress`.
            total: steps in all.
            eta_s: estimated seconds to the end.
            announce: is handed the whole line before it is written, while nobody else can append.
            extra: further fields, JSON values only.

        Raises:
            DiskFullError: there is no space for the line.
            ConfigurationError: the file cannot be written for another reason.
            ValueError: an extra field has the name of a field of the chain, or is NaN.
        """
        if reserved := {"timestamp", "progress", "prev_hash", "hash"} & set(extra):
            raise ValueError(f"fields {sorted(reserved)} are written by the audit log itself")
        body: dict[str, Any] = {
            "timestamp": self.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "event": event,
            "run_id": run_id,
            "symbol": symbol,
            "rows": rows,
            "status": status,
            "progress": _progress(current, total, eta_s),
            **extra,
        }
        return _append(self.path, body, announce)


def _append(path: Path, body: dict[str, Any], announce: _Announce) -> dict[str, Any]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), fallback_to_soft=False):
            return _append_locked(path, body, announce)
    except OSError as error:
        raise cannot_write(path, error) from error


def verify(path: Path) -> list[ChainFinding]:
    """Return everything that is wrong with the chain, first line first; empty means that it is whole.

    A log that was cut at its end keeps a valid chain: that cannot be seen from the file alone. Runs therefore keep
    the hash of their last line in their manifest.

    Raises:
        CorruptFileError: it cannot be read at all, as a directory in its place.
    """
    if not path.exists():
        return []
    findings: list[ChainFinding] = []
    expected = GENESIS
    for number, raw, is_ended in _lines(path):
        finding, expected = _judge(number, raw, expected, is_ended=is_ended)
        findings += [finding] if finding else []
    return findings


def read(path: Path, *, holding: bytes = b"") -> Iterator[dict[str, Any]]:
    """Yield the events of a log, without the bytes that a killed process left.

    Args:
        path: the log.
        holding: bytes that a line must hold to be decoded at all, which makes looking for a few events cheap.

    Raises:
        CorruptFileError: it cannot be read at all, as a directory in its place.
    """
    return (line for _, line in numbered(path, holding=holding))


def numbered(path: Path, *, holding: bytes = b"") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and event, as `read` does."""
    if path.exists():
        for number, raw, _ in _lines(path):
            if holding in raw and (line := _parsed(raw)) is not None:
                yield number, line


def digest(line: dict[str, Any]) -> str:
    """Return the hash of an event: sha256 over its canonical JSON without `hash`, so `prev_hash` is part of it."""
    body = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(_canonical(body)).hexdigest()


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _progress(current: int | None, total: int | None, eta_s: float | None) -> dict[str, Any] | None:
    if current is None and total is None and eta_s is None:
        return None
    percent = round(100 * current / total, 1) if current is not None and total else None
    return {"current": current, "total": total, "percent": percent, "eta_seconds": eta_s}


def _append_locked(path: Path, body: dict[str, Any], announce: _Announce) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        previous, is_ended = _tail(descriptor)
        line = {**body, "prev_hash": previous}
        line["hash"] = digest(line)
        if announce:
            announce(line)
        text = json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        _write_all(descriptor, text if is_ended else b"\n" + text)
    finally:
        os.close(descriptor)
    return line


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def _tail(descriptor: int) -> tuple[str, bool]:
    """Return the hash of the last whole line and whether the file ends with a newline, reading from the end only."""
    position = os.fstat(descriptor).st_size
    is_ended = position == 0 or os.pread(descriptor, 1, position - 1) == b"\n"
    rest = b""
    while position:
        size = min(_BLOCK, position)
        position -= size
        *whole, rest = reversed((os.pread(descriptor, size, position) + rest).split(b"\n"))
        for raw in whole if position else [*whole, rest]:
            if (line := _parsed(raw)) is not None:
                return str(line["hash"]), is_ended
    return GENESIS, is_ended


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """Return a line of the chain, or None for anything else."""
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("hash"), str) else None


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yield number, bytes and whether they end in a newline, of the log as it is when the first is asked for.

    A line that is being appended shows page by page: beyond the size of that moment it would be read in two parts.
    """
    with _opened(path) as file:
        if not (left := os.fstat(file.fileno()).st_size):
            return
        for number, found in enumerate(file, start=1):
            raw = found[:left]
            yield number, raw.rstrip(b"\n"), raw.endswith(b"\n")
            left -= len(raw)
            if not left:
                return


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        mend = "Move away what stands there, and restore the file from a backup."
        raise CorruptFileError(path, error.strerror or type(error).__name__, mend) from None


def _judge(number: int, raw: bytes, expected: str, *, is_ended: bool) -> tuple[ChainFinding | None, str]:
    """Return what is wrong with one line, if anything, and the `prev_hash` that the next one must carry."""
    line = _parsed(raw)
    if line is None:
        return _torn(number, raw), expected
    own: str = line["hash"]
    if digest(line) != own:
        return ChainFinding(number, "hash_mismatch", "the line says something else than when it was written"), own
    if line.get("prev_hash") != expected:
        return ChainFinding(number, "chain_broken", "lines before this one were removed, inserted or reordered"), own
    if not is_ended:
        return ChainFinding(number, "torn", "the newline is missing; the line itself is whole"), own
    return None, own


def _torn(number: int, raw: bytes) -> ChainFinding:
    """Tell what dying in the middle leaves, the beginning of a line or zeros after a power cut, from anything else."""
    written = raw.rstrip(b"\0")
    if written.startswith(_BEGINNING) or _BEGINNING.startswith(written):
        return ChainFinding(number, "torn", f"{len(raw)} bytes of an event that was never finished")
    return ChainFinding(number, "not_json", "no event of this log")
