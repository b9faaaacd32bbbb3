"""Making way: a directory where a file belongs goes to `data/aside`, for no rename puts a file in its place."""

import logging
from datetime import datetime
from pathlib import Path

from quant_assets.lakehouse.layout import Layout

_log = logging.getLogger(__name__)


def make_way(layout: Layout, path: Path, now: datetime) -> None:
    """Move a directory aside that stands where a file is written next; anything else stays."""
    if path.is_dir():
        target = layout.set_aside(layout.relative(path), now)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        _log.warning("%s is a directory; it went to %s", path, target)
