"""The manifest of a table: one JSON line per commit, an index that readers plan from and that can be rebuilt."""

import errno
import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_assets.control.files import naming_full_disk, sweep_staged, write_text
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.footer import Footer, instant_text, read_footer
from quant_assets.lakehouse.lines import GrowingLines

NEVER_COMMITTED = "it was never committed"


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
        self._lines = GrowingLines(path)
        self._parsed: dict[str, Entry | None] = {}

    def lookup(self, file: Path) -> Footer | None:
        """Return what is known of a file: from the manifest when its line still fits, else from the file's footer.

        Raises:
            CorruptFileError: the manifest has nothing valid and the file's footer cannot be read.
        """
        return self.standing(file)[0]

    def standing(self, file: Path) -> tuple[Footer | None, bool]:
        """Return the same, and whether the file is, by size and time, the one that was committed: of one look at it.

        Raises:
            CorruptFileError: the manifest has nothing valid and the file's footer cannot be read.
        """
        try:
            stat = file.stat()
        except FileNotFoundError:
            return None, False
        entry = self._remembered(file)
        return (entry.footer, True) if entry and entry.describes(stat) else (self.footer_of(file), False)

    def footer_of(self, file: Path) -> Footer:
        """Return what a file says of itself.

        Raises:
            CorruptFileError: it says nothing valid; that is `NEVER_COMMITTED` where no line tells of it, and no writer
                gives files such a name.
        """
        try:
            return read_footer(file)
        except CorruptFileError as error:
            if self.is_foreign(file):
                raise CorruptFileError(file, NEVER_COMMITTED, "Move it away.") from error
            raise

    def is_foreign(self, file: Path) -> bool:
        """Return whether nobody committed a file; a writer that was killed leaves no line, but a name of its own."""
        try:
            return not _COMMITTED.match(file.name) and self._remembered(file) is None
        except CorruptFileError:
            return False  # nobody knows what the manifest told

    def describes(self, file: Path) -> bool:
        """Return whether a file is, by size and time, the one that was committed last.

        Raises:
            FileNotFoundError: it does not exist.
            CorruptFileError: the manifest is damaged.
        """
        entry, stat = self._remembered(file), file.stat()
        return entry is not None and entry.describes(stat)

    def remembered(self, file: Path) -> Footer | None:
        """Return what was committed last to a path, whatever stands there.

        Raises:
            CorruptFileError: the manifest is damaged.
        """
        entry = self._remembered(file)
        return entry.footer if entry else None

    def gone(self, below: str = "") -> list[Entry]:
        """Return the newest line of each file that is not there any more, by path.

        Args:
            below: directory relative to the root, with a slash at its end; everything when empty.

        Raises:
            CorruptFileError: a line is no manifest entry.
        """
        newest = {entry.path: entry for entry in self._entries(f'"path": {json.dumps(below)[:-1]}'.encode())}
        return [newest[path] for path in sorted(newest) if not (self.root / path).exists()]

    def forget(self, below: str, files: Collection[Path]) -> None:
        """Write the manifest anew without the lines about some files, and about any that is not there, of a directory.

        Called under the table's lock.

        Args:
            below: the directory relative to the root, with a slash at its end.
            files: what is forgotten although it stands.

        Raises:
            CorruptFileError: a line is no manifest entry; nothing was changed.
        """
        entries, named = self._entries(), {self._name(file) for file in files}
        kept = [one for one in entries if not one.path.startswith(below) or self._is_kept(one, named)]
        if len(kept) < len(entries):
            write_text(self.path, "".join(entry.to_line() for entry in kept))

    def _is_kept(self, entry: Entry, forgotten: Collection[str]) -> bool:
        return entry.path not in forgotten and (self.root / entry.path).exists()

    def entries(self) -> list[Entry]:
        """Return every line, the oldest first.

        Raises:
            CorruptFileError: a line is no manifest entry.
        """
        return self._entries()

    def append(self, files: Iterable[tuple[Path, Footer]], committed_at: str) -> None:
        """Add a line per file; called under the table's lock, after the files have been committed.

        Raises:
            DiskFullError: there is no space; the files stand, and their footers answer for them.
            CorruptFileError: a directory stands in the manifest's place; the files stand as well.
        """
        lines = [self._committed(file, footer, committed_at).to_line() for file, footer in files]
        if self.path.is_dir():
            raise self._unreadable(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
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
        lines = [self._committed(file, self.footer_of(file), committed_at).to_line() for file in sorted(files)]
        sweep_staged(self.path.parent, self.path.name)
        write_text(self.path, "".join(lines))
        return len(lines)

    def committed_at(self, file: Path, content_id: str, until: str) -> str:
        """Return when a content of a file was last committed or confirmed by an instant; empty where no line tells.

        Args:
            file: its path; what stands there by now may be something else.
            content_id: of the content.
            until: ISO 8601.
        """
        wanted, name = content_id.encode(), self._name(file)
        about = self._entries(wanted)
        fits = (one for one in about if one.path == name and one.footer.content_id == content_id)
        told = (instant_text(one.committed_at) for one in fits)
        return max((instant for instant in told if instant <= instant_text(until)), default="")

    def superseded(self, keep: Collection[str] = (), *, keeps_gone: bool = False) -> int:
        """Return how many lines neither describe a file that stands nor have a content id in `keep`.

        Args:
            keep: content ids that somebody names.
            keeps_gone: the newest line of a file stays whatever stands there, for it alone tells of a loss.

        Raises:
            CorruptFileError: a line is no manifest entry.
        """
        return sum(not stays for _, stays in self._judged(keep, keeps_gone=keeps_gone))

    def drop_superseded(self, keep: Collection[str] = (), *, keeps_gone: bool = False) -> int:
        """Write the manifest anew without those lines; called under the table's lock. Returns how many went.

        Raises:
            CorruptFileError: a line is no manifest entry; nothing was changed.
        """
        judged = self._judged(keep, keeps_gone=keeps_gone)
        gone = sum(not stays for _, stays in judged)
        if gone:
            write_text(self.path, "".join(entry.to_line() for entry, stays in judged if stays))
        return gone

    def _judged(self, keep: Collection[str], *, keeps_gone: bool) -> list[tuple[Entry, bool]]:
        entries = self._entries()
        newest = {entry.path: place for place, entry in enumerate(entries)}
        return [
            (
                entry,
                (newest[entry.path] == place and (keeps_gone or self._stands(entry)))
                or entry.footer.content_id in keep,
            )
            for place, entry in enumerate(entries)
        ]

    def _entries(self, holding: bytes = b"") -> list[Entry]:
        """Return the lines that hold some bytes, the oldest first."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error
        held = ((number, line) for number, line in enumerate(lines, 1) if holding in line)
        return [entry for number, line in held if (entry := self._entry(line, number))]

    def _stands(self, entry: Entry) -> bool:
        try:
            return entry.describes((self.root / entry.path).stat())
        except FileNotFoundError:
            return False

    def _remembered(self, file: Path) -> Entry | None:
        self._refresh()
        return self._newest(self._name(file))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _refresh(self) -> None:
        """Read what was appended since the last look. Lines are parsed when their file is asked for: most never are."""
        n_replaced = self._lines.n_replaced
        try:
            added = self._lines.refresh()
        except OSError as error:
            raise self._unreadable(error) from error
        if added or self._lines.n_replaced != n_replaced:
            self._parsed.clear()
            self._check(added, len(self._lines.text) - len(added))

    def _look_back(self) -> bytes:
        n_replaced = self._lines.n_replaced
        try:
            older = self._lines.look_back()
        except OSError as error:
            raise self._unreadable(error) from error
        if self._lines.n_replaced != n_replaced:
            self._parsed.clear()
        self._check(older, 0)
        return older

    def _newest(self, name: str) -> Entry | None:
        """Return the last line about a file that can be parsed."""
        if name not in self._parsed:
            while (entry := self._last_about(name)) is None and self._look_back():
                pass
            self._parsed[name] = entry
        return self._parsed[name]

    def _last_about(self, name: str) -> Entry | None:
        about, lines = f'"path": {json.dumps(name)}'.encode(), self._lines.text
        end = len(lines)
        while (found := lines.rfind(about, 0, end)) >= 0:
            begin = lines.rfind(b"\n", 0, found) + 1
            if entry := self._entry(bytes(lines[begin : lines.index(b"\n", found)]), 0):
                return entry
            end = begin
        return None

    def _check(self, lines: bytes, place: int) -> None:
        """Name a line that is no entry, when there is one; looking at how lines begin does not parse them."""
        if lines.count(b"\n") == lines.startswith(_LINE_START) + lines.count(b"\n" + _LINE_START):
            return
        first = self._lines.number_of(place)
        try:
            for number, line in enumerate(lines.split(b"\n")[:-1], first):
                self._entry(line, number)
        except CorruptFileError:
            self._lines = GrowingLines(self.path)  # the next look says it again
            raise

    def _unreadable(self, error: OSError) -> CorruptFileError:
        return CorruptFileError(self.path, error.strerror or type(error).__name__, _REBUILD)

    def _entry(self, line: bytes, number: int) -> Entry | None:
        """Parse one line. A torn one is what a killed writer leaves: its file's footer answers instead.

        A power cut can leave zeros in the place of what was not flushed.
        """
        written = line.rstrip(b"\0")
        if not written.strip():
            return None
        try:
            return Entry.from_line(line.decode())
        except UnicodeDecodeError as error:
            raise CorruptFileError(self.path, f"line {number} is no text", _REBUILD) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if written.startswith(_LINE_START) or _LINE_START.startswith(written):
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
_COMMITTED = re.compile(r"part\.parquet$|\d{8}T\d{12}Z-[0-9a-f]{8}|live-\d{8}-[0-9a-f]{12}")
"""How the names of committed files begin: of partitions, of fetched batches, and of those that were promoted."""
_REBUILD = "The manifest is only an index: run `quant lake reindex` to rebuild it from the files' footers."
