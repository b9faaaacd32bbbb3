"""Inputs at the edge, end to end: each ends in weights that verify, or in an error that says what to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quant_assets.domain.verification import errors
from quant_assets.errors import InfeasibleError, NoCandidatesError, NotEnoughReturnsError
from quant_assets.flows.alpha import STEPS, verify_run
from quant_assets.lakehouse.layout import Layout
from quant_assets_tests.unit.alpha import scenario

ROOT = Path(__file__).resolve().parents[3]


def run_of(world, tmp_path):
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    return run


@pytest.mark.parametrize("method", ["min_variance", "hrp", "max_sharpe"])
def test_twins_make_a_singular_covariance_and_a_run_that_verifies_and_says_so(tmp_path, method):
    prices = np.repeat(scenario.closes(120, 4), 2, axis=1)
    run = run_of(scenario.world(prices, method=method, cluster_cap=1.0), tmp_path)
    assert errors(verify_run(Layout(tmp_path), run.run_id)) == []
    told = {one["check"]: one["severity"] for one in run.read_json("data/weights.json")["findings"]}
    assert told["condition_number"] == "warn"


def test_prices_that_never_move_leave_no_matrix_and_no_weights(tmp_path):
    world = scenario.world(np.full((120, 3), 25.0))
    with pytest.raises(NotEnoughReturnsError, match="zero_variance") as told:
        run_of(world, tmp_path)
    assert told.value.exit_code == 65
    assert not list(tmp_path.rglob("weights.*"))


def test_no_prices_at_all_are_nobodys_candidates():
    prices = scenario.closes(120, 3)
    prices[:] = np.nan
    with pytest.raises(NoCandidatesError, match="no_daily_history"):
        scenario.world(prices)


def test_a_turnover_limit_below_what_has_to_be_sold_is_infeasible_and_says_what_to_loosen():
    import polars as pl

    from quant_assets.domain.optimization import Turnover, solve
    from quant_assets.settings.manifest import RiskConfig
    from quant_assets_tests.unit.backtest.test_holding import DAYS

    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"session": DAYS[:60], **{str(k): rng.normal(0, 0.01, 60) for k in (1, 2)}})
    limit = Turnover(np.eye(2), np.array([0.0, 0.0]), 1.0, 0.1)
    with pytest.raises(InfeasibleError, match=r"Raise risk\.max_turnover"):
        solve(frame, {}, RiskConfig(method="hrp", max_weight=1.0), turnover=limit)


def test_solver_libraries_are_imported_where_they_are_used_alone():
    script = (
        "import sys, quant_assets.flows.alpha, quant_assets.flows.meta, quant_assets.flows.backtest,"
        " quant_assets.flows.targets, quant_assets.flows.snapshot, quant_assets.cli.backtest, quant_assets.cli.meta;"
        "print(sorted({'skfolio', 'cvxpy', 'sklearn', 'scipy', 'matplotlib', 'jinja2', 'dagster'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
