"""A clean slate at the command line: what is derived goes and comes back equal, what was observed stays."""

import json
from pathlib import Path
from unittest import mock

import pytest

from quant_assets.flows.slate import WORD, content_ids
from quant_assets.flows.work import Work
from quant_assets.settings import Settings
from quant_assets_tests.e2e.project import Project, refused

LAST = "2026-11-17"


def ids(project: Project) -> dict[str, str]:
    settings = Settings.from_env({}, data=project.data, configs=project.root / "configs")
    return content_ids(Work(settings, mock.Mock()))


def zone_of(project: Project, zone: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (project.data / "lakehouse" / zone).rglob("*.parquet")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("slate"))
    made.symbols(["NYSE:QTEA", "NASDAQ:QCOA"])
    done = made.quant("flow", "all", "--session", LAST)
    assert done.returncode == 0, done.stderr
    return made


def test_a_wipe_asks_counts_and_refuses(project: Project) -> None:
    before = ids(project)
    told = project.quant("lake", "wipe", "--dry-run", "--json")
    counted = {one["table"]: one for one in json.loads(told.stdout)}
    assert {one["zone"] for one in counted.values()} == {"silver", "gold"}
    assert (counted["curated_tws_1m_bars"]["files"], counted["curated_tws_1m_bars"]["bytes"] > 0) == (1, True)
    refused(project.quant("lake", "wipe", "--yes", "--bronze", "yes"), 2, "cannot be computed again", WORD)
    unasked = project.quant("lake", "wipe")
    assert (unasked.returncode, "give --yes" in unasked.stderr) == (2, True)
    assert ids(project) == before


def test_silver_and_gold_come_back_equal_without_a_request(project: Project) -> None:
    done = project.quant("lake", "compact", "--json")
    assert done.returncode == 0, done.stderr
    proofs = json.loads(project.quant("lake", "compact", "--verify", "--json").stdout)
    assert {one["equal"] for one in proofs} == {True}
    assert "curated_tws_1m_bars" in {one["table"] for one in proofs}
    kept = json.loads(project.quant("lake", "gc", "--dry-run", "--json").stdout)
    assert {(one["kind"], one["verdict"]) for one in kept} >= {
        ("copy", "stays"),
        ("run", "stays"),
        ("manifest", "stays"),
    }
    assert "nothing to remove" in project.quant("lake", "gc").stdout
    before, observed = ids(project), {**zone_of(project, "bronze"), **zone_of(project, "discovery")}
    runs = sorted(path.name for path in (project.data / "artifacts" / "runs").glob("[!.]*"))
    project.ok("lake", "wipe", "--yes")
    assert zone_of(project, "silver") == zone_of(project, "gold") == zone_of(project, "_copies") == {}
    assert {**zone_of(project, "bronze"), **zone_of(project, "discovery")} == observed
    assert {name.split("[")[0] for name in ids(project)} >= {"universe", "raw_tws_bars"}
    built = project.quant("lake", "rebuild", "--json")
    assert built.returncode == 0, built.stderr
    (outcome,) = json.loads(built.stdout)
    assert (outcome["success"], outcome["requests"]) == (True, 0)
    assert ids(project) == before
    assert sorted(path.name for path in (project.data / "artifacts" / "runs").glob("[!.]*")) == runs


def test_the_order_of_ingestion_is_no_matter(tmp_path: Path) -> None:
    """An older session that comes later is brought into what is there, and a rebuild gives nothing else."""
    project = Project(tmp_path)
    project.symbols(["NYSE:QTEA"])
    project.ok("flow", "data", "--session", LAST)
    alone = ids(project)
    project.ok("flow", "data", "--session", "2026-11-16")
    both = ids(project)
    changed = {name for name in alone if both[name] != alone[name] and not name.startswith("raw_")}
    assert changed == {f"{name}[{LAST}]" for name in ("instruments", "certified_sessions")}
    assert {one["state"] for one in project.told("status")["certificates"]} == {"valid"}
    project.ok("lake", "wipe", "--yes")
    project.ok("lake", "rebuild")
    assert ids(project) == both


def test_gold_alone(project: Project) -> None:
    silver = zone_of(project, "silver")
    project.ok("lake", "wipe", "--gold", "--yes")
    assert zone_of(project, "silver") == silver
    assert zone_of(project, "gold") == {}
    told = project.quant("lake", "rebuild", "--sessions", f"{LAST}..{LAST}", "--dry-run", "--json")
    assert [one["sessions"] for one in json.loads(told.stdout)] == [f"{LAST}..{LAST}"]


def test_observations_go_only_with_the_word_and_then_nothing_can_be_rebuilt(project: Project) -> None:
    project.ok("lake", "wipe", "--yes", f"--bronze={WORD}")
    assert zone_of(project, "bronze") == zone_of(project, "discovery") == {}
    refused(project.quant("lake", "rebuild"), 65, "universe", "nothing to rebuild from")
