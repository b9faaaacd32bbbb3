import json
import time
from datetime import date
from typing import get_args

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.selection import (
    METRICS,
    Panel,
    correlation_distances,
    measure,
    panel_of,
    probabilities,
    scores,
    select,
    selection_rows,
    ward_clusters,
)
from quant_assets.errors import NoCandidatesError
from quant_assets.settings import manifest
from quant_assets.settings.manifest import Bounds, SelectionConfig
from quant_assets_tests.unit.alpha import scenario

SESSION = date(2024, 6, 28)
FREE = {"vetoes": {}}


def panel(prices: np.ndarray, volume: np.ndarray | float = 1e6) -> Panel:
    returns = prices[1:] / prices[:-1] - 1
    return Panel(returns, np.log(prices), prices * volume, prices, prices, prices)


def blocks(n_blocks: int = 3, each: int = 4, n_sessions: int = 200, seed: int = 1) -> np.ndarray:
    """Return prices of instruments that move together in blocks."""
    rng = np.random.default_rng(seed)
    factors = np.repeat(rng.normal(0, 0.01, (n_sessions, n_blocks)), each, axis=1)
    return 50 * np.exp(np.cumsum(factors + rng.normal(0, 0.002, factors.shape), axis=0))


def choose(prices: np.ndarray, **config: object):
    ids = range(101, 101 + prices.shape[1])
    return select(panel(prices), ids, SelectionConfig(**{**FREE, **config}), session=SESSION, profile="default")


def test_the_names_in_the_configuration_are_those_of_the_metrics():
    assert set(get_args(manifest.Metric)) == set(METRICS)
    assert all(metric.formula and metric.source for metric in METRICS.values())


def test_moments_equal_those_of_scipy():
    from scipy import stats

    prices = scenario.closes(300, 6)
    values = panel(prices).returns
    found = measure(panel(prices), list(METRICS))
    assert found["skew"] == pytest.approx(stats.skew(values))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(values))
    assert found["stability"] == pytest.approx(1 / (values.std(axis=0, ddof=1) * 252**0.5))


def test_metrics_by_hand():
    prices = np.array([100, 110, 99, 108.9, 108.9, 119.79])[:, None]  # +10, -10, +10, 0, +10 %
    found = {name: float(values[0]) for name, values in measure(panel(prices, 10.0), list(METRICS)).items()}
    assert found["cvar"] == pytest.approx(0.10)  # the worst 5 % of five returns is the worst one
    assert found["efficiency"] == pytest.approx(np.log(1.1979) / (3 * np.log(1.1) - np.log(0.9)))
    assert found["momentum"] == pytest.approx(0.1979)  # five sessions have no newest twelfth to leave out
    assert found["liquidity"] == pytest.approx(1089.0)  # 1000, 990, 1089, 1089, 1100, 1198
    # Triples (+10, -10, +10): b<c=a; (-10, +10, 0): a<c<b; (+10, 0, +10): b<a=c. Ties count as rising: two patterns.
    assert found["entropy"] == pytest.approx(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(6))


def test_momentum_leaves_out_the_newest_month_of_a_year():
    prices = np.ones((300, 1))
    prices[-21:] = 3.0  # the last month does not count: t - 21 is still at 1
    assert measure(panel(prices), ["momentum"])["momentum"] == pytest.approx([0.0])
    prices[-22:] = 3.0
    assert measure(panel(prices), ["momentum"])["momentum"] == pytest.approx([2.0])


def test_hurst_tells_noise_trend_and_reversion_apart():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.01, 4000)
    smooth = np.convolve(noise, np.ones(40) / 40, "same")
    back = np.diff(noise, prepend=0.0)
    prices = np.exp(np.cumsum(np.column_stack([noise, smooth, back]), axis=0))
    random, persistent, reverting = measure(panel(prices), ["hurst"])["hurst"]
    assert random == pytest.approx(0.5, abs=0.04)
    assert persistent > 0.9
    assert reverting < 0.1


