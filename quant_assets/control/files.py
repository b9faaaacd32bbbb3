"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from quant_assets.errors import DiskFullError, no_space

STAGED = ".staged-"
"""How the names of files begin that are not in their place yet."""
_STAMP = 12
"""Letters after that, then a dash and the name of the target."""


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to, and move it over `target` when the block ends well.

    The rename is the commit point: a process that dies at any instant leaves the old file or the new one. The bytes
    and the directory entry are on disk when the block returns.

    Raises:
        DiskFullError: there is no space; `target` is untouched.
    """
    staged = target.with_name(f"{STAGED}{uuid.uuid4().hex[:_STAMP]}-{target.name}")
    with naming_full_disk(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield staged
            _flush(staged)
            staged.replace(target)
            _flush(target.parent)
        finally:
            staged.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_full_disk(target: Path) -> Iterator[None]:
    """Turn a lack of space inside the block into a DiskFullError about `target`, whichever library met it."""
    try:
        yield
    except Exception as error:
        if cause := no_space(error):
            raise DiskFullError(target, cause) from error
        raise


def write_text(target: Path, text: str) -> None:
    """Replace a text file atomically."""
    with replacing(target) as staged:
        staged.write_text(text, encoding="utf-8")


def sweep_staged(directory: Path, name: str = "") -> None:
    """Remove what killed writers left beside their targets; call it under the lock of the writers.

    Args:
        directory: where the targets are.
        name: of the one target that the lock is about, where the directory is shared with others; any when empty.
    """
    if directory.is_dir():
        for leftover in directory.glob(f"{STAGED}*"):
            if not name or is_staged_for(leftover, name):
                leftover.unlink(missing_ok=True)


def is_staged_for(path: Path, name: str) -> bool:
    """Return whether a path is one that `replacing` gave to write a target of this name."""
    return path.name.startswith(STAGED) and path.name[len(STAGED) + _STAMP :] == f"-{name}"


def below(root: Path) -> Iterator[Path]:
    """Yield the files and directories below a directory; what others remove meanwhile is left out."""
    for directory, inner, names in os.walk(root):
        yield from (Path(directory, name) for name in (*inner, *names))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
