"""What tags, runs and snapshots name, and what therefore stays."""

import json
import re
from collections import defaultdict
from pathlib import Path

from quant_assets.domain.run_files import INPUTS
from quant_assets.domain.tables import SNAPSHOTS
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.lakehouse.tag import mend_of_tag, parse_tag

_ID = re.compile(r"\b[0-9a-f]{64}\b")
_WORD = re.compile(r"[A-Za-z0-9_-]+")

_Stamp = tuple[Path, int, int]


class References:
    """Who names what in one data directory, looked at anew for each answer.

    A file is read once, and again when it is another one. What was named once counts to the end: in doubt, more stays.
    A tag, or the inputs of a run, that cannot be read may name anything.
    """

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake
        self._seen: set[_Stamp] = set()
        self._ids: set[str] = set()
        self._named_by: defaultdict[str, set[str]] = defaultdict(set)
        self._shown: set[str] = set()
        self._doubts: dict[str, str] = {}

    def doubts(self, but: str = "") -> list[str]:
        """Return what cannot be read and therefore may name anything, each with its mend.

        Args:
            but: a run whose own inputs do not count.
        """
        self._look_at_words()
        return [told for path, told in sorted(self._doubts.items()) if path != but]

    def ids(self) -> frozenset[str]:
        """Return every content id and run id that a tag or a run names; see `doubts` for what cannot be read."""
        self._look_at_words()
        return frozenset(self._ids | {run for run in self._named_by if self._is_named(run)})

    def why_stays(self, run: str) -> str:
        """Return who names a run; empty when nobody does."""
        self._look_at_snapshots()
        if run in self._shown:
            return "a snapshot names it"
        self._look_at_words()
        if self._is_named(run):
            return "a tag or another run names it"
        return next(iter(self.doubts(but=run)), "")

    def _is_named(self, run: str) -> bool:
        """Return whether a file names a run; a run's own inputs always do, and do not count."""
        return bool(self._named_by.get(run, set()) - {run})

    def _look_at_words(self) -> None:
        layout = self._lake.layout
        runs = {path.name for path in layout.runs.glob("[!.]*")}
        for path in layout.tags.glob("[!.]*.json"):
            if self._is_new(path):
                self._read_tag(path, runs)
        for path in layout.runs.glob("[!.]*/config/inputs.json"):
            if self._is_new(path):
                self._read_inputs(path, runs)
        for run in runs:
            path = layout.runs / run
            if RunDirectory(path).is_finished and not (path / INPUTS).exists():
                self._doubts[run] = _of_run(run)

    def _read_tag(self, path: Path, runs: set[str]) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            parse_tag(path, text)
        except FileNotFoundError:
            return
        except (OSError, ValueError, CorruptFileError):
            self._doubts[f"tag {path.stem}"] = f"tag {path.stem} cannot be read: {mend_of_tag(path.stem)}"
        else:
            self._note(text, runs, "")

    def _read_inputs(self, path: Path, runs: set[str]) -> None:
        run = path.parent.parent.name
        try:
            text = path.read_text(encoding="utf-8")
            is_whole = isinstance(json.loads(text), dict)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            is_whole = False
        if is_whole:
            self._note(text, runs, run)
        else:
            self._doubts[run] = _of_run(run)

    def _note(self, text: str, runs: set[str], by: str) -> None:
        self._ids.update(_ID.findall(text))
        for run in runs.intersection(_WORD.findall(text)):
            self._named_by[run].add(by)

    def _look_at_snapshots(self) -> None:
        store = self._lake.curated
        partitions = store.partitions(SNAPSHOTS)
        new = [one for one in partitions if self._is_new(store.layout.file(SNAPSHOTS, one))]
        if new:
            self._shown.update(store.read_many(SNAPSHOTS, new, ["run_id"])["run_id"].to_list())

    def _is_new(self, path: Path) -> bool:
        """Return whether a file has not been read yet; one that is gone has nothing to say."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        stamp = path, stat.st_size, stat.st_mtime_ns
        is_new = stamp not in self._seen
        self._seen.add(stamp)
        return is_new


def _of_run(run: str) -> str:
    return f"the inputs of run {run} cannot be read: restore {INPUTS} from a backup, or move the run's directory away"
