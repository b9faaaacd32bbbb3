"""Weights that others published: github.com/dcajasn/Riskfolio-Lib @ 632a9e4, kept outside this repository."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.optimization import METHODS, HierarchicalParity, MinRisk, solve
from quant_assets.domain.returns import closes_matrix, returns_matrix
from quant_assets.settings.manifest import RiskConfig

_HERE = Path(__file__).resolve()
_CANDIDATES = [parent / "shared/data/golden/portfolio" for parent in _HERE.parents]
GOLDEN = next((path for path in _CANDIDATES if path.is_dir()), None)

pytestmark = pytest.mark.skipif(GOLDEN is None, reason="shared/data/golden/portfolio is not on this machine")


def last_200_returns(name: str) -> tuple[pl.DataFrame, list[str]]:
    """Return the last 200 simple returns without SPY, through our own returns matrix; con_id = position."""
    assert GOLDEN is not None
    prices = pl.read_csv(GOLDEN / name, try_parse_dates=True).drop("SPY").tail(201)
    tickers = prices.columns[1:]
    bars = prices.rename({"Date": "session", **{ticker: str(i) for i, ticker in enumerate(tickers, 1)}}).unpivot(
        index="session", variable_name="con_id", value_name="adj_close"
    )
    closes = closes_matrix(
        bars.with_columns(pl.col("con_id").cast(pl.Int64)), prices["Date"].to_list(), range(1, len(tickers) + 1)
    )
    matrix = returns_matrix(closes, floor_sessions=201, max_abs_return=5.0, max_missing_fraction=0.0).matrix
    assert matrix.height == 200
    return matrix, tickers


def published(name: str, measure: str) -> dict[str, float]:
    assert GOLDEN is not None
    frame = pl.read_csv(GOLDEN / name)
    return dict(frame.select(frame.columns[0], measure).rows())


def test_minimum_risk_weights():
    matrix, tickers = last_200_returns("stock_prices.csv")
    found = solve(matrix, {}, RiskConfig(method="min_variance", max_weight=1.0, sector_cap=1.0))
    expected = published("Classic_MinRisk.csv", "MV")
    assert np.array([expected[t] for t in tickers]) == pytest.approx(list(found.weights.values()), abs=5e-5)


def test_hrp_weights():
    matrix, tickers = last_200_returns("stock_prices_3.csv")
    expected = published("HC_HRP.csv", "MV")
    methods = {**METHODS, "hrp": HierarchicalParity(linkage="single")}
    found = solve(matrix, {}, RiskConfig(method="hrp", max_weight=1.0, sector_cap=1.0), methods=methods)
    distance = np.abs(np.array([expected[t] for t in tickers]) - list(found.weights.values())).max()
    assert distance < 1e-12


MEASURES = {
    "MV": "VARIANCE",
    "MAD": "MEAN_ABSOLUTE_DEVIATION",
    "MSV": "SEMI_VARIANCE",
    "CVaR": "CVAR",
    "EVaR": "EVAR",
    "WR": "WORST_REALIZATION",
    "MDD": "MAX_DRAWDOWN",
    "ADD": "AVERAGE_DRAWDOWN",
    "CDaR": "CDAR",
    "EDaR": "EDAR",
    "UCI": "ULCER_INDEX",
}


@pytest.mark.parametrize("published_as", MEASURES)
def test_minimum_risk_weights_by_eleven_measures(published_as):
    matrix, tickers = last_200_returns("stock_prices.csv")
    methods = {**METHODS, "min_variance": MinRisk(MEASURES[published_as])}
    risk = RiskConfig(method="min_variance", max_weight=1.0, sector_cap=1.0)
    found = solve(matrix, {}, risk, methods=methods)
    assert found.fallbacks == ()
    expected = published("Classic_MinRisk.csv", published_as)
    assert np.array([expected[t] for t in tickers]) == pytest.approx(list(found.weights.values()), abs=5e-5)
