"""Bad input at the command line: one clear message with its mend, the exit code of its branch, nothing lost."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from quant_assets.control.locks import hold
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.e2e.project import DATA, FIX, RETRY, SESSION, SYMBOLS, Project, refused


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one published session."""
    made = Project(tmp_path_factory.mktemp("published"))
    made.ok("flow", "data", "--session", str(SESSION))
    return made


@pytest.fixture
def standing(published: Project) -> Iterator[Project]:
    """The published project; the test must lose nothing of it."""
    before = published.tables()
    yield published
    published.symbols(SYMBOLS)
    published.manifest()
    assert {path: published.tables().get(path) for path in before} == before


def test_closed_port(standing: Project) -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = standing.quant("flow", "data", "--session", "2026-11-16", QUANT_TWS_MODE="live", QUANT_TWS_PORT=str(port))
    refused(done, RETRY, f"127.0.0.1:{port}", "connection refused", "Start TWS or IB Gateway")


def test_unknown_symbol(standing: Project) -> None:
    standing.symbols([*SYMBOLS, "NYSE:NOSUCH"])
    done = standing.quant("flow", "data", "--session", "2026-11-16")
    refused(done, FIX, "NYSE:NOSUCH", "list:mine", "take it out of the list")


def test_empty_universe(standing: Project) -> None:
    standing.symbols([])
    done = standing.quant("flow", "data", "--session", "2026-11-16")
    refused(done, FIX, "universe of 2026-11-16 is empty", "configs/lists")


def test_holiday(standing: Project) -> None:
    refused(standing.quant("flow", "data", "--session", "2026-11-26"), FIX, "2026-11-25, 2026-11-27")


def test_future_session(standing: Project) -> None:
    coming = TradingCalendar().all_sessions[-1]
    refused(standing.quant("flow", "data", "--session", str(coming)), FIX, "has not closed yet", "latest")


def test_session_before_the_first_partition(standing: Project) -> None:
    done = standing.quant("flow", "data", "--session", "2026-10-05")
    refused(done, FIX, "2026-10-05", "2026-11-02", "start_session")


def test_reversed_range(standing: Project) -> None:
    done = standing.quant("flow", "data", "--sessions", "2026-11-18..2026-11-16")
    refused(done, FIX, "reversed", "the earlier session first")


def test_range_that_starts_on_a_holiday(standing: Project) -> None:
    done = standing.quant("flow", "data", "--sessions", "2026-11-14..2026-11-17")
    refused(done, FIX, "2026-11-14 is no session", "2026-11-13, 2026-11-16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ("manifest.json", "line 1", "not valid JSON")),
        ("[]", ("manifest.json", "must be a JSON object")),
        ('{"default_profile": "a", "profiles": {"a": {"riks": {}}}}', ("profiles.a.riks",)),
    ],
)
def test_unreadable_manifest(standing: Project, text: str, words: tuple[str, ...]) -> None:
    (standing.root / "configs" / "manifest.json").write_text(text)
    refused(standing.quant("flow", "data", "--session", str(SESSION)), FIX, *words)


def test_manifest_that_is_not_there(standing: Project) -> None:
    (standing.root / "configs" / "manifest.json").unlink()
    refused(standing.quant("status"), FIX, "manifest.json", "does not exist")


def test_unknown_profile(standing: Project) -> None:
    done = standing.quant("flow", "alpha", "--profile", "smal", "--session", str(SESSION))
    refused(done, FIX, "no profile 'smal'", "Did you mean 'small'?")


@pytest.mark.parametrize("symbol", ["../../etc/passwd", "NYSE:../x", "NYSE:A/B", "a b;c"])
def test_symbol_that_must_not_reach_a_path(standing: Project, symbol: str) -> None:
    standing.symbols([*SYMBOLS, symbol])
    done = standing.quant("flow", "data", "--session", "2026-11-16")
    refused(done, FIX, "is not a legal", "allowed are")
    assert not list(standing.root.parent.glob("*passwd*"))


