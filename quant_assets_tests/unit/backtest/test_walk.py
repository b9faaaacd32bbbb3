"""The walk: nothing of the future enters, folds are the alpha cycle itself, failures are outcomes."""

import json
import re
import weakref
from collections import Counter
from datetime import date
from functools import cache

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.cli import cli
from quant_assets.clock import ManualClock, SystemClock
from quant_assets.connectors.scanners import Scanner
from quant_assets.domain.backtest import Account, Past, Plan, alpha_strategy, plan_folds
from quant_assets.domain.tables import BY_NAME, CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE
from quant_assets.domain.verification import errors
from quant_assets.errors import (
    ChangingLakeError,
    ConfigurationError,
    CurrencyError,
    DataWrong,
    DefectError,
    NetworkSealedError,
    SnapshotIncompleteError,
    VerificationError,
)
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.backtest import LakeHistory, list_backtests, store, walk
from quant_assets.flows.backtest.directory import newest_walk
from quant_assets.flows.snapshot import freeze
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import hash_findings
from quant_assets.lakehouse.store import CuratedStore
from quant_assets_tests.unit.alpha import scenario
from quant_assets_tests.unit.backtest.history import CALENDAR, LAST, NAME, bars, history, lake, profile

FIRST = date(2024, 4, 1)


def walked(frame=None, config=None, plan=None, last=LAST, **options):
    return walk(history(frame), NAME, config or profile(), FIRST, last, plan or Plan(), **options)


# ---------------------------------------------------------------- no look-ahead


@cache
def undisturbed():
    return walked(bars())


@settings(max_examples=5)
@given(st.data())
def test_whatever_happens_after_a_decision_does_not_change_it(data):
    frame = bars()
    known = data.draw(st.sampled_from([one.known for one in plan_folds(history(frame).sessions, FIRST, LAST, Plan())]))
    seed = data.draw(st.integers(0, 1000))
    later = pl.col("session") > known
    noise = pl.Series(np.random.default_rng(seed).uniform(0.2, 5.0, frame.height))
    prices = [
        pl.when(later).then(pl.col(name) * noise).otherwise(name)
        for name in ("open", "high", "low", "close", "adj_close", "volume")
    ]
    other = frame.with_columns(prices)
    if data.draw(st.booleans()):
        other = other.filter(~later | (pl.col("con_id") % 2 == 0))  # half of them are delisted
    before, after = undisturbed(), walked(other)
    seen = before.folds.filter(pl.col("known") <= known)["fold"].to_list()
    assert len(seen) >= 1
    left, right = (
        one.weights.filter(pl.col("fold").is_in(seen)).select("fold", "con_id", "weight") for one in (before, after)
    )
    assert left.filter(pl.col("weight") != 0).equals(right.filter(pl.col("weight") != 0))
    earned = before.returns.filter(pl.col("session") <= known)
    assert earned.equals(after.returns.filter(pl.col("session") <= known))


def test_a_past_that_holds_a_later_bar_cannot_be_made():
    frame = bars()
    sessions = tuple(frame["session"].unique().sort())
    with pytest.raises(DefectError, match="holds a bar of 2024-06-28"):
        Past(sessions[:-1], frame, frame.clear(), frame.clear())


def test_a_member_is_one_from_its_first_bar_on():
    frame = bars().filter((pl.col("con_id") != 108) | (pl.col("session") > date(2024, 5, 15)))
    known = history(frame).past(date(2024, 4, 30), 60)
    assert 108 not in known.universe["con_id"]
    assert 108 in history(frame).past(LAST, 60).universe["con_id"]


# ---------------------------------------------------------------- the same cycle


