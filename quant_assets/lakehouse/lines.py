"""The lines of a file that grows at its end, read backwards and only as far as somebody looks.

What a run asks about is mostly new. Of a long history the old lines are never read, so that looking costs the same
after ten sessions as after thousands.
"""

from pathlib import Path
from typing import IO

_BLOCK = 1 << 16


class GrowingLines:
    """Keeps the newest complete lines of a file; `look_back` adds older ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = bytearray()
        """The lines that were read, the last one ended."""
        self._begin = self._end = 0
        """Where `text` lies in the file."""
        self._inode = -1

    def refresh(self) -> bytes:
        """Look for lines that were added, or a file that was replaced; returns the text that was read for it."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._forget(-1, 0)
            return b""
        if stat.st_ino != self._inode or stat.st_size < self._end:
            self._forget(stat.st_ino, stat.st_size)
            with self.path.open("rb") as stream:
                return self._read_back(stream)
        if stat.st_size == self._end:
            return b""
        with self.path.open("rb") as stream:
            stream.seek(self._end)
            added = _complete(stream.read())
        self.text += added
        self._end += len(added)
        return added

    def look_back(self) -> bytes:
        """Read as much again before what was read; returns it, and nothing at the beginning of the file."""
        if self._begin == 0:
            return b""
        with self.path.open("rb") as stream:
            return self._read_back(stream)

    def number_of(self, place: int) -> int:
        """Return the number, from 1, of the line that begins at a place of `text`."""
        return 1 + self.path.read_bytes()[: self._begin + place].count(b"\n")

    def _forget(self, inode: int, size: int) -> None:
        self.text.clear()
        self._inode, self._begin, self._end = inode, size, size

    def _read_back(self, stream: IO[bytes]) -> bytes:
        """Read whole lines before `text`, at least one where there is one."""
        length = max(_BLOCK, len(self.text))
        while True:
            begin = max(0, self._begin - length)
            stream.seek(begin)
            block = stream.read(self._begin - begin)
            found = _complete(block) if not self.text else block
            whole = found if begin == 0 else found[found.find(b"\n") + 1 :]
            if whole or begin == 0:
                break
            length *= 2
        if not self.text:
            self._end = begin + len(found)
        self._begin = begin + len(found) - len(whole)
        self.text[:0] = whole
        return bytes(whole)


def _complete(text: bytes) -> bytes:
    """Return the text up to its last line end: what follows is being written, or was left by a killed writer."""
    return text[: text.rfind(b"\n") + 1]
