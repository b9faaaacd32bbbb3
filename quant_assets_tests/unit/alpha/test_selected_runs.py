"""Selection, synthesis, caps and turnover in whole runs: from the frozen files to the report and the proof."""

import json

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.optimization import METHODS, SolverFailedError, on_grid
from quant_assets.domain.verification import errors
from quant_assets.errors import InfeasibleError, NoCandidatesError, VerificationError
from quant_assets.flows.alpha import STEPS, build_returns, build_selection, build_synthesis, build_weights, verify_run
from quant_assets.flows.judged import selection_findings, weight_findings
from quant_assets.flows.snapshot import Previous, freeze
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, seal_run
from quant_assets.settings.manifest import AtomConfig, Bounds, SynthesisConfig
from quant_assets_tests.unit.alpha import scenario

ATOMS = (
    AtomConfig(),
    AtomConfig(logic="momentum", direction="SHORT", timescale=5),
    AtomConfig(logic="trend", direction="LONG", timescale=20),
    AtomConfig(logic="reversion", direction="SHORT", timescale=10),
)


def world(
    prices: np.ndarray | None = None, *, n: int = 8, atoms=None, selection=None, **risk: object
) -> scenario.World:
    made = scenario.world(prices, n=n, **risk)
    changes = {"synthesis": SynthesisConfig(atoms=atoms)} if atoms else {}
    if selection:
        changes["selection"] = made.profile.selection.model_copy(update=selection)
    made.profile = made.profile.model_copy(update=changes)
    return made


def build(made: scenario.World, layout: Layout, previous: Previous | None = None) -> RunDirectory:
    arguments = (made.store, layout, made.session, scenario.PROFILE, made.profile, made.sessions, made.clock)
    run = freeze(*arguments, previous=previous).run
    for step in STEPS:
        step(run, made.clock)
    return run


def events(run: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in run.read("audit.jsonl").splitlines()]


@pytest.mark.parametrize("method", ["min_variance", "hrp"])
def test_with_long_only_atoms_flattened_weights_are_those_of_a_direct_call_on_the_matrix(tmp_path, method):
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk

    run = build(world(method=method, max_weight=1.0, sector_cap=1.0, cluster_cap=1.0), Layout(tmp_path))
    values = run.read_frame("data/returns_matrix.parquet").drop("session").to_numpy()
    direct = {"min_variance": MeanRisk, "hrp": HierarchicalRiskParity}[method]().fit(values).weights_
    found = run.read_frame("data/weights.parquet")["weight"].to_numpy()
    assert np.abs(found - on_grid(np.maximum(direct, 0.0))).max() < 1e-10
    streams = run.read_frame("data/synthetic_returns.parquet").drop("session").to_numpy()
    assert streams.tolist() == values.tolist()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("mixed"))
    return layout, build(world(atoms=ATOMS, method="risk_parity"), layout)


def test_long_and_short_atoms_account_for_all_capital_after_flattening(mixed):
    layout, run = mixed
    record = run.read_json("data/weights.json")
    weights = run.read_frame("data/weights.parquet")["weight"]
    assert weights.abs().sum() + record["cash"] == pytest.approx(1.0, abs=1e-6)
    assert record["gross"] == pytest.approx(weights.abs().sum())
    assert record["net"] == pytest.approx(weights.sum())
    assert weights.abs().max() <= 0.3
    assert sum(one["weight"] for one in record["atoms"]) == pytest.approx(1.0, abs=1e-6)
    assert record["cash_idle"] > 0
    assert not errors(verify_run(layout, run.run_id))


def test_flattened_weights_are_the_live_exposures_of_the_atoms(mixed):
    _, run = mixed
    record, composition = run.read_json("data/weights.json"), run.read_frame("data/synthetic_composition.parquet")
    live = {row["atom"]: (1 if row["direction"] == "LONG" else -1) * row["live"] for row in composition.to_dicts()}
    expected: dict[int, float] = {}
    for one in record["atoms"]:
        expected[one["con_id"]] = expected.get(one["con_id"], 0.0) + live[one["atom"]] * one["weight"]
    found = dict(run.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows())
    assert found == pytest.approx(expected, abs=1e-8)


