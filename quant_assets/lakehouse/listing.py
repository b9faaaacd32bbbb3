"""Which partitions a table has, from its directories alone."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from quant_assets.lakehouse.layout import Partition


def partitions_below(root: Path) -> Iterator[Partition]:
    """Look at directories only, each once: a history of thousands of sessions is listed in milliseconds."""
    for name, path in _directories(root):
        session = _session_of(name)
        if session is not None:
            yield from _inside(session, path)


def sessions_below(root: Path) -> list[date]:
    """Return the sessions that have a directory, ascending; no directory is looked into."""
    return sorted(session for name, _ in _directories(root) if (session := _session_of(name)) is not None)


def newest_below(root: Path, until: date | None = None) -> Partition | None:
    """Return the newest partition, up to a session if one is given; older directories are not looked into."""
    for name in sorted(_names(root), reverse=True):  # ISO dates sort as text
        session = _session_of(name)
        if session is not None and (until is None or session <= until):
            found = sorted(_inside(session, os.path.join(root, name)))  # noqa: PTH118 - a path object costs more
            if found:
                return found[-1]
    return None


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and modification time of a file or directory; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _names(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _inside(session: date, path: str) -> Iterator[Partition]:
    if _has_files(path):
        yield Partition(session)
    for inner, below in _directories(path):
        if inner.startswith("profile=") and _has_files(below):
            yield Partition(session, inner.removeprefix("profile="))


def _directories(path: Path | str) -> list[tuple[str, str]]:
    try:
        with os.scandir(path) as entries:
            return [(entry.name, entry.path) for entry in entries if "=" in entry.name and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _has_files(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.name.endswith(".parquet") and not entry.name.startswith(".") for entry in entries)
    except (FileNotFoundError, NotADirectoryError):  # it was listed a moment ago, and somebody has wiped it since
        return False


def _session_of(name: str) -> date | None:
    """Return the session of a directory name; None for one that somebody set aside."""
    label, _, text = name.partition("=")
    try:
        return date.fromisoformat(text) if label in ("session", "vintage") else None
    except ValueError:
        return None
