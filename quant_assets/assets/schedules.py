"""Jobs and schedules: the daily cycle, and the weekly one after the exchange's last session."""

from datetime import timedelta
from math import ceil
from typing import Any

import dagster as dg

from quant_assets.assets.cycles import ALPHA, DATA
from quant_assets.assets.describe import Catalogue
from quant_assets.assets.repairs import repair_job, repair_sensor, weekly_repair

AssetJob = dg.JobDefinition | Any
"""What `define_asset_job` makes is no JobDefinition yet, and its class is not exported."""


def jobs_and_triggers(
    catalogue: Catalogue,
) -> tuple[list[AssetJob], list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """Return the jobs, and the schedules and sensors that run them.

    The automation sensor refreshes whatever is missing or stale; the schedules make sure that a day and a week never
    end without an attempt, also where the sensor is off.
    """
    partitions = catalogue.partitions
    minute = ceil(partitions.calendar.ready_after_midnight() / timedelta(minutes=1))
    data = dg.define_asset_job("data_cycle", selection=list(DATA))
    alpha = dg.define_asset_job("alpha_cycle", selection=["candidates", *ALPHA])
    catalog = dg.define_asset_job("refresh_catalog", selection=["catalog"])
    compaction = dg.define_asset_job("compact", selection=["month_copies"])
    auditing = dg.define_asset_job("audit_data", selection=["data_audit"])

    @dg.schedule(
        name="daily_data_cycle",
        cron_schedule=f"{minute % 60} {minute // 60} * * *",
        execution_timezone="UTC",
        job=data,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night, the data cycle of the newest closed session.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        latest = partitions.calendar.latest(context.scheduled_execution_time)
        return dg.RunRequest(partition_key=str(latest), run_key=f"data|{latest}")

    listing = _on_sundays(
        "weekly_catalog", 12, catalog, "Every Sunday noon, the catalog: what is missing after a week."
    )
    told = "Every Sunday evening, six hours after the repair began, what is wrong with the data."
    audit = _on_sundays("weekly_data_audit", 18, auditing, told)
    repair = repair_job()
    return (
        [data, alpha, catalog, compaction, auditing, repair],
        [daily, listing, weekly_repair(catalogue, repair), audit],
        [repair_sensor(catalogue, repair)],
    )


def _on_sundays(name: str, hour: int, job: AssetJob, description: str) -> dg.ScheduleDefinition:
    """Return the schedule of a job that takes no partition, once a week at an hour of UTC."""

    @dg.schedule(
        name=name,
        cron_schedule=f"0 {hour} * * 0",
        execution_timezone="UTC",
        job=job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"{name}|{context.scheduled_execution_time:%Y-%m-%d}")

    return weekly
