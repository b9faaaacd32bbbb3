"""The same run over the lakehouse on disk: published tables in, a finished run out, nothing else touched."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain import tables
from quant_assets.domain.verification import errors
from quant_assets.errors import SnapshotIncompleteError
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.flows.screen import screen_session
from quant_assets.flows.snapshot import freeze
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets_tests.unit.alpha import scenario


def test_from_published_tables_to_a_verified_run(tmp_path):
    world, layout = scenario.world(n=5, method="hrp"), Layout(tmp_path)
    store = CuratedStore(layout, clock=world.clock)
    arguments = (world.session, "default", world.profile)
    for (name, key), frame in world.store.frames.items():
        if name != "candidates":
            store.write(tables.table(name), Partition.from_key(key), frame)
    with pytest.raises(SnapshotIncompleteError, match=r"candidates\[default\|2024-06-28\] is not published"):
        freeze(store, layout, *arguments, world.sessions, world.clock)
    screened = screen_session(store, *arguments)
    at = Partition(world.session, "default")
    store.write(tables.CANDIDATES, at, screened.frame, inputs=screened.inputs, watermark=screened.watermark)
    assert screened.inputs.keys() == {
        f"{name}|2024-06-28" for name in ("universe", "instruments", "curated_tws_1d_bars")
    }
    assert screened.watermark.startswith("2024-07-01")

    snapshot = freeze(store, layout, *arguments, world.sessions, world.clock)
    store.write(tables.SNAPSHOTS, at, snapshot.frame, inputs=snapshot.inputs)
    written = (tables.RETURNS_MATRIX, tables.SELECTION, tables.SYNTHETIC_RETURNS, tables.WEIGHTS, tables.REPORTS)
    for step, table in zip(STEPS, written, strict=True):
        store.write(table, at, step(snapshot.run, world.clock))
    assert errors(verify_run(layout, snapshot.run_id)) == []
    assert store.read(tables.WEIGHTS, at)["weight"].sum() == pytest.approx(1.0, abs=1e-8)

    # A writer that replaces the lakehouse file afterwards does not reach the run.
    bars = world.store.read(tables.CURATED_TWS_1D_BARS, Partition(world.session))
    later = bars.with_columns(adj_close=pl.col("adj_close") * 2)
    store.write(tables.CURATED_TWS_1D_BARS, Partition(world.session), later, watermark="2025")
    assert errors(verify_run(layout, snapshot.run_id)) == []


def test_listing_runs_loads_no_heavy_library():
    script = (
        "import sys; import quant_assets.flows.alpha, quant_assets.flows.snapshot;"
        "heavy = {'skfolio', 'scipy', 'sklearn', 'matplotlib', 'jinja2', 'pandas', 'cvxpy', 'dagster'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    answer = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