def test_a_gap_costs_its_own_instrument_its_own_numbers_only():
    prices = scenario.closes(260, 3)
    whole = measure(panel(prices), list(METRICS))
    prices[100:105, 1] = np.nan
    ids = [101, 102, 103]
    days = scenario.weekdays(260)
    bars = scenario.daily(days, prices)
    returns = prices[1:] / prices[:-1] - 1
    matrix = pl.DataFrame({"session": days[1:], **{str(i): returns[:, k] for k, i in enumerate(ids)}})
    holed = measure(panel_of(matrix, bars, days), list(METRICS))
    for name in METRICS:
        assert holed[name][[0, 2]] == pytest.approx(whole[name][[0, 2]]), name
        assert np.isfinite(holed[name][1]), name


def test_what_cannot_be_computed_is_nan_and_not_an_error():
    prices = scenario.closes(6, 2)
    one = panel(prices, np.nan)
    found = measure(one, list(METRICS))
    assert np.isnan(found["liquidity"]).all()
    assert np.isnan(found["hurst"]).all()  # six closes have no lags


def test_probabilities_are_mean_ranks_and_nan_is_last():
    assert probabilities(np.array([3.0, 1.0, 2.0, 2.0]), higher_is_better=True).tolist() == [1.0, 0.25, 0.625, 0.625]
    assert probabilities(np.array([3.0, 1.0, np.nan]), higher_is_better=False).tolist() == [2 / 3, 1.0, 1 / 3]


def test_the_score_is_the_weighted_geometric_mean_of_the_ranks():
    metrics = {"momentum": np.array([1.0, 2.0]), "cvar": np.array([0.1, 0.2]), "hurst": np.array([np.nan, np.nan])}
    found = scores(metrics, {"momentum": 3.0, "cvar": 1.0, "hurst": 5.0})
    assert found.values == pytest.approx([0.5**0.75, 0.5**0.25])  # p: (1/2, 1) and (1, 1/2), weights 3/4 and 1/4
    assert set(found.weights) == {"momentum", "cvar"}
    terms = found.terms(0)
    assert sum(one["term"] for one in terms.values()) == pytest.approx(np.log(found.values[0]))


def test_being_last_in_one_metric_is_not_bought_back():
    n = 100
    extreme, even = np.arange(n, dtype=float), np.full(n, 50.0)
    metrics = {"momentum": np.append(extreme, 50.5), "stability": np.append(extreme[::-1], 50.5)}
    found = scores(metrics, {"momentum": 1.0, "stability": 1.0}).values
    assert found[-1] > found[0]
    assert even.mean() > found[0]


def test_clusters_are_the_planted_blocks():
    labels = ward_clusters(correlation_distances(panel(blocks()).returns), 3)
    assert labels.tolist() == [1] * 4 + [2] * 4 + [3] * 4


def test_distances_are_those_of_numpy_and_pairwise_where_there_are_gaps():
    values = panel(scenario.closes(200, 5)).returns
    assert correlation_distances(values) == pytest.approx(
        np.sqrt((1 - np.corrcoef(values, rowvar=False)) / 2), abs=2e-8
    )
    holed = values.copy()
    holed[:50, 2] = np.nan
    alone = np.corrcoef(values[50:, 2], values[50:, 4])[0, 1]
    assert correlation_distances(holed)[2, 4] == pytest.approx(((1 - alone) / 2) ** 0.5, abs=1e-8)
    assert correlation_distances(holed)[0, 1] == pytest.approx(correlation_distances(values)[0, 1], abs=1e-9)


def test_two_different_gaps_leave_the_sessions_that_both_have():
    values = panel(scenario.closes(60, 2)).returns
    holed = values.copy()
    holed[:20, 0] = np.nan
    holed[30:50, 1] = np.nan
    shared = np.r_[20:30, 50 : len(values)]
    expected = ((1 - np.corrcoef(values[shared], rowvar=False)[0, 1]) / 2) ** 0.5
    assert correlation_distances(holed)[0, 1] == pytest.approx(expected, abs=1e-8)


def test_twins_are_one_cluster_and_opposites_are_far_apart():
    twins = np.column_stack([np.array([0.01, -0.02, 0.03, 0.0])] * 2 + [np.array([-0.01, 0.02, -0.03, 0.0])])
    distances = correlation_distances(twins)
    assert distances[0].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert ward_clusters(distances, 2).tolist() == [1, 1, 2]


