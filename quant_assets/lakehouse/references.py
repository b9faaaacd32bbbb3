"""What tags, runs and snapshots name, and what therefore stays."""

import re
from collections import defaultdict
from pathlib import Path

from quant_assets.domain.tables import SNAPSHOTS
from quant_assets.lakehouse.store import Lakehouse

_ID = re.compile(r"\b[0-9a-f]{64}\b")
_WORD = re.compile(r"[A-Za-z0-9_-]+")

_Stamp = tuple[Path, int, int]


class References:
    """Who names what in one data directory, looked at anew for each answer.

    A file is read once, and again when it is another one. What was named once counts to the end: in doubt, more stays.
    """

    def __init__(self, lake: Lakehouse) -> None:
        self._lake = lake
        self._seen: set[_Stamp] = set()
        self._ids: set[str] = set()
        self._named_by: defaultdict[str, set[str]] = defaultdict(set)
        self._shown: set[str] = set()

    def ids(self) -> frozenset[str]:
        """Return every content id and run id that a tag or a run names; what cannot be read counts with all words."""
        self._look_at_words()
        return frozenset(self._ids | {run for run in self._named_by if self._is_named(run)})

    def why_stays(self, run: str) -> str:
        """Return who names a run; empty when nobody does."""
        self._look_at_snapshots()
        if run in self._shown:
            return "a snapshot names it"
        self._look_at_words()
        return "a tag or another run names it" if self._is_named(run) else ""

    def _is_named(self, run: str) -> bool:
        """Return whether a file names a run; a run's own inputs always do, and do not count."""
        return bool(self._named_by.get(run, set()) - {run})

    def _look_at_words(self) -> None:
        layout = self._lake.layout
        runs = {path.name for path in layout.runs.glob("[!.]*")}
        for path in [*layout.tags.glob("[!.]*.json"), *layout.runs.glob("*/config/inputs.json")]:
            if self._is_new(path):
                try:
                    text = path.read_text(encoding="utf-8", errors="replace")
                except FileNotFoundError:
                    continue
                self._ids.update(_ID.findall(text))
                for run in runs.intersection(_WORD.findall(text)):
                    self._named_by[run].add(path.parent.parent.name)

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
