"""What TWS refuses for good is given up: the others go on, and every command says whom, why and what mends it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from quant_assets_tests.e2e.project import SESSION, Project

GIVEN_UP = 3


def rehearse(project: Project, *faults: dict[str, Any]) -> None:
    """Let the embedded gateway play faults without end."""
    (project.root / "faults.yaml").write_text(yaml.safe_dump({"faults": [{"every": 1, **one} for one in faults]}))
    project.manifest(replay={"time_scale": 100000, "faults": "faults.yaml"})


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any], str]:
    """A project of which TWS refuses two instruments, what its data cycle told, and its standard error."""
    project = Project(tmp_path_factory.mktemp("refused"))
    rehearse(
        project,
        {"fault": "no_permission", "request": "history", "symbol": "QTEA"},
        {"fault": "unknown_contract", "request": "history", "symbol": "QCOA"},
    )
    done = project.quant("flow", "data", "--session", str(SESSION), "--json")
    assert done.returncode == GIVEN_UP, done.stderr
    (told,) = json.loads(done.stdout)
    return project, told, done.stderr


def test_a_refusal_costs_its_instrument_and_no_other(refused: tuple[Project, dict[str, Any], str]) -> None:
    project, told, _ = refused
    assert told["success"]
    assert project.bars(str(SESSION)) == {"QFIB": 390, "QUTC": 390}


def test_every_give_up_names_code_text_symbol_window_and_mend(refused: tuple[Project, dict[str, Any], str]) -> None:
    _, told, _ = refused
    codes, (unknown, barred) = zip(*sorted(told["failures"]), strict=True)
    assert codes == (GIVEN_UP, GIVEN_UP)
    for sentence, words in (
        (barred, ["QTEA: no permission", "1 min TRADES", "1 day ADJUSTED_LAST", "error 162: ", "Subscribe to"]),
        (unknown, ["QCOA: unknown contract", "1 min TRADES", "1 day TRADES", "error 200: ", "Check symbol, exchange"]),
    ):
        assert [word for word in [*words, str(SESSION), "`quant repair`"] if word not in sentence] == []
    assert "market data permissions" in barred
    assert "No security definition" in unknown


def test_a_second_run_asks_nothing_and_still_says_so(refused: tuple[Project, dict[str, Any], str]) -> None:
    project, told, _ = refused
    again = project.quant("flow", "data", "--session", str(SESSION))
    assert again.returncode == GIVEN_UP
    assert again.stdout.startswith("done, with 2 given up: 0 TWS requests")
    lines = [line for line in again.stderr.splitlines() if line.startswith("given up: ")]
    assert lines == [f"given up: {sentence}" for _, sentence in told["failures"]]


def test_an_old_session_is_no_reason_to_warn_of_the_newest(refused: tuple[Project, dict[str, Any], str]) -> None:
    _, told, stderr = refused
    assert "latest_session_present" not in stderr
    assert not [one for one in told["warnings"] if "latest_session_present" in one]


def test_the_status_names_them_and_no_table_that_lacks_nothing(refused: tuple[Project, dict[str, Any], str]) -> None:
    project, told, _ = refused
    shown = project.quant("status", "--missing")
    sentences = [sentence for _, sentence in told["failures"]]
    assert [line for line in shown.stdout.splitlines() if "given up" in line] == [f"given up: {s}" for s in sentences]
    assert "raw_tws_schedules lacks" not in shown.stdout
    assert json.loads(project.quant("status", "--json").stdout)["given_up"] == sentences


def test_once_permitted_a_repair_brings_what_was_given_up(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.symbols(["NYSE:QTEA", "NYSE:QFIB"])
    rehearse(project, {"fault": "no_permission", "request": "history", "symbol": "QTEA"})
    assert project.quant("flow", "data", "--session", str(SESSION)).returncode == GIVEN_UP
    project.manifest()
    mended = project.quant("repair", "--sessions", str(SESSION))
    assert mended.returncode == 0, mended.stderr
    assert project.bars(str(SESSION)) == {"QTEA": 390, "QFIB": 390}


DENIED = {"fault": "unknown_contract", "request": ["history", "contract_details"], "symbol": "QTEA"}
NEXT = "2026-11-18"


def rehearse_next_day(project: Project, *faults: dict[str, Any]) -> None:
    """Play faults to a run that asks anew for all it was told before."""
    rehearse(project, *faults)
    file = project.root / "configs" / "manifest.json"
    content = json.loads(file.read_text())
    content["lakehouse"]["fetch_throttle_hours"] = 0
    file.write_text(json.dumps(content))


def test_a_listed_symbol_that_was_known_and_is_denied_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.ok("flow", "data", "--session", str(SESSION))
    rehearse_next_day(project, DENIED)
    done = project.quant("flow", "data", "--session", NEXT)
    assert done.returncode == GIVEN_UP, done.stderr
    assert project.bars(NEXT) == {"QCOA": 390, "QFIB": 390, "QUTC": 390}
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("given up: ")]
    for word in (
        "NYSE:QTEA",
        "unknown contract",
        "list:mine",
        NEXT,
        "error 200",
        f"knew it on {SESSION}",
        "Take it out",
    ):
        assert word in line, line
    shown = project.quant("status", "--missing")
    assert line in shown.stdout.splitlines()
    again = project.quant("flow", "data", "--session", NEXT)
    assert (again.returncode, line in again.stderr.splitlines()) == (GIVEN_UP, True), "what stands says it, too"


def test_a_listed_symbol_that_nobody_ever_knew_is_a_mistake_in_the_list(tmp_path: Path) -> None:
    project = Project(tmp_path)
    rehearse(project, DENIED)
    done = project.quant("flow", "data", "--session", str(SESSION))
    assert done.returncode == 2
    assert "TWS knows no such instrument: NYSE:QTEA." in done.stderr
    assert not (project.data / "lakehouse" / "discovery" / "universe").exists()
