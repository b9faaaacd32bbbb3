"""The meta portfolio: shares by hand and by a direct call, caps after flattening, and proof of its run directory."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.cli import cli
from quant_assets.domain.meta import Sleeve, blend, joined, stream
from quant_assets.domain.reports.page import percent
from quant_assets.domain.tables import WEIGHTS
from quant_assets.domain.verification import errors
from quant_assets.errors import (
    ConfigurationError,
    InfeasibleError,
    SnapshotIncompleteError,
    UnknownNameError,
    VerificationError,
)
from quant_assets.flows.alpha import STEPS, list_runs, open_run, verify_run
from quant_assets.flows.meta import build_meta, freeze_sleeves
from quant_assets.flows.meta.sleeves import meta_profile
from quant_assets.lakehouse.layout import Layout
from quant_assets.settings.manifest import AtomConfig, Manifest, Profile, RiskConfig, SleeveConfig, SynthesisConfig
from quant_assets_tests.unit.alpha import scenario

FREE = {"max_weight": 1.0, "sector_cap": 1.0, "cluster_cap": 1.0}
DAYS = scenario.weekdays(200)


def streams(n: int, seed: int = 5) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0004, 0.006 + 0.004 * np.arange(n), (len(DAYS), n))
    return pl.DataFrame({"session": DAYS, **{str(k + 1): values[:, k] for k in range(n)}})


def sleeves(*holdings, bounds=()):
    given_ = list(bounds) or [SleeveConfig()] * len(holdings)
    return [Sleeve(f"run{k}", f"p{k}", dict(w), b) for k, (w, b) in enumerate(zip(holdings, given_, strict=True))]


def test_a_stream_is_what_the_atoms_earned_and_unknown_where_one_of_them_is():
    frame = pl.DataFrame({"session": DAYS[:3], "a": [0.01, None, 0.02], "b": [0.10, 0.20, 0.30], "c": [None] * 3})
    found = stream(frame.cast({"c": pl.Float64}), {"a": 0.5, "b": -0.25, "c": 0.0})
    assert found["value"].to_list() == [pytest.approx(-0.02), None, pytest.approx(-0.065)]
    assert stream(frame.cast({"c": pl.Float64}), {})["value"].to_list() == [0.0, 0.0, 0.0]


def test_sleeves_of_other_lengths_are_joined_on_sessions():
    one = pl.DataFrame({"session": DAYS[:3], "value": [0.1, 0.2, 0.3]})
    other = pl.DataFrame({"session": DAYS[1:4], "value": [1.0, 2.0, 3.0]})
    assert joined([one, other]).rows() == [
        (DAYS[0], 0.1, None),
        (DAYS[1], 0.2, 1.0),
        (DAYS[2], 0.3, 2.0),
        (DAYS[3], None, 3.0),
    ]


def test_flattening_by_hand():
    made = blend(
        streams(2), sleeves({1: 0.6, 2: 0.4}, {2: -0.5, 3: 0.25}), {}, RiskConfig(method="equal_weight", **FREE)
    )
    assert made.shares == (0.5, 0.5)
    assert made.weights == {1: 0.3, 2: -0.05, 3: 0.125}
    assert made.cash == pytest.approx(0.525)  # a quarter of one sleeve is cash, and 0.2 of the other cancels 0.2 of 2


def test_shares_equal_a_direct_call_of_skfolio():
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk

    frame, held = streams(4), sleeves(*({k: 1.0} for k in range(4)))
    values = frame.drop("session").to_numpy()
    for method, direct in (("min_variance", MeanRisk()), ("hrp", HierarchicalRiskParity())):
        found = blend(frame, held, {}, RiskConfig(method=method, **FREE))
        assert list(found.solution.weights.values()) == pytest.approx(direct.fit(values).weights_, abs=1e-10)
        assert found.shares == pytest.approx(direct.fit(values).weights_, abs=1e-9)


@pytest.mark.parametrize("method", ["equal_weight", "min_variance", "hrp", "risk_parity", "max_sharpe", "cvar", "herc"])
def test_bounds_and_flattened_caps_bind_under_every_method(method):
    held = sleeves(
        {1: 1.0},
        {1: 0.5, 2: 0.5},
        {3: 0.6, 4: 0.4},
        {5: 1.0},
        bounds=[SleeveConfig(), SleeveConfig(min_weight=0.3), SleeveConfig(max_weight=0.2), SleeveConfig()],
    )
    sectors = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c"}
    made = blend(streams(4), held, sectors, RiskConfig(method=method, max_weight=0.45, sector_cap=0.5, cluster_cap=1.0))
    assert made.solution.method == method
    assert made.solution.fallbacks == ()
    assert made.shares[1] >= 0.3 - 1e-6
    assert made.shares[2] <= 0.2 + 1e-6
    assert max(made.weights.values()) <= 0.45 + 1e-6
    assert made.weights[1] + made.weights[2] <= 0.5 + 1e-6
    assert sum(made.shares) == pytest.approx(1.0, abs=1e-6)
    assert sum(abs(w) for w in made.weights.values()) + made.cash == pytest.approx(1.0, abs=1e-6)


def test_caps_that_leave_no_room_make_cash():
    made = blend(streams(2), sleeves({1: 1.0}, {1: 1.0}), {}, RiskConfig(method="hrp", **{**FREE, "max_weight": 0.3}))
    assert sum(made.shares) == pytest.approx(0.3, abs=1e-6)
    assert made.cash == pytest.approx(0.7, abs=1e-6)


def test_least_shares_that_break_a_cap_have_no_answer():
    held = sleeves({1: 1.0}, {2: 1.0}, bounds=[SleeveConfig(min_weight=0.5), SleeveConfig()])
    with pytest.raises(InfeasibleError, match=r"Lower sleeves"):
        blend(streams(2), held, {}, RiskConfig(method="hrp", **{**FREE, "max_weight": 0.3}))


def test_one_sleeve_is_that_sleeve():
    made = blend(streams(1), sleeves({1: 0.7, 2: 0.2}), {}, RiskConfig(method="min_variance", **FREE))
    assert made.weights == {1: 0.7, 2: 0.2}
    assert made.cash == pytest.approx(0.1)


@given(st.data())
def test_whatever_the_sleeves_hold_gross_and_cash_are_everything(data):
    n = data.draw(st.integers(1, 4))
    held = []
    for _ in range(n):
        raw = data.draw(st.dictionaries(st.integers(1, 6), st.floats(-1, 1), min_size=1, max_size=6))
        total = max(1.0, sum(map(abs, raw.values())))
        held.append({key: value / total for key, value in raw.items()})
    method = data.draw(st.sampled_from(["equal_weight", "hrp", "min_variance"]))
    cap = data.draw(st.floats(0.2, 1.0))
    risk = RiskConfig(method=method, max_weight=cap, sector_cap=1.0, cluster_cap=1.0)
    made = blend(streams(n), sleeves(*held), {}, risk)
    assert sum(abs(w) for w in made.weights.values()) + made.cash == pytest.approx(1.0, abs=1e-6)
    assert made.cash >= -1e-6
    assert max(map(abs, made.weights.values())) <= cap + 1e-6


# ---------------------------------------------------------------- run directories


SLEEVES = {"sleeves": {"default": SleeveConfig(max_weight=0.7), "other": SleeveConfig(min_weight=0.1)}}
BLEND = Profile(risk=RiskConfig(method="hrp", max_weight=0.25, sector_cap=0.6), **SLEEVES)


def finish(world, layout):
    run = world.freeze(layout).run
    for step in STEPS:
        step(run, world.clock)
    return run


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("meta"))
    world = scenario.world()
    first = finish(world, layout)
    atoms = (AtomConfig(), AtomConfig(logic="momentum", direction="SHORT", timescale=21))
    world.profile = world.profile.model_copy(
        update={
            "risk": RiskConfig(method="equal_weight", max_weight=0.3, sector_cap=0.6),
            "synthesis": SynthesisConfig(atoms=atoms),
        }
    )
    second = finish(world, layout)
    run = freeze_sleeves(layout, "blend", BLEND, [second, first], world.clock)
    frame = build_meta(run, world.clock)
    return layout, world, (first, second), run, frame


@pytest.fixture
def copy(built, tmp_path):
    layout, _, runs, run, _ = built
    copied = Layout(tmp_path)
    shutil.copytree(layout.runs, copied.runs)
    for path in copied.runs.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copied, runs, open_run(copied, run.run_id)


def test_the_weights_are_those_of_the_sleeves_times_their_shares(built):
    _, _, runs, run, frame = built
    record = run.read_json("data/weights.json")
    shares = {one["run_id"]: one["share"] for one in record["sleeves"]}
    expected: dict[int, float] = {}
    for sleeve in runs:
        for con_id, weight in sleeve.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows():
            expected[con_id] = expected.get(con_id, 0.0) + shares[sleeve.run_id] * weight
    assert dict(WEIGHTS.conform(frame).select("con_id", "weight").iter_rows()) == pytest.approx(expected, abs=1e-9)
    assert record["gross"] + record["cash"] == pytest.approx(1.0, abs=1e-6)
    assert frame["weight"].abs().max() <= 0.25
    assert [one["severity"] for one in record["findings"] if one["severity"] == "error"] == []


def test_it_verifies_bit_for_bit_and_is_listed(built):
    layout, _, _, run, _ = built
    findings = verify_run(layout, run.run_id)
    assert errors(findings) == []
    messages = [one.message for one in findings]
    assert "compared bit for bit" in messages
    assert "weights: equal bit for bit" in messages
    assert "2 of 2 sleeves lie beside this run, and are the ones that were frozen" in messages
    listed = list_runs(layout).filter(run_id=run.run_id).row(0, named=True)
    assert (listed["profile"], listed["state"], listed["method"]) == ("blend", "finished", "hrp")


def test_it_verifies_alone_on_another_machine(built, tmp_path):
    _, _, _, run, _ = built
    elsewhere = Layout(tmp_path)
    shutil.copytree(run.path, elsewhere.run(run.run_id))
    findings = verify_run(elsewhere, run.run_id)
    assert errors(findings) == []
    assert any(one.message.startswith("0 of 2 sleeves") for one in findings)


def test_the_order_of_the_sleeves_does_not_matter_and_nothing_is_computed_twice(built, monkeypatch):
    layout, world, (first, second), run, _ = built
    again = freeze_sleeves(layout, "blend", BLEND, [first, second], world.clock)
    assert again.run_id == run.run_id
    monkeypatch.setattr("quant_assets.flows.meta.steps.compute_blend", None)
    build_meta(again, world.clock)


def test_tampering_with_any_file_of_it_is_found(copy):
    layout, _, run = copy
    for name in run.files():
        original = run.read(name)
        damaged = bytearray(original)
        damaged[len(original) // 2] ^= 1
        run.file(name).write_bytes(damaged)
        assert errors(verify_run(layout, run.run_id)), name
        run.file(name).write_bytes(original)
    assert not errors(verify_run(layout, run.run_id))


@pytest.mark.parametrize("name", ["data/sleeve_weights.parquet", "data/sleeve_returns.parquet"])
def test_sleeves_that_were_forged_together_with_the_manifest_are_found(copy, name):
    from quant_assets.lakehouse.runs import RunDirectory, seal_run

    layout, _, run = copy
    frame = run.read_frame(name)
    column = "weight" if "weight" in frame.columns else "1"
    frame.with_columns(pl.col(column) * 0.99).write_parquet(run.file(name))
    run.file("manifest.json").unlink()
    seal_run(RunDirectory(run.path))
    assert any("does not hold what was frozen" in one.message for one in errors(verify_run(layout, run.run_id)))


def test_a_sleeve_that_was_altered_is_refused(copy, built):
    layout, runs, _ = copy
    victim = open_run(layout, runs[0].run_id)
    victim.file("data/weights.csv").write_text("forged")
    with pytest.raises(VerificationError, match=r"weights\.csv"):
        freeze_sleeves(layout, "blend", BLEND, [victim], built[1].clock)


def test_no_sleeve_a_sleeve_twice_and_a_meta_portfolio_as_a_sleeve_are_refused(built):
    layout, world, (first, _), run, _ = built
    for runs, says in (([], "no sleeves"), ([first, first], "named twice"), ([run], "meta portfolio itself")):
        with pytest.raises(ConfigurationError, match=says):
            freeze_sleeves(layout, "blend", BLEND, runs, world.clock)


def test_a_sleeve_that_is_not_finished_is_refused(tmp_path):
    world, layout = scenario.world(), Layout(tmp_path)
    with pytest.raises(VerificationError, match="not finished"):
        freeze_sleeves(layout, "blend", BLEND, [world.freeze(layout).run], world.clock)


def test_sleeves_of_different_sessions_are_refused(built, tmp_path):
    layout, world, (first, _), _, _ = built
    other = scenario.world(scenario.closes(120, 8, seed=9))
    other.sessions[:] = scenario.weekdays(120, other.sessions[-2])
    moved = Layout(tmp_path)
    shutil.copytree(layout.run(first.run_id), moved.run(first.run_id))
    at = other.session
    store = other.store
    for (name, _), frame in list(store.frames.items()):
        column = "as_of_session" if name == "curated_tws_1d_bars" else "session"
        store.frames[name, str(at)] = frame.with_columns(pl.lit(at).alias(column))
    store.frames["curated_tws_1d_bars", str(at)] = scenario.daily(other.sessions, scenario.closes(120, 8, seed=9))
    other.publish_candidates()
    late = finish(other, moved)
    with pytest.raises(ConfigurationError, match="different sessions"):
        freeze_sleeves(moved, "blend", BLEND, [open_run(moved, first.run_id), late], world.clock)


# ---------------------------------------------------------------- configuration and command


def manifest(**sleeves_):
    return {
        "default_profile": "a",
        "production_profile": "a",
        "profiles": {"a": {}, "b": {}, "mix": {"sleeves": sleeves_}},
        "aliases": {"c": "b"},
    }


@pytest.mark.parametrize(
    ("sleeves_", "says"),
    [
        ({"zzz": {}}, "names no profile"),
        ({"mix": {}}, "must have no sleeves itself"),
        ({"b": {}, "c": {}}, "the same profile twice"),
        ({"a": {"min_weight": 0.7}, "b": {"min_weight": 0.4}}, "1 must lie between"),
        ({"a": {"min_weight": 0.7, "max_weight": 0.4}}, "min_weight 0.7 exceeds max_weight 0.4"),
        ({"a": {"most": 0.7}}, "most"),
    ],
)
def test_sleeves_that_cannot_be_are_refused_when_the_manifest_is_read(sleeves_, says):
    with pytest.raises(ValueError, match=says):
        Manifest.model_validate(manifest(**sleeves_))


def test_a_meta_portfolio_is_no_profile_of_the_alpha_cycle():
    found = Manifest.model_validate(manifest(a={}, c={"max_weight": 0.5}))
    assert list(found.active_profiles) == ["a", "b"]
    assert meta_profile(found, None)[0] == "mix"
    with pytest.raises(ValueError, match="default_profile names a meta portfolio"):
        Manifest.model_validate({**manifest(a={}), "default_profile": "mix"})
    limited = manifest(a={})
    limited["profiles"]["mix"]["risk"] = {"max_turnover": 0.2}
    with pytest.raises(ValueError, match="max_turnover is not kept"):
        Manifest.model_validate(limited)


def invoke(layout, *words):
    result = CliRunner(env={"QUANT_DATA": str(layout.data)}).invoke(cli, ["meta", "run", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_takes_runs_by_name(built):
    layout, _, (first, second), _, _ = built
    told = json.loads(invoke(layout, first.run_id, second.run_id, "--json").stdout)
    assert sum(one["share"] for one in told["sleeves"]) == pytest.approx(1.0)
    assert errors(verify_run(layout, told["run_id"])) == []
    shown = invoke(layout, first.run_id, second.run_id).stdout
    assert "Sleeves of blend" in shown
    assert told["run_id"] in shown
    sized = CliRunner(env={"QUANT_DATA": str(layout.data)}).invoke(
        cli, ["run", "targets", told["run_id"], "--net-liquidation", "1e6", "--json"]
    )
    assert json.loads(sized.stdout)["summary"]["gross"] <= 1e6


def test_the_command_lists_every_missing_sleeve_with_its_mend(tmp_path):
    with pytest.raises(SnapshotIncompleteError) as told:
        invoke(Layout(tmp_path), "--session", "2024-06-28")
    assert [mend for _, mend in told.value.missing] == [
        f"quant flow alpha --profile {name} --session 2024-06-28" for name in ("default", "equal", "hrp")
    ]


def asked(layout, *words):
    result = CliRunner(env={"QUANT_DATA": str(layout.data)}).invoke(cli, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_meta_portfolio_is_shown_like_any_run(built):
    layout, _, _, run, frame = built
    told = json.loads(asked(layout, "run", "show", run.run_id, "--json"))
    record = run.read_json("data/weights.json")
    assert {one["con_id"]: one["weight"] for one in told["weights"]} == {
        con_id: weight for con_id, weight in frame.select("con_id", "weight").iter_rows() if weight
    }
    assert told["sleeves"] == ", ".join(f"default {one['share']:.4%}" for one in record["sleeves"])
    assert told["cash"] == record["cash"]
    returns = run.read_frame("data/sleeve_returns.parquet").drop("session").drop_nulls().to_numpy()
    growth = np.cumprod(1.0 + returns @ np.array([one["share"] for one in record["sleeves"]]))
    assert told["cumulative_return_in_sample"] == pytest.approx(growth[-1] - 1.0, abs=1e-8)
    assert run.run_id in asked(layout, "run", "show", run.run_id)


def test_a_meta_portfolio_is_compared_with_a_sleeve_of_it(built):
    layout, _, (first, _), run, frame = built
    found = json.loads(asked(layout, "run", "diff", first.run_id, run.run_id, "--json"))
    before = dict(first.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows())
    after = dict(frame.select("con_id", "weight").iter_rows())
    moved = sum(abs(after.get(one, 0.0) - before.get(one, 0.0)) for one in {*before, *after}) / 2
    assert found["turnover"] == pytest.approx(moved, abs=1e-9)
    assert not json.loads(asked(layout, "run", "diff", run.run_id, run.run_id, "--json"))["weights"]


def test_a_weight_of_a_meta_portfolio_is_split_over_its_sleeves(built):
    layout, _, runs, run, frame = built
    symbol, weight = frame.sort("weight").row(-1, named=True)["symbol"], frame["weight"].max()
    found = json.loads(asked(layout, "why", run.run_id, symbol, "--json"))
    assert {one["run_id"] for one in found["sleeves"]} == {one.run_id for one in runs}
    assert sum(one["part"] for one in found["sleeves"]) == pytest.approx(weight, abs=1e-9)
    for one in runs:
        assert f"quant why {one.run_id} {symbol}" in asked(layout, "why", run.run_id, symbol)
    with pytest.raises(UnknownNameError, match="NYSE:NOPE"):
        asked(layout, "why", run.run_id, "NYSE:NOPE")


def test_nothing_is_not_less_than_nothing():
    assert percent(-1e-9) == "0.00%"
    assert percent(-0.0123) == "-1.23%"
