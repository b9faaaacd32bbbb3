"""kill -9 at any instant leaves the previous state or the next, and a rerun ends where an undisturbed run ends.

`SEEDS=100 pytest quant_assets_tests/chaos` tries more instants than the few that every run can afford.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.errors import NotPublishedError
from quant_assets.lakehouse.compaction import compact, months
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.chaos import clearing, ingesting, writing
from quant_assets_tests.unit.flows.lab import files

pytestmark = pytest.mark.chaos
SEEDS = range(int(os.environ.get("SEEDS") or 6))
ROOT = Path(__file__).parents[2]


@contextmanager
def child(module, *arguments):
    command = [sys.executable, "-W", "ignore", "-m", module.__name__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    try:
        first = process.stdout.readline().strip()
        assert first == "started", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The content ids of a run that nobody killed, and how long it takes."""
    root = tmp_path_factory.mktemp("undisturbed")
    with child(ingesting, root) as process:
        started = time.monotonic()
        assert process.stdout.readline().strip() == "done", process.stderr.read()
        took = time.monotonic() - started
    return ingesting.lab_in(root).content(), took


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_killed_while_it_ingests_ends_like_an_undisturbed_one(tmp_path, undisturbed, seed):
    expected, took = undisturbed
    draw = random.Random(seed)
    for _ in range(draw.choice([1, 1, 2])):
        with child(ingesting, tmp_path) as process:
            time.sleep(draw.uniform(0.02, 0.9) * took)
            process.send_signal(signal.SIGKILL)
    lab = ingesting.lab_in(tmp_path)
    lab.content()  # readable at once: whatever stands is whole
    lab.run(ingesting.SESSIONS)
    assert lab.content() == expected
    before = files(tmp_path)
    again = lab.run(ingesting.SESSIONS)
    assert again.requests == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reader_sees_the_previous_or_the_next_content_of_a_killed_writer(tmp_path, seed):
    draw = random.Random(seed)
    lake, seen = Lakehouse(Layout(tmp_path)), 0
    for _ in range(2):
        with child(writing, tmp_path, seen) as process:
            until = time.monotonic() + draw.uniform(0.05, 0.6)
            while time.monotonic() < until:
                seen = max(seen, _look(lake, seen))
            process.send_signal(signal.SIGKILL)
        for reader in (lake, Lakehouse(Layout(tmp_path))):
            seen = _look(reader, seen)
            assert reader.raw.read(writing.RAW, writing.AT).height == len(reader.raw.batches(writing.RAW, writing.AT))
    lake.curated.write(writing.CURATED, writing.AT, writing.rows(-1), inputs={"n": "-1"})
    footer = Lakehouse(Layout(tmp_path)).curated.footer(writing.CURATED, writing.AT)
    assert dict(footer.inputs) == {"n": "-1"}
    left = [path.name for path in lake.layout.directory(writing.CURATED, writing.AT).iterdir()]
    assert left == ["part.parquet"]
    assert lake.curated.reindex(writing.CURATED) == 1


def _look(lake, least):
    """Read as any other process would; what is read is one write, and never an older one than before."""
    try:
        prices = lake.curated.read(writing.CURATED, writing.AT)["price"]
    except NotPublishedError:
        return least
    assert len(prices) == writing.N_ROWS
    assert prices.n_unique() == 1
    assert prices[0] >= least
    footer = lake.curated.footer(writing.CURATED, writing.AT)
    assert footer.n_rows == writing.N_ROWS
    assert int(footer.inputs["n"]) >= prices[0]
    return int(prices[0])


@pytest.mark.parametrize("seed", SEEDS[: max(2, len(SEEDS) // 3)])
def test_copies_and_clearing_that_are_killed_cost_no_row(tmp_path, seed):
    draw = random.Random(seed)
    lake = Lakehouse(Layout(tmp_path))
    for turn in range(2):
        with child(clearing, tmp_path, 1 + 1000 * turn) as process:
            time.sleep(draw.uniform(0.02, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
        held = [lake.curated.read(BARS, one) for one in clearing.SESSIONS]
        assert [(one.height, one["close"].n_unique()) for one in held] == [(780, 1)] * len(held), "whole, of one write"
        for con_id in (101, 102):
            expected = pl.concat(held).filter(pl.col("con_id") == con_id).select("ts", "close")
            assert lake.curated.read_many(BARS, clearing.SESSIONS, expected.columns, [con_id]).equals(expected)
        footers = [Lakehouse(Layout(tmp_path)).curated.footer(BARS, one) for one in clearing.SESSIONS]
        assert [footer.n_rows for footer in footers] == [780] * len(footers)
    compact(lake.curated, BARS, "2024-01")
    clearing.garbage(lake).collect()
    assert [one.state for one in months(lake.curated, BARS)] == ["current"]
    assert not [item for item in clearing.garbage(lake).survey() if item.goes], "what a dead one left is gone"
    assert not [*tmp_path.rglob(".staged-*")]
