"""The manifest of a table: one JSON line per commit, an index that readers plan from and that can be rebuilt."""

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.files import naming_full_disk, sweep_staged, write_text
from quant_assets.lakehouse.footer import Footer, read_footer


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed file as the manifest remembers it."""

    path: str
    bytes: int
    mtime_ns: int
    committed_at: str
    footer: Footer

    def describes(self, stat: os.stat_result) -> bool:
        """Return whether the file on disk is still the one that was committed."""
        return stat.st_size == self.bytes and stat.st_mtime_ns == self.mtime_ns

    def to_line(self) -> str:
        """Return the JSON line."""
        values: dict[str, Any] = {
            "path": self.path,
            "bytes": self.bytes,
            "mtime_ns": self.mtime_ns,
            "committed_at": self.committed_at,
            **self.footer.to_dict(),
        }
        return json.dumps(values, sort_keys=True) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Entry":
        """Parse a JSON line."""
        values = json.loads(line)
        own = {key: values.pop(key) for key in ("path", "bytes", "mtime_ns", "committed_at")}
        return cls(**own, footer=Footer.from_dict(values))


class Manifest:
    """Reads and appends one table's manifest; a line counts only while its file is unchanged."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        self._lines = bytearray()
        self._parsed: dict[str, Entry | None] = {}
        self._inode = -1

    def lookup(self, file: Path) -> Footer | None:
        """Return what is known of a file: from the manifest when its line still fits, else from the file's footer.

        Raises:
            CorruptFileError: the manifest has nothing valid and the file's footer cannot be read.
        """
        try:
            stat = file.stat()
        except FileNotFoundError:
            return None
        self._refresh()
        entry = self._newest(self._name(file))
        return entry.footer if entry and entry.describes(stat) else read_footer(file)

    def append(self, files: Iterable[tuple[Path, Footer]], committed_at: str) -> None:
        """Add a line per file; called under the table's lock, after the files have been committed.

        Raises:
            DiskFullError: there is no space; the files stand, and their footers answer for them.
        """
        lines = [self._committed(file, footer, committed_at).to_line() for file, footer in files]
        with naming_full_disk(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8") as stream:
                self._end_torn_line(stream.buffer)
                stream.write("".join(lines))

    def _committed(self, file: Path, footer: Footer, committed_at: str) -> Entry:
        stat = file.stat()
        return Entry(self._name(file), stat.st_size, stat.st_mtime_ns, committed_at, footer)

    def rebuild(self, files: Iterable[Path], committed_at: str) -> int:
        """Write the manifest anew from the footers of `files`; returns how many lines it has."""
        lines = [self._committed(file, read_footer(file), committed_at).to_line() for file in sorted(files)]
        sweep_staged(self.path.parent)
        write_text(self.path, "".join(lines))
        return len(lines)

    def superseded(self, keep: Collection[str] = ()) -> int:
        """Return how many lines neither describe a file that stands nor have a content id in `keep`.

        Raises:
            CorruptFileError: a line is no manifest entry.
        """
        return sum(not stays for _, stays in self._judged(keep))

    def drop_superseded(self, keep: Collection[str] = ()) -> int:
        """Write the manifest anew without those lines; called under the table's lock. Returns how many went.

        Raises:
            CorruptFileError: a line is no manifest entry; nothing was changed.
        """
        judged = self._judged(keep)
        gone = sum(not stays for _, stays in judged)
        if gone:
            write_text(self.path, "".join(entry.to_line() for entry, stays in judged if stays))
        return gone

    def _judged(self, keep: Collection[str]) -> list[tuple[Entry, bool]]:
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        entries = [entry for number, line in enumerate(lines, 1) if (entry := self._entry(line, number))]
        newest = {entry.path: place for place, entry in enumerate(entries)}
        return [
            (entry, (newest[entry.path] == place and self._stands(entry)) or entry.footer.content_id in keep)
            for place, entry in enumerate(entries)
        ]

    def _stands(self, entry: Entry) -> bool:
        try:
            return entry.describes((self.root / entry.path).stat())
        except FileNotFoundError:
            return False

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _refresh(self) -> None:
        """Read lines that were appended since the last look; start over when the file was replaced.

        Lines are kept as bytes, and parsed when their file is asked for: of a long history most never are.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._forget(-1)
            return
        if stat.st_ino != self._inode or stat.st_size < len(self._lines):
            self._forget(stat.st_ino)
        if stat.st_size == len(self._lines):
            return
        with self.path.open("rb") as stream:
            stream.seek(len(self._lines))
            tail = stream.read()
        complete = tail[: tail.rfind(b"\n") + 1]
        if complete.count(b"\n") != complete.startswith(_LINE_START) + complete.count(b"\n" + _LINE_START):
            n_before = self._lines.count(b"\n")
            for number, line in enumerate(complete.split(b"\n")[:-1], 1):
                self._entry(line, n_before + number)  # names the one that is no entry
        self._lines += complete
        self._parsed.clear()

    def _forget(self, inode: int) -> None:
        self._lines, self._inode = bytearray(), inode
        self._parsed.clear()

    def _newest(self, name: str) -> Entry | None:
        """Return the last line about a file that can be parsed."""
        if name not in self._parsed:
            about = f'"path": {json.dumps(name)}'.encode()
            end, entry = len(self._lines), None
            while entry is None and (found := self._lines.rfind(about, 0, end)) >= 0:
                begin = self._lines.rfind(b"\n", 0, found) + 1
                entry = self._entry(bytes(self._lines[begin : self._lines.index(b"\n", found)]), 0)
                end = begin
            self._parsed[name] = entry
        return self._parsed[name]

    def _entry(self, line: bytes, number: int) -> Entry | None:
        """Parse one line. A torn one is what a killed writer leaves: its file's footer answers instead."""
        if not line.strip():
            return None
        try:
            return Entry.from_line(line.decode())
        except UnicodeDecodeError as error:
            raise CorruptFileError(self.path, f"line {number} is no text", _REBUILD) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if line.startswith(_LINE_START) or _LINE_START.startswith(line):
                return None
            raise CorruptFileError(self.path, f"line {number} is no manifest entry", _REBUILD) from error

    @staticmethod
    def _end_torn_line(stream: Any) -> None:
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


_LINE_START = b'{"bytes"'
"""How every line begins, its keys being sorted."""
_REBUILD = "The manifest is only an index: run `quant lake reindex` to rebuild it from the files' footers."
