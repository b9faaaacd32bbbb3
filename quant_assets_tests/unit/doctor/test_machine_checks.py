"""The checks that need no TWS: each way in which this machine is not ready, with its mend."""

import shutil
from collections import namedtuple
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from quant_assets.clock import ManualClock
from quant_assets.control.locks import hold
from quant_assets.flows.doctor import examine, machine
from quant_assets.flows.doctor.checks import size_text
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.plan import plan_cycle
from quant_assets.flows.work import Work
from quant_assets.registry import open_instance
from quant_assets.settings import Settings
from quant_assets_tests.unit.doctor.house import house
from quant_assets_tests.unit.flows.lab import Lab, after, window

ROOT = Path(__file__).parents[3]


def work_of(settings: Settings, now: datetime | None = None) -> Work:
    clock = {"clock": ManualClock(now)} if now else {}
    return Work(settings, TwsGate(settings), run_id="test", **clock)


@pytest.fixture
def work(tmp_path):
    made = work_of(house(tmp_path))
    made.settings.check_data_directory()
    return made


def test_a_good_configuration_is_counted(work):
    check = machine.configuration(work)
    assert (check.status, check.found) == ("pass", "1 profile, 2 listed names, tws.mode replay")


@pytest.mark.parametrize(
    ("sections", "word"),
    [
        ({"tws": {"port": 0}}, "tws.port"),
        ({"profiles": {"calm": {"discovery": {"lists": ["nothere"]}}}}, "nothere"),
        ({"profiles": {"calm": {}}}, "names a list or a scanner"),
    ],
)
def test_a_wrong_configuration_fails_and_everything_that_needs_it_is_skipped(tmp_path, sections, word):
    checks = examine(house(tmp_path, **sections), root=tmp_path)
    first = checks[0]
    assert (first.name, first.status) == ("configuration", "fail")
    assert word in first.found
    assert first.mend
    rest = {check.name: check.status for check in checks}
    assert rest["client library"] == "pass"
    assert {rest[name] for name in ("disk space", "calendar", "locks", "port", "market data")} == {"skip"}


@pytest.mark.parametrize(
    ("env", "assignments", "mend"),
    [
        ({"QUANT_TWS_PORT": "many"}, (), "Mend environment variable QUANT_TWS_PORT; "),
        ({}, ("tws.prt=7",), "Mend option --set tws.prt; "),
    ],
)
def test_what_set_a_wrong_value_is_what_has_to_be_mended(tmp_path, env, assignments, mend):
    made = house(tmp_path)
    settings = Settings.from_env(env, data=made.data, configs=made.configs, assignments=assignments)
    check = machine.configuration(work_of(settings))
    assert check.status == "fail"
    assert check.mend.startswith(mend)


def test_a_missing_manifest_is_a_failure_and_no_crash(tmp_path):
    checks = examine(Settings.from_env({}, data=tmp_path / "data", configs=tmp_path / "nowhere"), root=tmp_path)
    assert checks[0].status == "fail"
    assert "does not exist" in checks[0].found


@pytest.mark.parametrize(
    ("installed", "status", "word"),
    [
        ({"ib_insync": "0.9.86"}, "pass", "ib_insync 0.9.86"),
        ({"ib_async": "2.1.0"}, "pass", "ib_async 2.1.0"),
        ({}, "fail", "no IB client library"),
        ({"ib_insync": "0.9.86", "ib_async": "2.1.0"}, "fail", "overwrite each other"),
    ],
)
def test_one_client_library_is_installed(monkeypatch, installed, status, word):
    monkeypatch.setattr(machine, "_version", lambda package: installed.get(package, ""))
    check = machine.client_library()
    assert (check.status, word in check.found, bool(check.mend)) == (status, True, status == "fail")


