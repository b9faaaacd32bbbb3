"""Exclusion between processes and threads: an OS file lock, with a note beside it that says who holds it.

The kernel frees the lock when its process dies, however it dies; nothing has to expire and nobody has to clean up. The
holder file is for people and messages only: a lock is held if and only if the kernel says so, so a note that a killed
process left behind never blocks anyone. Works on one machine; object storage needs a lease instead.

A lock is not re-entrant: a second hold of the same name by the thread that has it raises DefectError at once, because
waiting for oneself would only end at the bound. Programs that a holder starts do not inherit the lock; a bare fork
does, and keeps it until both have gone.
"""

import contextlib
import json
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from quant_assets.clock import Clock, SystemClock
from quant_assets.errors import DefectError, LockHeldError
from quant_assets.settings.names import safe_name

_log = logging.getLogger(__name__)
_mine = threading.local()

_UNFINISHED = re.compile(r".+\.holder\.[0-9a-f]{32}\.tmp")
_POLL_S = 0.05
_PATIENCE_S = 0.25
"""Short waits are normal between two writers; only longer ones are worth a line in the log."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A lock that this thread has."""

    name: str
    lock_id: str
    path: Path


@contextlib.contextmanager
def hold(
    name: str,
    directory: Path,
    clock: Clock | None = None,
    wait_s: float = 0.0,
    owner: Mapping[str, object] | None = None,
) -> Iterator[Hold]:
    """Hold the lock `name` of `directory` for the length of the block.

    Args:
        name: what is excluded, for example `tws` or a table's name; it becomes a file name.
        directory: where lock and holder files live; made when absent. All contenders pass the same one.
        clock: stamps `since` in the holder file; the machine's when None. Waiting is in real seconds.
        wait_s: bound on the wait for another holder; 0 tries once.
        owner: what a second starter is told, for example the run id and the stage.

    Raises:
        LockHeldError: somebody else still has it after `wait_s`; names the holder.
        DefectError: this thread has it already.
        UnsafeNameError: the name must not become a file name.
    """
    lock_path, holder_path = _paths(name, directory)
    if lock_path in _held_here():
        raise DefectError(f"Lock {name!r} is not re-entrant: this thread holds it already.")
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path, thread_local=False, poll_interval=_POLL_S, fallback_to_soft=False)
    _acquire(lock, name, holder_path, wait_s)
    taken = Hold(name, uuid4().hex, lock_path)
    _held_here().add(lock_path)
    try:
        _write_holder(holder_path, taken, clock or SystemClock(), owner or {})
        yield taken
    finally:
        _held_here().discard(lock_path)
        with contextlib.suppress(OSError):  # whatever stands there, the lock itself must go
            holder_path.unlink()
        lock.release()


def holder_of(name: str, directory: Path) -> dict[str, object] | None:
    """Return what the holder says of itself, or None while nobody has the lock; the kernel decides, not the note.

    Looking takes a free lock for an instant, so a starter that does not wait at all can be refused by an onlooker.
    """
    lock_path, holder_path = _paths(name, directory)
    if not lock_path.exists():
        return None
    probe = FileLock(lock_path, thread_local=False, fallback_to_soft=False)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return _read_holder(holder_path)
    probe.release()
    return None


def is_unfinished_note(path: Path) -> bool:
    """Return whether a file is a note that a holder was killed over, or is writing at this moment."""
    return _UNFINISHED.fullmatch(path.name) is not None


def _paths(name: str, directory: Path) -> tuple[Path, Path]:
    for part in name.split("."):  # `table.commit` is fine; `..`, a leading dot and slashes are not
        safe_name("lock name", part)
    root = directory.absolute()
    return root / f"{name}.lock", root / f"{name}.holder.json"


def _held_here() -> set[Path]:
    held: set[Path] | None = getattr(_mine, "held", None)
    if held is None:
        held = _mine.held = set()
    return held


def _acquire(lock: FileLock, name: str, holder_path: Path, wait_s: float) -> None:
    started = time.monotonic()
    try:
        lock.acquire(timeout=min(wait_s, _PATIENCE_S))
    except Timeout:
        rest = wait_s - (time.monotonic() - started)
        if rest > 0:
            _log.info("waiting for lock %r up to %g s: held by %s", name, wait_s, _read_holder(holder_path))
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=rest)
    if not lock.is_locked:
        raise LockHeldError(name, _read_holder(holder_path), round(time.monotonic() - started, 1))


def _write_holder(path: Path, taken: Hold, clock: Clock, owner: Mapping[str, object]) -> None:
    since = clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    note = {
        **{key: str(value) for key, value in owner.items()},
        "lock_id": taken.lock_id,
        "pid": os.getpid(),
        "host": platform.node(),
        "since": since,
    }
    staged = path.with_suffix(f".{taken.lock_id}.tmp")
    try:
        staged.write_text(json.dumps(note), encoding="utf-8")
        staged.replace(path)
    except OSError as error:  # the note informs, the kernel excludes: a full disk must not stop the work
        _log.warning("the holder file %s could not be written (%s)", path, error.strerror)
        staged.unlink(missing_ok=True)


def _read_holder(path: Path) -> dict[str, object]:
    """Return the note, unless a killed predecessor left it: a dead process of this host is not the holder."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        is_stale = note["host"] == platform.node() and not _is_alive(int(note["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {} if is_stale else dict(note)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
