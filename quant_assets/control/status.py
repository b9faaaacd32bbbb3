"""`<stage>_status.json`: how far a stage is, replaced atomically: a reader sees the old state or the new one."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.files import write_text
from quant_assets.errors import CorruptFileError, cannot_write
from quant_assets.settings.names import safe_name

Phase = Literal["ingestion", "verification", "complete"]
Health = Literal["ok", "warn", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Status:
    """What a stage last said about itself.

    Whoever goes on after the stage from outside, a script for instance, does so only when `is_complete`. The graph's
    own cycles ask more: that the session is certified.
    """

    phase: Phase
    last_update: datetime
    """Aware, UTC."""
    health_check: Health = "unknown"
    candidate_count: int = 0
    """How many instruments the stage is asking about; 0 where it asks who there is."""
    lock_id: str = ""
    """The lock under which the stage runs; a status with the id of a lock that nobody holds was left by a dead run."""
    can_resume: bool = False
    paused_since: datetime | None = None
    """When the stage obeyed a request to pause; None while it runs."""

    @property
    def is_complete(self) -> bool:
        """Whether downstream may start."""
        return self.phase == "complete"


def status_path(stage: str, directory: Path) -> Path:
    """Return where a stage's status lives.

    Raises:
        UnsafeNameError: the stage's name must not become a file name.
    """
    return directory / f"{safe_name('stage', stage)}_status.json"


def write_status(
    stage: str,
    directory: Path,
    phase: Phase,
    *,
    clock: Clock | None = None,
    health_check: Health = "unknown",
    candidate_count: int = 0,
    lock_id: str = "",
    can_resume: bool = False,
    paused_since: datetime | None = None,
) -> Status:
    """Replace a stage's status and return it.

    Raises:
        DiskFullError: there is no space; the status before still stands.
        ConfigurationError: it cannot be written for another reason.
    """
    now = (clock or SystemClock()).now().astimezone(UTC)
    status = Status(phase, now, health_check, candidate_count, lock_id, can_resume, paused_since)
    instants = {"last_update": stamp(now), "paused_since": stamp(paused_since) if paused_since else None}
    replace_text(status_path(stage, directory), json.dumps({**asdict(status), **instants}, indent=2) + "\n")
    return status


def read_status(stage: str, directory: Path) -> Status | None:
    """Return a stage's status, or None when it never ran here.

    Raises:
        CorruptFileError: the file is there and is no status.
    """
    path = status_path(stage, directory)
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(path, f"{type(error).__name__}: {error}", "`quant flow data` writes it anew.") from None


def _parsed(raw: dict[str, Any]) -> Status:
    if raw["phase"] not in get_args(Phase):
        raise ValueError(f"phase {raw['phase']!r} is none of {', '.join(get_args(Phase))}")
    paused = raw.get("paused_since")
    return Status(
        **{
            **raw,
            "last_update": datetime.fromisoformat(raw["last_update"]),
            "paused_since": datetime.fromisoformat(paused) if paused else None,
        }
    )


def stamp(instant: datetime) -> str:
    """Return an instant as these files spell it: UTC with microseconds and a Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def replace_text(path: Path, text: str) -> None:
    """Replace a small file: a reader sees the old text or the new one.

    Raises:
        DiskFullError: there is no space; the old text still stands.
        ConfigurationError: it cannot be written for another reason.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error
