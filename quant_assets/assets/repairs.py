"""Repairs: holes are asked for again, soon where they are new, and once a week wherever they are."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.assets.cycles import DATA
from quant_assets.assets.describe import Catalogue
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.flows.care import RepairPlan, repair_plan, runs_of
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.resources.work import REPAIR_TAG

RECENT_SESSIONS = 20
"""How far back the sensor looks; the weekly schedule looks at everything."""
_LOOK_EVERY_S = 3600


def repair_job() -> Any:
    """The data cycle, asking again for what is in doubt without waiting for the fetch throttle."""
    return dg.define_asset_job("repair", selection=list(DATA), tags={REPAIR_TAG: "true"})


def repair_sensor(catalogue: Catalogue, job: Any) -> dg.SensorDefinition:
    """Look at the newest sessions for minutes that nothing explains, and for what later answers told of them.

    A hole is asked for once per state of its ledger, and never again once it is a known one, so this ends.
    """

    @dg.sensor(
        name="repair_holes",
        job=job,
        minimum_interval_seconds=_LOOK_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Every hour, the holes of the last {RECENT_SESSIONS} sessions are asked for again.",
    )
    def holes(_: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        work = _work(catalogue)
        first = work.calendar.window(work.latest_session(), RECENT_SESSIONS)[0]
        plan = repair_plan(work, first)
        due = sorted({*_open(plan)["session"], *plan.outdated})
        yield from requests_for(plan, due, work.calendar) or _nothing()

    return holes


def weekly_repair(catalogue: Catalogue, job: Any) -> dg.ScheduleDefinition:
    """Repair the whole history, when the exchanges rest; TWS logins expire on Sunday 01:00 New York time, before it."""

    @dg.schedule(
        name="weekly_repair",
        cron_schedule="0 12 * * 0",
        execution_timezone="UTC",
        job=job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Sunday noon, missing sessions and holes of the whole history.",
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        work = _work(catalogue)
        plan, week = repair_plan(work), f"{context.scheduled_execution_time:%Y-%m-%d}"
        yield from requests_for(plan, plan.sessions, work.calendar, week) or _nothing()

    return weekly


def _work(catalogue: Catalogue) -> Work:
    """Return a unit of work that only reads."""
    return Work(catalogue.settings, TwsGate(catalogue.settings))


def _open(plan: RepairPlan) -> pl.DataFrame:
    return plan.holes.filter(~pl.col("is_known"))


def _nothing() -> list[dg.RunRequest | dg.SkipReason]:
    return [dg.SkipReason("nothing is missing: every minute is explained, or is a known hole")]


def requests_for(
    plan: RepairPlan, sessions: Sequence[date], calendar: TradingCalendar, label: str = ""
) -> list[dg.RunRequest | dg.SkipReason]:
    """Return one run per stretch of sessions that follow each other.

    Args:
        plan: what is missing.
        sessions: which of its sessions to run, ascending.
        calendar: tells which sessions follow each other.
        label: distinguishes this request from earlier ones for the same sessions; the state of the ledger when left
            out, so that the same question is asked once.
    """
    return [_request(stretch, label or _state(plan, stretch)) for stretch in runs_of(sessions, calendar.all_sessions)]


def _request(stretch: Sequence[date], label: str) -> dg.RunRequest:
    first, last = str(stretch[0]), str(stretch[-1])
    if first == last:
        return dg.RunRequest(partition_key=first, run_key=f"repair|{first}|{label}")
    ends = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.RunRequest(tags=ends, run_key=f"repair|{first}..{last}|{label}")


def _state(plan: RepairPlan, sessions: Sequence[date]) -> str:
    """Name what is known of sessions, of their holes and of what is outdated: it changes with each answer."""
    rows = _open(plan).filter(pl.col("session").is_in(sessions)).select("session", "con_id", "n_asked")
    lacking = [sorted(plan.outdated[day].lacks.items()) for day in sessions if day in plan.outdated]
    return hashlib.sha256(repr((rows.sort("session", "con_id").rows(), lacking)).encode()).hexdigest()[:16]
