"""The plan of a data cycle: requests by kind, pacing, bytes, and what is settled already. Nothing is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import polars as pl

from quant_assets.connectors.tws.pacing import PacingBudget, estimate_s
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.domain.instruments import daily_series
from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import ConfigurationError, EmptyUniverseError
from quant_assets.flows.discover import Sources, load_sources, standing_universe
from quant_assets.flows.ingest.details import missing_details, recent_details
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.ingest.needs import minute_needs, plan_for
from quant_assets.flows.ingest.vintages import daily_needs, n_series
from quant_assets.flows.plan.foresight import (
    SCANNER,
    ForeseenWork,
    Resolved,
    estimated_universe,
    for_profiles,
    of_profiles,
)
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

BYTES_PER_DETAILS: Final = 640
"""One contract-details answer on the wire."""
BYTES_PER_BAR: Final = 52
"""One bar on the wire."""
DISK_PER_MINUTE: Final = 115
"""One 1-minute bar in all tables that are made from it, as measured: bronze 22, silver 21, features 48, labels 24."""
DISK_PER_DAY: Final = 45
"""One daily bar: in a vintage, and again in the window of each session."""
DISK_PER_SESSION: Final = 75_000
"""The small tables of one session, and the footers of all."""


@dataclass(frozen=True, slots=True)
class UniversePlan:
    """What discovery would ask."""

    to_publish: tuple[date, ...]
    """Sessions whose universe is missing, or was made from other lists and scanners than are configured now."""
    is_estimated: bool
    n_details: int
    """Contract-details requests for names that no recent universe resolves, and for what the scanners may find."""
    n_scans: int


@dataclass(frozen=True, slots=True)
class DetailsPlan:
    """Contract details per session."""

    n_requests: int
    n_settled: int
    """Instruments whose details are stored, or recent enough to be used again."""


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """History requests of one bar size."""

    n_requests: int
    n_needed: int
    """1-minute: sessions of instruments; daily: series."""
    n_settled: int
    n_bars: int

    @property
    def n_bytes(self) -> int:
        """Bytes on the wire, at most."""
        return self.n_bars * BYTES_PER_BAR


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """All that a data cycle over some sessions would ask."""

    sessions: tuple[date, ...]
    n_instruments: int
    universe: UniversePlan
    details: DetailsPlan
    minutes: SeriesPlan
    n_rereads: int
    """Sessions of instruments that are read once more, to see what was revised; their requests are among the others."""
    daily: SeriesPlan
    pacing_s: float
    disk_bytes: int
    """What the tables would grow by, about."""
    budget: PacingBudget

    @property
    def n_details(self) -> int:
        """Contract-details requests of discovery and ingestion together."""
        return self.universe.n_details + self.details.n_requests

    @property
    def n_requests(self) -> int:
        """Requests of every kind."""
        return self.n_details + self.universe.n_scans + self.minutes.n_requests + self.daily.n_requests

    @property
    def wire_bytes(self) -> int:
        """Bytes that TWS would send, at most."""
        return self.minutes.n_bytes + self.daily.n_bytes + BYTES_PER_DETAILS * self.n_details

    def notes(self) -> list[str]:
        """What a reader has to know to trust the numbers."""
        notes = []
        if self.universe.is_estimated:
            days = self.universe.to_publish
            which = f"{len(days)} of {len(self.sessions)} sessions"
            notes.append(
                f"The universe of {which} ({days[0]} to {days[-1]}) is not published yet: "
                "its instruments are estimated from the newest universe and the lists."
            )
        if self.universe.n_scans:
            notes.append("A scanner will be asked; what it finds is counted as all that it may return.")
        if self.n_rereads:
            notes.append(f"{self.n_rereads} instrument sessions are read once more, to see what was revised since.")
        if self.n_requests:
            notes.append("Retries, splits and confirmations of doubtful answers come on top.")
        return notes

    def as_dict(self) -> dict[str, Any]:
        """Return exact figures for programs."""
        requests = {
            "contract_details": self.n_details,
            "scanner": self.universe.n_scans,
            "history_1_min": self.minutes.n_requests,
            "history_1_day": self.daily.n_requests,
            "total": self.n_requests,
        }
        settled = {
            "contract_details": self.details.n_settled,
            "history_1_min": self.minutes.n_settled,
            "history_1_day": self.daily.n_settled,
        }
        rereads = {"history_1_min": self.n_rereads}
        needed = {"history_1_min": self.minutes.n_needed, "history_1_day": self.daily.n_needed}
        return {
            "first_session": self.sessions[0],
            "last_session": self.sessions[-1],
            "sessions": len(self.sessions),
            "instruments": self.n_instruments,
            "is_estimated": self.universe.is_estimated,
            "universes_to_publish": list(self.universe.to_publish),
            "requests": requests,
            "needed": needed,
            "rereads": rereads,
            "settled": settled,
            "pacing_seconds": self.pacing_s,
            "requests_per_10_min": self.budget.requests_per_window,
            "bars": self.minutes.n_bars + self.daily.n_bars,
            "wire_bytes": self.wire_bytes,
            "disk_bytes": self.disk_bytes,
            "notes": self.notes(),
        }


def plan_cycle(work: Work, sessions: Sequence[date], profile: str = "") -> CyclePlan:
    """Return what a data cycle over the sessions would ask of TWS now.

    Args:
        work: its stores are read and nothing is written; its gate is not used.
        sessions: closed sessions, ascending.
        profile: count this profile's instruments only, those of its sleeves where it is a meta portfolio; a data
            cycle asks for those of every active profile.

    Raises:
        UnknownNameError, UnsafeNameError, ConfigurationError: a list or scanner of the configuration is wrong, or the
            profile is not active.
        EmptyUniverseError: nothing names an instrument for any of the sessions.
    """
    sources = load_sources(work)
    counted = _profiles_of(work, profile) if profile else frozenset[str]()
    sources = for_profiles(sources, counted) if profile else sources
    resolved = Resolved.read(work)
    universe = _universe(work, sources, sessions, resolved, profile)
    universes = {day: estimated_universe(work, sources, day, resolved) for day in universe.to_publish}
    if profile:
        published = (day for day in sessions if day not in universes)
        universes |= {day: of_profiles(_read(work, day), counted) for day in published}
    foreseen = ForeseenWork.of(work, universes)
    members = pl.concat([_read(foreseen, day).select("session", "con_id", "asset_class") for day in sessions])
    if members.is_empty():
        raise EmptyUniverseError(sessions[-1], sources.labels, profile)
    needs = minute_needs(foreseen, sessions)
    minutes = _series(plan_for(foreseen, needs), len(needs.open), members.height - len(needs.open))
    daily = _daily(foreseen, sessions, members)
    n_made = len({need.session for need in needs.open} | set(universe.to_publish))
    windows = n_made * work.settings.manifest.max_lookback_sessions * members["con_id"].n_unique()
    return CyclePlan(
        sessions=tuple(sessions),
        n_instruments=members["con_id"].n_unique(),
        universe=universe,
        details=_details(
            foreseen, sessions, members["con_id"].n_unique(), _discovered(work, sources, universes, resolved)
        ),
        minutes=minutes,
        n_rereads=len(needs.rereads),
        daily=daily,
        pacing_s=estimate_s(work.gate.budget, minutes.n_requests + daily.n_requests),
        disk_bytes=minutes.n_bars * DISK_PER_MINUTE
        + (daily.n_bars + windows) * DISK_PER_DAY
        + n_made * DISK_PER_SESSION,
        budget=work.gate.budget,
    )


def _profiles_of(work: Work, name: str) -> frozenset[str]:
    """Return the active profiles whose instruments a profile needs: itself, or its sleeves.

    Raises:
        ConfigurationError: no data cycle asks for any of them.
    """
    manifest = work.settings.manifest
    sleeves = manifest.profile(name).sleeves
    meant = [manifest.resolve(held.profile or sleeve) for sleeve, held in sleeves.items()] or [manifest.resolve(name)]
    active = frozenset(meant) & manifest.active_profiles.keys()
    if not active:
        raise ConfigurationError(
            f"profile {name}",
            "no data cycle asks for it, because it is not active."
            if not sleeves
            else f"none of its sleeves is active: {', '.join(meant)}.",
            "Set `active` to true in configs/manifest.json.",
        )
    return active


def _read(work: Work, session: date) -> pl.DataFrame:
    return work.lake.curated.read(UNIVERSE, Partition(session))


def _universe(work: Work, sources: Sources, sessions: Sequence[date], resolved: Resolved, profile: str) -> UniversePlan:
    """Mirror discovery: one answer serves all sessions, and names that were resolved lately are not asked again."""
    config_id = load_sources(work).config_id if profile else sources.config_id
    to_publish = tuple(day for day in sessions if standing_universe(work, day, config_id) is None)
    if not to_publish:
        return UniversePlan((), is_estimated=False, n_details=0, n_scans=0)
    names = _unresolved(work, sources, resolved)
    live = [one.scanner for one in sources.asked if one.scanner.is_live and work.latest_session() in to_publish]
    n_found = sum(scanner.n_rows for scanner in live)
    n_scans = sum(scanner.source == "tws" for scanner in live)
    return UniversePlan(to_publish, is_estimated=True, n_details=len(names) + n_found, n_scans=n_scans)


def _unresolved(work: Work, sources: Sources, resolved: Resolved) -> set[str]:
    """Return the names that discovery asks TWS for, once it has to publish any universe."""
    fresh = resolved.rows.filter(pl.col("observed_at") >= work.clock.now() - throttle_of(work))
    return {named.name for named in sources.named} - set(Resolved(fresh).by_name)


def _discovered(
    work: Work, sources: Sources, universes: Mapping[date, pl.DataFrame], resolved: Resolved
) -> pl.DataFrame:
    """Return the con_id of whom discovery hears of from TWS: what it hears is not asked for again."""
    names = sorted(_unresolved(work, sources, resolved))
    by_name = pl.concat_str("exchange", pl.lit(":"), "symbol").is_in(names) | pl.col("symbol").is_in(names)
    scanned = pl.col("sources").str.contains(SCANNER, literal=True) & (pl.col("session") == work.latest_session())
    return pl.concat([UNIVERSE.empty(), *universes.values()]).filter(by_name | scanned).select("con_id").unique()


def _details(work: Work, sessions: Sequence[date], n_instruments: int, discovered: pl.DataFrame) -> DetailsPlan:
    lacking = missing_details(work, sessions).join(recent_details(work, sessions), on="con_id", how="anti")
    to_ask = lacking.join(discovered, on="con_id", how="anti")
    return DetailsPlan(to_ask["con_id"].n_unique(), n_instruments - lacking["con_id"].n_unique())


def _daily(work: Work, sessions: Sequence[date], members: pl.DataFrame) -> SeriesPlan:
    needs = daily_needs(work, sessions)
    n_wanted = int(n_series(members)["n_series"].sum())
    n_needed = sum(len(daily_series(one.sec_type)) for one in (*needs.full, *needs.short))
    return _series(needs.plan(work), n_needed, n_wanted - n_needed)


def _series(plan: Sequence[PlannedRequest], n_needed: int, n_settled: int) -> SeriesPlan:
    return SeriesPlan(len(plan), n_needed, n_settled, sum(planned.n_bars for planned in plan))
