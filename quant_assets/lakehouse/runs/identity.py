"""What a run is called, and from what: its inputs, its configuration, its code."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import quant_assets
from quant_assets.settings.names import safe_name

_LIBRARIES = (
    "numpy",
    "scipy",
    "polars",
    "pyarrow",
    "skfolio",
    "scikit-learn",
    "cvxpy-base",
    "clarabel",
    "matplotlib",
    "jinja2",
)

_PROFILE_ROOM = 42

_CODE = (
    "domain/allocation.py",
    "domain/candidates.py",
    "domain/indicators.py",
    "domain/meta.py",
    "domain/returns.py",
    "domain/selection",
    "domain/synthesis.py",
    "domain/optimization",
    "domain/costs.py",
    "domain/robustness.py",
    "domain/verification.py",
    "domain/reports",
    "lakehouse/content.py",
    "lakehouse/runs",
    "flows/alpha",
    "flows/meta",
    "flows/snapshot",
    "settings/manifest.py",
)


@cache
def code_version() -> str:
    """Return the release and a digest of the source files that decide what a run holds, as `0.1.0+1a2b3c4d5e6f`.

    The release alone would not do: between two releases the code changes while its number does not, and a run that
    differs from the one that stands would claim its name. The digest is over source text, not syntax trees, whose
    form changes with the Python version; so a changed comment makes a new run, which costs seconds and never lies.
    """
    digest = hashlib.sha256()
    root = Path(quant_assets.__file__).parent
    for file in _sources(root):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).digest())
    return f"{quant_assets.__version__}+{digest.hexdigest()[:12]}"


def _sources(root: Path) -> list[Path]:
    found: set[Path] = set()
    for name in _CODE:
        path = root / name
        found.update(path.rglob("*") if path.is_dir() else [path.with_suffix(".py")])
    kept = (path for path in found if path.suffix in {".py", ".j2", ".css"} and path.is_file())
    return sorted(kept, key=lambda path: path.relative_to(root).as_posix())


def environment() -> dict[str, Any]:
    """Return what the numbers of a run may depend on beyond its inputs: interpreter, platform, libraries."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{platform.system()}-{platform.machine()}",
        "blas": _blas(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def _blas() -> list[dict[str, Any]]:
    """Return the linear algebra that NumPy computes with: its kernels differ between processors in the last digits."""
    import numpy  # noqa: F401, ICN001 - loads the library that is looked for
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    libraries = (one for one in threadpool_info() if one["user_api"] == "blas" and "numpy" in one["filepath"])
    return [{key: library.get(key) for key in keys} for library in libraries]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def merkle_root(content: Mapping[str, Any]) -> str:
    """Return the sha256 over the hashes of the parts of `content`, each part in canonical JSON, parts by name."""
    leaves = (f"{name}={hashlib.sha256(canonical(content[name])).hexdigest()}" for name in sorted(content))
    return hashlib.sha256("\n".join(leaves).encode()).hexdigest()


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def run_id(session: date, profile: str, root: str) -> str:
    """Return `<session>-<profile>-<first 10 of the root>`: equal inputs, configuration and code give an equal name.

    A name that becomes part of a path has 64 characters at most; a longer profile is cut, the root tells it apart.
    """
    return safe_name("run id", f"{session}-{profile[:_PROFILE_ROOM]}-{root[:10]}")
