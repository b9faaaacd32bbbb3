"""The lines of a file that grows at its end, read backwards and only as far as somebody looks.

What a run asks about is mostly new. Of a long history the old lines are never read, so that looking costs the same
after ten sessions as after thousands.
"""

import os
from pathlib import Path
from typing import IO

_BLOCK = 1 << 16
_COMPARED = 1 << 12
"""Bytes before what is read next that have to be the known ones: a file system may give an inode to a new file."""


class GrowingLines:
    """Keeps the newest complete lines of a file; `look_back` adds older ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = bytearray()
        """The lines that were read, the last one ended."""
        self.n_replaced = 0
        """How often another file was found in the place of the one before; `text` is then that of the new one."""
        self._begin = self._end = 0
        """Where `text` lies in the file."""
        self._inode = -1
        self._seen: tuple[int, int, int] | None = None
        """Inode, size and time of the file when it was read last."""

    def refresh(self) -> bytes:
        """Look for lines that were added, or a file that was replaced; returns the text that was read for it."""
        try:
            if _stamp(self.path.stat()) == self._seen:
                return b""
            with self.path.open("rb") as stream:
                return self._read_on(stream)
        except FileNotFoundError:
            self._forget(-1, 0)
            return b""

    def look_back(self) -> bytes:
        """Read as much again before what was read; returns it, and nothing at the beginning of the file.

        Where another file has taken the place of the one that was read, that is what is read, from its end.
        """
        if self._begin == 0:
            return b""
        try:
            with self.path.open("rb") as stream:
                return self._read_back(stream) if self._is_same(stream) else self._read_on(stream)
        except FileNotFoundError:
            self._forget(-1, 0)
            return b""

    def number_of(self, place: int) -> int:
        """Return the number, from 1, of the line that begins at a place of `text`."""
        with self.path.open("rb") as stream:
            return 1 + stream.read(self._begin + place).count(b"\n")

    def _read_on(self, stream: IO[bytes]) -> bytes:
        """Read what follows `text` in the open file, or its newest lines when it is another file."""
        stat = os.fstat(stream.fileno())
        if self._is_same(stream):
            stream.seek(self._end)
            added = _complete(stream.read())
            self.text += added
            self._end += len(added)
        else:
            self._forget(stat.st_ino, stat.st_size)
            added = self._read_back(stream)
        self._seen = _stamp(stat)
        return added

    def _is_same(self, stream: IO[bytes]) -> bool:
        """Return whether the open file is the one that `text` was read from: a path may be another one's by now."""
        stat, known = os.fstat(stream.fileno()), bytes(self.text[-_COMPARED:])
        if stat.st_ino != self._inode or stat.st_size < self._end:
            return False
        stream.seek(self._end - len(known))
        return stream.read(len(known)) == known

    def _forget(self, inode: int, size: int) -> None:
        self.n_replaced += self._inode != -1
        self.text.clear()
        self._inode, self._begin, self._end, self._seen = inode, size, size, None

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


def _stamp(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