def test_corrupt_parquet(project: Project) -> None:
    project.ok("flow", "data", "--session", str(SESSION))
    curated = Layout(project.data).lakehouse / "silver" / "curated_tws_1m_bars" / f"session={SESSION}" / "part.parquet"
    sound = pl.read_parquet(curated, hive_partitioning=False)
    raw = next((Layout(project.data).lakehouse / "bronze" / "raw_tws_bars" / f"session={SESSION}").glob("*.parquet"))
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])
    curated.unlink()
    done = project.quant("flow", "data", "--session", str(SESSION))
    refused(done, DATA, raw.name, "unreadable", "backup")
    raw.write_bytes(whole)
    project.ok("flow", "data", "--session", str(SESSION))
    assert pl.read_parquet(curated, hive_partitioning=False).drop("known_at").equals(sound.drop("known_at"))


def test_corrupt_table_in_sql(project: Project) -> None:
    project.ok("flow", "data", "--session", str(SESSION))
    path = Layout(project.data).lakehouse / "silver" / "instruments" / f"session={SESSION}" / "part.parquet"
    path.write_bytes(b"not parquet at all")
    done = project.quant("sql", "SELECT count(*) FROM instruments")
    refused(done, DATA, "instruments", "`quant lake rebuild --sessions`")


def test_corrupt_derived_file_is_rebuilt(project: Project) -> None:
    project.ok("flow", "data", "--session", str(SESSION))
    path = Layout(project.data).lakehouse / "gold" / "features_price_1m_v1" / f"session={SESSION}" / "part.parquet"
    sound = path.read_bytes()
    path.write_bytes(sound[:100])
    project.ok("flow", "data", "--session", str(SESSION))
    assert pl.read_parquet(path, hive_partitioning=False).height > 0


def test_two_runs_at_once(standing: Project) -> None:
    with hold("universe", Layout(standing.data).locks, owner={"run": "the-other-one"}):
        done = standing.quant("flow", "data", "--session", str(SESSION))
    refused(done, RETRY, "'universe' is in use", "the-other-one", "when it has finished")


def test_tws_in_use_by_another_run(standing: Project) -> None:
    with hold("tws", Layout(standing.data).locks, owner={"run": "the-other-one"}):
        done = standing.quant("flow", "data", "--session", "2026-11-16")
    refused(done, RETRY, "'tws' is in use", "the-other-one")


def test_production_before_data_lists_every_missing_item(standing: Project) -> None:
    done = standing.quant("flow", "production", "--session", "2026-11-12")
    refused(
        done, DATA, "candidates[small|2026-11-12]", "instruments[2026-11-12]", "quant flow data --session 2026-11-12"
    )


def test_sql_cannot_write(standing: Project) -> None:
    target = standing.root / "stolen.csv"
    done = standing.quant("sql", f"COPY (SELECT 1) TO '{target}'")
    refused(done, FIX, "SELECT")
    assert not target.exists()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"\0" * 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this sandbox does not allow mounting a small filesystem")
    try:
        project = Project(tmp_path / "project")
        project.data.symlink_to(disk)
        project.ok("flow", "data", "--session", str(SESSION))
        before = project.tables()
        filler = disk / "filler"
        fill(filler)
        done = project.quant("flow", "data", "--session", "2026-11-16")
        refused(done, RETRY, "No space left", "free some space")
        assert {path: project.tables().get(path) for path in before} == before
        filler.unlink()
        project.ok("flow", "data", "--session", "2026-11-16")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_run_over_its_time_budget_goes_on_and_says_so(published: Project) -> None:
    done = published.quant("--set", "budgets.daily_minutes=0.00001", "flow", "data", "--session", str(SESSION))
    assert done.returncode == 0, done.stderr
    assert "budgets.daily_minutes is 1e-05" in done.stderr
    log = [json.loads(line) for line in (published.data / "artifacts" / "audit.jsonl").read_text().splitlines()]
    assert [one["status"] for one in log if one["event"] == "over_budget"][:1] == ["warn"]


def test_a_file_of_candidates_of_another_session_is_refused(standing: Project) -> None:
    export = standing.data / "export" / str(SESSION) / "candidates.json"
    done = standing.quant("flow", "data", "--session", "2026-11-16", CANDIDATES_FILE=str(export))
    refused(done, FIX, f"it is of session {SESSION}, and 2026-11-16 is asked for")
