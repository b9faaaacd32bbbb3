"""manifest.json: the digest of every file, written last; and the check against it."""

import json
from datetime import date
from typing import Any

from quant_assets.domain.run_files import LOG, MANIFEST
from quant_assets.domain.verification import Finding
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.runs.directory import RunDirectory, pretty, sha256
from quant_assets.lakehouse.runs.identity import merkle_root, run_id
from quant_assets.lakehouse.runs.record import log_problems

_NOT_LISTED = {MANIFEST, LOG}
"""The manifest cannot list itself; the log proves itself by its chain."""


def identity_of(run: RunDirectory) -> dict[str, Any]:
    """Return what the run's id is derived from, read back from its configuration."""
    inputs = {key: value for key, value in run.inputs.items() if key not in {"run_id", "merkle_root", "code_version"}}
    return {"inputs": inputs, "config": run.resolved, "code": run.inputs["code_version"]}


def seal_run(run: RunDirectory) -> str:
    """Write manifest.json over all files of a run and return its sha256.

    Raises:
        SnapshotExistsError: the run is sealed and holds something else now.
    """
    run.write(MANIFEST, _manifest(run))
    return sha256(run.read(MANIFEST))


def _manifest(run: RunDirectory) -> str:
    contents = ((name, run.read(name)) for name in run.files() if name not in _NOT_LISTED)
    return pretty(
        {
            "run_id": run.inputs["run_id"],
            "merkle_root": run.inputs["merkle_root"],
            "code_version": run.inputs["code_version"],
            "inputs": run.inputs["tables"],
            "config": run.resolved,
            "files": {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in contents},
            "chained": [LOG],
        }
    )


def hash_findings(run: RunDirectory) -> list[Finding]:
    """Compare every byte of a run with what was recorded.

    Files that were changed, are missing or are not listed are errors; so are a manifest that differs from the one
    that the files call for, a log whose chain is broken, and an id that inputs, configuration and code do not give.
    """
    try:
        standing = run.read(MANIFEST)
        problems = [*_file_problems(run, json.loads(standing)["files"])]
        if not problems and standing != _manifest(run).encode():
            problems.append(f"{MANIFEST} is not the manifest of these files")
        problems += _identity_problems(run)
    except (CorruptFileError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Finding("error", "files", f"the run cannot be read: {error or type(error).__name__}")]
    problems += [f"{LOG}: {problem}" for problem in log_problems(run)]
    if problems:
        return [Finding("error", "files", problem) for problem in problems]
    found = [Finding("info", "files", f"{len(list(run.files()))} files are as recorded")]
    if run.run_id != run.inputs["run_id"]:
        found.append(Finding("warn", "name", f"the directory is called {run.run_id}, the run {run.inputs['run_id']}"))
    return found


def _file_problems(run: RunDirectory, listed: dict[str, dict[str, Any]]) -> list[str]:
    present = {name: sha256(run.read(name)) for name in run.files() if name not in _NOT_LISTED}
    missing = [f"{name} is missing" for name in sorted(listed) if name not in present]
    unlisted = [f"{name} is not in {MANIFEST}" for name in present if name not in listed]
    changed = [
        f"{name} was changed: sha256 is {digest[:12]}…, recorded {str(listed[name].get('sha256'))[:12]}…"
        for name, digest in present.items()
        if name in listed and listed[name].get("sha256") != digest
    ]
    return [*missing, *unlisted, *changed, *(f"{name} is no plain file of the run" for name in run.strangers())]


def _identity_problems(run: RunDirectory) -> list[str]:
    root = merkle_root(identity_of(run))
    inputs = run.inputs
    problems = (
        [] if inputs["merkle_root"] == root else ["the merkle root is not that of inputs, configuration and code"]
    )
    expected = run_id(date.fromisoformat(inputs["session"]), inputs["profile"], root)
    if inputs["run_id"] != expected:
        problems.append(f"the run should be called {expected}")
    return problems
