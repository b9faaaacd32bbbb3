import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quant_assets.domain.optimization import METHODS, on_grid, solve
from quant_assets.domain.selection import METRICS, Panel, correlation_distances, probabilities, select, ward_clusters
from quant_assets.domain.synthesis import SIGN, Atom, directed, flatten, signal, synthesize
from quant_assets.domain.verification import errors, verify_weights
from quant_assets.settings.manifest import AtomConfig, RiskConfig, SelectionConfig
from quant_assets_tests.unit.alpha import scenario

values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
logics = st.sampled_from(["momentum", "reversion", "trend"])
directions = st.sampled_from(["LONG", "SHORT"])


def prices(seed: int, n_sessions: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_sessions, n)), axis=0))


def panel(seed: int, n: int) -> Panel:
    made = prices(seed, 80, n)
    return Panel(made[1:] / made[:-1] - 1, np.log(made), made * 1e5)


@given(hnp.arrays(float, st.integers(1, 30), elements=values), st.booleans())
def test_probabilities_are_in_0_1_and_keep_the_order(array, higher):
    found = probabilities(array, higher_is_better=higher)
    assert ((found > 0) & (found <= 1)).all()
    signed = array if higher else -array
    for i in range(len(array)):
        assert ((found > found[i]) <= (signed >= signed[i])).all()
    assert np.isclose(found.sum(), (len(array) + 1) / 2)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.floats(0, 0.99), st.randoms()
)
def test_verdicts_keep_their_limits_and_do_not_depend_on_column_order(
    seed, n, max_clusters, per_cluster, threshold, random
):
    config = SelectionConfig(
        score_weights=dict.fromkeys(METRICS, 1.0),
        vetoes={},
        threshold=threshold,
        max_clusters=max_clusters,
        top_n_per_cluster=per_cluster,
        min_selected=3,
    )
    one, ids = panel(seed, n), list(range(101, 101 + n))
    who = {"session": scenario.weekdays(1)[0], "profile": "p"}
    found = select(one, ids, config, **who)
    rung = found.ladder[-1]
    assert len(found.selected) == rung.n_selected
    assert rung.n_selected >= min(3, n)
    assert len(set(found.clusters.tolist())) <= max(max_clusters, 1)
    chosen = np.array([not reason for reason in found.reasons])
    assert (found.scores.values[chosen] >= rung.threshold).all()
    assert np.bincount(found.clusters[chosen]).max() <= rung.per_cluster
    order = list(range(n))
    random.shuffle(order)
    mixed = Panel(one.returns[:, order], one.log_closes[:, order], one.traded[:, order])
    again = select(mixed, [ids[k] for k in order], config, **who)
    assert sorted(again.selected) == found.selected


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_distances_are_a_metric_like_matrix_and_clusters_cover_everybody(seed, n):
    distances = correlation_distances(panel(seed, n).returns)
    assert (distances == distances.T).all()
    assert (np.diag(distances) == 0).all()
    assert ((distances >= 0) & (distances <= 1)).all()
    labels = ward_clusters(distances, 4)
    assert set(labels.tolist()) == set(range(1, max(labels) + 1))


@given(st.integers(0, 10**6), logics, directions, st.integers(2, 20), st.integers(21, 79))
def test_no_signal_knows_the_future(seed, logic, direction, span, cut):
    logs = np.log(prices(seed, 80, 3))
    config = AtomConfig(logic=logic, direction=direction, timescale=span)
    changed = logs.copy()
    changed[cut:] += 1.0
    assert (signal(logs, config)[:cut] == signal(changed, config)[:cut]).all()


@given(hnp.arrays(float, 20, elements=st.floats(-1, 10)), directions)
def test_no_direction_loses_more_than_everything_and_inversion_is_exact_up_to_there(array, direction):
    found = directed(array, direction)
    assert (found >= -1).all()
    inside = np.abs(array) <= 1
    assert (found[inside] == SIGN[direction] * array[inside]).all()


@given(
    st.lists(
        st.tuples(st.integers(1, 4), logics, directions, st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=12
    )
)
def test_flattening_never_holds_more_than_the_atoms_and_the_rest_is_cash(drawn):
    atoms = [Atom(con_id, logic, way, span, 1, live, "") for span, (con_id, logic, way, live, _) in enumerate(drawn, 2)]
    total = sum(one[-1] for one in drawn) or 1.0
    weights = {atom.name: one[-1] / total for atom, one in zip(atoms, drawn, strict=True)}
    gross = sum(abs(value) for value in flatten(weights, atoms).values())
    alive = sum(weights[atom.name] for atom in atoms if atom.live)
    assert gross <= alive + 1e-12
    assert alive <= 1 + 1e-9


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_long_only_streams_are_the_returns(seed, n):
    made = prices(seed, 40, n)
    returns = made[1:] / made[:-1] - 1
    frame = pl.DataFrame({"session": scenario.weekdays(39), **{str(k + 1): returns[:, k] for k in range(n)}})
    found = synthesize(frame, np.log(made), range(1, n + 1), [AtomConfig()])
    assert found.matrix.drop("session").to_numpy().tolist() == returns.tolist()


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(METHODS)),
    st.integers(2, 12),
    st.integers(0, 10**6),
    st.sampled_from([0.1, 0.15, 1 / 3, 0.5, 1.0]),
    st.sampled_from([0.2, 0.4, 1.0]),
    st.sampled_from([0.15, 0.25, 0.5, 1.0]),
)
def test_every_method_keeps_overlapping_caps(method, n, seed, max_weight, sector_cap, cluster_cap):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0.0005, rng.uniform(0.004, 0.03, n), (60, n)) + rng.normal(0, 0.01, (60, 1))
    sectors = {i: f"sector {i % 3}" for i in range(1, n + 1)}
    clusters = {i: f"{rng.integers(1, 4)}" for i in sectors}
    frame = pl.DataFrame({"session": scenario.weekdays(60), **{str(i): drawn[:, i - 1] for i in sectors}})
    risk = RiskConfig(method=method, max_weight=max_weight, sector_cap=sector_cap, cluster_cap=cluster_cap)
    solution = solve(frame, sectors, risk, clusters=clusters)
    stored = on_grid(np.array(list(solution.weights.values())))
    weights = dict(zip(solution.weights, map(float, stored), strict=True))
    limits = {"max_weight": max_weight, "sector_cap": sector_cap, "clusters": clusters, "cluster_cap": cluster_cap}
    assert errors(verify_weights(weights, 1.0 - float(stored.sum()), drawn, sectors, **limits)) == []
    assert float(stored.sum()) >= solution.diagnostics["investable"] - 1e-5
