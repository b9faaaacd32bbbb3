"""A real `dagster dev` or `dagster-webserver` in a directory of its own, spoken to in GraphQL as the UI does."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_assets_tests.assets.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A running server; its console goes to a file."""

    url: str
    process: subprocess.Popen[str]
    console: Path

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the data of a GraphQL answer."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        data: dict[str, Any] = found["data"]
        return data

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def served(*command: str, directory: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run a Dagster command with its own port in a directory that has this project's dagster.yaml and workspace.yaml."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, directory)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "QUANT", "PYTHON"))}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    console = directory / "console.log"
    with console.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=directory,
            env={**kept, "PYTHONPATH": str(REPOSITORY), "DAGSTER_DISABLE_TELEMETRY": "1", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, console)
    try:
        wait_for(server.is_up, process)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Ask the server to end, then end whatever is left of its process group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
