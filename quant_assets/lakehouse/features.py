"""The feature store: bars, features and labels as of a time, with one code path for training and for inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import Any, Literal, TypedDict

import polars as pl

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.features import FeatureGroup, feature_group, label_group
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS
from quant_assets.errors import ConfigurationError, UnknownNameError
from quant_assets.lakehouse import arguments
from quant_assets.lakehouse.adjusting import (
    BAR_PRICES,
    PER_SHARE,
    SHARES,
    Basis,
    refuse_unproved,
    require_adjustment,
    window_bars,
)
from quant_assets.lakehouse.answers import freshness_of, metadata_of, origins_of, require_published
from quant_assets.lakehouse.arguments import Day, Instant, Knowledge, Names
from quant_assets.lakehouse.assembly import BAR, Assembly
from quant_assets.lakehouse.datasets import DatasetReaders
from quant_assets.lakehouse.health import Hours
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.missing import Lack, Missing, known_later, require_treatment
from quant_assets.lakehouse.reading import OpenPast, PastReading, opened, plan_reads, read_instruments, resolve_symbols
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.lakehouse.windows import Windows


class TrainingSet(TypedDict):
    """What a model learns from."""

    features: pl.DataFrame
    labels: pl.DataFrame | None
    metadata: dict[str, Any]


class InferenceSet(TypedDict):
    """What a model is asked about."""

    features: pl.DataFrame
    metadata: dict[str, Any]


@dataclass(frozen=True)
class FeatureStore(DatasetReaders):
    """Readers of one lakehouse."""

    layout: Layout
    calendar: TradingCalendar
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of instruments -> their names."""
    past: OpenPast | None = None
    """Opens the tables as they were known at an instant; without it, `as_of` leaves out what became known later."""
    curated: CuratedStore | None = None
    """The store to read; that of `layout` when left out."""
    hours: Hours | None = None
    """When each instrument's own exchange is open; the calendar's hours for all of them when left out."""

    @cached_property
    def _store(self) -> CuratedStore:
        return self.curated or CuratedStore(self.layout)

    def get_curated_bars(
        self,
        symbols: Names,
        start: Day,
        end: Day,
        frequency: str = "1min",
        as_of: Knowledge | None = None,
        adjust: str = "as_served",
        *,
        strict: bool = False,
        missing: Missing = "raise",
    ) -> pl.DataFrame:
        """Return curated bars of some instruments and sessions; `known_basis` says of each how it was known.

        Args:
            symbols: `QMKT` or `ARCA:QMKT`, or a list of such names.
            start: first session, a date or its ISO text.
            end: last session.
            frequency: `1min`, or `1d` for the daily window as of the last session; of an instrument that it does not
                hold, because it left the universe, the newest window of the range that does (`as_of_session`).
            as_of: answer with what was known at this instant: a value that was revised later comes as it was. Without
                `past`, it is left out. An aware datetime or its ISO text; a date is the end of that UTC day.
            adjust: `as_served`: minutes as TWS served them on the day of their fetch, days on the basis of the session
                of their window. `splits`: all prices, and volumes inversely, on the basis of `end`. `total`: the prices
                also without the dividends up to then. Days of an earlier window are brought on as minutes are.
            strict: leave out bars that were backfilled, whose `known_basis` is `assumed`.
            missing: what becomes of sessions of the range that are not published, lie before the daily window or, of
                an instrument that was expected in them, after the last one that holds it, or were not known at
                `as_of`: `raise` refuses and lists them, `warn` answers without them and issues a
                MissingSessionsWarning, `ignore` answers without them.

        Raises:
            UnknownNameError: an instrument, frequency, adjustment or treatment that nothing here is called.
            ConfigurationError: an argument in a form that means nothing, an instant without a time zone, or a symbol
                that several instruments bore within the range.
            NotASessionError: the range is reversed or holds no session.
            MissingSessionsError: sessions of the range are missing, and `missing` is `raise`.
            NotPublishedError: nothing of the range is published, or factors of one of its sessions are missing.
            UnexplainedBreakError: adjusted prices are asked for across a break of their basis that nothing explains.
            UnprovedBasisError: adjusted minutes are asked for across a time that the daily history of an instrument
                does not reach across, and `missing` is not `ignore`.
        """
        require_adjustment(adjust)
        require_treatment(missing)
        if frequency not in ("1min", "1d"):
            raise UnknownNameError("frequency", frequency, ("1min", "1d"))
        known_by = arguments.known_by(as_of)
        names, span = arguments.symbols(symbols), (arguments.session("start", start), arguments.session("end", end))
        if known_by is not None and self.past:
            with opened(self.past, known_by) as reading:
                bars, lack = self._then(reading)._bars(names, span, frequency, adjust, None, missing)  # noqa: SLF001
        else:
            bars, lack = self._bars(names, span, frequency, adjust, known_by, missing)
        if lack:
            lack.treat(missing, known_by)
        return bars.filter(pl.col("known_basis") == "observed") if strict else bars

    def _bars(
        self,
        names: Sequence[str],
        span: tuple[date, date],
        frequency: str,
        adjust: str,
        known_by: datetime | None,
        missing: Missing,
    ) -> tuple[pl.DataFrame, Lack]:
        """Return the bars of a range, and what of it they lack."""
        sessions = self.calendar.between(*span)
        con_ids = list(resolve_symbols(self._store, names, sessions, self.aliases).values())
        if frequency == "1d":
            return self._days(con_ids, sessions, adjust, known_by)
        plan = plan_reads(self._store, CURATED_TWS_1M_BARS, sessions, None)
        require_published([plan])
        asked = read_instruments(self._store, plan, con_ids)
        known = asked.filter(pl.col("known_at") <= known_by) if known_by else asked
        lack = Lack(plan.table.name, sessions, plan.missing, known_later(asked, known), self._latest(known_by))
        if adjust == "as_served" or known.is_empty():
            return known, lack
        if missing != "ignore":
            refuse_unproved(self._store, self.calendar, known)
        first = known.select(pl.col("session").min()).item()
        basis = Basis.read(self._store, self.calendar, con_ids, first, sessions[-1])
        return basis.of_minutes(known, adjust, BAR_PRICES, ("volume",)), lack

    def _days(
        self, con_ids: Sequence[int], sessions: Sequence[date], adjust: str, known_by: datetime | None
    ) -> tuple[pl.DataFrame, Lack]:
        """Return the daily bars of a range, and what of it they lack."""
        plan = plan_reads(self._store, CURATED_TWS_1D_BARS, sessions[-1:], None)
        require_published([plan])
        windows = Windows.read(self._store, con_ids, sessions)
        asked = windows.bars.filter(pl.col("session").is_between(sessions[0], sessions[-1]))
        known = asked.filter(pl.col("known_at") <= known_by) if known_by else asked
        before, after = windows.before(), windows.after(self._hours)
        lack = Lack(plan.table.name, sessions, (), known_later(asked, known), self._latest(known_by), before, after)
        if adjust == "as_served" or known.is_empty():
            return known, lack
        return window_bars(self._store, self.calendar, known, adjust, sessions[-1]), lack

    def _then(self, reading: PastReading) -> "FeatureStore":
        return replace(self, past=None, curated=reading.store)

    def get_features_for_training(
        self,
        feature_groups: Names,
        feature_versions: Names,
        symbols: Names,
        start: Day,
        end: Day,
        include_labels: bool = False,  # noqa: FBT001, FBT002 - positional, as the readers' contract has it
        label_version: str | None = None,
        as_of: Knowledge | None = None,
        *,
        adjust: str = "as_served",
        strict: bool = False,
    ) -> TrainingSet:
        """Return features of some instruments and sessions, and their labels.

        One row per bar; of daily groups alone, one per session (see `Assembly` for both together).

        Args:
            feature_groups: names in the registry, or one of them.
            feature_versions: a version for each.
            symbols: `QMKT` or `ARCA:QMKT`, or a list of such names.
            start: first session, a date or its ISO text.
            end: last session.
            include_labels: return labels too, one row per bar and horizon; those that matured by `end`.
            label_version: `v1` when left out.
            as_of: answer with what was known at this instant; `metadata["origins"]` says which partitions were
                computed again for it. Without `past`, what rests on later knowledge is withheld, and named. An aware
                datetime or its ISO text; a date is the end of that UTC day.
            adjust: `splits` or `total` put features in quote currency per share, and inversely those in shares, on
                the basis of `end`. Returns, ratings and labels have no basis: none of them leaves its session.
            strict: leave out an instrument's session when any bar behind it was backfilled.

        Raises:
            UnknownNameError: an instrument, group, version or adjustment that nothing here is called.
            ConfigurationError: as many versions as groups are needed, and each group once; an argument in a form that
                means nothing, an instant without a time zone, or a symbol that several instruments bore.
            NotASessionError: the range is reversed or holds no session.
            NotPublishedError: nothing of the range is published.
            UnexplainedBreakError, UnprovedBasisError: see `get_curated_bars`.
        """
        if not isinstance(include_labels, bool):
            raise ConfigurationError("include_labels", f"{include_labels!r} is neither.", "Give True or False.")
        if not isinstance(label_version, str | None):
            raise ConfigurationError("label_version", f"{label_version!r} is none.", "Give one version, as 'v1'.")
        known_by = arguments.known_by(as_of)
        if known_by is not None and self.past:
            with opened(self.past, known_by) as reading:
                answer = self._then(reading).get_features_for_training(
                    feature_groups,
                    feature_versions,
                    symbols,
                    start,
                    end,
                    include_labels=include_labels,
                    label_version=label_version,
                    adjust=adjust,
                    strict=strict,
                )
                answer["metadata"] |= {"as_of": known_by, "origins": origins_of(reading)}
                return answer
        sessions = self.calendar.between(arguments.session("start", start), arguments.session("end", end))
        assembly = self._assembly(feature_groups, feature_versions, known_by)
        instruments = resolve_symbols(self._store, arguments.symbols(symbols), sessions, self.aliases)
        con_ids = list(instruments.values())
        frame, plans = assembly.rows(con_ids, sessions)
        require_published(plans)
        frame = self._adjusted_features(frame, assembly, require_adjustment(adjust), con_ids, sessions[-1])
        labels = None
        if include_labels:
            table = label_group(label_version or "v1").table
            plans.append(plan := plan_reads(self._store, table, sessions, assembly.as_of))
            labels = read_instruments(self._store, plan, con_ids)
        basis: dict[str, Any] = {}
        if strict:
            frame, labels, basis = self._observed(assembly, con_ids, sessions, frame, labels)
        metadata = metadata_of(assembly, plans, instruments, frame) | {"adjust": adjust, **basis}
        return {"features": frame, "labels": labels, "metadata": metadata}

    def get_features_for_inference(
        self,
        feature_groups: Names,
        feature_versions: Names,
        symbols: Names,
        ts: Instant,
        mode: Literal["exact", "latest"] = "exact",
        as_of: Knowledge | None = None,
        adjust: str = "as_served",
        *,
        strict: bool = False,
    ) -> InferenceSet:
        """Return one row per instrument, equal to the row that training sees.

        Args:
            feature_groups: names in the registry, or one of them.
            feature_versions: a version for each.
            symbols: `QMKT` or `ARCA:QMKT`, or a list of such names.
            ts: for `exact` the start of a bar, for `latest` the instant of asking; for daily groups alone, any instant:
                each instrument's newest row of a session that had closed by then answers. An aware datetime or its ISO
                text; a date alone names no bar.
            mode: `exact` answers with the row of the bar that starts at `ts`, as training has it, and with nothing
                where there is none; that row holds the bar's close, and is known a minute after `ts`, when the bar
                ends. `latest` answers with the newest row that is known at `ts`, whose bar had ended by then; it is at
                most a few sessions old. `metadata["freshness"]` has its age, counted from the end of its bar.
            as_of: as in training.
            adjust: as in training; the basis is that of the session of `ts`.
            strict: as in training.

        Raises:
            UnknownNameError: an instrument, group, version or mode that nothing here is called.
            ConfigurationError: as many versions as groups are needed, and each group once; an argument in a form that
                means nothing, or an instant without a time zone.
            NotPublishedError: nothing near the instant is published.
            UnexplainedBreakError, UnprovedBasisError: see `get_curated_bars`.
        """
        if mode not in ("exact", "latest"):
            raise UnknownNameError("mode", mode, ("exact", "latest"))
        known_by = arguments.known_by(as_of)
        if known_by is not None and self.past:
            with opened(self.past, known_by) as reading:
                answer = self._then(reading).get_features_for_inference(
                    feature_groups, feature_versions, symbols, ts, mode, adjust=adjust, strict=strict
                )
                answer["metadata"] |= {"as_of": known_by, "origins": origins_of(reading)}
                return answer
        assembly = self._assembly(feature_groups, feature_versions, known_by)
        at = arguments.instant("ts", ts)
        sessions = assembly.sessions_back(at)
        instruments = resolve_symbols(
            self._store, arguments.symbols(symbols), sessions, self.aliases, takes_newest=True
        )
        con_ids = list(instruments.values())
        frame, plans = (assembly.row_at if mode == "exact" else assembly.newest_rows)(con_ids, at)
        require_published(plans)
        frame = self._adjusted_features(frame, assembly, require_adjustment(adjust), con_ids, sessions[-1])
        basis: dict[str, Any] = {}
        if strict:
            frame, _, basis = self._observed(assembly, con_ids, sessions, frame, None)
        metadata = metadata_of(assembly, plans, instruments, frame) | {
            "adjust": adjust,
            "mode": mode,
            "ts": at,
            **basis,
        }
        asked_at = at + BAR if mode == "exact" else at
        return {"features": frame, "metadata": metadata | {"freshness": freshness_of(frame, asked_at)}}

    def _observed(
        self,
        assembly: Assembly,
        con_ids: Sequence[int],
        sessions: Sequence[date],
        frame: pl.DataFrame,
        labels: pl.DataFrame | None,
    ) -> tuple[pl.DataFrame, pl.DataFrame | None, dict[str, Any]]:
        """Keep the instruments' sessions behind whose rows every bar was observed when it became known."""
        allowed = [self._bases(group, assembly, con_ids, sessions) for group in assembly.groups]
        keys = ["con_id", "session"]
        before = frame.select(keys).n_unique()
        for one in allowed:
            frame = frame.join(one, on=keys, how="semi", maintain_order="left")
            labels = labels.join(one, on=keys, how="semi", maintain_order="left") if labels is not None else None
        kept = frame.select(keys).n_unique()
        return frame, labels, {"known_basis": {"observed": kept, "left_out": before - kept}}

    def _bases(
        self, group: FeatureGroup, assembly: Assembly, con_ids: Sequence[int], sessions: Sequence[date]
    ) -> pl.DataFrame:
        """Return (con_id, session of the row) where all bars that a group's values rest on were observed."""
        is_beside = group.is_daily and not assembly.is_daily
        days = [Partition(day) for day in (assembly.days_before(sessions) if is_beside else sessions)]
        label = "as_of_session" if group.inputs.table is CURATED_TWS_1D_BARS else "session"
        columns = list(dict.fromkeys([label, "con_id", "session", "known_basis"]))
        bars = self._store.read_many(group.inputs.table, days, columns, con_ids)
        whole = bars.group_by("con_id", pl.col(label).alias("_of")).agg(
            (pl.col("known_basis") == "observed").all().alias("_all"),
            (pl.col("session") == pl.col(label)).any().alias("_is_valued"),
        )
        whole = whole.rename({"_of": "session"})
        if is_beside:
            # a window holds who had no session on its day, too, but it is an older one whose values stand beside him
            valued = whole.filter("_is_valued") if assembly.is_mixed else whole
            asked = pl.DataFrame({"session": sessions}).join(pl.DataFrame({"con_id": con_ids}), how="cross")
            whole = assembly.with_day_before(asked, valued)
        return whole.filter("_all").select("con_id", "session")

    def _adjusted_features(
        self, frame: pl.DataFrame, assembly: Assembly, adjust: str, con_ids: Sequence[int], last: date
    ) -> pl.DataFrame:
        """Put the columns that have a price basis on that of a session; a column's unit tells."""
        if adjust == "as_served" or frame.is_empty():
            return frame
        first = minutes_from = frame.select(pl.col("session").min()).item()
        beside = [] if assembly.is_daily else [group.table for group in assembly.groups if group.is_daily]
        before = self.calendar.previous(first)
        if before and any(self._store.exists(table, Partition(before)) for table in beside):
            first = before
        basis = Basis.read(self._store, self.calendar, con_ids, first, last, minutes_from)
        refuse_unproved(self._store, self.calendar, frame)
        for group in assembly.groups:
            units = {feature.name: group.unit(feature.name) for feature in group.features}
            prices, volumes = ([name for name, unit in units.items() if unit == one] for one in (PER_SHARE, SHARES))
            if group.is_daily:
                of_before = None if assembly.is_daily else self.calendar
                frame = basis.of_windows(frame, adjust, prices, volumes, of_before)
            else:
                frame = basis.of_minutes(frame, adjust, prices, volumes)
        return frame

    def _assembly(self, names: Names, versions: Names, as_of: datetime | None) -> Assembly:
        return Assembly(self._store, self.calendar, _groups(names, versions), as_of)


def _groups(names: Names, versions: Names) -> list[FeatureGroup]:
    named = arguments.names("feature_groups", names, "price_1m")
    of = arguments.names("feature_versions", versions, "v1")
    if len(named) != len(of):
        problem = f"{len(named)} groups and {len(of)} versions were given."
        raise ConfigurationError("feature_groups, feature_versions", problem, "Give a version for each group.")
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigurationError("feature_groups", f"{', '.join(twice)} is given twice.", "Name each group once.")
    return [feature_group(name, version) for name, version in zip(named, of, strict=True)]
