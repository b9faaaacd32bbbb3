"""What a run is called, and from what: its inputs, its configuration, its code."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from datetime import date
from importlib import metadata
from typing import Any

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
