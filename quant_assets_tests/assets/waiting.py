"""Waiting for what other processes do: bounded, and ended early when the process that should do it has died."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(look: Callable[[], T], process: subprocess.Popen[str] | None = None, *, within_s: float = 90) -> T:
    """Return the first true answer of `look`.

    Raises:
        AssertionError: there was none within the bound, or the process ended before; tells what it said.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        if process is not None and process.poll() is not None:
            said = process.stdout.read() if process.stdout else ""
            raise AssertionError(f"it ended with {process.returncode}: {said[-3000:]}")
        time.sleep(0.1)
    raise AssertionError(f"nothing within {within_s:g} s")
