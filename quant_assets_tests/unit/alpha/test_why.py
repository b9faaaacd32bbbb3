"""From a weight back to the request that fetched its bars, and from a bar forward to every weight it touched."""

import json
import math
import shutil
from datetime import timedelta
from functools import partial

import polars as pl
import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.domain import tables
from quant_assets.errors import ConfigurationError, NotInRunError, UnknownBarError, UnknownNameError
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.alpha.why import explain, explain_all
from quant_assets.flows.snapshot import evidence, freeze
from quant_assets.flows.touched import Bar, touched
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests import builders
from quant_assets_tests.unit.alpha import scenario

HELD, EARLY = 102, 30
"""An instrument, and the place of the session at which its second vintage begins."""


def published(layout: Layout) -> tuple[Lakehouse, scenario.World]:
    """Publish a session on disk: bronze in two vintages, silver, and the candidates of a profile."""
    world, lake = scenario.world(n=6, method="hrp"), Lakehouse(layout)
    first, last = world.sessions[EARLY], world.sessions[-1]
    bars = world.store.read(tables.CURATED_TWS_1D_BARS, Partition(last))
    bars = bars.with_columns(vintage=pl.when(pl.col("session") <= first).then(first).otherwise(last))
    world.store.put(tables.CURATED_TWS_1D_BARS, Partition(last), bars)
    for vintage in (first, last):
        for what in ("TRADES", "ADJUSTED_LAST"):
            frames = []
            for con_id in range(101, 107):
                mine = bars.filter((pl.col("con_id") == con_id) & (pl.col("vintage") == vintage))
                closes = dict(mine.select("session", "close").iter_rows())
                frames.append(builders.vintage(closes, vintage, what=what, con_id=con_id))
            batch = f"v{vintage:%Y%m%d}-{what}"
            lake.raw.append(tables.RAW_TWS_DAILY_BARS, Partition(vintage), pl.concat(frames), batch)
    for (name, key), frame in world.store.frames.items():
        lake.curated.write(tables.table(name), Partition.from_key(key), frame)
    return lake, world


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("house"))
    lake, world = published(layout)
    made = freeze(
        lake.curated,
        layout,
        world.session,
        "default",
        world.profile,
        world.sessions,
        world.clock,
        evidence=partial(evidence, lake),
    )
    for step in STEPS:
        step(made.run, world.clock)
    return lake, world, made.run


def test_a_weight_is_followed_back_to_its_requests(house):
    _, world, run = house
    found = explain(run, f"NYSE:S{HELD}")
    weights = dict(run.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows())
    assert (found.con_id, found.weight, found.verdict) == (HELD, weights[HELD], "weighted")
    assert sum(atom["held"] for atom in found.atoms) == pytest.approx(found.weight, abs=1e-9)
    assert found.score is not None
    assert sum(term["term"] for term in found.score["terms"]) == pytest.approx(math.log(found.score["score"]), abs=1e-6)
    assert found.bars["table_content_id"] == run.inputs["tables"]["curated_tws_1d_bars"]["content_id"]
    assert found.requests_from == "run directory"
    first, last = world.sessions[EARLY], world.sessions[-1]
    assert [(one["vintage"], one["what_to_show"], one["request_id"], one["n_bars"]) for one in found.requests] == [
        (str(first), "ADJUSTED_LAST", f"v{first:%Y%m%d}-A{HELD}", EARLY + 1),
        (str(first), "TRADES", f"v{first:%Y%m%d}-T{HELD}", EARLY + 1),
        (str(last), "ADJUSTED_LAST", f"v{last:%Y%m%d}-A{HELD}", 120 - EARLY - 1),
        (str(last), "TRADES", f"v{last:%Y%m%d}-T{HELD}", 120 - EARLY - 1),
    ]


def test_every_name_of_an_instrument_finds_it(house):
    _, _, run = house
    assert explain(run, "S102") == explain(run, "NYSE:S102") == explain(run, "102")