@pytest.mark.parametrize("method", ["hrp", "min_variance", "equal_weight"])
def test_a_fold_decides_what_a_run_decides_bit_for_bit(tmp_path, method):
    world = scenario.world(method=method)
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    at = Partition(world.session)
    frames = [world.store.read(table, at) for table in (CURATED_TWS_1D_BARS, UNIVERSE, INSTRUMENTS)]
    decision = alpha_strategy(scenario.PROFILE, world.profile)(Past(tuple(world.sessions), *frames))
    stored = dict(run.read_frame("data/weights.parquet").select("con_id", "weight").iter_rows())
    assert decision.weights == stored
    assert decision.method == method
    selected = run.read_frame("data/selection.parquet").filter(verdict="selected")["con_id"].to_list()
    assert list(decision.selected) == sorted(selected)


def test_a_decision_over_two_currencies_is_refused_as_a_run_refuses_it():
    world = scenario.world(n=4)
    at = Partition(world.session)
    daily, universe, instruments = (world.store.read(one, at) for one in (CURATED_TWS_1D_BARS, UNIVERSE, INSTRUMENTS))
    mixed = instruments.with_columns(currency=pl.col("symbol").replace_strict({"S103": "GBP"}, default="USD"))
    decide = alpha_strategy(scenario.PROFILE, world.profile)
    with pytest.raises(CurrencyError, match="base currency USD, and nothing converts: S103 in GBP"):
        decide(Past(tuple(world.sessions), daily, universe, mixed, base_currency="USD"))
    assert decide(Past(tuple(world.sessions), daily, universe, instruments, base_currency="USD")).weights


def test_the_numbers_add_up():
    found = walked()
    record = found.record
    parts = found.returns.select("pool", "selection", "allocation", "costs").sum_horizontal()
    assert (parts - found.returns["net"]).abs().max() < 1e-15
    assert record["attribution"]["residual"] < 1e-15
    assert sum(record["attribution"][name] for name in ("pool", "selection", "allocation", "costs")) == pytest.approx(
        record["attribution"]["net"], abs=1e-13
    )
    assert found.returns.height == found.folds["n_sessions"].sum() == record["n_sessions"]
    whole = np.prod(1 + found.folds["net"].to_numpy()) - 1
    assert whole == pytest.approx(record["net"]["strategy"]["total"])
    assert found.folds["turnover"][0] == pytest.approx(0.5 * (1 - found.folds["cash"][0]))
    sums = found.weights.group_by("fold").agg(pl.col("weight").abs().sum())
    assert (sums["weight"] <= 1 + 1e-6).all()


def test_equal_weight_over_everybody_has_neither_selection_nor_allocation():
    config = profile(method="equal_weight", max_weight=1.0)
    config = config.model_copy(update={"selection": config.selection.model_copy(update={"top_n_per_cluster": 99})})
    found = walked(config=config)
    assert found.returns.select(pl.col("selection", "allocation").abs().max()).row(0) == (
        0.0,
        pytest.approx(0, abs=1e-9),
    )
    assert found.returns["costs"].min() < 0


def test_windows_expand_where_they_are_asked_to():
    rolling, expanding = walked(), walked(plan=Plan(window="expanding"))
    assert not rolling.weights.equals(expanding.weights)
    short = bars(62)
    with pytest.raises(ConfigurationError, match="where history has not begun"):
        walk(history(short), NAME, profile(), short["session"].min(), LAST, Plan())


def test_a_turnover_limit_is_kept_against_the_drifted_weights():
    limited, free = walked(config=profile(max_turnover=0.05)), walked()
    assert (
        limited.folds["turnover"][1:].max() < 0.06
    )  # one session of embargo drifts between the decision and the trade
    assert free.folds["turnover"][1:].max() > 0.10
    exact = walked(config=profile(max_turnover=0.05), plan=Plan(embargo=0))
    assert exact.folds["turnover"][1:].max() <= 0.05 + 1e-6


def test_a_turnover_limit_replays_nothing(monkeypatch):
    earned, earn = Counter(), Account.earn

    def counted(account, session):
        earned[session] += 1
        earn(account, session)

    monkeypatch.setattr(Account, "earn", counted)
    found = walked(config=profile(max_turnover=0.05), plan=Plan(rebalance="weekly"))
    assert found.folds.height > 10
    assert earned == dict.fromkeys(found.returns["session"].to_list(), 3), "once for each of the three portfolios"


