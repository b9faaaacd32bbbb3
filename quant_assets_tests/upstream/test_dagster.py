"""These test Dagster, not this package: behaviours that decisions of ours lean on.

A red test here after an upgrade says that a decision can be taken again, or must be.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

HOLIDAY = dt.datetime(2025, 11, 27)  # noqa: DTZ001 - Dagster wants a naive one and puts its own zone on it
SESSIONS = dg.DailyPartitionsDefinition("2025-11-24", timezone="UTC", exclusions=["0 0 * * 0,6", HOLIDAY])
SINGLE = dg.BackfillPolicy.single_run()
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy` of function `asset`")
"""It is beta on `@asset`; the package uses it on `@multi_asset`, where it is not."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as one:
        yield one


def materialize(
    instance: dg.DagsterInstance, assets: Sequence[Any], tags: dict[str, str], **options: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(assets, instance=instance, tags=tags, raise_on_error=False, run_config=QUIET, **options)


@pytest.fixture
def seen() -> dg.AssetsDefinition:
    """An asset that says which partitions it was given."""

    @dg.asset(partitions_def=SESSIONS, backfill_policy=SINGLE)
    def seen(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(metadata={"keys": ",".join(context.partition_keys)})

    return seen


def keys_of(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        str(event.event_specific_data.materialization.metadata["keys"].value)
        for event in result.all_node_events
        if event.is_step_materialization
    }


# ------------------------------------------------------------------ partitions


def test_a_holiday_key_means_the_next_session():
    """Why bodies compare the run's tags with the exchange's calendar, and why a backfill that was launched over GraphQL
    cannot be refused: it has become another session before there is a run."""
    assert SESSIONS.time_window_for_partition_key("2025-11-27").start.date() == dt.date(2025, 11, 28)
    assert set(SESSIONS.empty_subset().with_partition_keys(["2025-11-27"]).get_partition_keys()) == {"2025-11-28"}


def test_a_range_that_starts_on_a_holiday_runs_green(instance: dg.DagsterInstance, seen: dg.AssetsDefinition):
    """Why `partitions_of` looks at the ends of a range, and not only at its keys."""
    result = materialize(instance, [seen], {START: "2025-11-27", END: "2025-11-28"})
    assert result.success
    assert keys_of(result) == {"2025-11-28"}


def test_a_reversed_range_runs_green_with_no_partition_at_all(instance: dg.DagsterInstance):
    """Why `partitions_of` refuses an empty list."""

    @dg.asset(partitions_def=SESSIONS, backfill_policy=SINGLE)
    def counted(context: dg.AssetExecutionContext) -> None:
        assert list(context.partition_keys) == []

    assert materialize(instance, [counted], {START: "2025-12-01", END: "2025-11-26"}).success
    assert instance.get_materialized_partitions(counted.key) == set()


def test_a_utc_day_has_closed_on_the_evening_of_a_new_york_session():
    """Why partitions are UTC days with end_offset 0: midnight UTC is after every close, and no future session shows."""
    just_before = dt.datetime(2025, 11, 28, 23, 59, tzinfo=dt.UTC)
    just_after = dt.datetime(2025, 11, 29, 0, 1, tzinfo=dt.UTC)
    for now, last in ((just_before, "2025-11-26"), (just_after, "2025-11-28")):
        with freeze_time(now):
            assert SESSIONS.get_last_partition_key() == last


def test_a_weekday_cron_would_leave_friday_open_until_monday():
    """Why weekends are exclusions of a daily definition."""
    weekdays = dg.TimeWindowPartitionsDefinition(
        start="2025-11-24", fmt="%Y-%m-%d", cron_schedule="0 0 * * 1-5", timezone="UTC"
    )
    with freeze_time(dt.datetime(2025, 11, 29, 12, tzinfo=dt.UTC)):
        assert weekdays.get_last_partition_key() == "2025-11-27"
        assert SESSIONS.get_last_partition_key() == "2025-11-28"


def test_a_lookback_mapping_counts_sessions_and_not_days():
    """Why lookback windows may be written as TimeWindowPartitionMapping(start_offset=-n)."""
    mapping = dg.TimeWindowPartitionMapping(start_offset=-2)
    with freeze_time(dt.datetime(2025, 12, 5, tzinfo=dt.UTC)):
        asked = SESSIONS.subset_with_partition_keys(["2025-12-01"])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(asked, SESSIONS, SESSIONS)
    assert sorted(found.partitions_subset.get_partition_keys()) == ["2025-11-26", "2025-11-28", "2025-12-01"]


# ------------------------------------------------------------------ metadata and checks on ranges


def test_metadata_of_a_result_goes_to_every_partition_of_a_range_and_added_metadata_to_its_own(
    instance: dg.DagsterInstance,
):
    """Why `publish` calls add_asset_metadata once per partition, and why a range has one data version for all."""

    @dg.asset(partitions_def=SESSIONS, backfill_policy=SINGLE)
    def counted(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        for number, key in enumerate(context.partition_keys):
            context.add_asset_metadata({"own": number}, partition_key=key)
        return dg.MaterializeResult(metadata={"shared": 7}, data_version=dg.DataVersion("all"))

    assert materialize(instance, [counted], {START: "2025-11-25", END: "2025-11-26"}).success
    records = instance.fetch_materializations(counted.key, limit=9).records
    made = {
        one.asset_materialization.partition: one.asset_materialization for one in records if one.asset_materialization
    }
    shown = {key: {name: value.value for name, value in one.metadata.items()} for key, one in made.items()}
    assert shown == {"2025-11-25": {"own": 0, "shared": 7}, "2025-11-26": {"own": 1, "shared": 7}}
    assert {(one.tags or {})["dagster/data_version"] for one in made.values()} == {"all"}


def test_a_failed_body_keeps_what_it_logged_and_the_checks_it_yielded(instance: dg.DagsterInstance):
    """Why the good sessions of a range can be published by a run that fails, and nobody downstream runs in it."""

    @dg.asset(
        partitions_def=SESSIONS,
        backfill_policy=SINGLE,
        check_specs=[dg.AssetCheckSpec("sound", asset="half", blocking=True)],
    )
    def half(context: dg.AssetExecutionContext) -> Iterator[Any]:
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=context.partition_keys[0]))
        yield dg.AssetCheckResult(check_name="sound", passed=False)
        raise dg.Failure("one is bad")

    @dg.asset(partitions_def=SESSIONS, backfill_policy=SINGLE, deps=[half])
    def after() -> None: ...

    result = materialize(instance, [half, after], {START: "2025-11-25", END: "2025-11-26"})
    assert not result.success
    assert instance.get_materialized_partitions(half.key) == {"2025-11-25"}
    assert instance.get_materialized_partitions(after.key) == set()
    assert [check.passed for check in result.get_asset_check_evaluations()] == [False]


def test_an_asset_that_is_made_together_with_another_cannot_be_asked_for_alone_unless_it_says_so():
    """Why the curated bars and their quarantine are declared with can_subset."""

    def pair(*, can_subset: bool) -> dg.Definitions:
        @dg.multi_asset(specs=[dg.AssetSpec("one"), dg.AssetSpec("two")], can_subset=can_subset)
        def both(context: dg.AssetExecutionContext) -> Iterator[Any]:
            for key in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=key)

        return dg.Definitions(assets=[both])

    def job(definitions: dg.Definitions) -> Any:
        return definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("one")})

    with pytest.raises(dg.DagsterInvalidSubsetError):
        job(pair(can_subset=False))
    assert job(pair(can_subset=True)).asset_layer.selected_asset_keys == {dg.AssetKey("one")}


