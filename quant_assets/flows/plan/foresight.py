"""The lakehouse as it will stand after discovery: universes that are not published yet, filled in with estimates.

The ingestion's own questions ("what is missing?") are asked of it, so that a plan and a data cycle cannot disagree.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import polars as pl

from quant_assets.domain import venues
from quant_assets.domain.tables import UNIVERSE, Table
from quant_assets.flows.discover import Sources, by_name
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore, Lakehouse
from quant_assets.settings.names import split_qualified

SCANNER = "scanner:"
"""Before the name of a scanner, among the sources of a member."""


class _ForeseenStore(CuratedStore):
    """The curated store, with some universes replaced."""

    universes: Mapping[date, pl.DataFrame]

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return a foreseen universe, or what is published."""
        if table.name == UNIVERSE.name and partition.session in self.universes:
            frame = self.universes[partition.session]
            return frame.select(columns) if columns else frame
        return super().read(table, partition, columns)


@dataclass(frozen=True)
class _ForeseenLake(Lakehouse):
    universes: Mapping[date, pl.DataFrame] = field(default_factory=dict)

    @cached_property
    def curated(self) -> CuratedStore:
        store = _ForeseenStore(self.layout, run_id=self.run_id, clock=self.clock)
        store.universes = self.universes
        return store


@dataclass(frozen=True)
class ForeseenWork(Work):
    """A unit of work that reads `universes` where they replace or precede what is published. Never write with it."""

    universes: Mapping[date, pl.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Work, universes: Mapping[date, pl.DataFrame]) -> "ForeseenWork":
        """Return a view of another unit of work."""
        return cls(
            work.settings,
            work.gate,
            work.run_id,
            work.clock,
            work.progress,
            is_repair=work.is_repair,
            universes=universes,
        )

    @cached_property
    def lake(self) -> Lakehouse:
        """The stores, with the foreseen universes in them."""
        return _ForeseenLake(self.layout, run_id=self.run_id, clock=self.clock, universes=self.universes)


@dataclass(frozen=True)
class Resolved:
    """What the newest published universe knows of names and scanners."""

    rows: pl.DataFrame

    @classmethod
    def read(cls, work: Work) -> "Resolved":
        """Read the newest universe; an empty one when none is published."""
        curated = work.lake.curated
        newest = curated.newest(UNIVERSE)
        return cls(curated.read_many(UNIVERSE, [newest] if newest else []))

    @cached_property
    def by_name(self) -> dict[str, dict[str, object]]:
        """Rows by name, as discovery knows them."""
        return by_name(self.rows)


def estimated_universe(work: Work, sources: Sources, session: date, resolved: Resolved) -> pl.DataFrame:
    """Return the universe that discovery would publish, as far as it can be known without asking.

    A name that was resolved before keeps its con_id; any other gets a negative one, and each counts as one instrument.
    Scanners answer for the latest session only: what they found last time, or else as many instruments as they may
    return.
    """
    rows = {str(row["con_id"]): row for row in _named(sources, resolved)}
    if session == work.latest_session():
        rows = {str(row["con_id"]): row for row in _scanned(sources, resolved)} | rows
    stamp = {"session": session, "observed_at": work.clock.now(), "is_pit": False}
    return pl.DataFrame([row | stamp for row in rows.values()], schema=UNIVERSE.schema).sort("con_id")


def _named(sources: Sources, resolved: Resolved) -> Iterable[dict[str, object]]:
    profiles: dict[str, set[str]] = {}
    for named in sources.named:
        profiles.setdefault(named.name, set()).add(named.profile)
    for number, name in enumerate(sorted(profiles)):
        known = resolved.by_name.get(name) or _unresolved(name, -1 - number)
        yield known | {"sources": "list", "profiles": ";".join(sorted(profiles[name]))}


def _unresolved(name: str, con_id: int) -> dict[str, object]:
    exchange, symbol = split_qualified(name)
    kind, currency = venues.asset_class_at(exchange), venues.currency_at(exchange)
    return {"con_id": con_id, "symbol": symbol, "exchange": exchange, "currency": currency, "asset_class": kind}


def _scanned(sources: Sources, resolved: Resolved) -> Iterable[dict[str, object]]:
    found = resolved.rows.filter(pl.col("sources").str.contains(SCANNER, literal=True))
    if found.height:
        yield from found.iter_rows(named=True)
        return
    live = {one[0]: one for one in sources.scanners if one[2].is_live}
    for place, (name, profile, scanner) in enumerate(live.values()):
        for rank in range(scanner.n_rows):
            row = _unresolved(f"SCAN{rank}", -1_000_000 - 1000 * place - rank)
            yield row | {"sources": f"{SCANNER}{name}", "profiles": profile}


def of_profiles(universe: pl.DataFrame, profiles: Collection[str]) -> pl.DataFrame:
    """Return the members that any of some profiles asked for."""
    asked_by = pl.col("profiles").str.split(";").list
    return universe.filter(asked_by.set_intersection(pl.lit(sorted(profiles))).list.len() > 0)


def for_profiles(sources: Sources, profiles: Collection[str]) -> Sources:
    """Return the part of the sources that belongs to some profiles."""
    return replace(
        sources,
        named=tuple(one for one in sources.named if one.profile in profiles),
        scanners=tuple(one for one in sources.scanners if one[1] in profiles),
        asked=tuple(one for one in sources.asked if not set(profiles).isdisjoint(one.profiles)),
    )
