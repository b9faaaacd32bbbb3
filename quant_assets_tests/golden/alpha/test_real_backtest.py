"""88 real stocks: published numbers are recomputed, and weights equal a direct call on the very same matrix."""

import importlib.util
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.connectors.files import read_daily
from quant_assets.domain.optimization import solve
from quant_assets.domain.returns import closes_matrix, returns_matrix
from quant_assets.settings.manifest import RiskConfig

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def document():
    spec = importlib.util.spec_from_file_location("backtest_document", ROOT / "tools" / "backtest_document.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(shared_data):
    return shared_data / "us_daily_2012_2017.parquet", shared_data / "us_daily_2012_2017_sectors.csv"


@pytest.fixture(scope="module")
def small(document, files):
    return document.walks(*files, *document.SMALL)


def test_the_published_table_of_the_last_year_is_recomputed(document, small):
    text = document.DOCUMENT.read_text(encoding="utf-8")
    assert document.measured(small) in text
    assert document.attributed(small) in text


@pytest.mark.slow
def test_the_published_tables_of_three_years_are_recomputed(document, files):
    full = document.walks(*files, *document.FULL)
    text = document.DOCUMENT.read_text(encoding="utf-8")
    assert document.measured(full) in text
    assert document.attributed(full) in text
    assert {one.folds.height for one in full.values()} == {37}
    for one in full.values():
        parts = one.record["attribution"]
        assert sum(parts[part] for part in ("pool", "selection", "allocation", "costs")) == pytest.approx(parts["net"])


def test_one_over_n_is_what_buying_and_holding_each_of_them_alike_gives(small, files):
    """Straight from the file: the mean of closes at a fold's end over closes at its trade, of whoever is fit."""
    raw = pl.read_parquet(files[0]).with_columns(pl.col("date").str.to_date()).drop_nulls().sort("symbol", "date")
    wide = raw.pivot("symbol", index="date", values="adj_close").sort("date").fill_null(strategy="forward")
    found = small["hrp"]
    assert found.folds.height == 4
    for fold in found.folds.iter_rows(named=True):
        window = raw["date"].unique().sort().filter(raw["date"].unique().sort() <= fold["known"]).tail(500)
        known = raw.filter(pl.col("date").is_in(window.implode()))
        fit = known.group_by("symbol").agg(
            pl.len().alias("n"), (pl.col("close") * pl.col("volume")).tail(20).median().alias("traded")
        )
        names = fit.filter(pl.col("n") >= 450, pl.col("traded") >= 1e6)["symbol"].sort().to_list()
        bought, sold = (wide.filter(pl.col("date") == day).select(names) for day in (fold["traded"], fold["last"]))
        earned = found.returns.filter(pl.col("fold") == fold["fold"])["pool_gross"].to_numpy()
        assert fold["n_pool"] == len(names)
        assert np.prod(1 + earned) == pytest.approx((sold.to_numpy() / bought.to_numpy()).mean(), abs=1e-12)


def test_rows_without_prices_are_left_out_and_named(files):
    found = read_daily(*files)
    assert found.bars["symbol"].n_unique() == 88
    assert found.members["sector"].n_unique() == 9
    assert found.rejected.select("symbol", "session", "reason").rows() == [
        (name, date(2016, 6, 29), "no_price") for name in ("PTR", "REX", "SNP")
    ]


@pytest.mark.parametrize("method", ["min_variance", "hrp"])
def test_uncapped_weights_equal_a_direct_call_of_skfolio_on_the_same_matrix(files, method):
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk

    bars = read_daily(files[0]).bars
    days = bars["session"].unique().sort().to_list()[-500:]
    matrix = returns_matrix(
        closes_matrix(bars, days, bars["con_id"].unique().to_list()),
        floor_sessions=320,
        max_abs_return=5.0,
        max_missing_fraction=0.1,
    ).matrix
    assert matrix.width - 1 >= 85
    values = matrix.drop_nulls().drop("session").to_numpy()
    direct = {"min_variance": MeanRisk(), "hrp": HierarchicalRiskParity()}[method].fit(values).weights_
    found = solve(matrix, {}, RiskConfig(method=method, max_weight=1.0, sector_cap=1.0, cluster_cap=1.0))
    assert found.method == method
    assert np.abs(np.array(list(found.weights.values())) - direct).max() < 1e-10
