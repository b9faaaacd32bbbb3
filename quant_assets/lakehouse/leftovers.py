"""What killed writers left: files that never came to their places. Who names them and who removes them looks here."""

from pathlib import Path

from quant_assets.control.files import STAGED, below
from quant_assets.control.locks import is_unfinished_note
from quant_assets.lakehouse.layout import Layout


def leftovers(layout: Layout) -> list[Path]:
    """Return the files beside their places in all that writers write to, by path; some may be written right now."""
    roots = (layout.lakehouse, layout.artifacts, layout.exports)
    return sorted(path for root in roots for path in below(root) if _is_left(path) and path.is_file())


def _is_left(path: Path) -> bool:
    return path.name.startswith(STAGED) or is_unfinished_note(path)
