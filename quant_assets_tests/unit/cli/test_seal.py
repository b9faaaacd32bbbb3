"""Which commands give up the network for good: the words decide, wherever the options before them stand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LEFT = """
import os, sys
from quant_assets.cli import main
before = os.readlink("/proc/self/ns/net")
try:
    main()
except SystemExit:
    pass
print("left" if os.readlink("/proc/self/ns/net") != before else "stayed")
"""


def fate(*words: str) -> str:
    done = subprocess.run([sys.executable, "-c", LEFT, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if not Path("/proc/self/ns/net").exists() or fate("flow", "alpha", "--help") != "left":
        pytest.skip("this system lets nobody make a network namespace")


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "risk.max_weight=0.2", "flow", "alpha"),
        ("--set=risk.max_weight=0.2", "--set", "risk.method=hrp", "flow", "production"),
        ("--set", "risk.max_weight=0.2", "run", "verify"),
        ("meta", "run"),
    ],
)
def test_commands_without_need_of_the_network_leave_it(words):
    assert fate(*words, "--help") == "left"


@pytest.mark.parametrize("words", [("flow", "data"), ("--set", "flow", "flow", "data"), ("--unknown", "flow", "alpha")])
def test_others_keep_it(words):
    assert fate(*words, "--help") == "stayed"
