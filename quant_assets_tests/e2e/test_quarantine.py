"""One bad bar's way at the command line: from TWS into quarantine, released into silver, and confirmed out of it."""

import re
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from quant_assets_tests.e2e.project import Project, refused, refused_tables

SESSION, AT = "2026-11-18", "2026-11-18 19:20:00"
"""When the synthetic market multiplies a bar of QUTA by 100."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("quarantine"))
    made.symbols(["NYSE:QUTA"])
    done = made.quant("flow", "data", "--session", SESSION)
    assert done.returncode == 0, done.stderr
    return made


def at_that_minute(project: Project) -> list[tuple[Any, ...]]:
    """Close, status and rules that silver has at the minute."""
    file = project.data / "lakehouse" / "silver" / "curated_tws_1m_bars" / f"session={SESSION}" / "part.parquet"
    here = pl.read_parquet(file).filter(pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S") == AT)
    return here.select("close", "dq_status", "dq_rules").rows()


def instant() -> str:
    return datetime.now(UTC).isoformat()


def closes_as_of(project: Project, as_of: str) -> list[float]:
    """Close of the minute as silver was known at an instant."""
    query = f"SELECT close FROM curated_tws_1m_bars WHERE ts = TIMESTAMP '{AT}'"
    return [row["close"] for row in project.told("sql", query, "--as-of", as_of)]


def test_a_bad_print_goes_to_quarantine_is_released_and_confirmed(project: Project) -> None:
    (row,) = project.told("quarantine", "list", "--session", SESSION, "--symbol", "QUTA", "--verdict", "bad_print")
    assert row["rule"] == "toxic_price"
    assert row["ts"].startswith(AT)
    assert at_that_minute(project) == []
    shown = project.ok("quarantine", "show", row["id"][:14])
    assert "verdict   bad_print, by toxic_price" in shown
    assert re.search(r"evidence  close [\d.]+ against [\d.]+ before and [\d.]+ after", shown)
    assert "request   " in shown
    left, right = (float(x) for x in re.findall(r"against ([\d.]+) before and ([\d.]+) after", shown)[0])
    assert row["close"] / 100 == pytest.approx((left + right) / 2, rel=0.02), "a hundred times its neighbours"

    before = instant()
    project.ok("lake", "tag", "before")
    project.ok("quarantine", "release", row["id"], "--by", "anna", "--why", "a rehearsal", "--dry-run")
    assert not project.words.exists()
    said = project.ok("quarantine", "release", row["id"], "--by", "anna", "--why", "seen on the tape")
    assert f"now: quant flow data --session {SESSION}" in said
    ran = project.quant("flow", "data", "--session", SESSION)
    assert ran.returncode == 0, ran.stderr
    assert "0 TWS requests" in ran.stdout
    assert "QUTA high_vs_daily +" in ran.stdout + ran.stderr
    ((close, status, rules),) = at_that_minute(project)
    assert (close, status) == (row["close"], "warn")
    assert "toxic_price" in rules

    released = instant()
    project.ok("lake", "tag", "released")
    assert closes_as_of(project, before) == [], "the release had not been said"

    project.ok("quarantine", "confirm", row["id"], "--by", "bob", "--why", "the tape was misread")
    project.ok("flow", "data", "--session", SESSION)
    assert at_that_minute(project) == []
    (again,) = project.told("quarantine", "list", "--session", SESSION, "--symbol", "QUTA")
    assert (again["id"], again["verdict"]) == (row["id"], "bad_print")
    assert [(line["who"], line["event"]) for line in project.told("quarantine", "log")] == [
        ("anna", "quarantine_release"),
        ("bob", "quarantine_confirm"),
    ]
    assert [closes_as_of(project, then) for then in (before, released, instant())] == [[], [row["close"]], []]
    for tag in ("before", "released"):
        project.ok("lake", "tag", "verify", tag)

    assert "the chains hold" in project.ok("audit", "verify")
    kept = project.words.read_bytes()
    project.words.write_bytes(kept.replace(b"misread", b"perfect"))
    refused(project.quant("audit", "verify"), 65, "overrides.jsonl")
    refused(project.quant("audit", "data"), 65, "overrides.jsonl, line 2")
    ran = project.quant("flow", "data", "--session", SESSION)
    refused_tables(ran, 65, ["adjustment_factors", "curated_tws_1d_bars"], "overrides.jsonl, line 2")
    project.words.write_bytes(kept)
    assert "the chains hold" in project.ok("audit", "verify"), "restored from the backup"


def test_what_is_not_there_and_what_says_nothing_is_refused(project: Project) -> None:
    refused(project.quant("quarantine", "show", "20261118-0000"), 2, "20261118-0000")
    empty = project.quant("quarantine", "release", "20261118-0000", "--why", " ")
    assert empty.returncode == 2
    assert "--why and --by must say something" in empty.stderr
