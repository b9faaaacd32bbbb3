"""A run that is killed at any commit is completed by running it again, and equals an undisturbed one."""

import subprocess
import sys
from pathlib import Path

import pytest

from quant_assets.domain.verification import errors
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.unit.alpha import scenario

ROOT = Path(__file__).resolve().parents[3]
KILLED = -9

SCRIPT = """
import os, signal, sys
from pathlib import Path
from quant_assets.control import files
from quant_assets_tests.unit.alpha import scenario
from quant_assets.lakehouse.layout import Layout
from quant_assets.flows.alpha import STEPS

countdown = [int(sys.argv[2])]
flush = files._flush

def flush_or_die(path):
    countdown[0] -= 1
    if countdown[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(path)

files._flush = flush_or_die
world = scenario.world(n=5, method="equal_weight")
run = world.freeze(Layout(Path(sys.argv[1]))).run
for step in STEPS:
    step(run, world.clock)
"""


def contents(layout: Layout) -> dict[str, bytes]:
    (path,) = layout.runs.glob("[!.]*")
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("undisturbed"))
    finish(layout)
    return contents(layout)


def finish(layout: Layout) -> str:
    world = scenario.world(n=5, method="equal_weight")
    run = world.freeze(layout).run
    for step in STEPS:
        step(run, world.clock)
    return run.run_id


# Each file is flushed (odd) before and its directory (even) after the rename: both sides of the commit point.
@pytest.mark.parametrize("flushes", [1, 2, 5, 14, 17, 18, 22, 25, 30, 33, 36, 38, 41, 44, 47, 50])
def test_kill_9_at_a_commit_and_run_again(tmp_path, flushes, undisturbed):
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(flushes)], cwd=ROOT, check=False, capture_output=True
    )
    assert killed.returncode == KILLED, killed.stderr.decode()
    layout = Layout(tmp_path)
    run_id = finish(layout)
    assert contents(layout) == undisturbed
    assert not errors(verify_run(layout, run_id))
