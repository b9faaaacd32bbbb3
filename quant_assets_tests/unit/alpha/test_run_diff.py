"""What differs between two runs: answers written down by hand, and the symmetry that a comparison must have."""

import json
from dataclasses import asdict

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.domain.comparison import Fate, RunFacts, compare
from quant_assets.domain.tables import CURATED_TWS_1D_BARS
from quant_assets.errors import VerificationError
from quant_assets.flows.alpha import STEPS, diff_runs
from quant_assets.flows.alpha.differ import facts_of
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets_tests.unit.alpha import scenario


def facts(**changes: object) -> RunFacts:
    given = {
        "run_id": "a",
        "session": "2024-06-28",
        "profile": "p",
        "tables": {"candidates": {"content_id": "c1", "partition": "p|2024-06-28", "n_rows": 3}},
        "bars": {1: ("NYSE:A", "b1"), 2: ("NYSE:B", "b2")},
        "window": ["2024-06-27", "2024-06-28"],
        "config": {"risk": {"method": "hrp", "max_weight": 0.2}, "description": "x"},
        "code_version": "0.1.0+1",
        "environment": {"python": "3.11.7", "libraries": {"numpy": "2.1"}},
        "fates": {1: Fate("NYSE:A", "selected"), 2: Fate("NYSE:B", "selected"), 3: Fate("NYSE:C", "screen", "cheap")},
        "weights": {1: 0.6, 2: 0.4},
        "metrics": {"method": "hrp", "cash": 0.0},
    }
    return RunFacts(**{**given, **changes})  # type: ignore[arg-type]


def test_a_run_equals_itself():
    same = compare(facts(), facts())
    assert same.is_equal
    assert same.turnover == 0.0


def test_every_kind_of_difference_is_told_by_hand():
    other = facts(
        run_id="b",
        tables={"candidates": {"content_id": "c2", "partition": "p|2024-06-28", "n_rows": 3}},
        bars={2: ("NYSE:B", "b2x"), 3: ("NYSE:C", "b3")},
        window=["2024-06-28", "2024-07-01"],
        config={"risk": {"method": "hrp", "max_weight": 0.5}, "costs": {"schedule": "none"}, "description": "x"},
        code_version="0.1.0+2",
        environment={"python": "3.13.0", "libraries": {"numpy": "2.1"}},
        fates={
            1: Fate("NYSE:A", "selection", "vetoed: cvar"),
            2: Fate("NYSE:B", "selected"),
            3: Fate("NYSE:C", "selected"),
        },
        weights={2: 0.5, 3: 0.2},
        metrics={"method": "hrp", "cash": 0.3},
    )
    found = compare(facts(), other)
    assert not found.is_equal
    assert [one["table"] for one in found.tables] == ["candidates"]
    assert [(one["symbol"], one["a"], one["b"]) for one in found.bars] == [
        ("NYSE:C", None, "b3"),
        ("NYSE:A", "b1", None),
        ("NYSE:B", "b2", "b2x"),
    ]
    assert (found.window["only_a"], found.window["only_b"]) == (["2024-06-27"], ["2024-07-01"])
    assert found.config == [
        {"key": "costs.schedule", "a": None, "b": "none"},
        {"key": "risk.max_weight", "a": 0.2, "b": 0.5},
    ]
    assert found.code == {"a": "0.1.0+1", "b": "0.1.0+2"}
    assert found.environment == [{"key": "python", "a": "3.11.7", "b": "3.13.0"}]
    assert found.selection == [
        {"con_id": 3, "symbol": "NYSE:C", "change": "came", "stage": "screen", "reason": "cheap"},
        {"con_id": 1, "symbol": "NYSE:A", "change": "went", "stage": "selection", "reason": "vetoed: cvar"},
    ]
    assert [(one["symbol"], one["change"]) for one in found.weights] == [
        ("NYSE:A", -0.6),
        ("NYSE:C", 0.2),
        ("NYSE:B", 0.1),
    ]
    assert found.turnover == pytest.approx(0.45)  # half of 0.6 + 0.2 + 0.1
    assert found.metrics == [{"metric": "cash", "a": 0.0, "b": 0.3, "change": 0.3}]


