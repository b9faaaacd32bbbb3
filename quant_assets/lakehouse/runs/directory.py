"""One run directory: files are written once, whole, and never again."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from quant_assets.clock import Clock
from quant_assets.control.files import replacing
from quant_assets.control.locks import hold
from quant_assets.domain.run_files import INPUTS, JUDGED, MANIFEST, RESOLVED
from quant_assets.errors import CorruptFileError, SnapshotExistsError, UnsafeNameError
from quant_assets.lakehouse.layout import locks_beside

_MEND = "Restore the run directory from a backup, or remove it and materialize the snapshot again."
_READ_ONLY = 0o444
_WAIT_S = 120.0


@dataclass(frozen=True)
class RunDirectory:
    """`data/artifacts/runs/<run_id>/`.

    A file appears whole (written beside, flushed, renamed) and read-only. Writing equal content again changes nothing,
    writing other content is refused, so that a run that was killed anywhere is completed by running it again.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def is_finished(self) -> bool:
        """Whether the manifest that seals the run is there."""
        return (self.path / MANIFEST).is_file()

    @contextmanager
    def writing(self, clock: Clock | None = None) -> Iterator[None]:
        """Be the one writer of this run, and clear away what killed writers left beside their targets.

        Who goes on with an old run may find everything written, and what will name the run comes after the lock is
        free: an unfinished run is young again from the beginning of its writing.

        Raises:
            LockHeldError: another process writes this run for longer than two minutes.
        """
        with hold(self.run_id, locks_beside(self.path), clock, _WAIT_S, {"run": self.run_id}):
            for leftover in [*self.path.rglob(".staged-*")]:
                leftover.unlink(missing_ok=True)
            if self.path.is_dir() and not self.is_finished:
                os.utime(self.path)
            yield

    def file(self, name: str) -> Path:
        """Return the path of a file by its name relative to the run.

        Raises:
            UnsafeNameError: the name leaves the run directory.
        """
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name:
            raise UnsafeNameError("file of a run", name, "relative paths inside the run directory")
        return self.path / parts

    def files(self) -> Iterator[str]:
        """Yield the names of all files, sorted; leftovers of killed writers are not files of the run."""
        found = (path for path in self.path.rglob("*") if path.is_file() and not path.name.startswith(".staged-"))
        yield from sorted(path.relative_to(self.path).as_posix() for path in found)

    def strangers(self) -> Iterator[str]:
        """Yield what a finished run does not hold, sorted: links, devices, and leftovers of killed writers."""
        for path in sorted(self.path.rglob("*")):
            is_plain = path.is_dir() or (path.is_file() and not path.name.startswith(".staged-"))
            if path.is_symlink() or not is_plain:
                yield path.relative_to(self.path).as_posix()

    def write(self, name: str, content: bytes | str) -> bool:
        """Write a file once; return whether anything was written.

        Raises:
            SnapshotExistsError: the file exists and holds something else.
        """
        data = content.encode() if isinstance(content, str) else content
        return self._once(name, data, lambda standing: standing == data)

    def write_json(self, name: str, value: Any) -> bool:
        """Write a value as JSON with sorted keys, once."""
        return self.write(name, pretty(value))

    def write_frame(self, name: str, frame: pl.DataFrame) -> bool:
        """Write a frame as Snappy Parquet, once; another library version may encode equal values in other bytes."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="snappy", statistics=True)
        data = buffer.getvalue()
        return self._once(name, data, lambda standing: standing == data or _equals(standing, frame))

    def _once(self, name: str, data: bytes, is_same: Callable[[bytes], bool]) -> bool:
        target = self.file(name)
        if target.exists():
            standing = target.read_bytes()
            if not is_same(standing):
                raise SnapshotExistsError(f"{self.run_id}/{name}", sha256(standing), sha256(data))
            return False
        with replacing(target) as staged:
            staged.write_bytes(data)
            staged.chmod(_READ_ONLY)
        return True

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            CorruptFileError: it is not there.
        """
        try:
            return self.file(name).read_bytes()
        except OSError as error:
            raise CorruptFileError(self.file(name), error.strerror or "unreadable", _MEND) from None

    def read_json(self, name: str) -> Any:
        """Return a JSON file's value.

        Raises:
            CorruptFileError: it is not there, or is no JSON.
        """
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise CorruptFileError(self.file(name), f"no JSON: {error}", _MEND) from None

    def read_frame(self, name: str) -> pl.DataFrame:
        """Return a Parquet file's rows.

        Raises:
            CorruptFileError: it is not there, or is no Parquet.
        """
        try:
            return pl.read_parquet(io.BytesIO(self.read(name)))
        except pl.exceptions.PolarsError as error:
            raise CorruptFileError(self.file(name), str(error).splitlines()[0][:200], _MEND) from None

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """`config/inputs.json`: what was frozen, from which content ids."""
        return dict(self.read_json(INPUTS))

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """`config/resolved_manifest.json`: the profile as it was applied."""
        return dict(self.read_json(RESOLVED))

    @cached_property
    def audit_trail(self) -> list[dict[str, Any]]:
        """`config/selection_audit.json`: every instrument with its verdict."""
        return list(self.read_json(JUDGED)["instruments"])


def pretty(value: Any) -> str:
    """Return JSON for people, with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, default=str) + "\n"


def sha256(data: bytes) -> str:
    """Return the hex digest."""
    return hashlib.sha256(data).hexdigest()


def _equals(standing: bytes, frame: pl.DataFrame) -> bool:
    try:
        return pl.read_parquet(io.BytesIO(standing)).equals(frame)
    except pl.exceptions.PolarsError:
        return False