def test_a_delisted_instrument_is_held_at_its_last_price_and_counted():
    frame = bars().filter((pl.col("con_id") != 101) | (pl.col("session") <= date(2024, 5, 10)))
    found = walked(frame, profile(method="equal_weight", max_weight=1.0))
    held = found.weights.filter((pl.col("con_id") == 101) & (pl.col("weight") > 0))["fold"].to_list()
    assert held == [] or found.record["bias"]["unpriced_days"] > 0
    last = found.folds.filter(pl.col("known") > date(2024, 5, 10))
    assert (last["n_unfit"] == 1).all()
    assert found.record["bias"]["lost"] > 0


# ---------------------------------------------------------------- degenerate inputs are outcomes


def test_a_fold_without_a_decision_keeps_what_is_held_and_says_why():
    frame = bars()
    thin = pl.when(pl.col("session").is_between(date(2024, 4, 1), date(2024, 4, 29))).then(0.0).otherwise("volume")
    found = walked(frame.with_columns(volume=thin))
    problems = found.folds.filter(pl.col("problem") != "")
    assert problems.height == 1
    assert problems["problem"][0].startswith("NoCandidatesError")
    assert problems["turnover"].to_list() == [0.0]
    assert found.record["failed"].keys() == set(problems["fold"].to_list())


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (bars().with_columns(adj_close=pl.lit(7.0), close=pl.lit(7.0)), "zero_variance"),
        (bars().with_columns(volume=pl.lit(0.0)), "accepted none"),
        (bars().with_columns(adj_close=pl.lit(None, dtype=pl.Float64)), "accepted none|no instrument|None of"),
    ],
)
def test_no_decision_at_all_is_an_error_with_its_reason(frame, says):
    with pytest.raises(DataWrong, match=says):
        walked(frame)


def test_one_instrument_is_a_backtest():
    found = walked(bars(n=1), profile(max_weight=1.0))
    assert found.folds["n_held"].to_list() == [1] * 3
    assert found.record["attribution"]["selection"] == 0.0


def test_twins_have_a_singular_covariance_and_weights():
    prices = np.repeat(scenario.closes(140, 1), 2, axis=1)
    for method in ("min_variance", "hrp", "risk_parity"):
        config = profile(method=method, max_weight=1.0)
        config = config.model_copy(update={"selection": config.selection.model_copy(update={"top_n_per_cluster": 2})})
        found = walked(bars(prices=prices), config)
        assert (found.folds["cash"].abs() < 1e-6).all()


def test_a_decision_may_not_reach_the_network(monkeypatch):
    import socket

    def calling(past):
        socket.create_connection(("127.0.0.1", 9))

    monkeypatch.setattr("quant_assets.flows.backtest.walking.alpha_strategy", lambda *_: calling)
    with pytest.raises(NetworkSealedError):
        walked()


# ---------------------------------------------------------------- over the lakehouse


def test_over_the_lakehouse_each_decision_reads_its_own_session_and_the_result_is_that_of_a_file():
    prices = scenario.closes(140, 6)
    sessions = CALENDAR.window(LAST, 140)
    plan = Plan()
    folds = plan_folds(sessions, FIRST, LAST, plan)
    decisions = [one.known for one in folds]
    work = lake(prices, [*decisions, LAST])
    source = LakeHistory(work, 60, LAST)
    source.require(decisions, LAST, NAME)
    config = profile()
    found = walk(source, NAME, config, FIRST, LAST, plan)
    other = walk(history(bars(prices=prices)), NAME, config, FIRST, LAST, plan)
    assert found.weights.select("fold", "con_id").equals(other.weights.select("fold", "con_id"))
    assert found.weights["weight"].to_list() == pytest.approx(other.weights["weight"].to_list(), abs=1e-9)
    assert found.returns["net"].to_list() == pytest.approx(other.returns["net"].to_list(), abs=1e-9)
    assert found.record["net"]["pool"]["total"] == pytest.approx(other.record["net"]["pool"]["total"])
    assert source.described(decisions, LAST)["known_basis"] == "observed"
    with pytest.raises(SnapshotIncompleteError) as told:
        source.require([date(2024, 3, 15)], LAST, NAME)
    assert [mend for _, mend in told.value.missing] == ["quant flow data --session 2024-03-15"] * 3


