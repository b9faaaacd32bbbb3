"""Files of the lakehouse: they appear as `control.files` says, and what killed writers left is swept away."""

from pathlib import Path

from quant_assets.control.files import STAGED, naming_full_disk, replacing, write_text

__all__ = ["naming_full_disk", "replacing", "sweep_staged", "write_text"]


def sweep_staged(directory: Path) -> None:
    """Remove what killed writers left beside their targets; call it under the lock of the writers."""
    if directory.is_dir():
        for leftover in directory.glob(f"{STAGED}*"):
            leftover.unlink(missing_ok=True)