def test_turning_a_comparison_round_turns_its_signs_and_nothing_else():
    other = facts(run_id="b", weights={1: 0.1, 2: 0.2, 3: 0.7})
    there, back = compare(facts(), other), compare(other, facts())
    assert there.turnover == back.turnover
    assert {one["con_id"]: one["change"] for one in there.weights} == {
        one["con_id"]: -one["change"] for one in back.weights
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a data directory with three runs: one, another method, and one whose bars were revised."""
    layout = Layout(tmp_path_factory.mktemp("runs"))
    revised = scenario.world(n=6, method="hrp")
    at = Partition(revised.session)
    bars = revised.store.read(CURATED_TWS_1D_BARS, at)
    is_hit = (pl.col("con_id") == 104) & (pl.col("session") == revised.sessions[50])
    price = pl.when(is_hit).then(pl.col("adj_close") * 1.01).otherwise("adj_close").alias("adj_close")
    revised.store.put(CURATED_TWS_1D_BARS, at, bars.with_columns(price))
    worlds = [scenario.world(n=6, method="hrp"), scenario.world(n=6, method="equal_weight"), revised]
    made = []
    for world in worlds:
        made.append(world.freeze(layout).run)
        for step in STEPS:
            step(made[-1], world.clock)
    return layout, made


def test_one_revised_bar_shows_as_one_instrument_and_one_table(runs):
    _, (base, _, revised) = runs
    found = diff_runs(base, revised)
    assert [one["symbol"] for one in found.bars] == ["NYSE:S104"]
    assert [one["table"] for one in found.tables] == ["curated_tws_1d_bars"]
    assert (found.config, found.code, found.environment, found.selection) == ([], {}, [], [])
    stored = [pl.read_parquet(run.file("data/weights.parquet")) for run in (base, revised)]
    expected = (stored[0]["weight"] - stored[1]["weight"]).abs().sum() / 2
    assert found.turnover == pytest.approx(expected, abs=1e-9)
    assert found.turnover > 0


def test_an_altered_or_unfinished_run_is_not_compared(runs, tmp_path):
    _, (base, _, _) = runs
    partial = scenario.world(n=3).freeze(Layout(tmp_path)).run
    with pytest.raises(VerificationError, match="not finished"):
        diff_runs(base, partial)
    assert asdict(facts_of(base))["run_id"] == base.run_id


def test_the_command_speaks_to_people_and_to_programs(runs, monkeypatch):
    layout, (base, other, _) = runs
    monkeypatch.setenv("QUANT_DATA", str(layout.data))
    told = CliRunner().invoke(cli, ["run", "diff", base.run_id, str(other.path)], catch_exceptions=False)
    assert "risk.method  hrp → equal_weight" in told.output
    assert "turnover from A to B" in told.output
    as_json = CliRunner().invoke(cli, ["run", "diff", base.run_id, other.run_id, "--json"], catch_exceptions=False)
    found = json.loads(as_json.stdout)
    assert found["equal"] is False
    assert found["config"] == [{"key": "risk.method", "a": "hrp", "b": "equal_weight"}]
    same = CliRunner().invoke(cli, ["run", "diff", base.run_id, base.run_id], catch_exceptions=False)
    assert same.output.startswith("equal: ")
    shown = CliRunner().invoke(cli, ["run", "show", base.run_id, "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout)["stages"] == dict.fromkeys(
        ("returns", "selection", "synthesis", "weights"), "computed"
    )


def test_the_cache_command_lists_and_clears(runs, monkeypatch):
    from quant_assets.lakehouse.runs import StageCache

    layout, _ = runs
    monkeypatch.setenv("QUANT_DATA", str(layout.data))
    StageCache(layout.cache).put("returns", {"code": "1"}, {"a": b"x" * 10})
    listed = CliRunner().invoke(cli, ["run", "cache", "--json"], catch_exceptions=False)
    assert [(one["stage"], one["bytes"], one["state"]) for one in json.loads(listed.stdout)["entries"]] == [
        ("returns", 10, "whole")
    ]
    CliRunner().invoke(cli, ["run", "cache", "--clear"], catch_exceptions=False)
    assert "nothing is kept yet" in CliRunner().invoke(cli, ["run", "cache"], catch_exceptions=False).output


def test_a_path_that_is_no_run_says_so(tmp_path):
    from quant_assets.errors import NotARunError, UnknownNameError
    from quant_assets.lakehouse.runs import find_run

    with pytest.raises(NotARunError, match=r"holds no manifest\.json"):
        find_run(str(tmp_path), lambda: Layout(tmp_path))
    with pytest.raises(NotARunError, match="is no directory"):
        find_run(str(tmp_path / "absent"), lambda: Layout(tmp_path))
    with pytest.raises(UnknownNameError, match="There is no run 'absent'"):
        find_run("absent", lambda: Layout(tmp_path))
    assert isinstance(RunDirectory(tmp_path), RunDirectory)
