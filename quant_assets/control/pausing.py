"""Pausing a stage from outside: a control file asks, the stage obeys between two requests and says so in its status.

`<stage>_control.json` outlives the process that it was meant for: a stage that is started while a pause stands waits
at its first request, so that a nightly schedule does not undo what a person asked for.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.status import Status, read_status, replace_text, stamp, write_status
from quant_assets.errors import CorruptFileError
from quant_assets.settings.names import safe_name

_log = logging.getLogger(__name__)

Wish = Literal["pause", "resume"]
_POLL_S = 0.25
"""Real seconds between two looks at the control file, however fast the clock of a replayed market runs."""


@dataclass(frozen=True, slots=True)
class Control:
    """What somebody asked of a stage."""

    request: Wish
    requested_at: datetime
    """Aware, UTC."""
    reason: str = ""


def control_path(stage: str, directory: Path) -> Path:
    """Return where requests to a stage are left.

    Raises:
        UnsafeNameError: the stage's name must not become a file name.
    """
    return directory / f"{safe_name('stage', stage)}_control.json"


def write_control(stage: str, directory: Path, request: Wish, *, reason: str = "", clock: Clock | None = None) -> None:
    """Ask a stage to pause, or to go on.

    Raises:
        DiskFullError: there is no space; what was asked before still stands.
    """
    at = stamp((clock or SystemClock()).now())
    text = json.dumps({"request": request, "requested_at": at, "reason": reason}, indent=2)
    replace_text(control_path(stage, directory), text + "\n")


def read_control(stage: str, directory: Path) -> Control | None:
    """Return what was asked last, or None.

    Raises:
        CorruptFileError: the file is there and is no request.
    """
    path = control_path(stage, directory)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["request"] not in get_args(Wish):
            raise ValueError(f"request {raw['request']!r} is none of {', '.join(get_args(Wish))}")  # noqa: TRY301
        return Control(raw["request"], datetime.fromisoformat(raw["requested_at"]), str(raw.get("reason", "")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = f"Write it again with `quant pause {stage}` or `quant resume {stage}`, or delete it."
        raise CorruptFileError(path, f"{type(error).__name__}: {error}", mend) from None


class Turnstile:
    """What a stage passes before each request: it holds everybody while a pause stands."""

    def __init__(
        self,
        stage: str,
        directory: Path,
        clock: Clock | None = None,
        tell: Callable[[str, str], None] = lambda _state, _reason: None,
    ) -> None:
        """Watch the control file of `stage` in `directory`; `tell` hears ("paused" | "resumed", reason)."""
        self._stage, self._directory, self._clock, self._tell = stage, directory, clock or SystemClock(), tell
        self._path = control_path(stage, directory)
        self._waiting = 0
        self.lock_id = ""

    async def __call__(self) -> None:
        """Return at once, or when the pause is over.

        Raises:
            CorruptFileError: the control file is none.
        """
        if not self._is_paused():
            return
        self._waiting += 1
        if self._waiting == 1:
            self._acknowledge(self._clock.now())
        try:
            while self._is_paused():  # noqa: ASYNC110 - another process ends it, by a file
                await asyncio.sleep(_POLL_S)
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._acknowledge(None)

    def _is_paused(self) -> bool:
        if not self._path.exists():
            return False
        wish = read_control(self._stage, self._directory)
        return wish is not None and wish.request == "pause"

    def _acknowledge(self, paused_since: datetime | None) -> None:
        standing = self._standing()
        write_status(
            self._stage,
            self._directory,
            standing.phase,
            clock=self._clock,
            health_check=standing.health_check,
            candidate_count=standing.candidate_count,
            lock_id=self.lock_id,
            can_resume=True,
            paused_since=paused_since,
        )
        wish = read_control(self._stage, self._directory)
        reason = wish.reason if wish else ""
        if paused_since:
            _log.warning(
                "%s is paused%s; `quant resume %s` lets it go on",
                self._stage,
                f" ({reason})" if reason else "",
                self._stage,
            )
        else:
            _log.warning("%s goes on", self._stage)
        self._tell("paused" if paused_since else "resumed", reason)

    def _standing(self) -> Status:
        """Return what the run that is held has said of itself; what another run left says nothing about it."""
        try:
            status = read_status(self._stage, self._directory)
        except CorruptFileError:
            status = None  # it is replaced next
        return status if status and status.lock_id == self.lock_id else Status("ingestion", self._clock.now())
