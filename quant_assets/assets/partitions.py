"""Partitions: one exchange session in the data cycle, session × profile in the alpha cycle."""

from datetime import date, datetime, time, timedelta
from functools import cached_property

import dagster as dg

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.settings.manifest import Manifest

_SATURDAY = 5
_WEEKENDS = "0 0 * * 0,6"


class Partitions:
    """The partitions definitions of one configuration.

    A session's window is its UTC day, so that a US session appears the same evening; days without a session are
    excluded one by one, because a weekday cron would leave Friday without an end until Monday.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        delay = timedelta(minutes=manifest.lakehouse.fetch_delay_minutes)
        self.calendar = TradingCalendar(manifest.lakehouse.calendars, delay)

    @property
    def start(self) -> date:
        """The first session that has a partition."""
        return self._manifest.lakehouse.start_session

    @cached_property
    def sessions(self) -> dg.DailyPartitionsDefinition:
        """One key per session: `2024-01-02`."""
        return dg.DailyPartitionsDefinition(
            start_date=datetime.combine(self.start, time()), timezone="UTC", exclusions=self._exclusions()
        )

    @cached_property
    def profiles(self) -> dg.StaticPartitionsDefinition:
        """One key per active profile."""
        return dg.StaticPartitionsDefinition(list(self._manifest.active_profiles))

    @cached_property
    def alpha(self) -> dg.MultiPartitionsDefinition:
        """Keys `profile|session`: `default|2024-01-02`."""
        return dg.MultiPartitionsDefinition({"session": self.sessions, "profile": self.profiles})

    def _exclusions(self) -> list[str | datetime]:
        closed = self.calendar.closed_days(self.start, self.calendar.all_sessions[-1])
        weekends = [day for day in closed if day.weekday() >= _SATURDAY]
        sessions_on_weekends = any(
            day.weekday() >= _SATURDAY for day in self.calendar.all_sessions if day >= self.start
        )
        singles = closed if sessions_on_weekends else [day for day in closed if day not in set(weekends)]
        days: list[str | datetime] = [datetime.combine(day, time()) for day in singles]
        return days if sessions_on_weekends else [_WEEKENDS, *days]
