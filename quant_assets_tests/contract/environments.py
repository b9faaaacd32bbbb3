"""Second virtual environments: another client library, or another Python, with everything else as it is here.

An environment for the running Python takes its packages from the running environment by links, all but the client
library and what belongs to it, and installs the other library: seconds and a megabyte. One for another Python installs
what the contract suite needs. Both are kept in `.cache/` and made anew when the requirements change.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
LIBRARIES = ("ib_insync", "ib_async")
HIDDEN = re.compile(
    r"(ib_insync|ib_async|eventkit|aeventkit|nest_asyncio|pip|setuptools|quant_assets)([-.].*)?|_.*quant.*|.*\.pth",
    re.IGNORECASE,
)
"""What is not shared: the client libraries, which must not meet, and what each environment has of its own."""
HEAVY = ("dagster", "matplotlib", "ib_insync")
"""Requirements of the product that the contract suite never imports; the library is added as the last one."""
UNREACHABLE = re.compile(
    r"no matching distribution|could not find a version|connection|temporary failure|max retries|unreachable|timed out",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment by its interpreter."""

    python: Path

    def run(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the interpreter in the project's directory, with the project importable and nothing else of ours."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT_", "PYTEST_", "PYTHON", "COV_"))}
        env = {name: value for name, value in clean.items() if name not in ("VIRTUAL_ENV", "DAGSTER_HOME")}
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=ROOT,
            env=env | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        told = self.run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
        return Path(told.stdout.strip())


def is_ci() -> bool:
    """Return whether this is a run of CI, in which only a Python that is not there is a reason to skip."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def interpreter(version: str) -> Path:
    """Return a Python of that version which really starts and can make environments; skip the test without one."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return Path(sys.executable)
    names = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")]
    for name in filter(None, names):
        tried = subprocess.run([str(name), "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if tried.returncode == 0:
            return Path(name)
    pytest.skip(f"there is no Python {version} on this machine")


def environment(version: str, library: str) -> Environment:
    """Return an environment of a Python version with one of the two client libraries, made if need be."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with FileLock(CACHE / "environments.lock", timeout=600):
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            return _sharing(version, library, Path(sysconfig.get_paths()["purelib"]), Path(sys.executable))
        base = _installed(version)
        return base if library == "ib_insync" else _sharing(version, library, base.site_packages, base.python)


def _sharing(version: str, library: str, packages: Path, python: Path) -> Environment:
    shared = sorted(entry for entry in packages.iterdir() if not HIDDEN.fullmatch(entry.name))
    wanted = {"library": library, "packages": [str(entry) for entry in shared]}
    found, is_ready = _begin(f"{library}-venv-{version}", wanted, python)
    if is_ready:
        return found
    install(found, library)
    links = found.python.parents[1] / "shared"
    links.mkdir()
    for entry in shared:
        (links / entry.name).symlink_to(entry)
    # after the environment's own packages, so that its versions win
    (found.site_packages / "shared.pth").write_text(f"{links}\n")
    return _finish(found, wanted)


def _installed(version: str) -> Environment:
    """Return an environment that has what the contract suite needs, with ib_insync."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    wanted = [one for one in named if not one.startswith(HEAVY)]
    found, is_ready = _begin(f"contract-venv-{version}", wanted, interpreter(version))
    if is_ready:
        return found
    install(found, *wanted, *(one for one in named if one.startswith("ib_insync")))
    return _finish(found, wanted)


def _begin(name: str, wanted: object, python: Path) -> tuple[Environment, bool]:
    home = CACHE / name
    found = Environment(home / "bin" / "python")
    stamp = home / "stamp"
    if stamp.is_file() and stamp.read_text() == _digest(wanted):
        return found, True
    shutil.rmtree(home, ignore_errors=True)
    made = subprocess.run([str(python), "-m", "venv", str(home)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return found, False


def _finish(found: Environment, wanted: object) -> Environment:
    (found.python.parents[1] / "stamp").write_text(_digest(wanted))
    return found


def _digest(wanted: object) -> str:
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def install(found: Environment, *requirements: str) -> None:
    """Install; where the package registry cannot be reached, CI fails and a machine without network skips."""
    done = found.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements, timeout_s=900)
    if done.returncode == 0:
        return
    shutil.rmtree(found.python.parents[1], ignore_errors=True)
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if UNREACHABLE.search(done.stderr) and not is_ci():
        pytest.skip(f"the package registry cannot be reached: {last}")
    pytest.fail(f"pip install {' '.join(requirements)}: {last}")


def contract_suite() -> Sequence[str]:
    """The files in which the client library is at work: ours around it, and it alone against the gateway."""
    tests = ROOT / "quant_assets_tests"
    names = (
        "test_tws_*.py",
        "failure_modes/test_*.py",
        "test_gateway_client.py",
        "test_gateway_faults.py",
        "test_recorder.py",
        "test_read_only.py",
        "test_doctor.py",
    )
    contract = [file for name in names for file in (tests / "contract").glob(name)]
    files = [*contract, *(tests / "unit" / "connectors").glob("test_tws_*.py")]
    return sorted(str(file.relative_to(ROOT)) for file in files)