def test_caps_are_told_with_what_stands_under_them(tmp_path):
    world = scenario.world(n=5, max_weight=0.25, method="min_variance")
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    found = explain_all(run)
    assert [abs(one.weight) for one in found] == sorted((abs(one.weight) for one in found), reverse=True)
    limits = {limit["limit"]: limit for limit in found[0].limits}
    assert limits["instrument"] == {"limit": "instrument", "group": "", "value": 0.25, "cap": 0.25, "binds": True}
    sectors = run.read_frame("data/weights.parquet").group_by("sector").agg(pl.col("weight").sum())
    assert limits["sector"]["value"] == pytest.approx(dict(sectors.iter_rows())[limits["sector"]["group"]], abs=1e-9)
    assert found[0].requests_from == "nowhere"


def test_who_was_left_out_of_the_returns_is_told_why(tmp_path):
    prices = scenario.closes(120, 6)
    prices[:, 4] = 25.0
    world = scenario.world(prices, method="hrp")
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    flat = explain(run, "S105")
    assert (flat.verdict, flat.reason, flat.weight, flat.score) == ("returns", "zero_variance", 0.0, None)
    assert (flat.limits, flat.risk_contribution) == ([], None)


def test_who_was_left_out_by_the_screen_is_told_why(tmp_path):
    world = scenario.world(n=6, method="hrp")
    selection = world.profile.selection.model_copy(update={"top_n": 5})
    world.profile = world.profile.model_copy(update={"selection": selection})
    world.publish_candidates()
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    (left_out,) = [one["symbol"] for one in run.audit_trail if one["verdict"] == "rejected"]
    with pytest.raises(NotInRunError, match=rf"{left_out} is not in run .*below top n"):
        explain(run, left_out)
    with pytest.raises(UnknownNameError, match="There is no instrument of the run 'NYSE:S999'"):
        explain(run, "NYSE:S999")


def test_a_daily_bar_is_followed_to_its_runs(house):
    lake, world, run = house
    session = world.sessions[50]
    found = touched(lake, Bar.parse(f"NYSE:S{HELD}@{session}"))
    assert (found.status, found.con_id) == ("curated", HELD)
    last = world.sessions[-1]
    assert {one["request_id"] for one in found.answers} == {f"v{last:%Y%m%d}-T{HELD}", f"v{last:%Y%m%d}-A{HELD}"}
    assert ("curated_tws_1d_bars", str(last), 1) in [
        (one["table"], one["partition"], one["rows"]) for one in found.tables
    ]
    (hit,) = found.runs
    weights = dict(run.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows())
    assert (hit["run_id"], hit["weight"], hit["state"]) == (run.run_id, weights[HELD], "finished")
    assert touched(lake, Bar.parse("S102", session)).runs == found.runs


def test_a_bar_before_the_window_touches_no_run(house):
    lake, world, _ = house
    with pytest.raises(UnknownBarError, match="was ever received"):
        touched(lake, Bar.parse(f"NYSE:S{HELD}@{world.sessions[0] - timedelta(days=30)}"))


@pytest.fixture
def minutes(tmp_path):
    """Return a lakehouse with one session of minutes, one of them in quarantine, and features over the rest."""
    lake, session = Lakehouse(Layout(tmp_path)), builders.SESSION
    at = Partition(session)
    lake.curated.write(tables.UNIVERSE, at, builders.universe())
    raw = builders.raw_bars([100.0] * 60, rows=[{"minute": 60, "close": 0.01}])
    lake.raw.append(tables.RAW_TWS_BARS, at, raw, "b1")
    curated = lake.curated.write(tables.CURATED_TWS_1M_BARS, at, builders.curated_bars([100.0] * 60))
    bad = raw.filter(pl.col("close") < 1.0).with_columns(
        rule=pl.lit("toxic_price"),
        rules=pl.lit("toxic_price"),
        verdict=pl.lit("bad_print"),
        evidence=pl.lit("100 → 0.01 → 100"),
        transform_version=pl.lit("1"),
    )
    table = tables.QUARANTINE_TWS_BARS
    missing = [
        pl.lit(False if dtype == pl.Boolean else None, dtype=dtype).alias(name)
        for name, dtype in table.schema.items()
        if name not in bad.columns
    ]
    lake.curated.write(table, at, bad.with_columns(*missing).select(table.schema.names()))
    features = tables.FEATURES_PRICE_1M_V1
    rows = [
        {
            "session": session,
            "con_id": builders.CON_ID,
            "ts": builders.minute(n),
            "n_missing_in_window_5": 0,
            "n_missing_in_window_20": 0,
            "feature_group": "price",
            "feature_version": "v1",
            "symbol": "S101",
        }
        for n in range(60)
    ]
    inputs = {"curated_tws_1m_bars": curated.content_id}
    lake.curated.write(features, at, features.frame(rows), inputs=inputs)
    return lake