def test_a_history_is_described_from_two_columns_a_session_at_a_time(monkeypatch):
    """All windows of a long backtest at once are more than a machine has."""
    sessions = CALENDAR.window(LAST, 140)
    decisions = [one.known for one in plan_folds(sessions, FIRST, LAST, Plan())]
    work = lake(scenario.closes(140, 6), [*decisions, LAST])
    store, read, held, crowd = work.lake.curated.read.__self__, [], [], []

    def watched(table, partition, columns=None):
        crowd.append(sum(frame() is not None for frame in held))
        frame = store.read(table, partition, columns).clone()
        held.append(weakref.ref(frame))
        read.append((table.name, partition.session, columns))
        return frame

    monkeypatch.setattr(work.lake.curated, "read", watched)
    screen = Scanner(
        source="lakehouse", filters={"dear": {"field": "curated_tws_1d_bars.close", "op": ">", "value": 1.0}}
    )
    told = LakeHistory(work, 60, LAST, {"dear": screen}).described(decisions, LAST)
    assert (told["known_basis"], told["is_pit"]) == ("observed", True)
    screened = {
        f"{CURATED_TWS_1D_BARS.name}|{day}": store.footer(CURATED_TWS_1D_BARS, Partition(day)) for day in decisions
    }
    assert {name: told["tables"][name]["content_id"] for name in screened} == {
        name: footer.content_id for name, footer in screened.items()
    }
    assert read == [
        *((CURATED_TWS_1D_BARS.name, day, ["known_basis"]) for day in decisions),
        *((UNIVERSE.name, day, ["is_pit"]) for day in decisions),
    ]
    assert max(crowd) == 0, "the frame before has been let go"


@pytest.mark.parametrize(("spoiled", "says"), [("known_basis", ("assumed", False)), ("is_pit", ("observed", False))])
def test_one_session_that_was_not_observed_makes_a_backtest_say_so(spoiled, says):
    decisions = [one.known for one in plan_folds(CALENDAR.window(LAST, 140), FIRST, LAST, Plan())]
    work = lake(scenario.closes(140, 6), [*decisions, LAST])
    store, at = work.lake.curated.read.__self__, Partition(decisions[1])
    table, value = {"known_basis": (CURATED_TWS_1D_BARS, "assumed"), "is_pit": (UNIVERSE, False)}[spoiled]
    one_row = pl.when(pl.int_range(pl.len()) == 2).then(pl.lit(value)).otherwise(spoiled)
    store.put(table, at, store.read(table, at).with_columns(one_row.alias(spoiled)))
    told = LakeHistory(work, 60, LAST).described(decisions, LAST)
    assert (told["known_basis"], told["is_pit"]) == says


def test_a_backtest_over_a_lakehouse_that_changes_meanwhile_is_not_stored(tmp_path, monkeypatch):
    """Another process publishes a window that a decision has read already."""
    decisions = [one.known for one in plan_folds(CALENDAR.window(LAST, 140), FIRST, LAST, Plan())]
    work = lake(scenario.closes(140, 6), [*decisions, LAST])
    source, memory, at = LakeHistory(work, 60, LAST), work.lake.curated.read.__self__, Partition(decisions[1])
    past = LakeHistory.past

    def overtaken(self, known, n_sessions):
        if known == decisions[2]:
            rows = memory.read(CURATED_TWS_1D_BARS, at)
            memory.put(CURATED_TWS_1D_BARS, at, rows.with_columns(pl.col("volume") * 2))
        return past(self, known, n_sessions)

    monkeypatch.setattr(LakeHistory, "past", overtaken)
    found = walk(source, NAME, profile(), FIRST, LAST, Plan())
    with pytest.raises(ChangingLakeError, match=re.escape(f"curated_tws_1d_bars[{decisions[1]}]")):
        store(Layout(tmp_path), found, source, profile(), ManualClock(SystemClock().now()))
    assert list(tmp_path.rglob("*")) == []
    monkeypatch.setattr(LakeHistory, "past", past)
    again = walk(source, NAME, profile(), FIRST, LAST, Plan())
    assert store(Layout(tmp_path), again, source, profile(), ManualClock(SystemClock().now())).is_finished


