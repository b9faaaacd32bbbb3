"""A stranger's machine: a copied run directory, no lakehouse, another Python; and every byte counts."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.domain.verification import errors
from quant_assets.flows.alpha import STEPS
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, code_version, hash_findings
from quant_assets_tests.contract.environments import ROOT, environment
from quant_assets_tests.unit.alpha import scenario

OTHER = "3.13" if sys.version_info[:2] != (3, 13) else "3.11"
METHODS = ("min_variance", "hrp")
"""One whose solver iterates, and one that is arithmetic."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return finished runs by method."""
    layout, runs = Layout(tmp_path_factory.mktemp("made")), {}
    for method in METHODS:
        world = scenario.world(n=6, method=method)
        runs[method] = world.freeze(layout).run
        for step in STEPS:
            step(runs[method], world.clock)
    return runs


@pytest.fixture
def copied(made, tmp_path):
    """Return a copy of a run under another name, outside any data directory."""
    shutil.copytree(made["hrp"].path, tmp_path / "from a friend")
    return tmp_path / "from a friend"


def verify(python: str | Path, run: Path, home: Path) -> dict:
    # Neither the data directory nor the caller's home are known; what chooses linear algebra belongs to the machine.
    machine = {name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS_", "OMP_", "MKL_"))}
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **machine}
    done = subprocess.run(
        [python, "-c", "from quant_assets.cli import main; main()", "run", "verify", str(run), "--json"],
        cwd=str(home),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 65), done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode, "stderr": done.stderr}


def test_a_copied_directory_is_verified_by_one_command_that_writes_nothing(copied, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    told = verify(sys.executable, copied, home)
    for path in before:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert (told["verified"], told["exit"]) == (True, 0)
    messages = {one["check"]: one["message"] for one in told["findings"]}
    assert messages["environment"] == "compared bit for bit"
    assert "the directory is called from a friend" in messages["name"]
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
    assert [path.name for path in home.iterdir() if not path.name.startswith(".")] == []


def test_a_copied_directory_that_was_altered_is_refused(copied, tmp_path):
    file = copied / "data" / "weights.csv"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("hrp", "hrq", 1))
    told = verify(sys.executable, copied, tmp_path)
    assert (told["verified"], told["exit"]) == (False, 65)
    assert "data/weights.csv was changed" in told["stderr"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_one_python_is_verified_under_another(made, method, tmp_path):
    other = environment(OTHER, "ib_insync")
    told = verify(other.python, made[method].path, tmp_path)
    assert told["verified"], told
    findings = told["findings"]
    tolerance = "1e-06" if method == "min_variance" else "1.5e-09"
    (compared,) = [one["message"] for one in findings if one["check"] == "environment"]
    assert compared.startswith(f"compared to {tolerance}, because of ")
    assert f"python ({platform.python_version()}, here {OTHER}." in compared
    assert "code (" not in compared
    (weights,) = [one for one in findings if one["message"].startswith("weights:") and one["check"] == "recomputed"]
    assert weights["value"] <= float(tolerance)
    assert sum(one["check"] == "recomputed" for one in findings) == 6


def test_the_same_source_has_one_code_version_under_every_python():
    other = environment(OTHER, "ib_insync")
    told = other.run("-c", "from quant_assets.lakehouse.runs import code_version; print(code_version())")
    assert told.stdout.strip() == code_version()


@pytest.fixture(scope="module")
def victim(made, tmp_path_factory):
    """Return a run that the property below damages and mends."""
    path = tmp_path_factory.mktemp("victim") / made["hrp"].run_id
    shutil.copytree(made["hrp"].path, path)
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return RunDirectory(path)


@given(st.data())
def test_any_byte_of_any_file_counts(victim, data):
    name = data.draw(st.sampled_from(sorted(victim.files())))
    original = victim.read(name)
    place = data.draw(st.integers(0, len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    victim.file(name).write_bytes(original[:place] + bytes([original[place] ^ flip]) + original[place + 1 :])
    try:
        assert errors(hash_findings(RunDirectory(victim.path))), (name, place, flip)
    finally:
        victim.file(name).write_bytes(original)


@given(st.data())
def test_a_file_that_is_cut_short_grows_or_goes_is_found(victim, data):
    name = data.draw(st.sampled_from(sorted(victim.files())))
    original = victim.read(name)
    kind = data.draw(st.sampled_from(["cut", "grown", "gone", "doubled line"]))
    if kind == "gone":
        victim.file(name).unlink()
    else:
        cut = data.draw(st.integers(0, len(original) - 1))
        lines = original.splitlines(keepends=True)
        damaged = {"cut": original[:cut], "grown": original + b"\n", "doubled line": b"".join([*lines, lines[-1]])}
        victim.file(name).write_bytes(damaged[kind])
    try:
        assert errors(hash_findings(RunDirectory(victim.path))), (name, kind)
    finally:
        victim.file(name).write_bytes(original)


@pytest.mark.parametrize("stranger", ["data/extra.csv", ".hidden", "data/.staged-0123456789ab-x.parquet", "link"])
def test_what_does_not_belong_to_a_run_is_found(victim, stranger):
    path = victim.file(stranger)
    if stranger == "link":
        kept = victim.read("INDEX.md")
        path = victim.file("INDEX.md")
        path.unlink()
        (victim.path.parent / "outside.md").write_bytes(kept)
        path.symlink_to(victim.path.parent / "outside.md")  # equal bytes, but not the run's own
    else:
        path.write_bytes(b"x")
    try:
        assert errors(hash_findings(RunDirectory(victim.path)))
    finally:
        path.unlink()
        if stranger == "link":
            victim.file("INDEX.md").write_bytes(kept)
    assert not errors(hash_findings(RunDirectory(victim.path)))