def test_the_report_shows_scores_clusters_atoms_and_costs(mixed):
    _, run = mixed
    html = run.read("reports/report.html").decode()
    for needed in ("Selection</h2>", "Clusters</h2>", "Atoms</h2>", "Turnover and costs</h2>", "momentum-SHORT-5"):
        assert needed in html
    assert "directional" not in html
    assert "## Selection" in run.read("reports/report.md").decode()


def test_atoms_that_hold_nothing_now_leave_everything_in_cash(tmp_path):
    prices = scenario.closes(120, 4)
    prices[-12:] = prices[-13] * np.linspace(0.99, 0.9, 12)[:, None]  # the last fortnight only falls
    run = build(
        world(prices, atoms=(AtomConfig(logic="momentum", timescale=5),), method="equal_weight"), Layout(tmp_path)
    )
    record = run.read_json("data/weights.json")
    assert (record["cash"], record["gross"]) == (1.0, 0.0)
    assert "hold nothing after the last close" in run.read("reports/report.html").decode()
    assert not errors(verify_run(Layout(tmp_path), run.run_id))


def test_selection_decides_who_gets_weight_and_every_exclusion_has_its_reason(tmp_path):
    vetoes = {"vetoes": {"stability": Bounds(min=6.0)}, "min_selected": 2}
    run = build(world(selection=vetoes, cluster_cap=1.0), Layout(tmp_path))
    rows = run.read_frame("data/selection.parquet")
    rejected = rows.filter(verdict="rejected")
    assert 0 < rejected.height < 8
    assert rejected["reason"].str.starts_with("veto_stability: ").all()
    held = run.read_frame("data/weights.parquet")["con_id"].to_list()
    assert held == rows.filter(verdict="selected")["con_id"].to_list()
    assert "| selection | veto_stability" in run.read("reports/report.md").decode()


def test_everybody_vetoed_is_an_error_that_counts_the_vetoes(tmp_path):
    with pytest.raises(NoCandidatesError, match=r"accepted none of 8 instruments of 2024-06-28: veto_cvar \(8\)"):
        build(world(selection={"vetoes": {"cvar": Bounds(max=0.0)}}), Layout(tmp_path))


def test_what_was_relaxed_is_in_the_log_and_in_the_check(tmp_path):
    run = build(world(selection={"threshold": 0.99, "min_selected": 8}), Layout(tmp_path))
    relaxed = [one for one in events(run) if one["event"] == "relaxed"]
    assert [one["rung"] for one in relaxed] == ["half the threshold", "no threshold"]
    (finding,) = selection_findings(run)
    assert not finding.passed
    assert not finding.blocking
    assert "no threshold: 8 selected" in finding.message


def test_a_failing_solver_is_an_event_and_a_warning_and_the_weights_still_verify(tmp_path, monkeypatch):
    from quant_assets.domain.optimization.methods import MinRisk

    def fail(*_: object):
        raise SolverFailedError("it broke")

    monkeypatch.setattr(MinRisk, "weights", fail)
    run = build(world(), Layout(tmp_path))
    fallback = next(one for one in events(run) if one["event"] == "fallback")
    assert (fallback["method"], fallback["instead"], fallback["status"]) == ("min_variance", "hrp", "warn")
    verified, no_fallback, robust = weight_findings(run)
    assert verified.passed
    assert verified.blocking
    assert no_fallback.message == "min_variance gave no answer (it broke); hrp was asked"
    assert not no_fallback.passed
    assert robust.passed


def test_nobody_answering_ends_the_step_and_writes_no_weights(tmp_path, monkeypatch):
    def fail(*_: object):
        raise SolverFailedError("it broke")

    for optimizer in METHODS.values():
        monkeypatch.setattr(type(optimizer), "weights", fail)
    with pytest.raises(InfeasibleError, match="equal_weight: it broke"):
        build(world(), Layout(tmp_path))
    (path,) = Layout(tmp_path).runs.glob("[!.]*")
    assert not (path / "data/weights.parquet").exists()


def test_a_constraint_that_gets_lost_on_the_way_is_refused(tmp_path, monkeypatch):
    from quant_assets.flows.alpha import weigh

    check = weigh.verify_weights
    monkeypatch.setattr(weigh, "verify_weights", lambda *a, **k: check(*a, **{**k, "clusters": None}))
    with pytest.raises(VerificationError, match="cluster_cap is configured, and nothing checked it"):
        build(world(), Layout(tmp_path))


