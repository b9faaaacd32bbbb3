"""Care of the data, at the command line: what is missing is named and mended, what is damaged is found."""

import json
import os
import subprocess
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.flows.care import runs_of
from quant_assets_tests.e2e.project import DATA, Project, refused

FIRST, BETWEEN, LAST = "2026-11-12", "2026-11-13", "2026-11-17"
"""11-14 and 11-15 are a weekend, so that 11-16 is the second missing session."""


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two published sessions, and two missing between them."""
    made = Project(tmp_path_factory.mktemp("holed"))
    for session in (FIRST, LAST):
        done = made.quant("flow", "data", "--session", session)
        assert done.returncode == 0, done.stderr
    return made


def test_stretches_end_where_a_session_lies_between() -> None:
    days = [date(2026, 11, 12), date(2026, 11, 13), date(2026, 11, 16), date(2026, 11, 18)]
    assert runs_of(days, TradingCalendar().all_sessions) == [days[:3], days[3:]]


def test_missing_sessions_are_named_and_then_built(holed: Project) -> None:
    told = holed.quant("repair", "--sessions", f"{FIRST}..{LAST}", "--dry-run", "--json")
    assert json.loads(told.stdout) == {"missing": ["2026-11-13", "2026-11-16"], "outdated": [], "holes": []}
    before = holed.tables()
    mended = holed.quant("repair", "--sessions", f"{FIRST}..{LAST}", "--json")
    assert mended.returncode == 0, mended.stderr
    assert [(run["success"], run["requests"] > 0) for run in json.loads(mended.stdout)] == [(True, True)]
    assert {path: holed.tables().get(path) for path in before} == before
    again = holed.quant("repair", "--sessions", f"{FIRST}..{LAST}")
    assert "nothing to repair" in again.stdout


def test_a_hole_inside_a_session_is_listed_asked_for_and_filled(tmp_path: Path) -> None:
    """TWS cuts off one instrument's afternoon three times: bars are published, no certificate is, and a repair mends."""
    project = Project(tmp_path)
    cut = {"fault": "truncate", "request": "history", "symbol": "QCOA", "nth": 3}  # two are for daily history
    (tmp_path / "faults.yaml").write_text(yaml.safe_dump({"faults": [cut, cut, cut]}))
    project.manifest(replay={"time_scale": 100000, "faults": str(tmp_path / "faults.yaml")})

    first = project.quant("flow", "data", "--session", FIRST, "--json")
    assert first.returncode == DATA, first.stderr
    assert f"certified_sessions were not published: {FIRST}" in first.stderr
    assert "QCOA 156" in first.stderr
    assert project.bars(FIRST)["QCOA"] < 390
    told = json.loads(project.quant("repair", "--dry-run", "--json").stdout)
    (hole,) = [one for one in told["holes"] if one["session"] == FIRST]
    assert (hole["symbol"], hole["n_asked"], hole["is_known"]) == ("QCOA", 3, False)
    assert hole["missing"] == 390 - project.bars(FIRST)["QCOA"]

    assert len(project.durations(FIRST, "QCOA")) == len(set(project.durations(FIRST, "QCOA"))) == 3, "cut differently"

    patient = json.loads(project.quant("flow", "data", "--session", FIRST, "--json").stdout)
    assert sum(run["requests"] for run in patient) == 0, "what was asked in vain is left alone for the throttle"
    project.manifest()  # the trouble is over
    mended = project.quant("repair", "--sessions", f"{FIRST}..{FIRST}", "--json")
    assert mended.returncode == 0, mended.stderr
    assert sum(run["requests"] for run in json.loads(mended.stdout)) == 1, "the one instrument, and nothing else"
    assert project.bars(FIRST)["QCOA"] == 390
    assert project.certified(FIRST)
    assert "nothing to repair" in project.quant("repair", "--sessions", f"{FIRST}..{FIRST}").stdout


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The market loses 21 minutes of QHEC; TWS agrees with itself, and the daily volume does not."""
    made = Project(tmp_path_factory.mktemp("gapped"))
    made.symbols(["NYSE:QHEC", "NASDAQ:QCOA"])
    failed = made.quant("flow", "data", "--session", FIRST)
    refused(failed, DATA, f"certified_sessions were not published: {FIRST}", "lakehouse.max_unexplained (1.00%)")
    assert "QHEC 21 of 390; the bars are published and can be read, but the session has no certificate" in failed.stderr
    assert f"`quant repair --sessions {FIRST}`" in failed.stderr
    return made


def test_minutes_that_answers_agree_on_are_asked_for_again(gapped: Project) -> None:
    assert gapped.bars(FIRST)["QHEC"] == 369
    (hole,) = json.loads(gapped.quant("repair", "--sessions", FIRST, "--dry-run", "--json").stdout)["holes"]
    assert (hole["symbol"], hole["missing"], hole["n_asked"], hole["is_known"]) == ("QHEC", 21, 2, False)
    again = gapped.quant("repair", "--sessions", FIRST, "--json")
    assert again.returncode == DATA, "asked once more, and in vain"
    assert sum(run["requests"] for run in json.loads(again.stdout)) == 1


def test_what_nobody_has_is_accepted_by_name_and_the_session_certified(gapped: Project) -> None:
    word = ("repair", "accept", "--session", FIRST, "--symbol", "QHEC", "--by", "anna", "--why")
    empty = gapped.quant(*word, " ")
    assert (empty.returncode, "must say something" in empty.stderr) == (2, True)
    assert gapped.quant(*word, "TWS never had them").stdout.splitlines() == [
        f"minutes of QHEC (21) count as accepted when {FIRST} is curated again; anna's word is written",
        f"now: quant flow data --session {FIRST}",
    ]
    done = gapped.quant("flow", "data", "--session", FIRST)
    assert (done.returncode, "0 TWS requests" in done.stdout) == (0, True), done.stderr
    (certificate,) = json.loads(gapped.quant("status", "--json").stdout)["certificates"]
    assert (certificate["state"], certificate["accepted"]) == ("valid", "QHEC 21 minutes")
    assert "the chains hold" in gapped.quant("audit", "verify").stdout


def test_a_session_that_quarantine_took_half_of_is_not_certified_and_one_bad_instrument_is_named(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path)
    project.ok("flow", "data", "--session", FIRST)
    lows = sorted((low, symbol) for symbol, low in project.lows(FIRST).items())

    def above(price: float, *args: str) -> subprocess.CompletedProcess[str]:
        return project.quant("--set", f"quality.asset_classes.STK.max_price={price}", *args)

    half = above(lows[-2][0] * 0.99, "flow", "data", "--session", FIRST)
    refused(half, DATA, "lakehouse.max_quarantined (5.00%)", "of 2 of 4 instruments", "lakehouse.max_degraded")
    assert f"`quant quarantine list --session {FIRST}`" in half.stderr
    one = above(lows[-1][0] * 0.99, "flow", "data", "--session", FIRST)
    assert one.returncode == 0, one.stderr
    assert "quarantine_bounded" in one.stdout + one.stderr
    (certificate,) = json.loads(above(lows[-1][0] * 0.99, "status", "--json").stdout)["certificates"]
    assert (certificate["state"], certificate["degraded"]) == ("valid", f"{lows[-1][1]} 390 of 390 minutes")


def test_a_single_date_is_that_session_alone(holed: Project) -> None:
    told = holed.quant("repair", "--sessions", FIRST, "--dry-run", "--json")
    assert json.loads(told.stdout)["missing"] == []
    refused(holed.quant("repair", "--sessions", f"{LAST}..{FIRST}"), 2, "the range is reversed")


def test_nothing_published_means_nothing_missing(tmp_path: Path) -> None:
    assert Project(tmp_path).ok("repair") == "nothing is published yet: `quant flow data`\n"


def forge(project: Project, session: str) -> Path:
    """Raise a close in silver by a percent, and let footer, size, time and manifest tell of the file as it was."""
    lakehouse = project.data / "lakehouse"
    path = lakehouse / "silver" / "curated_tws_1m_bars" / f"session={session}" / "part.parquet"
    footer = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    close = pl.when(pl.int_range(pl.len()) == 5).then(pl.col("close") * 1.01).otherwise("close")
    rows, before = pl.read_parquet(path, hive_partitioning=False), path.stat()
    rows.with_columns(close.alias("close")).write_parquet(path, metadata=footer)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    manifest = lakehouse / "_metadata" / "manifests" / "curated_tws_1m_bars.jsonl"
    manifest.write_text(manifest.read_text().replace(f'"bytes": {before.st_size},', f'"bytes": {path.stat().st_size},'))
    return path


@pytest.mark.parametrize("mend", ["printed", "repair"])
def test_the_mend_of_a_forged_price_works(holed: Project, mend: str) -> None:
    before = holed.quant("lake", "catalog")
    assert before.returncode == 0, before.stderr
    sound = pl.read_parquet(holed.data / f"lakehouse/silver/curated_tws_1m_bars/session={LAST}/part.parquet")
    path = forge(holed, LAST)
    assert not pl.read_parquet(path).equals(sound)
    untouched = holed.tables()
    holed.ok("flow", "data", "--session", LAST)
    assert holed.tables() == untouched, "nothing but its rows tells"
    found = json.loads(holed.quant("audit", "data", "--json").stdout)
    (error,) = [one for one in found if one["severity"] == "error"]
    command = error["mend"] if mend == "printed" else f"quant repair --sessions {LAST}"
    done = holed.quant(*command.split()[1:])
    assert done.returncode == 0, done.stderr
    assert "went to data/aside, and is computed again" in done.stdout
    assert pl.read_parquet(path).equals(sound)
    mended = holed.quant("audit", "data", "--json")
    assert mended.returncode == 0, mended.stderr
    assert "error" not in {one["severity"] for one in json.loads(mended.stdout)}


def test_a_damaged_file_is_found_and_an_intact_lakehouse_is_not_blamed(holed: Project) -> None:
    sound = holed.quant("audit", "data", "--json")
    assert sound.returncode == 0, sound.stderr
    assert "error" not in {one["severity"] for one in json.loads(sound.stdout)}
    path = next((holed.data / "lakehouse" / "silver" / "instruments").glob(f"session={LAST}/part.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    try:
        told = "instruments/session=2026-11-17/part.parquet is damaged", "quant lake rebuild --sessions 2026-11-17"
        refused(holed.quant("audit", "data"), 65, *told)
    finally:
        path.write_bytes(whole)