def test_a_split_between_two_windows_is_no_return():
    prices = scenario.closes(140, 6)
    sessions = CALENDAR.window(LAST, 140)
    folds = plan_folds(sessions, FIRST, LAST, Plan())
    decisions = [one.known for one in folds]
    work, plain = lake(prices, [*decisions, LAST]), lake(prices, [*decisions, LAST])
    for (name, key), frame in work.lake.curated.read.__self__.frames.items():
        if name == "curated_tws_1d_bars" and key >= str(decisions[2]):
            halved = [pl.col(one) / 4 for one in ("open", "high", "low", "close", "adj_close")]
            work.lake.curated.read.__self__.frames[name, key] = frame.with_columns(halved)
    found, other = (walk(LakeHistory(one, 60, LAST), NAME, profile(), FIRST, LAST, Plan()) for one in (work, plain))
    assert found.returns["pool_gross"].to_list() == pytest.approx(other.returns["pool_gross"].to_list())


@pytest.fixture
def leaving(tmp_path):
    """103 falls by half in the middle of a month, and leaves with the next session: no decision's window tells of it."""
    prices, sessions = scenario.closes(140, 6), CALENDAR.window(LAST, 140)
    decisions = [one.known for one in plan_folds(sessions, FIRST, LAST, Plan())]
    fall = sessions.index(decisions[1]) + 9
    prices[fall, 2] /= 2
    work = lake(prices, [day for day in sessions if day >= decisions[0]])
    curated = CuratedStore(Layout(tmp_path / "data"))
    for (name, key), frame in work.lake.curated.read.__self__.frames.items():
        left = (pl.col("con_id") == 103) & (pl.lit(key) > str(sessions[fall]))
        curated.write(BY_NAME[name], Partition(date.fromisoformat(key)), frame.filter(~left))
    work.lake.curated = curated
    return LakeHistory(work, 60, LAST), prices, decisions, sessions[fall]


def test_who_leaves_the_universe_between_two_decisions_earns_until_then(leaving):
    source, prices, decisions, fall = leaving
    found = source.prices(FIRST, LAST, decisions)
    is_gone = (pl.col("con_id") == 103) & (pl.col("session") > fall)
    expected = history(bars(prices=prices).filter(~is_gone)).prices(FIRST, LAST, decisions)
    assert found.con_ids == expected.con_ids
    assert found.returns == pytest.approx(expected.returns, nan_ok=True)
    assert found.returns[found.sessions.index(fall), 2] < -0.4


def test_a_walk_across_a_leaving_is_stored_with_the_window_between_decisions(leaving, tmp_path):
    source, _, _, fall = leaving
    window = f"{CURATED_TWS_1D_BARS.name}[{fall}]"
    found = walk(source, NAME, profile(), FIRST, LAST, Plan())
    footer = source.work.lake.curated.footer(CURATED_TWS_1D_BARS, Partition(fall))
    assert found.inputs["tables"][window]["content_id"] == footer.content_id
    run = store(Layout(tmp_path / "out"), found, source, profile(), ManualClock(SystemClock().now()))
    assert window in run.read_json("config/inputs.json")["tables"]


