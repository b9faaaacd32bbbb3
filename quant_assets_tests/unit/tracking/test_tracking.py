"""Telling others of finished runs: pointers that DVC would write, MLflow where it is installed, and never a failure."""

import contextlib
import hashlib
import importlib.util
import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from quant_assets.control.audit import read
from quant_assets.domain.verification import errors
from quant_assets.errors import ConfigurationError
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.flows.tracking import NOT_TRACKED, pointers, track_run, tracked, write_pointers
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Layout
from quant_assets.settings import Settings
from quant_assets_tests.unit.alpha import scenario

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not HAS_MLFLOW, reason="the extra `mlflow` is not installed")
chatty = pytest.mark.filterwarnings("default")
"""MLflow and what it imports warn of their own affairs."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("tracked")
    world = scenario.world(scenario.closes(120, 6))
    run = world.freeze(Layout(root)).run
    for step in STEPS:
        step(run, world.clock)
    return root, run


@pytest.fixture
def unfinished(tmp_path):
    return scenario.world(scenario.closes(120, 6)).freeze(Layout(tmp_path)).run


def work_of(root, configs, *, enabled=True):
    manifest = {"default_profile": "p", "profiles": {"p": {}}, "tracking": {"mlflow": {"enabled": enabled}}}
    configs.mkdir(exist_ok=True)
    (configs / "manifest.json").write_text(json.dumps(manifest))
    return Work(Settings.from_env({}, data=root, configs=configs), gate=None)


def state(run):
    return {name: hashlib.sha256(run.read(name)).hexdigest() for name in run.files()}


# ------------------------------------------------------------------ DVC


def test_each_data_file_gets_a_pointer_whose_digest_and_path_lead_to_it(finished, tmp_path):
    _, run = finished
    before = state(run)
    written = write_pointers(run, tmp_path)
    assert {pointer.name for _, pointer in written} == {name for name in run.files() if name.startswith("data/")}
    assert len(written) > 6
    for path, pointer in written:
        content = yaml.safe_load(path.read_text())
        assert set(content) == {"wdir", "outs"}
        (out,) = content["outs"]
        assert set(out) == {"md5", "size", "hash", "path"}
        target = path.parent / content["wdir"] / out["path"]
        assert target.resolve() == run.file(pointer.name).resolve()
        data = target.read_bytes()
        assert (out["md5"], out["size"], out["hash"]) == (hashlib.md5(data).hexdigest(), len(data), "md5")
        assert path.name == f"{out['path']}.dvc"
    assert state(run) == before


def test_a_second_time_writes_nothing_and_a_dry_run_never_does(finished, tmp_path):
    _, run = finished
    assert write_pointers(run, tmp_path / "dry", dry_run=True)
    assert not (tmp_path / "dry").exists()
    first = {path: path.stat().st_mtime_ns for path, _ in write_pointers(run, tmp_path)}
    assert {path: path.stat().st_mtime_ns for path, _ in write_pointers(run, tmp_path)} == first


def test_pointers_never_go_into_the_run_and_never_to_an_unfinished_one(finished, unfinished):
    _, run = finished
    with pytest.raises(ConfigurationError, match="inside the run"):
        write_pointers(run, run.path / "dvc")
    with pytest.raises(ConfigurationError, match="not finished"):
        list(pointers(unfinished))


# ------------------------------------------------------------------ MLflow


def test_it_is_off_by_default_and_imports_nothing(finished, tmp_path):
    root, run = finished
    assert tracked(work_of(root, tmp_path / "c", enabled=False), run) == {}
    assert not (root / "artifacts" / "mlflow.db").exists()


@pytest.mark.skipif(HAS_MLFLOW, reason="MLflow is installed")
def test_without_the_extra_a_run_stands_and_a_warning_says_what_to_install(finished, tmp_path):
    root, run = finished
    told = tracked(work_of(root, tmp_path / "c"), run)[NOT_TRACKED]
    assert "quant_assets[mlflow]" in told
    last = list(read(root / "artifacts" / "audit.jsonl"))[-1]
    assert (last["event"], last["status"], last["run_id"]) == ("tracking", "warn", run.run_id)


def test_an_unfinished_run_is_not_tracked(unfinished, tmp_path):
    with pytest.raises(ConfigurationError, match="not finished"):
        track_run(work_of(tmp_path, tmp_path / "c"), unfinished)


@chatty
@needs_mlflow
def test_a_finished_run_is_logged_once_and_its_directory_is_left_alone(finished, tmp_path):
    root, run = finished
    before, work = state(run), work_of(root, tmp_path / "c")
    first, second = track_run(work, run), track_run(work, run)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.mlflow_run_id == second.mlflow_run_id
    assert state(run) == before
    assert not errors(verify_run(Layout(root), run.run_id))
    record = run.read_json("data/weights.json")
    with contextlib.closing(sqlite3.connect(first.database)) as database:
        params = dict(database.execute("SELECT key, value FROM params").fetchall())
        metrics = dict(database.execute("SELECT key, value FROM metrics").fetchall())
        tags = dict(database.execute("SELECT key, value FROM tags").fetchall())
        (where,) = database.execute("SELECT artifact_uri FROM runs").fetchone()
    assert params["risk.method"] == run.resolved["risk"]["method"]
    assert metrics["gross"] == record["gross"]
    assert metrics["n_instruments"] == len(run.inputs["instruments"])
    assert tags["quant.run_id"] == run.run_id
    assert tags["quant.merkle_root"] == run.inputs["merkle_root"]
    stored = Path(where.removeprefix("file://"))
    assert (stored / "report.html").read_bytes() == run.read("reports/report.html")


@chatty
@needs_mlflow
def test_a_failure_of_the_tracker_is_a_warning(finished, tmp_path):
    root, run = finished
    work = work_of(root, tmp_path / "c")
    blocked = Settings.from_env(
        {}, data=root, configs=work.settings.configs, assignments=["tracking.mlflow.database=no"]
    )
    (root / "no").mkdir(exist_ok=True)
    told = tracked(Work(blocked, gate=None), run)[NOT_TRACKED]
    assert told.startswith("the run is not tracked: tracking.mlflow.database")
    assert list(read(root / "artifacts" / "audit.jsonl"))[-1]["status"] == "warn"
