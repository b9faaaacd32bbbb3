"""When assets run by themselves: new sessions, stale data, revised inputs."""

from datetime import date, timedelta

import dagster as dg

from quant_assets.domain.calendar import TradingCalendar

_CATCH_UP = timedelta(days=7)
_RETRY = "0 3,9,15,21 * * *"
"""Away from midnight UTC, when a new session appears: retried together, an old bad session would fail its run."""


def refresh_when_stale(
    catch_up: timedelta = _CATCH_UP, retry: str = _RETRY, *, has_lookback: bool = False
) -> dg.AutomationCondition[dg.AssetKey]:
    """Request a session when it is missing, stale or revised upstream, once per cause, and retry on a schedule.

    Freshness is known per asset and not per partition, so it only speaks for the latest session; a missing session is
    found within the catch-up window. A cause counts until it is handled: without that, the freshness daemon's delay
    would start one run per tick. An asset waits while the same session is missing or running upstream: the alpha
    cycle, whose partitions are others, asks one tick after the data cycle is done.

    Args:
        catch_up: how far back missing sessions are looked for.
        retry: cron of further attempts at what stays missing or stale.
        has_lookback: some upstream is read over a window of sessions. Then only the latest one is waited for, because
            a body treats missing lookback as coverage data, and a window may reach sessions that nobody will fetch.
    """
    condition = dg.AutomationCondition
    latest = condition.in_latest_time_window()
    handled = condition.newly_requested() | condition.newly_updated()
    stale = condition.missing() | (condition.freshness_failed() & latest)
    revised = condition.any_deps_match(condition.data_version_changed())
    due = revised.since(handled) | stale.newly_true().since(handled) | (stale & condition.cron_tick_passed(retry))
    unfinished = (condition.missing() & ~condition.will_be_requested()) | condition.in_progress()
    waiting = condition.any_deps_match(latest & unfinished if has_lookback else unfinished)
    wanted = condition.in_latest_time_window(catch_up) & due & ~waiting & ~condition.in_progress()
    return wanted.with_label("refresh_when_stale")


def freshness_policy(calendar: TradingCalendar, since: date) -> dg.FreshnessPolicy:
    """Warn and fail later than the longest closed stretch of the exchanges allows.

    A time window, not a cron deadline: a cron knows no holidays and would fail on every one.
    """
    gap = calendar.longest_gap(since)
    return dg.FreshnessPolicy.time_window(fail_window=gap + timedelta(hours=4), warn_window=gap - timedelta(hours=20))


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions; the implicit one would be created stopped."""
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
