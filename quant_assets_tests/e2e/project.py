"""A user's own project and the command line in it, as every end-to-end test begins."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from quant_assets_tests.builders import far_from_the_reset

SESSION = date(2026, 11, 17)
SYMBOLS = ["NYSE:QTEA", "NASDAQ:QCOA", "NYSE:QFIB", "NYSE:QUTC"]
FIX, RETRY, DATA = 2, 75, 65
"""Exit codes: something has to be mended, the same again later, the data are not good enough."""


class Project:
    """A directory of a user's own, with configuration, and the command line in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        (root / "configs" / "lists").mkdir(parents=True)
        self.symbols(SYMBOLS)
        self.manifest()

    def symbols(self, names: list[str]) -> None:
        """Write the one symbol list."""
        text = yaml.safe_dump({"symbols": names})
        (self.root / "configs" / "lists" / "mine.yaml").write_text(text)

    def manifest(self, **sections: object) -> None:
        """Write the manifest; `sections` replace its own."""
        content = {
            "default_profile": "small",
            "lakehouse": {"start_session": "2026-11-02", "lock_wait_s": 1},
            "replay": {"time_scale": 100000},
            "tws": {"reset_window": far_from_the_reset()},
            "profiles": {
                "small": {
                    "data": {"lookback_sessions": 30, "min_sessions_floor": 20},
                    "discovery": {"lists": ["mine"]},
                    "selection": {"min_dollar_volume": 0},
                    "risk": {"method": "equal_weight", "max_weight": 1.0, "sector_cap": 1.0},
                }
            },
        }
        (self.root / "configs" / "manifest.json").write_text(json.dumps({**content, **sections}))

    def quant(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a user does."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("QUANT_", "DAGSTER_"))}
        return subprocess.run(
            [sys.executable, "-c", "from quant_assets.cli import main; main()", *args],
            cwd=self.root,
            env={**clean, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ok(self, *args: str) -> str:
        """Run the command, which must succeed; returns what it printed."""
        done = self.quant(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, *args: str) -> Any:
        """Run the command with `--json`, and return what that says."""
        return json.loads(self.ok(*args, "--json"))

    @property
    def words(self) -> Path:
        """The file of what people said."""
        return self.data / "lakehouse" / "_metadata" / "overrides.jsonl"

    def bars(self, session: str) -> dict[str, int]:
        """Curated minutes of each symbol."""
        file = self.data / "lakehouse" / "silver" / "curated_tws_1m_bars" / f"session={session}" / "part.parquet"
        return dict(pl.read_parquet(file).group_by("symbol").len().iter_rows())

    def lows(self, session: str) -> dict[str, float]:
        """The lowest curated price of each symbol."""
        file = self.data / "lakehouse" / "silver" / "curated_tws_1m_bars" / f"session={session}" / "part.parquet"
        return dict(pl.read_parquet(file).group_by("symbol").agg(pl.col("low").min()).iter_rows())

    def certified(self, session: str) -> bool:
        """Whether a session has its certificate."""
        return (self.data / "lakehouse" / "gold" / "certified_sessions" / f"session={session}").is_dir()

    def durations(self, session: str, symbol: str) -> list[str]:
        """What was asked for the minutes of a session of an instrument, request by request."""
        files = (self.data / "lakehouse" / "bronze" / "raw_tws_requests" / f"session={session}").glob("*.parquet")
        asked = pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])
        mine = asked.filter((pl.col("symbol") == symbol) & (pl.col("bar_size") == "1 min"))
        return mine.sort("asked_at")["duration"].to_list()

    def tables(self) -> dict[str, tuple[int, int]]:
        """Size and modification time of every table file."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in (self.data / "lakehouse").rglob("*.parquet")
        }


def refused_tables(done: subprocess.CompletedProcess[str], code: int, tables: list[str], *words: str) -> None:
    """Assert one message with these words per table, the exit code, and no stack trace."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == len(tables), done.stderr
    for error, table in zip(sorted(errors), tables, strict=True):
        assert f"partitions of {table} were not published" in error
        assert all(word in error for word in words), error


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Assert one message with these words, the exit code, and no stack trace."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in done.stderr
