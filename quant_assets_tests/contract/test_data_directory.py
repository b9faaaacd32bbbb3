"""One data directory, one lakehouse, one Dagster history: QUANT_DATA moves them together, and clean-data follows it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.control.locks import hold
from quant_assets.errors import DefectError
from quant_assets.registry import open_instance

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project directory that is also the working directory, as for somebody who types commands."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("Makefile", "dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, root)
    monkeypatch.chdir(root)
    return root


def histories(below: Path) -> list[str]:
    """Where Dagster's databases are, relative to a directory that is above all of them."""
    return sorted(str(file.parents[1].relative_to(below)) for file in below.rglob("runs.db"))


def make(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with this interpreter's environment, which needs no installing."""
    given = [f"BIN={Path(sys.executable).parent}", "--old-file", ".venv/.run", *words]
    return subprocess.run(
        ["make", *given], cwd=root, env=os.environ | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "project/data/.dagster"),
        ({"QUANT_DATA": ""}, "project/data/.dagster"),
        ({"QUANT_DATA": "rehearsal"}, "project/rehearsal/.dagster"),
        ({"QUANT_DATA": "{tmp}/far away"}, "far away/.dagster"),
        ({"QUANT_DATA": "{tmp}/far away", "DAGSTER_HOME": "{tmp}/project"}, "far away/.dagster"),
    ],
)
def test_the_history_stands_in_the_data_directory(project, tmp_path, monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    with open_instance() as instance:
        assert isinstance(instance, dg.DagsterInstance)
        assert instance.is_persistent
    assert histories(tmp_path) == [expected]


def dagster(project: Path, variables: Mapping[str, str], *words: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "QUANT"))}
    ran = subprocess.run(
        [sys.executable, "-m", "dagster", *words],
        cwd=project,
        env=kept | {"DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_dagsters_own_commands_see_the_history_of_their_data_directory(project, tmp_path, monkeypatch):
    (tmp_path / "one_asset.py").write_text("import dagster as dg\n\n@dg.asset\ndef one() -> None: ...\n")
    here, there = {"QUANT_DATA": str(tmp_path / "here")}, {"QUANT_DATA": str(tmp_path / "there")}
    dagster(project, here, "asset", "materialize", "-f", str(tmp_path / "one_asset.py"), "--select", "one")
    counts = []
    for variables in (here, there, {}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with open_instance() as instance:
            counts.append(instance.get_runs_count())
        monkeypatch.delenv("QUANT_DATA", raising=False)
    assert counts == [1, 0, 0]
    assert list((tmp_path / "here" / ".dagster" / "compute_logs").rglob("*.err")), "the logs are there, too"


def test_a_fresh_history_is_made_by_one_process_at_a_time(project):
    """Two that meet a fresh one at once corrupt it for good; the lock refuses the thread that has it already."""
    fresh = project / "data" / ".dagster"
    with hold("dagster", fresh), pytest.raises(DefectError):
        open_instance()
    assert histories(project) == []
    with open_instance():
        assert histories(project) == ["data/.dagster"]


@pytest.mark.parametrize(("data", "expected"), [(None, "project/data"), ("{tmp}/far away", "far away")])
def test_make_setup_makes_the_history_of_the_data_directory_once(project, tmp_path, data, expected):
    variables = {"QUANT_DATA": data.format(tmp=tmp_path)} if data else {}
    made = make(project, "setup", **variables)
    assert made.returncode == 0, made.stderr
    assert histories(tmp_path) == [f"{expected}/.dagster"]
    stamp = tmp_path / expected / ".dagster" / "initialised"
    before = stamp.stat().st_mtime_ns
    assert make(project, "setup", **variables).returncode == 0
    assert stamp.stat().st_mtime_ns == before


OURS = ("lakehouse/bronze/raw_tws_bars/b.parquet", "artifacts/runs/r/weights.csv", "export/e.json", "aside/a.parquet")


def filled(data: Path) -> Path:
    """Make a data directory with a file in each of its parts, a run's being read-only, and with somebody else's."""
    for name in (*OURS, ".dagster/history/runs.db", "README.md", "thesis.tex"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("irreplaceable")
    (data / OURS[1]).parent.chmod(0o555)
    return data


def names(data: Path) -> set[str]:
    return {entry.name for entry in data.iterdir()}


def test_clean_data_empties_the_data_directory_that_is_in_use(project, tmp_path):
    default, moved = filled(project / "data"), filled(tmp_path / "far away")
    full = names(default)
    done = make(project, "clean-data", "CONFIRM=yes", QUANT_DATA=str(moved))
    assert done.returncode == 0, done.stderr
    assert names(moved) == {"README.md", "thesis.tex"}, "what is not ours stays: the directory may be anybody's"
    assert names(default) == full
    done = make(project, "clean-data", "CONFIRM=yes")
    assert done.returncode == 0, done.stderr
    assert names(default) == {"README.md", "thesis.tex"}


def test_clean_data_says_which_directory_before_it_is_confirmed(project, tmp_path):
    moved = filled(tmp_path / "far away")
    full = names(moved)
    asked = make(project, "clean-data", QUANT_DATA=str(moved))
    assert asked.returncode == 2
    assert str(moved) in asked.stderr
    assert names(moved) == full
