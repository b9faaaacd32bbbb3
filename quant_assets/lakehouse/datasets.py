"""What datasets and feature groups there are, and how healthy they are."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypedDict

import polars as pl

from quant_assets.clock import SystemClock
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.features import GROUPS
from quant_assets.domain.health import WEIGHTS, WINDOW, Colour
from quant_assets.domain.tables import ALL, table
from quant_assets.lakehouse.catalog import build_catalog, instrument_quality
from quant_assets.lakehouse.health import Hours, instrument_days, observed_since
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.reading import resolve_symbols
from quant_assets.lakehouse.store import CuratedStore


class DatasetHealth(TypedDict):
    """The state of one table."""

    dataset: str
    health: Colour
    reasons: list[str]
    data_quality_score: float | None
    data_quality_parts: dict[str, float | None]
    last_partition: str | None
    sessions_behind: int | None
    conditions: dict[str, str]


class DatasetReaders:
    """What `FeatureStore` says about the lakehouse as a whole; all of it is read, nothing is written."""

    layout: Layout
    calendar: TradingCalendar
    hours: Hours | None

    def list_datasets(self) -> pl.DataFrame:
        """Return one row per declared table: what it is, and which partitions it has."""
        store = CuratedStore(self.layout)
        rows = []
        for one in ALL:
            keys = [partition.key for partition in store.partitions(one)]
            first, last = (keys[0], keys[-1]) if keys else (None, None)
            rows.append((one.name, one.zone, one.grain, len(keys), first, last, one.description))
        text = ("name", "zone", "grain", "first_partition", "last_partition", "description")
        schema = {"name": pl.String, "zone": pl.String, "grain": pl.String, "n_partitions": pl.Int64}
        return pl.DataFrame(rows, schema={**schema, **dict.fromkeys(text[3:], pl.String)}, orient="row")

    def list_feature_groups(self) -> pl.DataFrame:
        """Return one row per feature of the registry: its group, unit, lookback, formula and where that comes from."""
        rows = [
            {
                "feature_group": group.name,
                "feature_version": group.version,
                "table": group.table.name,
                "frequency": "1d" if group.is_daily else "1min",
                "feature": feature.name,
                "unit": group.unit(feature.name),
                "lookback": str(feature.lookback),
                "formula": feature.formula,
                "source": feature.source,
            }
            for group in GROUPS.values()
            for feature in group.features
        ]
        return pl.DataFrame(rows)

    def get_dataset_health(self, dataset: str, as_of: datetime | None = None) -> DatasetHealth:
        """Return GREEN, YELLOW or RED for a table, with every reason why it is not green.

        Args:
            dataset: a declared table.
            as_of: instant that decides which sessions are expected; now when None.

        Raises:
            UnknownNameError: there is no such table; suggests the nearest one.
        """
        one, now = table(dataset), as_of or SystemClock().now()
        stored = CuratedStore(self.layout).partitions(one)
        latest = self.calendar.latest(now)
        expected = [day for day in self.calendar.all_sessions if stored and stored[0].session <= day <= latest]
        entry = build_catalog(self.layout, [one], expected, now)["tables"][dataset]
        return DatasetHealth(
            dataset=dataset,
            health=entry["health"],
            reasons=entry["reasons"],
            data_quality_score=entry["data_quality_score"],
            data_quality_parts=entry["data_quality_parts"],
            last_partition=entry["last_partition"],
            sessions_behind=entry["sessions_behind"],
            conditions=entry["conditions"],
        )

    def get_data_quality_summary(
        self, symbols: Sequence[str] | None = None, start: date | None = None, end: date | None = None
    ) -> pl.DataFrame:
        """Return one row per instrument: score, its parts, colour, reasons, and how many sessions are in which state.

        Args:
            symbols: `QMKT` or `ARCA:QMKT`; everything in the universes when None.
            start: first session; a month of sessions up to `end` when None.
            end: last session; the newest closed one when None.

        Raises:
            UnknownNameError: an instrument that nothing here is called.
            NotASessionError: the range is reversed or holds no session.
            NotPublishedError: there is no universe in the sessions at all, and symbols were named.
        """
        last = end or self.calendar.latest(SystemClock().now())
        store = CuratedStore(self.layout)
        newest = observed_since(store, self.calendar.window(last, WINDOW))
        sessions = self.calendar.between(start, last) if start else newest
        days = instrument_days(store, sessions, self._hours)
        if symbols is not None:
            wanted = list(resolve_symbols(store, symbols, sessions).values())
            days = days.filter(pl.col("con_id").is_in(wanted))
        return summarized(days)

    def get_conditions(self, start: date, end: date) -> pl.DataFrame:
        """Return the calendar of conditions: a row per instrument and session, with the counts that it rests on.

        Raises:
            NotASessionError: the range is reversed or holds no session.
        """
        return instrument_days(CuratedStore(self.layout), self.calendar.between(start, end), self._hours)

    def _hours(self, session: date, members: pl.DataFrame) -> pl.DataFrame:
        if self.hours:
            return self.hours(session, members)
        hours = self.calendar.hours(session)
        return members.select("con_id", opens_at=pl.lit(hours.opens_at), closes_at=pl.lit(hours.closes_at))


_SUMMARY: dict[str, Any] = {
    "con_id": pl.Int64,
    "symbol": pl.String,
    "health": pl.String,
    "score": pl.Float64,
    **dict.fromkeys(WEIGHTS, pl.Float64),
    **dict.fromkeys(("available", "degraded", "missing", "pending"), pl.Int64),
    "reasons": pl.String,
}


def summarized(days: pl.DataFrame) -> pl.DataFrame:
    """Return one row per instrument of a calendar of conditions, worst score first."""
    names = dict(days.select("con_id", "symbol").unique("con_id", keep="last", maintain_order=True).iter_rows())
    rows = []
    for con_id, one in instrument_quality(days).items():
        states = list(one["conditions"].values())
        row = {"con_id": con_id, "symbol": names[con_id], "health": one["health"], "score": one["data_quality_score"]}
        counts = {state: states.count(state) for state in ("available", "degraded", "missing", "pending")}
        rows.append({**row, **one["data_quality_parts"], **counts, "reasons": "; ".join(one["reasons"])})
    return pl.DataFrame(rows, schema=_SUMMARY).sort("score", "con_id")
