"""Defects of earlier systems that must never come back: one entry each, with the tests that would find it.

Where a test stands beside the code that it is about, it is named here and its existence is checked; the others are
below. Taking one of them away makes this file fail.
"""

import ast
import importlib
import re
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain import tables
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, RAW_TWS_BARS, SNAPSHOTS
from quant_assets.flows.alpha import STEPS
from quant_assets.flows.publishing import NOT_EMPTY, judge
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests import builders
from quant_assets_tests.unit.alpha import scenario

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "quant_assets"
HERE = "unit/test_predecessor_defects.py"

DEFECTS = {
    "a snapshot that changes because a writer rewrites a hard-linked file": [
        "unit/alpha/test_snapshot.py::test_frozen_files_are_read_only_copies_that_a_writer_cannot_reach",
        "unit/alpha/test_real_store.py::test_from_published_tables_to_a_verified_run",
        "unit/alpha/test_stage_cache.py::test_a_run_holds_read_only_copies_that_share_nothing_with_the_cache",
        f"{HERE}::test_nothing_that_writes_a_run_links_files",
    ],
    "one spike deleting a symbol's history": [
        "unit/domain/test_quality.py::test_one_spike_does_not_cost_the_instrument_its_session",
        "unit/domain/test_toxic.py::test_one_spike_rejects_itself_and_no_neighbour",
    ],
    "an idempotency key that returns an old report while the vendor has revised the data": [
        "unit/alpha/test_snapshot.py::test_everything_that_counts_changes_the_run_id_and_nothing_else_does",
        "unit/alpha/test_stage_cache.py::test_one_changed_bar_or_one_more_session_costs_everything",
        f"{HERE}::test_a_revised_bar_gives_another_run_and_another_report",
    ],
    "partition pruning that lists and reads every file": [
        "unit/store/test_curated.py::test_readers_open_the_files_that_they_need_and_no_other",
        "unit/features/test_store.py::test_only_the_files_that_are_needed_are_opened",
    ],
    "non-atomic writes": [
        "unit/alpha/test_killed_runs.py::test_kill_9_at_a_commit_and_run_again",
        "unit/store/test_curated.py::test_leftovers_of_killed_writers_are_swept_by_the_next_write",
    ],
    "forward fill written into raw data": [
        "unit/alpha/test_returns.py::test_a_gap_is_never_filled_it_nulls_both_returns_beside_it",
        f"{HERE}::test_bronze_holds_the_gaps_that_tws_served",
    ],
    "a hard-coded 13:00-21:00 UTC session": [f"{HERE}::test_a_session_follows_daylight_saving_and_half_days"],
    "naive local timestamps": [f"{HERE}::test_every_instant_is_utc"],
    "an empty reply or a timeout treated as success": [
        "contract/failure_modes/test_answers.py::test_mode_03_a_request_that_never_ends_is_a_timeout_and_not_an_empty_answer",
        "contract/failure_modes/test_stored.py::test_mode_02_13_empty_no_data_no_permission_and_timeout_are_told_apart",
    ],
    "a default symbol when the universe is empty": [
        "unit/flows/test_ingestion.py::test_an_empty_universe_is_an_error_that_says_where_to_add",
        "unit/alpha/test_candidates.py::test_an_empty_universe_is_an_error_and_not_an_empty_table",
        f"{HERE}::test_no_symbol_is_written_into_the_product",
    ],
    "a green partition with 0 rows": [f"{HERE}::test_an_empty_partition_breaks_a_blocking_rule"],
    "a dropna intersection that keeps only survivors": [
        "unit/alpha/test_returns.py::test_the_youngest_instrument_does_not_shorten_the_history_of_the_others",
        "unit/alpha/test_returns.py::test_complete_cases_lose_sessions_and_no_instrument",
        f"{HERE}::test_who_stopped_trading_keeps_its_verdict_and_costs_nobody_a_session",
    ],
    "flattening that ignores the live signal": [
        "unit/alpha/test_synthesis.py::test_flattening_uses_the_live_signal_and_nets",
    ],
    "a fallback to the global lakehouse inside an alpha run": [
        "unit/alpha/test_run.py::test_the_alpha_cycle_needs_nothing_but_the_run_directory",
        f"{HERE}::test_an_alpha_run_reads_no_file_outside_its_directory",
    ],
    "a registry that swallows import errors": [
        f"{HERE}::test_a_stage_that_cannot_be_imported_is_an_error",
        f"{HERE}::test_a_command_that_cannot_be_imported_is_an_error",
    ],
    "today's universe applied to past sessions": [
        "unit/flows/test_ingestion.py::test_members_of_a_past_session_that_were_observed_then_are_kept",
        "unit/alpha/test_candidates.py::test_point_in_time_needs_a_known_membership_and_observed_bars",
        "unit/alpha/test_bias.py::test_who_could_not_be_known_then_is_counted",
    ],
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_the_tests_that_it_names(defect):
    for name in DEFECTS[defect]:
        path, _, function = name.partition("::")
        tree = ast.parse((TESTS / path).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in found, name


def test_nothing_that_writes_a_run_links_files():
    calls = re.compile(r"\blink\(|hardlink_to\(|symlink_to\(|copy_function")
    rooms = ("flows/snapshot", "flows/alpha", "flows/meta", "lakehouse/runs")
    files = [path for room in rooms for path in (PACKAGE / room).rglob("*.py")]
    assert len(files) > 20
    assert [path.name for path in files if calls.search(path.read_text())] == []


def test_a_revised_bar_gives_another_run_and_another_report(tmp_path):
    layout = Layout(tmp_path)
    first = scenario.world(n=4, method="equal_weight")
    revised = scenario.world(n=4, method="equal_weight")
    at = Partition(revised.session)
    bars = revised.store.read(tables.CURATED_TWS_1D_BARS, at)
    is_hit = (pl.col("con_id") == 102) & (pl.col("session") == revised.sessions[7])
    price = pl.when(is_hit).then(pl.col("adj_close") * 1.2).otherwise("adj_close").alias("adj_close")
    revised.store.put(tables.CURATED_TWS_1D_BARS, at, bars.with_columns(price))
    runs = []
    for world in (first, revised):
        runs.append(world.freeze(layout).run)
        for step in STEPS:
            step(runs[-1], world.clock)
    assert runs[0].run_id != runs[1].run_id
    assert runs[0].read("reports/report.html") != runs[1].read("reports/report.html")
    again = scenario.world(n=4, method="equal_weight").freeze(layout)
    assert (again.run_id, again.is_unchanged) == (runs[0].run_id, True)


def test_bronze_holds_the_gaps_that_tws_served(tmp_path):
    served = builders.raw_bars({0: 100.0, 1: 101.0, 7: 102.0})  # five minutes without a bar
    lake, at = Lakehouse(Layout(tmp_path)), Partition(builders.SESSION)
    lake.raw.append(RAW_TWS_BARS, at, served, "b1")
    stored = lake.raw.read(RAW_TWS_BARS, at)
    assert stored["ts"].to_list() == [builders.minute(0), builders.minute(1), builders.minute(7)]
    assert stored["close"].to_list() == [100.0, 101.0, 102.0]


@pytest.mark.parametrize(
    ("session", "opens", "closes"),
    [
        (date(2024, 1, 3), "14:30", "21:00"),  # winter
        (date(2024, 7, 3), "13:30", "17:00"),  # summer, and a half day
        (date(2024, 7, 8), "13:30", "20:00"),  # summer
        (date(2024, 3, 11), "13:30", "20:00"),  # the Monday after the clocks went forward
        (date(2024, 11, 29), "14:30", "18:00"),  # half day in winter
    ],
)
def test_a_session_follows_daylight_saving_and_half_days(session, opens, closes):
    hours = TradingCalendar().hours(session)
    assert (f"{hours.opens_at:%H:%M}", f"{hours.closes_at:%H:%M}") == (opens, closes)
    assert hours.opens_at.tzinfo is not None


def test_every_instant_is_utc():
    instants = [
        (table.name, name, dtype)
        for table in tables.ALL
        for name, dtype in table.schema.items()
        if isinstance(dtype, pl.Datetime) or dtype == pl.Datetime
    ]
    assert len(instants) > 10
    assert [one for one in instants if one[2] != pl.Datetime("us", "UTC")] == []


def test_no_symbol_is_written_into_the_product():
    """A symbol in the code is a universe that nobody asked for; docstrings and messages may name examples."""
    famous = {"AAPL", "MSFT", "GOOG", "TSLA"}
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                found += [path.name for one in node.elts if isinstance(one, ast.Constant) and one.value in famous]
    assert found == []


@pytest.mark.parametrize("table", [CURATED_TWS_1M_BARS, SNAPSHOTS])
def test_an_empty_partition_breaks_a_blocking_rule(table):
    (finding,) = [one for one in judge(table, table.empty()) if one.check == NOT_EMPTY]
    assert (finding.passed, finding.blocking) == (False, True)
    assert "no rows" in finding.message


def test_who_stopped_trading_keeps_its_verdict_and_costs_nobody_a_session(tmp_path):
    prices = scenario.closes(120, 5)
    prices[60:, 1] = float("nan")  # delisted halfway
    world = scenario.world(prices, method="equal_weight")
    world.profile = world.profile.model_copy(
        update={"data": world.profile.data.model_copy(update={"stale_policy": "allow"})}
    )
    selection = world.profile.selection.model_copy(update={"min_coverage": 0.0})
    world.profile = world.profile.model_copy(update={"selection": selection})
    world.publish_candidates()
    run = world.freeze(Layout(tmp_path)).run
    for step in STEPS:
        step(run, world.clock)
    matrix = run.read_frame("data/returns_matrix.parquet")
    assert matrix.height == 119
    assert matrix.drop("session").null_count().sum_horizontal().item() == 0
    judged = {one["con_id"]: one["verdict"] for one in run.audit_trail}
    assert judged.keys() == {101, 102, 103, 104, 105}
    assert judged[102] == "rejected" or "102" not in matrix.columns
    assert run.read_json("config/bias.json")["lost"]["after_last_bar"] == 60


def test_an_alpha_run_reads_no_file_outside_its_directory(tmp_path):
    """Open files are watched by the interpreter itself, while all steps run on a directory that was moved away."""
    world = scenario.world(n=4, method="equal_weight")
    run = world.freeze(Layout(tmp_path / "data")).run
    moved = RunDirectory(run.path.rename(tmp_path / run.run_id))
    opened, watching = [], [True]

    def watch(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and watching[0] and isinstance(args[0], str | Path):
            opened.append(str(args[0]))

    sys.addaudithook(watch)
    for step in STEPS:
        step(moved, world.clock)
    watching[0] = False
    mine = [name for name in opened if str(tmp_path) in name]
    assert len(mine) > 20
    lock = str(tmp_path / ".locks")
    assert [name for name in mine if not name.startswith((str(moved.path), lock))] == []
    assert [name for name in opened if "lakehouse" in name and not name.endswith((".py", ".pyc"))] == []


@pytest.mark.parametrize("module", ["quant_assets.assets.alpha", "quant_assets.assets.features"])
def test_a_stage_that_cannot_be_imported_is_an_error(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "quant_assets.definitions", raising=False)
    with pytest.raises(ImportError, match=module):
        importlib.import_module("quant_assets.definitions")


def test_a_command_that_cannot_be_imported_is_an_error(monkeypatch):
    from click.testing import CliRunner

    from quant_assets.cli import cli

    monkeypatch.setitem(sys.modules, "quant_assets.cli.status", None)
    result = CliRunner().invoke(cli, ["status"])
    assert isinstance(result.exception, ImportError)
    assert "status" in CliRunner().invoke(cli, ["--help"]).output


def test_the_list_is_whole():
    assert len(DEFECTS) == 16