def test_a_walk_whose_window_between_decisions_is_republished_is_refused(leaving, tmp_path):
    source, _, _, fall = leaving
    found = walk(source, NAME, profile(), FIRST, LAST, Plan())
    curated, at = source.work.lake.curated, Partition(fall)
    curated.write(CURATED_TWS_1D_BARS, at, curated.read(CURATED_TWS_1D_BARS, at).with_columns(pl.col("volume") * 2))
    with pytest.raises(ChangingLakeError, match=re.escape(f"{CURATED_TWS_1D_BARS.name}[{fall}]")):
        store(Layout(tmp_path / "out"), found, source, profile(), ManualClock(SystemClock().now()))


# ---------------------------------------------------------------- directory and command


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    layout, source = Layout(tmp_path_factory.mktemp("backtests")), history()
    found = walk(source, NAME, profile(), FIRST, LAST, Plan())
    clock = ManualClock(SystemClock().now())
    return layout, source, found, store(layout, found, source, profile(), clock)


def test_the_directory_proves_itself_and_is_written_once(stored):
    layout, source, found, run = stored
    assert errors(hash_findings(run)) == []
    before = {name: run.file(name).stat().st_mtime_ns for name in run.files()}
    again = store(layout, found, source, profile(), ManualClock(SystemClock().now()))
    assert again.run_id == run.run_id
    assert {name: run.file(name).stat().st_mtime_ns for name in run.files()} == before
    assert list_backtests(layout)["backtest"].to_list() == [run.run_id]
    other = store(layout, found, source, profile(max_weight=0.6), ManualClock(SystemClock().now()))
    assert other.run_id != run.run_id


def test_a_run_reports_the_newest_whole_backtest_of_its_very_profile(stored):
    layout, _, found, backtest = stored
    told = newest_walk(layout, NAME, profile(), LAST)
    assert (told["backtest"], told["inputs"]["is_pit"]) == (backtest.run_id, False)
    assert told["record"]["attribution"] == found.record["attribution"]
    assert newest_walk(layout, NAME, profile(method="equal_weight"), LAST) is None, "another configuration"
    assert newest_walk(layout, NAME, profile(), FIRST) is None, "it ends after the session"
    assert newest_walk(layout, "other", profile(), LAST) is None


def test_a_damaged_backtest_is_not_reported(stored, tmp_path):
    import shutil

    layout, _, _, backtest = stored
    copied = Layout(tmp_path)
    shutil.copytree(layout.backtests, copied.backtests)
    victim = copied.backtests / backtest.run_id / "metrics.json"
    victim.chmod(0o644)
    victim.write_text(victim.read_text().replace('"cagr":', '"cagr":1', 1))
    assert newest_walk(copied, NAME, profile(), LAST) is None


def test_the_walk_stands_in_the_report_of_a_run_and_not_in_its_name(stored, tmp_path):
    layout, _, found, backtest = stored
    runs = []
    for place, walked_ in (("a", None), ("b", newest_walk(layout, NAME, profile(), LAST))):
        world = scenario.world(n=4)
        world.certify()
        window = (world.session, scenario.PROFILE, world.profile, world.sessions, world.clock)
        runs.append(freeze(world.store, Layout(tmp_path / place), *window, walked=walked_).run)
        for step in STEPS:
            step(runs[-1], world.clock)
    without, with_ = runs
    assert without.run_id == with_.run_id
    assert errors(hash_findings(with_)) == []
    assert "No backtest of this profile" in without.read("reports/report.html").decode()
    html = with_.read("reports/report.html").decode()
    assert f"../../../backtests/{backtest.run_id}/reports/report.html" in html
    assert f"{found.record['net']['strategy']['cagr']:.2%}" in html
    assert f"{found.record['attribution']['selection']:.2%}" in html
    assert backtest.run_id in with_.read("reports/report.md").decode()


def test_the_report_is_offline_and_says_what_it_is(stored):
    import re

    _, _, found, run = stored
    html = run.read("reports/report.html").decode()
    assert html.count("<svg") == 4
    assert not re.search(r"https?://|<script|src=|@import", html)
    assert "Point in time: <strong>no</strong>" in html
    assert f"{found.record['net']['strategy']['cagr']:.2%}" in html
    assert f"{found.record['n_sessions']} sessions are less than a year" in html
    text = run.read("reports/report.md").decode()
    assert f"{found.record['n_sessions']} sessions are less than a year" in text
    assert f"{found.record['attribution']['selection']:.2%}" in text


