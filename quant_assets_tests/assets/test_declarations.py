"""What the UI shows before anything ran: names, groups, columns, kinds, freshness, automation."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets import cycles
from quant_assets.assets.repairs import requests_for
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.flows.care import RepairPlan
from quant_assets_tests.assets.house import ALPHA, DATA, RANGE, House

GROUPS = {
    "discovery": {"universe"},
    "bronze": {"raw_instruments", "raw_tws_bars", "raw_tws_daily_bars"},
    "silver": {
        "adjustment_factors",
        "instruments",
        "execution",
        "exchanges",
        "curated_tws_1m_bars",
        "quarantine_tws_bars",
        "bar_accounting",
        "dq_metrics",
        "curated_tws_1d_bars",
    },
    "gold": {
        "features_price_1m_v1",
        "features_volume_1m_v1",
        "tv_technicals_1d",
        "labels_tws_returns",
        "certified_sessions",
        "candidates",
    },
    "alpha": {"snapshots", "returns_matrix", "selection", "synthetic_returns", "weights", "report"},
    "ops": {"catalog", "month_copies", "data_audit"},
}
UPSTREAM = {
    "universe": set(),
    "raw_instruments": {"universe"},
    "raw_tws_bars": {"universe"},
    "raw_tws_daily_bars": {"universe"},
    "instruments": {"raw_instruments"},
    "adjustment_factors": {"universe", "raw_tws_bars", "raw_tws_daily_bars"},
    "curated_tws_1m_bars": {"raw_tws_bars", "raw_tws_daily_bars", "adjustment_factors"},
    "features_price_1m_v1": {"curated_tws_1m_bars"},
    "features_volume_1m_v1": {"curated_tws_1m_bars"},
    "tv_technicals_1d": {"curated_tws_1d_bars"},
    "labels_tws_returns": {"curated_tws_1m_bars"},
    "snapshots": {"candidates", "certified_sessions", "curated_tws_1d_bars", "instruments"},
    "returns_matrix": {"snapshots"},
    "selection": {"snapshots", "returns_matrix"},
    "synthetic_returns": {"snapshots", "selection"},
    "weights": {"snapshots", "selection", "synthetic_returns"},
    "report": {"snapshots", "weights"},
}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("declared")) as one:
        yield one


def specs(house: House) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in house.definitions.resolve_all_asset_specs()}


def test_definitions_load_without_a_data_directory(declared: House):
    dg.Definitions.validate_loadable(declared.definitions)
    assert not declared.data.exists()


def test_every_asset_is_in_the_group_of_its_layer(declared: House):
    found: dict[str, set[str]] = {}
    for name, spec in specs(declared).items():
        found.setdefault(spec.group_name or "", set()).add(name)
    assert found == GROUPS


def test_edges_are_those_of_the_design(declared: House):
    found = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs(declared).items()}
    assert {name: found[name] for name in UPSTREAM} == UPSTREAM


def test_the_cycles_name_assets_that_exist(declared: House):
    assert set(cycles.DATA) == set(DATA)
    assert {*cycles.DATA, *cycles.ALPHA} < set(specs(declared))


@pytest.mark.parametrize("asset", [*DATA, *ALPHA])
def test_every_table_is_described_like_in_a_data_catalog(declared: House, asset: str):
    spec = specs(declared)[asset]
    assert len(spec.description or "") > 40
    assert spec.owners == ["team:quant"]
    assert {"parquet", "polars"} <= set(spec.kinds)
    assert spec.code_version
    schema = spec.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    assert all(column.description and column.type for column in schema.columns)
    assert str(spec.metadata["dagster/uri"]).startswith(declared.data.as_uri())


@pytest.mark.parametrize("asset", [*DATA, *ALPHA])
def test_freshness_outlasts_the_longest_closed_stretch(declared: House, asset: str):
    """Friday to Tuesday is the longest XNYS knows since 2025: 96 hours between two UTC days."""
    policy = specs(declared)[asset].freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta().total_seconds() == 100 * 3600  # type: ignore[union-attr]
    assert policy.warn_window.to_timedelta().total_seconds() == 76 * 3600  # type: ignore[union-attr]


@pytest.mark.parametrize("asset", [*DATA, *ALPHA])
def test_what_must_not_reach_anybody_downstream_blocks(declared: House, asset: str):
    checks = {
        spec.name: spec
        for definition in declared.definitions.assets or []
        if isinstance(definition, dg.AssetsDefinition)
        for spec in definition.check_specs
        if spec.asset_key == dg.AssetKey(asset)
    }
    assert checks["schema"].blocking is not asset.startswith("raw_"), "bronze keeps what TWS served"
    assert checks["not_empty"].blocking
    assert not checks["latest_session_present"].blocking
    assert all(spec.description for spec in checks.values()), "a check without a word is a riddle in the UI"


def test_partitions_are_the_exchange_s_sessions(declared: House):
    keys = declared.definitions.resolve_assets_def("raw_tws_bars").partitions_def.get_partition_keys()
    week = [key for key in keys if "2025-11-24" <= key <= "2025-12-02"]
    assert week == ["2025-11-24", "2025-11-25", "2025-11-26", "2025-11-28", "2025-12-01", "2025-12-02"]
    assert keys[0] == "2025-03-03"


def test_partitions_of_the_alpha_cycle_are_profiles_times_sessions(declared: House):
    partitions = declared.definitions.resolve_assets_def("weights").partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    assert partitions.has_partition_key("calm|2025-11-28")
    assert not partitions.has_partition_key("nobody|2025-11-28")


def test_the_automation_sensor_runs_by_itself_and_covers_every_asset(declared: House):
    sensor = next(one for one in declared.definitions.sensors or [] if one.name == "automation")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    graph = declared.definitions.resolve_asset_graph()
    covered = {key.to_user_string() for key in sensor.asset_selection.resolve(graph)}
    assert covered == set().union(*GROUPS.values())
    alone = {name for name in covered if not graph.get(dg.AssetKey(name)).automation_condition}
    assert alone == {"data_audit"}, "which a schedule runs, whether or not the sensor is on"


def test_schedules_run_by_themselves(declared: House):
    schedules = {
        one.name: one for one in declared.definitions.schedules or [] if isinstance(one, dg.ScheduleDefinition)
    }
    assert set(schedules) == {"daily_data_cycle", "weekly_catalog", "weekly_repair", "weekly_data_audit"}
    assert {one.default_status for one in schedules.values()} == {dg.DefaultScheduleStatus.RUNNING}


def test_a_repair_is_one_run_per_stretch_and_is_asked_for_once_per_state_of_the_ledger(declared: House):
    friday, monday, wednesday = (dt.date(2025, 11, 28), dt.date(2025, 12, 1), dt.date(2025, 12, 3))
    shape = {"session": pl.Date, "con_id": pl.Int64, "n_asked": pl.Int64, "is_known": pl.Boolean}

    def asked(*rows: tuple[dt.date, int, int, bool]) -> list[dg.RunRequest]:
        plan = RepairPlan([], pl.DataFrame(list(rows), schema=shape, orient="row"))
        found = requests_for(plan, plan.sessions, TradingCalendar())
        assert all(isinstance(one, dg.RunRequest) for one in found)
        return found

    first, second = asked((friday, 1, 3, False), (monday, 2, 3, False), (wednesday, 1, 3, False))
    assert (first.tags[RANGE[0]], first.tags[RANGE[1]]) == (str(friday), str(monday)), "a weekend lies between"
    assert second.partition_key == str(wednesday)
    assert asked((wednesday, 1, 3, False))[0].run_key == second.run_key
    assert asked((wednesday, 1, 4, False))[0].run_key != second.run_key, "an answer came, and it is still a hole"
    assert asked((wednesday, 1, 9, True)) == [], "a known hole is left alone"
    assert declared.definitions.resolve_job_def("repair").tags["quant/repair"] == "true"


@pytest.mark.parametrize(
    ("night", "session"),
    [
        ("2025-11-27T00:00+00:00", "2025-11-26"),
        ("2025-11-28T00:00+00:00", "2025-11-26"),
        ("2025-11-30T00:00+00:00", "2025-11-28"),
        ("2025-12-02T00:00+00:00", "2025-12-01"),
    ],
)
def test_the_nightly_schedule_asks_for_the_newest_closed_session(declared: House, night: str, session: str):
    schedule = next(one for one in declared.definitions.schedules or [] if one.name == "daily_data_cycle")
    assert isinstance(schedule, dg.ScheduleDefinition)
    repository = declared.definitions.get_repository_def()
    context = dg.build_schedule_context(
        scheduled_execution_time=dt.datetime.fromisoformat(night), repository_def=repository
    )
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == session
    assert session in (request.run_key or ""), "a session is asked for once, however many nights follow it"