def test_the_best_of_each_cluster_are_selected_and_the_others_told_their_place():
    found = choose(blocks(), max_clusters=3, top_n_per_cluster=2, min_selected=1)
    values = found.scores.values
    for block in range(3):
        members = range(4 * block, 4 * block + 4)
        best = sorted(members, key=lambda k: -values[k])[:2]
        assert [k for k in members if not found.reasons[k]] == sorted(best)
    told = sorted(reason for reason in found.reasons if reason)
    assert told == sorted(
        f"below_top_of_cluster: number {k} of cluster {c}, limit 2" for c in (1, 2, 3) for k in (3, 4)
    )


def test_vetoes_are_final_and_carry_their_numbers():
    prices = blocks(1, 3)
    prices[100:, 1] *= 0.5  # half is gone in one session
    found = choose(prices, vetoes={"cvar": Bounds(max=0.05)}, min_selected=3)
    assert found.selected == [101, 103]
    assert found.reasons[1].startswith("veto_cvar: 0.")
    assert found.is_short
    assert [rung.n_selected for rung in found.ladder] == [2]  # five per cluster of three: nothing to relax


def test_a_veto_on_a_number_that_does_not_exist_is_a_veto():
    prices = scenario.closes(6, 2)
    with pytest.raises(NoCandidatesError, match=r"veto_hurst \(2\)"):
        choose(prices, vetoes={"hurst": Bounds(min=0.1)})


def test_the_ladder_relaxes_step_by_step_and_stops_when_enough_are_left():
    found = choose(blocks(), threshold=0.9, max_clusters=3, top_n_per_cluster=1, min_selected=8)
    assert [rung.name for rung in found.ladder] == [
        "as configured",
        "half the threshold",
        "no threshold",
        "no limit per cluster",
    ]
    counts = [rung.n_selected for rung in found.ladder]
    assert counts == sorted(counts)
    assert counts[-2:] == [3, 12]
    assert len(choose(blocks(), top_n_per_cluster=5).ladder) == 1


def test_below_the_threshold_says_by_how_much():
    found = choose(blocks(), threshold=0.5, min_selected=1)
    below = [k for k in range(12) if found.scores.values[k] < 0.5]
    assert below
    assert all(found.reasons[k] == f"below_threshold: score {found.scores.values[k]:.4f} below 0.5" for k in below)


def test_every_instrument_leaves_with_a_verdict_its_terms_and_its_cluster():
    prices = blocks()
    found = choose(prices, max_clusters=3, top_n_per_cluster=2)
    ids = list(range(101, 114))
    certificate = pl.DataFrame(
        {"con_id": ids, "symbol": [f"NYSE:S{i}" for i in ids], "reason": [""] * 12 + ["too_short: 3 of 9 sessions"]}
    )
    rows = selection_rows(found, certificate, session=SESSION, profile="default", run_id="r")
    assert rows["con_id"].to_list() == ids
    last = rows.row(-1, named=True)
    assert (last["verdict"], last["reason"]) == ("rejected", "not_in_matrix: too_short: 3 of 9 sessions")
    assert last["score"] is None
    assert last["cluster"] is None
    inside = rows.head(12)
    assert ((inside["verdict"] == "selected") == (inside["reason"] == "")).all()
    for row in inside.iter_rows(named=True):
        terms = json.loads(row["terms"])
        assert sum(one["term"] for one in terms.values()) == pytest.approx(np.log(row["score"]), abs=1e-7)


def test_one_instrument_is_selected():
    found = choose(scenario.closes(100, 1))
    assert found.selected == [101]
    assert found.scores.values.tolist() == [1.0]


def test_all_nan_is_nobodys_candidate():
    nothing = Panel(np.full((20, 2), np.nan), np.full((21, 2), np.nan), np.full((21, 2), np.nan))
    config = SelectionConfig()
    with pytest.raises(NoCandidatesError, match="veto_cvar"):
        select(nothing, [1, 2], config, session=SESSION, profile="default")
    free = select(nothing, [1, 2], SelectionConfig(vetoes={}), session=SESSION, profile="default")
    assert free.scores.values.tolist() == [1.0, 1.0]


def test_a_thousand_instruments_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (501, 1000)), axis=0))
    prices[rng.random(prices.shape) < 0.02] = np.nan
    one = panel(prices)
    config = SelectionConfig(score_weights=dict.fromkeys(METRICS, 1.0), max_clusters=25)
    started = time.process_time()
    found = select(one, range(1, 1001), config, session=SESSION, profile="default")
    assert time.process_time() - started < 2.0
    assert len(found.reasons) == 1000
