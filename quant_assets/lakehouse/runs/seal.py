"""manifest.json: the digest of every file, written last; and the check against it."""

from typing import Any

from quant_assets.domain.verification import Finding
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.runs.directory import MANIFEST, RunDirectory, sha256
from quant_assets.lakehouse.runs.record import AUDIT, log_problems

_NOT_LISTED = {MANIFEST, AUDIT}
"""The manifest cannot list itself; the log proves itself by its chain."""


def seal_run(run: RunDirectory) -> str:
    """Write manifest.json over all files of a run and return its sha256.

    Raises:
        SnapshotExistsError: the run is sealed and holds something else now.
    """
    inputs = run.inputs
    files = {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in _contents(run)}
    manifest = {
        "run_id": run.run_id,
        "merkle_root": inputs["merkle_root"],
        "code_version": inputs["code_version"],
        "inputs": inputs["tables"],
        "config": run.resolved,
        "files": files,
        "chained": [AUDIT],
    }
    run.write_json(MANIFEST, manifest)
    return sha256(run.read(MANIFEST))


def _contents(run: RunDirectory) -> list[tuple[str, bytes]]:
    return [(name, run.read(name)) for name in run.files() if name not in _NOT_LISTED]


def hash_findings(run: RunDirectory) -> list[Finding]:
    """Compare every file with the manifest: changed, missing and unlisted files are errors, and so is a broken log."""
    try:
        manifest = run.read_json(MANIFEST)
        listed: dict[str, Any] = manifest["files"]
        root_agrees = manifest["run_id"] == run.run_id and run.run_id.endswith(manifest["merkle_root"][:10])
    except (CorruptFileError, KeyError, TypeError) as error:
        return [Finding("error", "files", f"{MANIFEST} cannot be used: {error}")]
    present = dict(_contents(run))
    problems = [f"{name} is missing" for name in listed if name not in present]
    problems += [f"{name} is not in the manifest" for name in present if name not in listed]
    problems += [
        f"{name} was changed: sha256 {sha256(data)[:12]}…, recorded {listed[name]['sha256'][:12]}…"
        for name, data in present.items()
        if name in listed and sha256(data) != listed[name]["sha256"]
    ]
    problems += [f"{AUDIT}: {problem}" for problem in log_problems(run)]
    if not root_agrees:
        problems.append(f"{MANIFEST} belongs to another run")
    if problems:
        return [Finding("error", "files", problem) for problem in problems]
    return [Finding("info", "files", f"{len(present)} files equal their recorded sha256")]
