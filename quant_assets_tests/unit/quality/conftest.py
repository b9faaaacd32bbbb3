"""A lakehouse with bad rows in it, of which every test may have a copy."""

import shutil
from datetime import timedelta

import polars as pl
import pytest

from quant_assets.domain.tables import RAW_TWS_BARS
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.flows.lab import Lab
from quant_assets_tests.unit.quality.spoiled import NEXT, SESSION, SYMBOLS, curated


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Two curated sessions; into the first one come newer rows, one x100 and one whose high is below its low."""
    root = tmp_path_factory.mktemp("built")
    made = Lab(root, symbols=SYMBOLS)
    made.run([SESSION, NEXT])
    raw = made.lake.raw.read(RAW_TWS_BARS, Partition(SESSION))
    bars = raw.filter(pl.col("con_id") == raw["con_id"][0]).sort("ts").slice(98, 6)
    place = pl.int_range(pl.len())
    times = pl.when(place == 2).then(100.0).otherwise(1.0)
    spoiled = bars.with_columns(
        *((pl.col(name) * times).alias(name) for name in ("open", "high", "low", "close", "wap")),
        pl.lit("late").alias("batch_id"),
        pl.lit("late-000").alias("request_id"),
        pl.col("ingested_at") + timedelta(hours=1),
    ).with_columns(pl.when(place == 3).then(pl.col("low") - 1).otherwise("high").alias("high"))
    made.lake.raw.append(RAW_TWS_BARS, Partition(SESSION), spoiled, "late")
    curated(made)
    return root


@pytest.fixture
def lab(built, tmp_path):
    shutil.copytree(built, tmp_path / "lab")
    return Lab(tmp_path / "lab", symbols=SYMBOLS)
