"""The directory of a past lake: made for one reader, held while that one lives, swept when it was killed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quant_assets.control.locks import hold, holder_of
from quant_assets.errors import PastRemovedError
from quant_assets.lakehouse.layout import Layout

_LEFT_OVER = timedelta(days=1)
_READER = "reader"
"""Lock in the directory, held by who reads it."""


@contextlib.contextmanager
def directory(layout: Layout, now: datetime, run_id: str) -> Iterator[Path]:
    """Make a directory beside the lake, so that files can be linked into it, and remove it at the end.

    Args:
        layout: of the lakehouse of now; where it cannot be written, the system's own temporary place is taken.
        now: what is older than a day by then, and that nobody holds, is swept first.
        run_id: who reads.
    """
    where = layout.past
    with contextlib.suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
    _sweep(where, now)
    base = where if os.access(where, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="as-of-", dir=base, ignore_cleanup_errors=True) as root,
        hold(_READER, Path(root), owner={"run": run_id}),
    ):
        yield Path(root)


def require_there(layout: Layout) -> None:
    """Refuse to read a past lake that is gone: each file that is missing would count as one that was never known."""
    if not layout.data.is_dir():
        raise PastRemovedError(layout.data)


def link(source: Path, target: Path) -> None:
    """Give a committed file a second name; where the file system cannot, copy it.

    Writers replace files by renaming over them and never write into one, so the linked bytes stay what they are.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sweep(where: Path, now: datetime) -> None:
    """Remove what readers that were killed left behind; one that lives holds its directory, however old it is."""
    for old in where.glob("as-of-*"):
        with contextlib.suppress(OSError):
            is_old = now - datetime.fromtimestamp(old.stat().st_mtime, UTC) > _LEFT_OVER
            if is_old and holder_of(_READER, old) is None:
                shutil.rmtree(old, ignore_errors=True)