def test_a_data_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    settings = house(tmp_path)
    blocked = Settings(tmp_path / "file" / "data", settings.configs, {})
    checks = {check.name: check for check in examine(blocked, root=tmp_path)}
    assert checks["data directory"].status == "fail"
    assert "QUANT_DATA" in checks["data directory"].mend
    assert checks["disk space"].status == "skip"
    assert checks["market data"].status == "pass", "TWS is examined all the same"


@pytest.mark.parametrize(("free", "status"), [(10**12, "pass"), (5 * 10**8, "warn"), (1000, "fail")])
def test_free_space_is_compared_with_the_plan(work, monkeypatch, free, status):
    usage = namedtuple("usage", "free")  # noqa: PYI024
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(free))
    check = machine.disk(work)
    assert check.status == status
    assert "the next session needs about" in check.found
    assert bool(check.mend) == (status != "pass")


def test_the_session_after_one_that_is_there_is_what_has_to_fit(tmp_path):
    """The plan that is made in the evening after it says the same."""
    first, second = window(date(2024, 3, 15), 2)
    lab = Lab(tmp_path)
    lab.run([first])
    with lab.at(after(first)) as work:
        assert plan_cycle(work, [first]).disk_bytes == 0
        found = machine.disk(work).found
    with lab.at(after(second)) as work:
        needed = plan_cycle(work, [second]).disk_bytes
    assert needed > 4 * 390 * 115, "four instruments' minutes alone"
    assert f"the next session needs about {size_text(needed)}" in found


@pytest.mark.parametrize(("shift_days", "status"), [(0, "pass"), (100, "warn"), (400, "fail")])
def test_the_calendar_has_to_know_the_coming_year(work, shift_days, status):
    last = work.calendar.all_sessions[-1]
    now = datetime(last.year - 1, last.month, last.day, 12, tzinfo=UTC).timestamp() + shift_days * 86400
    aged = work_of(work.settings, datetime.fromtimestamp(now, UTC))
    check = machine.calendar(aged)
    assert check.status == status
    assert bool(check.mend) == (status != "pass")


def test_locks_name_their_holder(work):
    assert machine.locks(work).status == "pass"
    with hold("raw_tws_bars.commit", work.layout.locks, owner={"run": "r1", "stage": "backfill"}):
        check = machine.locks(work)
    assert check.status == "warn"
    assert "raw_tws_bars.commit: run=r1, stage=backfill" in check.found
    assert machine.locks(work).status == "pass"


def test_dagsters_instance_is_looked_for_and_not_made(work, tmp_path):
    assert machine.dagster_instance(work, tmp_path, None).status == "warn", "no dagster.yaml"
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    check = machine.dagster_instance(work, tmp_path, None)
    assert (check.status, check.mend) == ("warn", "Run `make setup` once in the project's directory.")
    assert str(work.settings.data / ".dagster") in check.found
    assert not (work.settings.data / ".dagster").exists()


def test_an_instance_that_the_product_made_is_recognised(work, tmp_path, monkeypatch):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("QUANT_DATA", str(work.settings.data))
    with open_instance(tmp_path):
        pass
    made = str(work.settings.data / ".dagster")
    for root, home in ((tmp_path, None), (tmp_path / "elsewhere", str(tmp_path))):
        check = machine.dagster_instance(work, root, home)
        assert (check.status, check.found) == ("pass", made), home


def test_an_instance_apart_from_the_data_directory_may_be_shared(work, tmp_path):
    """Its runs may be another lakehouse's, and automation decides from them."""
    dagster = pytest.importorskip("dagster", reason="an instance of Dagster is made")
    (tmp_path / "history of all").mkdir()
    with dagster.DagsterInstance.local_temp(str(tmp_path / "history of all")):
        pass
    check = machine.dagster_instance(work, tmp_path, str(tmp_path / "history of all"))
    assert check.status == "warn"
    assert str(tmp_path / "history of all") in check.found
    assert str(work.settings.data) in check.found
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"sqlite": {"base_dir": "history of all"}}}))
    assert machine.dagster_instance(work, tmp_path, None) == check