def test_a_solver_that_leaves_capital_out_without_a_cap_is_refused(tmp_path, monkeypatch):
    from quant_assets.domain.optimization.methods import EqualWeight

    monkeypatch.setattr(EqualWeight, "weights", lambda _, problem: np.full(problem.n, 0.9 / problem.n))
    with pytest.raises(
        VerificationError, match=r"invested: 0\.9.* of capital is given to methods, the caps allow 1\.0"
    ):
        build(world(method="equal_weight"), Layout(tmp_path))


def previous_of(made: scenario.World, weights: dict[int, float]) -> Previous:
    return Previous(made.sessions[-2], "before", "id", weights)


def test_turnover_is_measured_from_the_frozen_weights_of_the_run_before(tmp_path):
    made = world(method="equal_weight", max_turnover=0.1, max_weight=0.5, sector_cap=1.0, cluster_cap=0.5)
    run = build(made, Layout(tmp_path), previous_of(made, {101: 0.5, 102: 0.5}))
    record = run.read_json("data/weights.json")
    found = {one["con_id"]: one["weight"] for one in record["weights"]}
    assert found[101] == pytest.approx(0.45, abs=1e-4)
    assert sum(found[i] for i in range(103, 109)) == pytest.approx(0.1, abs=1e-4)
    assert run.inputs["previous"] == {
        "session": str(made.sessions[-2]),
        "run_id": "before",
        "content_id": "id",
        "weights": {"101": 0.5, "102": 0.5},
    }
    assert record["costs"]["from"] == "before"
    assert record["costs"]["turnover"] == pytest.approx(0.1, abs=1e-5)
    assert any(one["check"] == "turnover" for one in record["findings"])
    assert not errors(verify_run(Layout(tmp_path), run.run_id))


def test_the_first_run_under_a_turnover_limit_has_nothing_to_limit_and_says_so(tmp_path):
    made = world(method="equal_weight", max_turnover=0.1)
    run = build(made, Layout(tmp_path / "first"))
    said = {one["check"]: one["message"] for one in run.read_json("data/weights.json")["findings"]}
    assert said["turnover"] == "there is no run before, so there is nothing to limit"
    other = build(made, Layout(tmp_path / "next"), previous_of(made, {101: 0.125}))
    assert other.run_id != run.run_id


def test_a_turnover_limit_that_nothing_keeps_is_infeasible(tmp_path):
    made = world(max_turnover=0.1)
    with pytest.raises(InfeasibleError, match=r"100\.00% of capital being in instruments that left"):
        build(made, Layout(tmp_path), previous_of(made, {999: 1.0}))


@pytest.mark.parametrize("name", ["selection", "synthetic_returns", "synthetic_composition"])
def test_steps_that_were_forged_together_with_their_manifest_are_found_by_recomputing(tmp_path, name):
    layout = Layout(tmp_path)
    run = build(world(n=4, method="equal_weight"), layout)
    path = run.file(f"data/{name}.parquet")
    forgery = {
        "selection": pl.col("score") * 0.5,
        "synthetic_returns": pl.exclude("session") * 1.0001,
        "synthetic_composition": pl.col("n_active") - 1,
    }[name]
    frame = pl.read_parquet(path).with_columns(forgery)
    path.chmod(0o644)
    frame.write_parquet(path)
    run.file("manifest.json").unlink()
    seal_run(RunDirectory(run.path))
    assert [one.check for one in errors(verify_run(layout, run.run_id))] == ["recomputed"]


def test_one_instrument_makes_a_run(tmp_path):
    run = build(world(n=1), Layout(tmp_path))
    assert run.read_frame("data/weights.parquet")["weight"].to_list() == [0.25]  # a cluster of one at 25 %
    assert not errors(verify_run(Layout(tmp_path), run.run_id))


def test_steps_out_of_order_say_what_is_missing(tmp_path):
    from quant_assets.errors import CorruptFileError

    made = world(n=3)
    run = made.freeze(Layout(tmp_path)).run
    for step, missing in ((build_selection, "returns_matrix"), (build_synthesis, "returns_matrix")):
        with pytest.raises(CorruptFileError, match=missing):
            step(run)
    build_returns(run, made.clock)
    with pytest.raises(CorruptFileError, match="selection"):
        build_weights(run)