@pytest.fixture
def files(tmp_path):
    frame = bars().rename({"session": "date"})
    path, sectors = tmp_path / "daily.csv", tmp_path / "sectors.csv"
    frame.write_csv(path)
    sectors.write_text("symbol,sector\n" + "".join(f"S{k},{'ab'[k % 2]}\n" for k in range(101, 109)))
    return tmp_path / "data", path, sectors


def ask(data, *words):
    result = CliRunner(env={"QUANT_DATA": str(data)}).invoke(cli, ["backtest", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_as_a_user_meets_it(files, monkeypatch):
    data, path, sectors = files
    short = (
        "--sessions",
        "2024-05-01..2024-06-28",
        "--bars",
        str(path),
        "--sectors",
        str(sectors),
        "--rebalance",
        "20",
    )
    monkeypatch.setattr("quant_assets.settings.Settings.manifest", manifest_of(profile()))
    planned = json.loads(ask(data, *short, "--dry-run", "--json").stdout)
    assert planned[0] == {
        "fold": "1",
        "known": "2024-04-29",
        "traded": "2024-04-30",
        "first": "2024-05-01",
        "last": "2024-05-29",
    }
    assert not (data / "artifacts").exists()
    told = json.loads(ask(data, *short, "--json").stdout)
    assert told["n_folds"] == len(planned)
    read = json.loads((data / "artifacts/backtests" / told["backtest"] / "config/inputs.json").read_text())["tables"]
    assert {name: one["n_rows"] for name, one in read.items()} == {"daily.csv": bars().height, "sectors.csv": 8}
    assert "Where it came from" in ask(data, *short).stdout
    assert json.loads(ask(data, "list", "--json").stdout)[0]["backtest"] == told["backtest"]
    assert "verified" in ask(data, "verify", told["backtest"]).stdout
    victim = data / "artifacts/backtests" / told["backtest"] / "metrics.json"
    victim.chmod(0o644)
    victim.write_text("{}")
    with pytest.raises(VerificationError, match=r"metrics\.json"):
        ask(data, "verify", told["backtest"])


def test_a_file_without_sectors_is_not_walked_under_a_cap_that_keeps_most_in_cash(files, monkeypatch):
    data, path, _ = files
    words = ("--sessions", "2024-05-01..2024-06-28", "--bars", str(path), "--rebalance", "20", "--json")
    monkeypatch.setattr("quant_assets.settings.Settings.manifest", manifest_of(profile(sector_cap=0.4)))
    with pytest.raises(ConfigurationError, match=r"keeps 60% in cash.*Give --sectors"):
        ask(data, *words)
    monkeypatch.setattr("quant_assets.settings.Settings.manifest", manifest_of(profile(sector_cap=1.0)))
    assert json.loads(ask(data, *words).stdout)["n_folds"] > 0


def manifest_of(config):
    from quant_assets.settings.manifest import Manifest

    return Manifest(default_profile=NAME, production_profile=NAME, profiles={NAME: config})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--sessions", "2024-06-28..2024-05-01"), "comes after"),
        (("--sessions", "2024-05-01..2024-06-28", "--rebalance", "daily"), "no rhythm"),
        (("--sessions", "2024-05-01..2024-06-28", "--profile", "blend"), "meta portfolio"),
        (("--sessions", "2024-05-01..2024-06-28", "--bars", "nowhere.csv"), "no such file"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, words, says):
    with pytest.raises(ConfigurationError, match=says):
        ask(tmp_path, *words)


def test_a_lakehouse_that_lacks_sessions_lists_all_of_them(tmp_path):
    with pytest.raises(SnapshotIncompleteError, match="quant flow data --session 2024-06-27"):
        ask(tmp_path, "--sessions", "2024-07-01..2024-08-30")
