"""Clusters and scores of 88 real stocks: those in one business find each other without being told."""

import polars as pl

from quant_assets.domain.returns import closes_matrix, returns_matrix
from quant_assets.domain.selection import panel_of, select
from quant_assets.settings.manifest import SelectionConfig


def test_utilities_banks_and_pharma_are_clusters_of_their_own(shared_data):
    daily = pl.read_parquet(shared_data / "us_daily_2012_2017.parquet").with_columns(
        session=pl.col("date").str.to_date(), con_id=pl.col("symbol").rank("dense").cast(pl.Int64)
    )
    days = sorted(daily["session"].unique())[-500:]
    names = dict(daily.select("con_id", "symbol").unique().iter_rows())
    closes = closes_matrix(daily, days, list(names))
    matrix = returns_matrix(closes, floor_sessions=320, max_abs_return=5.0, max_missing_fraction=0.1)
    found = select(
        panel_of(matrix.matrix, daily, days), matrix.con_ids, SelectionConfig(), session=days[-1], profile="p"
    )
    clusters: dict[int, set[str]] = {}
    for con_id, cluster in zip(found.con_ids, found.clusters.tolist(), strict=True):
        clusters.setdefault(cluster, set()).add(names[con_id])
    assert {"AEP", "D", "DUK", "EXC", "NEE", "PCG", "PPL", "SO", "SRE"} in clusters.values()
    assert any({"BAC", "C", "JPM", "WFC"} <= members for members in clusters.values())
    assert any({"ABBV", "AMGN", "JNJ", "MRK", "PFE"} <= members for members in clusters.values())
    assert any({"BP", "CVX", "RDS-B", "TOT", "XOM"} <= members for members in clusters.values())
    assert len(found.ladder) == 1
    assert len(found.selected) == sum(min(5, len(members)) for members in clusters.values())
