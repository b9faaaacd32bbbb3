"""What holds for every test: no network beyond loopback, a clean environment, and the same examples on every run."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT.parent / "shared" / "data"
"""Recorded market data, kept beside the repository because its licences do not allow it inside."""

LOOPBACK = ["127.0.0.1", "::1", "localhost"]

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile("ci")
"""`pytest --hypothesis-profile=explore` looks for new counterexamples; the suite itself must not be a lottery."""


def pytest_configure() -> None:
    """Forget the caller's configuration before any fixture reads it, those of modules and sessions included."""
    for name in _ours():
        del os.environ[name]


def pytest_runtest_setup() -> None:
    """Let a test reach itself and nobody else; event loops need their Unix socket pairs."""
    socket_allow_hosts(LOOPBACK, allow_unix_socket=True)


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without our variables, whatever a test before it has set."""
    for name in _ours():
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of recorded market data; a test that needs it skips where it is absent."""
    if not RECORDED.is_dir():
        pytest.skip("the recorded market data (../shared/data) is not on this machine")
    return RECORDED


def _ours() -> list[str]:
    return [name for name in os.environ if name.startswith("QUANT_") or name in ("DAGSTER_HOME", "CANDIDATES_FILE")]
