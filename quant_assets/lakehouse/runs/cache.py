"""The stage cache: what a stage made, kept under what it was made from.

An entry is named by the sha256 of its stage's inputs, configuration, code and environment, and lists the digests of
its parts; the parts are files named by the digest of their bytes, so that equal results are kept once. Everything is
read-only, and a run receives copies. An entry that does not hold what its names say is not served.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.control.files import replacing
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.runs.directory import pretty, sha256
from quant_assets.lakehouse.runs.identity import canonical

_READ_ONLY = 0o444
_MEND = "It is computed again; `quant run cache --clear` empties the cache."
_LISTED = {"stage": pl.String, "key": pl.String, "parts": pl.Int64, "bytes": pl.Int64, "state": pl.String}


@dataclass(frozen=True)
class StageCache:
    """`data/artifacts/cache`: `entries/<stage>/<key>.json` and `objects/<first two>/<sha256>`."""

    path: Path

    def get(self, stage: str, key: str) -> dict[str, bytes] | None:
        """Return the parts of an entry by name, or None when there is none; its file's time says when it was served.

        Raises:
            CorruptFileError: the entry, or a part of it, is not what its name says.
        """
        parts = self._parts(stage, key)
        if parts is not None:
            with contextlib.suppress(OSError):  # of somebody else, perhaps: it only looks older than it is
                os.utime(self._entry(stage, key))
        return parts

    def _parts(self, stage: str, key: str) -> dict[str, bytes] | None:
        file = self._entry(stage, key)
        try:
            said = file.read_bytes()
        except FileNotFoundError:
            return None
        entry = self._checked(file, key, said)
        return {name: self._object(digest) for name, digest in entry["parts"].items()}

    def put(self, stage: str, origin: Mapping[str, Any], parts: Mapping[str, bytes]) -> str:
        """Keep the parts that a stage made, and return their key.

        Args:
            stage: its name.
            origin: everything that the parts depend on, as JSON values; the key is its digest.
            parts: bytes by name.
        """
        key = key_of(origin)
        for data in parts.values():
            self._write(self._blob(sha256(data)), data)
        body = {"origin": dict(origin), "parts": {name: sha256(data) for name, data in sorted(parts.items())}}
        self._write(self._entry(stage, key), pretty({**body, "sha256": sha256(canonical(body))}).encode())
        return key

    def drop(self, stage: str, key: str) -> None:
        """Forget an entry, and those of its parts that are damaged."""
        file = self._entry(stage, key)
        for digest in _digests(file):
            blob = self._blob(digest)
            with contextlib.suppress(FileNotFoundError):
                if sha256(blob.read_bytes()) != digest:
                    blob.unlink()
        file.unlink(missing_ok=True)

    def entries(self) -> pl.DataFrame:
        """Return all entries: stage, key, parts, bytes, state (whole, damaged)."""
        rows = [self._listed(file) for file in self._entries()]
        return pl.DataFrame(rows, schema=_LISTED, orient="row")

    def clear(self) -> int:
        """Remove everything; return the bytes that are free now. A stage that is served meanwhile computes.

        What is being put in is left to whoever does it, and what a killed one left to `quant lake gc`.
        """
        freed = 0
        for file in [*self._entries(), *self._objects()]:
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                size = file.stat().st_size
                file.unlink()
                freed += size
        return freed

    def files(self) -> tuple[dict[Path, list[Path]], list[Path]]:
        """Return each entry's file with the objects that it names, and all objects."""
        entries = {file: [self._blob(digest) for digest in _digests(file)] for file in self._entries()}
        return entries, self._objects()

    def _entries(self) -> list[Path]:
        return sorted(self.path.glob("entries/*/[!.]*.json"))

    def _objects(self) -> list[Path]:
        return sorted(self.path.glob("objects/*/[!.]*"))

    def _listed(self, file: Path) -> tuple[str, str, int, int, str]:
        stage, key = file.parent.name, file.stem
        try:
            parts = self._parts(stage, key) or {}
        except CorruptFileError:
            return (stage, key, len(_digests(file)), file.stat().st_size, "damaged")
        return (stage, key, len(parts), sum(map(len, parts.values())), "whole")

    def _checked(self, file: Path, key: str, said: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(said)
            body = {"origin": entry["origin"], "parts": entry["parts"]}
            is_whole = entry["sha256"] == sha256(canonical(body)) and key_of(entry["origin"]) == key
        except (ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise CorruptFileError(file, "the cache entry is not what its name says", _MEND)
        return body

    def _object(self, digest: str) -> bytes:
        blob = self._blob(digest)
        try:
            data = blob.read_bytes()
        except FileNotFoundError:
            raise CorruptFileError(blob, "a cache entry names it, and it is not there", _MEND) from None
        if sha256(data) != digest:
            raise CorruptFileError(blob, "its sha256 is not its name", _MEND)
        return data

    def _entry(self, stage: str, key: str) -> Path:
        return self.path / "entries" / stage / f"{key}.json"

    def _blob(self, digest: str) -> Path:
        return self.path / "objects" / digest[:2] / digest

    def _write(self, target: Path, data: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            if target.read_bytes() == data:
                return
        with replacing(target) as staged:
            staged.write_bytes(data)
            staged.chmod(_READ_ONLY)


def key_of(origin: Mapping[str, Any]) -> str:
    """Return the name of what is made from `origin`."""
    return sha256(canonical(dict(origin)))


def _digests(file: Path) -> list[str]:
    try:
        found: Iterator[Any] = iter(json.loads(file.read_bytes())["parts"].values())
        return [digest for digest in found if isinstance(digest, str) and digest.isalnum()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
