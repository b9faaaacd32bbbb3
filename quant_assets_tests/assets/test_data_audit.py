"""The audit that nobody watches: it runs on Sundays, shows what a person would be told, and leaves the news to them."""

import datetime as dt
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.clock import SystemClock
from quant_assets.domain.tables import INSTRUMENTS, QUARANTINE_TWS_BARS, RAW_TWS_BARS
from quant_assets.flows.data_audit import audit_data
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.assets.house import House

SESSION = "2025-11-26"
AT = Partition.from_key(SESSION)
NEWS = f"bad_print rows that the last audit did not see: 1 in {SESSION}"


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house with one session, on its evening."""
    with House(tmp_path, {"lakehouse": {"start_session": SESSION}}, ["ARCA:QMKT", "NASDAQ:QTEB"]) as house:
        house.run_data(SESSION)
        evening = dt.datetime(2025, 11, 27, 2, tzinfo=dt.UTC)
        monkeypatch.setattr(SystemClock, "now", lambda _: evening)
        yield house


def look(house: House) -> tuple[dict[str, dg.AssetCheckEvaluation], dict[str, object]]:
    """Run the asset, and return its checks and what it shows."""
    result = house.run(["data_audit"])
    assert result.success, "an audit that finds something is no failed audit"
    event = house.instance.get_latest_materialization_event(dg.AssetKey("data_audit"))
    assert event is not None
    assert event.asset_materialization is not None
    shown = {name: one.value for name, one in event.asset_materialization.metadata.items()}
    return {one.check_name: one for one in result.get_asset_check_evaluations()}, shown


def spoil(house: House) -> None:
    """A later answer multiplies one bar by 100; curated again, the bar is in quarantine."""
    work = house.work()
    bars = work.lake.raw.read(RAW_TWS_BARS, AT).sort("con_id", "ts").slice(100, 5)
    late = bars.with_columns(
        pl.when(pl.int_range(pl.len()) == 2).then(pl.col(name) * 100).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close", "wap")
    ).with_columns(batch_id=pl.lit("late"), request_id=pl.lit("late-0"))
    late = late.with_columns(pl.col("ingested_at") + timedelta(hours=1))
    work.lake.raw.append(RAW_TWS_BARS, AT, late, "late")
    house.run_data(SESSION)


def test_nothing_is_wrong(audited: House):
    checks, shown = look(audited)
    assert {name: one.passed for name, one in checks.items()} == {"undamaged": True, "nothing_to_mend": True}
    assert shown["findings"] == "| severity | table | what | mend |\n|---|---|---|---|"
    assert (shown["errors"], shown["warns"], shown["infos"]) == (0, 0, 0)


def test_news_of_quarantine_are_shown_every_time_until_a_person_reads_them(audited: House):
    spoil(audited)
    for _ in range(2):
        checks, shown = look(audited)
        assert f"| warn | {QUARANTINE_TWS_BARS.name} | {NEWS} |" in str(shown["findings"])
        assert (checks["undamaged"].passed, checks["nothing_to_mend"].passed) == (True, False)
        assert checks["nothing_to_mend"].severity is dg.AssetCheckSeverity.WARN
        assert checks["nothing_to_mend"].description == f"{QUARANTINE_TWS_BARS.name}: {NEWS}"
    assert NEWS in [one.what for one in audit_data(audited.work())]
    checks, shown = look(audited)
    assert checks["nothing_to_mend"].passed
    assert NEWS not in str(shown["findings"])


def test_damage_is_an_error_that_comes_first(audited: House):
    layout = audited.work().layout
    layout.file(INSTRUMENTS, AT).write_bytes(b"no parquet")
    strange = layout.table(INSTRUMENTS) / "a|b.txt"
    strange.write_bytes(b"x")
    checks, shown = look(audited)
    assert (checks["undamaged"].passed, checks["nothing_to_mend"].passed) == (False, False)
    assert checks["undamaged"].severity is dg.AssetCheckSeverity.ERROR
    path = f"lakehouse/silver/{INSTRUMENTS.name}/session={SESSION}/part.parquet"
    assert str(checks["undamaged"].description).startswith(f"{INSTRUMENTS.name}: {path} is damaged: ")
    first = str(shown["findings"]).splitlines()[2]
    assert first.startswith(f"| error | {INSTRUMENTS.name} | {path} is damaged: ")
    assert first.endswith(f"| quant lake rebuild --sessions {SESSION} |")
    assert r"a\|b.txt" in str(shown["findings"]), "a name cannot end a cell"
    assert shown["errors"] == 1


def test_what_is_told_holds_no_partition_back(audited: House):
    specs = audited.definitions.resolve_assets_def("data_audit").check_specs
    assert {spec.name: spec.blocking for spec in specs} == {"undamaged": False, "nothing_to_mend": False}


def test_it_runs_each_sunday_six_hours_after_the_repair_began(audited: House):
    schedules = {one.name: one for one in audited.definitions.schedules or []}
    audit, repair = schedules["weekly_data_audit"], schedules["weekly_repair"]
    assert isinstance(audit, dg.ScheduleDefinition)
    assert isinstance(repair, dg.ScheduleDefinition)
    assert (repair.cron_schedule, audit.cron_schedule) == ("0 12 * * 0", "0 18 * * 0")
    assert repair.execution_timezone == audit.execution_timezone == "UTC"
    sunday = dt.datetime(2025, 11, 30, 18, tzinfo=dt.UTC)
    context = dg.build_schedule_context(
        scheduled_execution_time=sunday, repository_def=audited.definitions.get_repository_def()
    )
    (request,) = audit.evaluate_tick(context).run_requests or []
    assert request.run_key == "weekly_data_audit|2025-11-30"
    job = audited.definitions.resolve_job_def(audit.job_name)
    ran = job.execute_in_process(instance=audited.instance)
    assert [event.asset_key for event in ran.get_asset_materialization_events()] == [dg.AssetKey("data_audit")]
