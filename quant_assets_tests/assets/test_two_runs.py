"""Two processes and one partition: the second waits, or says who is in its way; a killed one is in nobody's way.

The gateway is made slow by its own pacing rule, a few requests every ten minutes, and `time_scale` decides how long
ten minutes last: long enough that one process is surely still at work when the other comes.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from quant_assets_tests.assets.house import House, manifest
from quant_assets_tests.assets.waiting import wait_for

SESSION = "2025-12-01"


def materialize(house: House, configs: Path) -> subprocess.Popen[str]:
    """Start what the README tells: one partition of one asset, in a process of its own."""
    home = house.root / "elsewhere"
    home.mkdir(exist_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "QUANT"))}
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "asset", "materialize"]
    return subprocess.Popen(
        [*command, "-m", "quant_assets.definitions", "--select", "raw_tws_bars", "--partition", SESSION],
        cwd=home,
        env=env | {"QUANT_DATA": str(house.data), "QUANT_CONFIGS": str(configs), "DAGSTER_DISABLE_TELEMETRY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def configured(house: House, name: str, **sections: dict[str, object]) -> Path:
    """Return a configuration directory like the house's own but for some keys."""
    path = house.root / name
    (path / "lists").mkdir(parents=True)
    (path / "lists" / "short.yaml").write_text((house.configs / "lists" / "short.yaml").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest(**sections)))
    return path


@pytest.fixture
def discovered(tmp_path: Path) -> Iterator[House]:
    """A house with the universe of the session, and nothing else."""
    with House(tmp_path) as house:
        assert house.run(["universe"], SESSION).success
        yield house


def test_of_two_runs_at_once_one_waits_and_finds_everything_done(discovered: House):
    slow = configured(discovered, "slow", tws={"max_requests_per_10_min": 2}, replay={"time_scale": 200})
    pair = [materialize(discovered, slow) for _ in range(2)]
    told = [one.communicate(timeout=120)[0] for one in pair]
    assert [one.returncode for one in pair] == [0, 0], told
    rows = pl.concat(map(pl.read_parquet, (discovered.data / "lakehouse/bronze/raw_tws_bars").rglob("*.parquet")))
    assert rows.height == 6 * 390
    assert rows["con_id"].n_unique() == rows["request_id"].n_unique() == 6, "the one that waited asked for nothing"


@pytest.mark.chaos
def test_the_second_names_the_first_when_it_will_not_wait_and_a_killed_first_is_forgotten(discovered: House):
    forever = configured(discovered, "forever", tws={"max_requests_per_10_min": 1}, replay={"time_scale": 1})
    hurried = configured(discovered, "hurried", lakehouse={"lock_wait_s": 0.2})
    first = materialize(discovered, forever)
    try:
        wait_for(lambda: has_committed(discovered), first)  # its one answer; the next request has to wait for minutes
        before = discovered.files()
        second = materialize(discovered, hurried)
        told = second.communicate(timeout=90)[0]
        assert second.returncode != 0
        assert "'raw_tws_bars' is in use by another run" in told
        assert f"pid={first.pid}" in told
        assert "asset=raw_tws_bars" in told
        assert "Run again when it has finished" in told
        assert discovered.files() == before
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=30)
    assert discovered.run(["raw_tws_bars"], SESSION).success
    assert discovered.last_materialization("raw_tws_bars", SESSION).metadata["dagster/row_count"].value == 6 * 390


def has_committed(house: House) -> bool:
    ledger = house.data / "lakehouse/_metadata/manifests/raw_tws_requests.jsonl"
    return ledger.exists() and SESSION in ledger.read_text()
