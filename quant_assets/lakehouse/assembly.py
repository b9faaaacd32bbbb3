"""Rows of several feature groups put together: the one code path of training and of inference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.features import FeatureGroup
from quant_assets.lakehouse.reading import Plan, plan_reads, read_instruments
from quant_assets.lakehouse.store import CuratedStore

_DAY = ["session", "con_id", "symbol"]
_MINUTE = [*_DAY, "ts"]

BAR = timedelta(minutes=1)
"""How long a bar is in the making: it is named by its start, and nothing of it is known before its end."""

_LOOK_BACK = 5
"""How many sessions are searched for an instrument's newest row."""

_DAYS_BACK = 7
"""How many sessions of any exchange an instrument's last one may lie back: longer than holidays at year's end."""

Answer = tuple[pl.DataFrame, list[Plan]]
"""Rows, and the partitions that they were looked for in."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """Feature groups of one lakehouse, as known at one instant.

    A row is a bar; of daily groups alone, a session. Beside minutes, a daily value is that of the session before,
    because the one of their own session is known only after its close.
    """

    store: CuratedStore
    calendar: TradingCalendar
    groups: Sequence[FeatureGroup]
    as_of: datetime | None = None

    @property
    def is_daily(self) -> bool:
        """Whether no group has rows per minute."""
        return all(group.is_daily for group in self.groups)

    @property
    def is_mixed(self) -> bool:
        """Whether a session may be none of an instrument's own exchange."""
        return len(self.calendar.names) > 1

    def sessions_back(self, at: datetime) -> list[date]:
        """Return the sessions that are searched for an instrument's newest row at an instant, ascending."""
        return self.calendar.window(self.session_at(at), _DAYS_BACK if self.is_mixed else _LOOK_BACK)

    def rows(self, con_ids: Sequence[int], sessions: Sequence[date]) -> Answer:
        """Return all rows of some sessions."""
        if self.is_daily:
            parts = [self._read(group, con_ids, sessions) for group in self.groups]
            return _beside([part for part, _ in parts], _DAY), [plan for _, plan in parts]
        minutes = [self._read(group, con_ids, sessions) for group in self.groups if not group.is_daily]
        known = self.days_before(sessions)
        days = [self._read(group, con_ids, known) for group in self.groups if group.is_daily]
        frame = _beside([part for part, _ in minutes], _MINUTE)
        for part, _ in days:
            frame = self.with_day_before(frame, part.drop("symbol"))
        return frame, [plan for _, plan in (*minutes, *days)]

    def days_before(self, sessions: Sequence[date]) -> list[date]:
        """Return the sessions whose daily values may stand beside the minutes of some sessions, ascending."""
        last = sorted({day for session in sessions if (day := self.calendar.previous(session))})
        if not self.is_mixed:
            return last
        return sorted({day for one in last for day in self.calendar.window(one, _DAYS_BACK)})

    def with_day_before(self, rows: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
        """Give each row the daily values of its instrument that stand beside its session: those of the day before.

        Args:
            rows: session, con_id and more.
            daily: session, con_id and values, of `days_before`.
        """
        if self.is_mixed:
            return _with_its_last_day(rows, daily)
        return _with_the_day_before(rows, daily, {day: self.calendar.previous(day) for day in rows["session"].unique()})

    def row_at(self, con_ids: Sequence[int], at: datetime) -> Answer:
        """Return the rows of the bars that start at an instant; of daily groups alone, the newest that had closed."""
        if self.is_daily:
            return self.newest_rows(con_ids, at)
        frame, plans = self.rows(con_ids, self._sessions_at(at))
        return frame.filter(pl.col("ts") == at), plans

    def newest_rows(self, con_ids: Sequence[int], at: datetime) -> Answer:
        """Return each instrument's newest row that is known at an instant; go back no further than all of them need."""
        found: list[pl.DataFrame] = []
        plans: list[Plan] = []
        left = list(con_ids)
        for session in reversed(self.sessions_back(at)):
            frame, used = self.rows(left, [session])
            plans += used
            until = frame if self.is_daily else frame.filter(pl.col("ts") + BAR <= at)
            found.append(newest := until.group_by("con_id", maintain_order=True).last().select(frame.columns))
            answered = set(newest["con_id"].to_list())
            left = [con_id for con_id in left if con_id not in answered]
            if not left:
                break
        return pl.concat(found).sort("con_id"), plans

    def _sessions_at(self, at: datetime) -> list[date]:
        """Return the sessions that a bar starting at an instant may belong to: those of several exchanges overlap."""
        newest = self.session_at(at)
        before = self.calendar.previous(newest)
        overlaps = before is not None and self.calendar.hours(before).closes_at > at
        return [before, newest] if before and overlaps else [newest]

    def session_at(self, at: datetime) -> date:
        """Return the newest session that had opened by an instant; for daily groups alone, that had closed by it."""
        day = at.date() + timedelta(days=2)
        while session := self.calendar.previous(day):
            hours = self.calendar.hours(session)
            if at >= (hours.closes_at if self.is_daily else hours.opens_at):
                return session
            day = session
        return self.calendar.all_sessions[0]

    def _read(self, group: FeatureGroup, con_ids: Sequence[int], sessions: Iterable[date]) -> tuple[pl.DataFrame, Plan]:
        plan = plan_reads(self.store, group.table, sessions, self.as_of)
        columns = [*(_DAY if group.is_daily else _MINUTE), *(feature.name for feature in group.features)]
        return read_instruments(self.store, plan, con_ids, columns), plan


def _beside(parts: Sequence[pl.DataFrame], key: list[str]) -> pl.DataFrame:
    """Join parts on their key; parts with equal rows, which is the rule, are only put beside each other."""
    whole = parts[0]
    for part in parts[1:]:
        if whole.select(key).equals(part.select(key)):
            whole = whole.hstack(part.drop(key).get_columns())
        else:
            joined = whole.join(part, on=key, how="full", coalesce=True)
            whole = joined.sort([name for name in key if name != "symbol"])
    return whole


def _with_its_last_day(minutes: pl.DataFrame, daily: pl.DataFrame) -> pl.DataFrame:
    """Give each row the newest daily values before its session: where exchanges differ, the day before may be none."""
    known = daily.rename({"session": "_before"}).sort("_before")
    rows = minutes.with_row_index("_place").sort("session")
    joined = rows.join_asof(
        known,
        left_on="session",
        right_on="_before",
        by="con_id",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return joined.sort("_place").drop("_place", "_before")


def _with_the_day_before(
    minutes: pl.DataFrame, daily: pl.DataFrame, before: Mapping[date, date | None]
) -> pl.DataFrame:
    days = pl.DataFrame(
        {"session": list(before), "_before": list(before.values())}, schema={"session": pl.Date, "_before": pl.Date}
    )
    known = daily.rename({"session": "_before"})
    dated = minutes.join(days, on="session", how="left", maintain_order="left")
    return dated.join(known, on=["_before", "con_id"], how="left", maintain_order="left").drop("_before")
