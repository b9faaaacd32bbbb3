"""The client's contract with the other client library, and on the newest Python: the same tests, the same results."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from quant_assets_tests.contract.environments import LIBRARIES, Environment, contract_suite, environment, install

WHICH = "from quant_assets.connectors.tws import library; print(library.load().__name__)"
PRESENT = "import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"

CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
NEWEST = "3.13"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("version", "library"),
    dict.fromkeys([(CURRENT, "ib_async"), (NEWEST, "ib_insync"), (NEWEST, "ib_async")]),
)
def test_the_contract_suite_passes(version, library, tmp_path):
    python = environment(version, library)

    present = python.run("-W", "ignore", "-c", PRESENT.format(names=LIBRARIES)).stdout
    assert present.strip() == str([library]), "never both: their event packages overwrite each other"
    chosen = python.run("-W", "ignore", "-c", f"import asyncio\nasync def main():\n {WHICH}\nasyncio.run(main())")
    assert chosen.stdout.strip() == library, chosen.stderr

    report = tmp_path / "report.xml"
    # most of them wait for something, so three at once cost hardly more than one
    options = ["-q", "-n", "3", "-p", "no:cacheprovider", f"--junitxml={report}", "--timeout=120"]
    done = python.run("-m", "pytest", *options, *contract_suite(), timeout_s=900)
    assert report.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    (suite,) = ET.parse(report).getroot().iter("testsuite")
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    assert (counts["failures"], counts["errors"]) == (0, 0), done.stdout[-6000:]
    assert counts["tests"] - counts["skipped"] > 50
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_the_package_registry_ci_fails_and_others_skip(tmp_path, monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    told = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found for ib_async")
    monkeypatch.setattr(Environment, "run", lambda *_, **__: told)
    with pytest.raises(outcome, match="No matching distribution"):
        install(Environment(tmp_path / "made" / "bin" / "python"), "ib_async")
