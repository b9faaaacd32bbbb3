"""DVC pointers: one `.dvc` file per file of a run's data, in DVC's documented format; DVC itself is not needed.

Pointers never go into the run directory, whose manifest lists every file that may be there.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from quant_assets.control.files import write_text
from quant_assets.errors import ConfigurationError
from quant_assets.lakehouse.runs import RunDirectory

DATA = "data/"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One file of a run, as DVC points to it."""

    name: str
    """Relative to the run directory."""
    md5: str
    size: int

    def text(self, wdir: str) -> str:
        """Return the pointer file; `wdir` is the file's directory, relative to the pointer's."""
        out = {"md5": self.md5, "size": self.size, "hash": "md5", "path": Path(self.name).name}
        return yaml.safe_dump({"wdir": wdir, "outs": [out]}, sort_keys=False)


def pointers(run: RunDirectory) -> Iterator[Pointer]:
    """Yield a pointer for every file below a run's `data/`.

    Raises:
        ConfigurationError: the run is not finished.
    """
    if not run.is_finished:
        raise ConfigurationError(
            f"run {run.run_id}", "it is not finished, and its files may still change.", "Run `quant flow alpha` first."
        )
    for name in run.files():
        if name.startswith(DATA):
            content = run.read(name)
            yield Pointer(name, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content))


def write_pointers(run: RunDirectory, target: Path, *, dry_run: bool = False) -> list[tuple[Path, Pointer]]:
    """Write the pointers of a run below a directory; equal ones are left alone.

    Args:
        run: a finished run.
        target: where the pointers go, outside of the run directory.
        dry_run: write nothing.

    Returns:
        The path of each pointer, and the pointer.

    Raises:
        ConfigurationError: the run is not finished, or the target lies inside a run.
    """
    where = target.absolute()
    if where.is_relative_to(run.path.absolute()):
        raise ConfigurationError(
            str(target), "it lies inside the run, which holds nothing but what its manifest lists."
        )
    written = []
    for pointer in pointers(run):
        path = where / f"{pointer.name}.dvc"
        text = pointer.text(Path(os.path.relpath(run.file(pointer.name).parent.absolute(), path.parent)).as_posix())
        if not dry_run and not (path.exists() and path.read_text(encoding="utf-8") == text):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        written.append((path, pointer))
    return written