# ------------------------------------------------------------------ freshness, automation, processes


def test_freshness_is_declared_and_kept_per_asset_and_not_per_partition():
    """Why every table has a check that its latest session is there, and missing() finds sessions."""
    from dagster._core.definitions.freshness import FreshnessStateEvaluation

    names = {name.removeprefix("_") for name in FreshnessStateEvaluation.__annotations__} | set(
        getattr(FreshnessStateEvaluation, "_fields", ())
    )
    assert names >= {"key", "freshness_state"}
    assert not {name for name in names if "partition" in name}


def test_the_automation_sensor_that_dagster_makes_itself_is_stopped():
    """Why definitions declare one that runs."""

    @dg.asset(automation_condition=dg.AutomationCondition.eager())
    def alive() -> None: ...

    repository = dg.Definitions(assets=[alive]).get_repository_def()
    (sensor,) = repository.sensor_defs
    assert sensor.name == "default_automation_condition_sensor"
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_will_be_requested_does_not_hold_across_different_partitions(instance: dg.DagsterInstance):
    """Why the alpha cycle asks one tick after the data cycle: its keys are others, so they cannot share a run."""
    condition = dg.AutomationCondition
    pairs = dg.MultiPartitionsDefinition({"session": SESSIONS, "profile": dg.StaticPartitionsDefinition(["a"])})

    @dg.asset(partitions_def=SESSIONS, automation_condition=condition.missing())
    def data() -> None: ...

    soon = condition.any_deps_match(condition.will_be_requested())

    @dg.asset(partitions_def=SESSIONS, deps=[data], automation_condition=soon)
    def same() -> None: ...

    @dg.asset(partitions_def=pairs, deps=[data], automation_condition=soon)
    def other() -> None: ...

    with freeze_time(dt.datetime(2025, 11, 27, 1, tzinfo=dt.UTC)):
        result = dg.evaluate_automation_conditions(
            dg.Definitions(assets=[data, same, other]), instance=instance, asset_selection=dg.AssetSelection.all()
        )
    assert result.get_requested_partitions(same.key) == {"2025-11-24", "2025-11-25", "2025-11-26"}
    assert result.get_requested_partitions(other.key) == set()


def test_postponed_annotations_break_an_asset_s_context():
    """Why no Dagster module starts with `from __future__ import annotations`."""
    code = "import dagster as dg\n@dg.asset\ndef one(context: dg.AssetExecutionContext) -> None: ...\n"
    exec(code, {"__name__": "fine"})
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="context"):
        exec("from __future__ import annotations\n" + code, {"__name__": "postponed"})


def test_a_pool_slot_outlives_the_process_that_took_it():
    """Why dagster.yaml has no pool limits: only the end of a run frees a slot, and a killed run has no end."""
    with dg.DagsterInstance.local_temp() as kept:
        storage = kept.event_log_storage
        storage.set_concurrency_slots("tws", 1)
        assert storage.claim_concurrency_slot("tws", "killed", "step").is_claimed
        assert not storage.claim_concurrency_slot("tws", "next", "step").is_claimed
        storage.free_concurrency_slots_for_run("killed")
        assert storage.claim_concurrency_slot("tws", "next", "step").is_claimed
