"""What datasets and feature groups there are, and how healthy they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, TypedDict

import polars as pl

from quant_assets.clock import SystemClock
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.features import GROUPS
from quant_assets.domain.health import WEIGHTS, WINDOW, Colour
from quant_assets.domain.hours import HOURS
from quant_assets.domain.tables import ALL, UNIVERSE, table
from quant_assets.errors import ConfigurationError
from quant_assets.lakehouse import arguments
from quant_assets.lakehouse.arguments import Day, Knowledge, Names
from quant_assets.lakehouse.catalog import build_catalog, instrument_quality
from quant_assets.lakehouse.health import Hours, instrument_days, observed_since
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.reading import OpenPast, opened, resolve_symbols
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
    aliases: Mapping[str, str]
    past: OpenPast | None
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

    def get_dataset_health(self, dataset: str, as_of: Knowledge | None = None) -> DatasetHealth:
        """Return GREEN, YELLOW or RED for a table, with every reason why it is not green.

        Health is that of the files that stand; which files stood earlier is not kept.

        Args:
            dataset: a declared table.
            as_of: which sessions were expected at this instant, an aware datetime, its ISO text, or a date for the end
                of that UTC day; now when None. It does not bring back the files of then.

        Raises:
            UnknownNameError: there is no such table; suggests the nearest one.
            ConfigurationError: an instant in a form that means nothing, or without a time zone.
        """
        one, now = table(dataset), arguments.known_by(as_of) or SystemClock().now()
        store, latest = CuratedStore(self.layout), self.calendar.latest(now)
        stored = [*store.partitions(one)[:1], *(store.partitions(UNIVERSE)[:1] if one.is_expected else [])]
        begins = min((partition.session for partition in stored), default=date.max)
        expected = [day for day in self.calendar.all_sessions if begins <= day <= latest]
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
        self,
        symbols: Names | None = None,
        start: Day | None = None,
        end: Day | None = None,
        as_of: Knowledge | None = None,
    ) -> pl.DataFrame:
        """Return one row per instrument: score, its parts, colour, reasons, and how many sessions are in which state.

        Args:
            symbols: `QMKT` or `ARCA:QMKT`, or a list of such names; everything in the universes when None.
            start: first session, a date or its ISO text; a month of sessions up to `end` when None.
            end: last session; the newest closed one when None.
            as_of: answer with what was known at this instant, an aware datetime, its ISO text, or a date for the end of
                that UTC day. Sessions that had not closed by then, or by now, are left out.

        Raises:
            UnknownNameError: an instrument that nothing here is called.
            ConfigurationError: an argument in a form that means nothing, an instant without a time zone, or readers
                without a way into the past.
            NotASessionError: the range is reversed or holds no session.
            NotPublishedError: there is no universe in the sessions at all, and symbols were named.
        """
        wanted = None if symbols is None else arguments.symbols(symbols)
        known_by = arguments.known_by(as_of)
        newest = self._latest(known_by)
        last = newest if end is None else arguments.session("end", end)
        first = None if start is None else arguments.session("start", start)
        with self._as_of(known_by) as store:
            sessions = (
                observed_since(store, self.calendar.window(min(last, newest), WINDOW))
                if first is None
                else self._closed(first, last, known_by)
            )
            days = instrument_days(store, sessions, self._hours, latest=newest)
            if wanted is not None:
                named = list(resolve_symbols(store, wanted, sessions, self.aliases).values())
                days = days.filter(pl.col("con_id").is_in(named))
        return summarized(days)

    def get_conditions(self, start: Day, end: Day, as_of: Knowledge | None = None) -> pl.DataFrame:
        """Return the calendar of conditions: a row per instrument and session, with the counts that it rests on.

        Args:
            start: first session, a date or its ISO text.
            end: last session.
            as_of: see `get_data_quality_summary`.

        Raises:
            ConfigurationError: see `get_data_quality_summary`.
            NotASessionError: the range is reversed or holds no session.
        """
        known_by = arguments.known_by(as_of)
        sessions = self._closed(arguments.session("start", start), arguments.session("end", end), known_by)
        with self._as_of(known_by) as store:
            return instrument_days(store, sessions, self._hours, latest=self._latest(known_by))

    def _latest(self, known_by: datetime | None) -> date:
        """Return the newest session that is expected at an instant, or by now."""
        return self.calendar.latest(known_by or SystemClock().now())

    def _closed(self, first: date, last: date, known_by: datetime | None) -> list[date]:
        """Return the sessions of a range that had closed at an instant, or by now: of others nothing is expected."""
        return [day for day in self.calendar.between(first, last) if day <= self._latest(known_by)]

    @contextmanager
    def _as_of(self, known_by: datetime | None) -> Iterator[CuratedStore]:
        """Open the store of now, or that of an instant.

        What has been replaced since cannot be told from what stands, so nothing less than the past itself will do.
        """
        if known_by is None:
            yield CuratedStore(self.layout)
            return
        if self.past is None:
            mend = "Open them with quant_assets.flows.readers.open_store, which computes again what has been replaced."
            raise ConfigurationError("as_of", "these readers have no way into the past.", mend)
        with opened(self.past, known_by) as reading:
            yield reading.store

    def _hours(self, session: date, members: pl.DataFrame) -> pl.DataFrame:
        if self.hours:
            return self.hours(session, members)
        found = zip(HOURS.items(), self.calendar.hours(session).row, strict=True)
        return members.select("con_id", *(pl.lit(value, dtype=dtype).alias(name) for (name, dtype), value in found))


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
