"""Repairs: holes are asked for again, soon where they are new, and once a week wherever they are."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.assets.cycles import DATA
from quant_assets.assets.describe import Catalogue
from quant_assets.flows.care import RepairPlan, repair_plan
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
    """Look at the newest sessions for minutes that nothing explains.

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
        yield from _requests(plan, sorted(set(_open(plan)["session"]))) or _nothing()

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
        plan = repair_plan(_work(catalogue))
        yield from _requests(plan, plan.sessions, f"{context.scheduled_execution_time:%Y-%m-%d}") or _nothing()

    return weekly


def _work(catalogue: Catalogue) -> Work:
    """Return a unit of work that only reads."""
    return Work(catalogue.settings, TwsGate(catalogue.settings))


def _open(plan: RepairPlan) -> pl.DataFrame:
    return plan.holes.filter(~pl.col("is_known"))


def _nothing() -> list[dg.RunRequest | dg.SkipReason]:
    return [dg.SkipReason("nothing is missing: every minute is explained, or is a known hole")]


def _requests(plan: RepairPlan, sessions: Sequence[date], label: str = "") -> list[dg.RunRequest | dg.SkipReason]:
    return [
        dg.RunRequest(partition_key=str(session), run_key=f"repair|{session}|{label or _state(plan, session)}")
        for session in sessions
    ]


def _state(plan: RepairPlan, session: date) -> str:
    """Name what is known of a session's holes: it changes with each answer, so the same question is asked once."""
    rows = _open(plan).filter(pl.col("session") == session).select("con_id", "n_asked").sort("con_id").rows()
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