def test_a_minute_is_followed_into_the_features_that_look_back_at_it(minutes):
    ts = builders.minute(10)
    found = touched(minutes, Bar.parse(f"NYSE:S101@{ts:%Y-%m-%dT%H:%MZ}"))
    assert found.status == "curated"
    assert [(one["table"], one["rows"], one["via"]) for one in found.tables] == [
        ("curated_tws_1m_bars", 1, "raw_tws_bars"),
        ("features_price_1m_v1", 21, "curated_tws_1m_bars"),  # vol_20 reads 21 closes
    ]
    assert found.runs == []
    assert [one["request_id"] for one in found.answers] == ["b1-000"]


def test_a_bar_in_quarantine_says_so_with_its_verdict(minutes, monkeypatch):
    ts = builders.minute(60)
    found = touched(minutes, Bar.parse(f"NYSE:S101@{ts:%Y-%m-%dT%H:%MZ}"))
    assert (found.status, found.tables, found.runs) == ("quarantined", [], [])
    assert [(one["rule"], one["verdict"]) for one in found.quarantine] == [("toxic_price", "bad_print")]
    monkeypatch.setenv("QUANT_DATA", str(minutes.layout.data))
    told = CliRunner().invoke(cli, ["why", "--bar", f"NYSE:S101@{ts:%Y-%m-%dT%H:%MZ}"], catch_exceptions=False)
    assert "quarantined" in told.output
    assert "bad_print" in told.output


@pytest.mark.parametrize("text", ["NYSE:S101", "NYSE:S101@yesterday", "NYSE:S101@2024-01-03T14:30"])
def test_a_bar_that_cannot_be_read_says_how_it_is_written(text):
    with pytest.raises(ConfigurationError, match="Write it as"):
        Bar.parse(text)


def test_the_command_works_on_a_copied_run_without_a_lakehouse(house, tmp_path, monkeypatch):
    _, _, run = house
    shutil.copytree(run.path, tmp_path / "copied")
    monkeypatch.setenv("QUANT_DATA", str(tmp_path / "nothing here"))
    told = CliRunner().invoke(cli, ["why", str(tmp_path / "copied"), "S102", "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["requests_from"] == "run directory"
    assert not (tmp_path / "nothing here").exists()
    people = CliRunner().invoke(cli, ["why", str(tmp_path / "copied"), "S102"], catch_exceptions=False)
    for part in ("Atoms", "Score", "Vetoes", "TWS requests (from the run directory)", "momentum"):
        assert part in people.output


def test_the_command_asks_the_lakehouse_first(house, monkeypatch):
    lake, _, run = house
    monkeypatch.setenv("QUANT_DATA", str(lake.layout.data))
    told = json.loads(CliRunner().invoke(cli, ["why", run.run_id, "S102", "--json"], catch_exceptions=False).stdout)
    assert told["requests_from"] == "lakehouse"
    assert told["requests"] == explain(run, "S102").requests


def test_evidence_is_no_part_of_a_runs_identity(house, tmp_path):
    _, _, run = house
    plain = scenario.world(n=6, method="hrp").freeze(Layout(tmp_path)).run
    assert not plain.file("config/provenance.json").exists()
    assert RunDirectory(plain.path).run_id == run.run_id
