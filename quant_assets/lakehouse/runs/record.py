"""audit.jsonl of a run: what happened and when, each line chained to the one before."""

import json
from dataclasses import dataclass
from typing import Any

from quant_assets.clock import Clock
from quant_assets.control.files import replacing
from quant_assets.domain.run_files import LOG
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.runs.directory import RunDirectory, sha256
from quant_assets.lakehouse.runs.identity import canonical

EVENTS = ("frozen", "returns", "selection", "synthesis", "weights", "report")
"""What the log of a finished run holds, in this order, besides fallbacks and warnings."""
OTHER_EVENTS = {"meta": ("frozen", "weights", "report"), "backtest": ("walked", "report")}
"""The same of directories of another kind, which config/inputs.json names."""

_START = "0" * 64
_NOT_SAID = {"timestamp", "run_id", "prev_hash", "hash", "origin"}
"""What two lines about the same thing may differ in; a stage that was computed and killed is served when run again."""


@dataclass(frozen=True)
class RunLog:
    """The log of one run. It alone is not in the manifest: it holds times, and the manifest must be reproducible."""

    run: RunDirectory
    clock: Clock

    def note(self, event: str, **values: Any) -> None:
        """Append an event unless the log already has the same one; a rerun that changes nothing adds nothing.

        A finished run's log is closed.
        """
        lines = read_log(self.run)
        if self.run.is_finished or any(self._is_same(line, event, values) for line in lines):
            return
        entry = {
            "timestamp": self.clock.now().isoformat().replace("+00:00", "Z"),
            "event": event,
            "run_id": self.run.run_id,
            **values,
            "prev_hash": lines[-1]["hash"] if lines else _START,
        }
        entry["hash"] = sha256(canonical(entry))
        with replacing(self.run.file(LOG)) as staged:
            staged.write_text("".join(_line(one) for one in [*lines, entry]), encoding="utf-8")
            staged.chmod(0o444)

    @staticmethod
    def _is_same(line: dict[str, Any], event: str, values: dict[str, Any]) -> bool:
        said = {key: value for key, value in line.items() if key not in _NOT_SAID}
        return canonical(said) == canonical({"event": event, **{k: v for k, v in values.items() if k not in _NOT_SAID}})


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_log(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the events of a run; none when nothing was logged yet.

    Raises:
        ValueError: a line is no JSON.
    """
    path = run.file(LOG)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def log_problems(run: RunDirectory) -> list[str]:
    """Return what is wrong with a finished run's log: a broken chain, bytes that differ, or a missing event."""
    try:
        lines = read_log(run)
        text = run.read(LOG).decode()
    except (ValueError, OSError, CorruptFileError) as error:
        return [f"unreadable: {str(error).splitlines()[0]}"]
    problems = [] if text == "".join(_line(one) for one in lines) else ["bytes differ from what was written"]
    previous = _START
    for number, line in enumerate(lines, start=1):
        body = {key: value for key, value in line.items() if key != "hash"}
        if line.get("prev_hash") != previous or line.get("hash") != sha256(canonical(body)):
            problems.append(f"the hash chain breaks at line {number}")
            break
        previous = line["hash"]
    events = [line.get("event") for line in lines]
    expected = OTHER_EVENTS.get(str(run.inputs.get("kind")), EVENTS)
    return problems + [f"event {event!r} is missing" for event in expected if event not in events]
