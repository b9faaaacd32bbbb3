"""A price break's way at the command line: refused, put on record as a real move and answered, taken back and refused."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.errors import UnexplainedBreakError
from quant_assets.flows.readers import open_store
from quant_assets_tests.builders import far_from_the_reset
from quant_assets_tests.e2e.project import Project, refused, refused_tables

BEFORE, BREAK, LATER = DAYS = ("2024-01-11", "2024-01-12", "2024-01-16")
SPAN = f"{BREAK}..{LATER}"
RECORDED = TradingCalendar().between(date(2023, 12, 18), date(2024, 1, 16))


def record(path: Path) -> None:
    """Write 390 minutes of each session for two funds; one goes from 0.88 to 78, with a tenth of its shares, on BREAK."""
    minutes = pl.DataFrame({"session": RECORDED}).join(pl.DataFrame({"minute": range(390)}), how="cross")
    start = pl.col("session").cast(pl.Datetime("us")) + pl.duration(minutes=pl.col("minute") + 570)
    wave = 1 + 0.002 * (pl.col("minute") % 7)
    is_later = pl.col("session") >= date.fromisoformat(BREAK)
    frames = []
    for symbol, level, shares in (
        ("BRKN", pl.when(is_later).then(78.0).otherwise(0.88), pl.when(is_later).then(100.0).otherwise(1000.0)),
        ("CALM", pl.lit(50.0), pl.lit(1000.0)),
    ):
        price = (level * wave).round(4)
        frames.append(
            minutes.select(
                pl.lit(symbol).alias("symbol"),
                start.dt.strftime("%Y-%m-%d %H:%M:%S-0500").alias("datetime"),
                price.alias("open"),
                (price * 1.001).round(4).alias("high"),
                (price * 0.999).round(4).alias("low"),
                price.alias("close"),
                (shares + pl.col("minute") % 11).alias("volume"),
            )
        )
    pl.concat(frames).write_parquet(path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("price-breaks"))
    recording = made.root / "recording.parquet"
    record(recording)
    made.symbols(["BRKN", "CALM"])
    made.manifest(
        lakehouse={"start_session": "2024-01-02", "lock_wait_s": 1},
        replay={"market": str(recording), "symbols": ["BRKN", "CALM"], "time_scale": 100000},
        tws={"reset_window": far_from_the_reset()},
        profiles={
            "small": {
                "data": {"lookback_sessions": 12, "min_sessions_floor": 5},
                "discovery": {"lists": ["mine"]},
                "selection": {"min_dollar_volume": 0},
                "risk": {"method": "equal_weight", "max_weight": 1.0, "sector_cap": 1.0},
            }
        },
    )
    made.ok("flow", "data", "--sessions", f"{BEFORE}..{LATER}")
    return made


def closes(project: Project, as_of: datetime | None = None) -> list[float]:
    """Closes of the three days, on one basis."""
    with open_store(project.data, project.root / "configs") as store:
        bars = store.get_curated_bars("BRKN", BEFORE, LATER, "1d", as_of, adjust="splits")
        minutes = store.get_curated_bars("BRKN", BEFORE, LATER, as_of=as_of, adjust="splits")
    assert set(minutes["session"].cast(pl.String)) == set(DAYS)
    return bars.sort("session")["close"].to_list()


def test_a_break_is_confirmed_computed_across_and_reopened(project: Project) -> None:
    (row,) = project.told("breaks", "list")
    assert (row["session"], row["symbol"], row["kind"]) == (BREAK, "BRKN", "unexplained_break")
    assert row["ratio"] == pytest.approx(row["close_after"] / row["close_before"], rel=0.02)
    assert "no answer tells of a split" in row["evidence"]
    assert "BRKN" in project.ok("breaks", "list", "--session", BREAK)
    with pytest.raises(UnexplainedBreakError):
        closes(project)

    confirm = ("breaks", "confirm", "BRKN", BREAK, "--by", "anna", "--why", "a merger")
    tried = project.told(*confirm, "--dry-run")
    assert (tried["dry_run"], tried["build"]) == (True, [BREAK, LATER])
    assert f"then: quant flow data --sessions {SPAN}" in project.ok(*confirm, "--dry-run")
    assert not project.words.exists()
    before = datetime.now(UTC)
    said = project.ok(*confirm)
    assert f"now: quant flow data --sessions {SPAN}" in said
    kept = project.words.read_bytes()
    assert "nothing is written" in project.ok(*confirm)
    assert project.words.read_bytes() == kept
    with pytest.raises(UnexplainedBreakError):
        closes(project)  # nothing was built since
    ran = project.ok("flow", "data", "--sessions", SPAN)
    assert "0 TWS requests" in ran
    confirmed = datetime.now(UTC)
    served = closes(project)
    assert served[1:] == pytest.approx([row["close_after"]] * 2)
    assert served[0] == pytest.approx(row["close_before"])
    with pytest.raises(UnexplainedBreakError):
        closes(project, before)
    assert [one["kind"] for one in project.told("breaks", "list")] == ["real_move"]

    project.ok("breaks", "reopen", "BRKN", BREAK, "--by", "bob", "--why", "another company's merger")
    project.ok("flow", "data", "--sessions", SPAN)
    with pytest.raises(UnexplainedBreakError):
        closes(project)
    assert closes(project, confirmed) == served
    assert [(line["who"], line["event"]) for line in project.told("breaks", "log")] == [
        ("anna", "break_confirm"),
        ("bob", "break_reopen"),
    ]
    shown = project.ok("breaks", "log").splitlines()
    assert shown[1].endswith("bob takes that back: another company's merger")

    assert "the chains hold" in project.ok("audit", "verify")
    kept = project.words.read_bytes()
    project.words.write_bytes(kept.splitlines(keepends=True)[0])
    refused(project.quant("audit", "verify"), 65, "overrides.jsonl")
    ran = project.quant("flow", "data", "--session", LATER)
    refused_tables(ran, 65, ["adjustment_factors", "curated_tws_1d_bars"], "overrides.jsonl")
    project.words.write_bytes(kept)


def test_what_did_not_break_and_what_says_nothing_is_refused(project: Project) -> None:
    refused(project.quant("breaks", "confirm", "CALM", BREAK, "--why", "x"), 2, "CALM")
    refused(project.quant("breaks", "confirm", "BRKN", "2024-01-13", "--why", "x"), 2, "2024-01-13")
    empty = project.quant("breaks", "confirm", "BRKN", BREAK, "--why", " ")
    assert empty.returncode == 2
    assert "--why and --by must say something" in empty.stderr
