"""Discovery: the union of every active profile's lists and scanners, as con_ids."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.connectors.base import Contract, ContractDetails
from quant_assets.connectors.lists import Scanner, load_list, load_scanner
from quant_assets.domain import venues
from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import ConfigurationError, EmptyUniverseError
from quant_assets.flows.ingest.details import ask_details
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.publishing import Published, publish_frame, unchanged
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.files import write_text
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.names import split_qualified

_CONFIG = "discovery_config"


@dataclass(frozen=True, slots=True)
class Named:
    """A symbol that a source named, before TWS told who it is."""

    name: str
    source: str
    profile: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that the active profiles' discovery sections ask for."""

    named: tuple[Named, ...]
    scanners: tuple[tuple[str, str, Scanner], ...]
    """(scanner name, profile, definition)"""

    @property
    def config_id(self) -> str:
        """A digest that changes when any list, scanner or profile does."""
        parts = [[n.name, n.source, n.profile] for n in self.named]
        scans = [[name, profile, scanner.model_dump()] for name, profile, scanner in self.scanners]
        return hashlib.sha256(json.dumps([parts, scans], sort_keys=True).encode()).hexdigest()

    @property
    def labels(self) -> list[str]:
        """Names of the sources, for messages."""
        return sorted({n.source for n in self.named} | {f"scanner:{name}" for name, _, _ in self.scanners})


def load_sources(work: Work) -> Sources:
    """Read the lists and scanners of all active profiles; aliases of symbols are resolved here.

    Raises:
        UnknownNameError, UnsafeNameError, ConfigurationError: see `load_list` and `load_scanner`.
    """
    configs, manifest = work.settings.configs, work.settings.manifest
    aliases = manifest.symbology.aliases
    named = [
        Named(aliases.get(symbol, symbol), f"list:{name}", profile)
        for profile, settings in manifest.active_profiles.items()
        for name in settings.discovery.lists
        for symbol in load_list(configs, name).symbols
    ]
    scanners = [
        (name, profile, load_scanner(configs, name))
        for profile, settings in manifest.active_profiles.items()
        for name in settings.discovery.scanners
    ]
    return Sources(tuple(named), tuple(scanners))


class Discovery:
    """Builds universes for a run; TWS is asked once per symbol and once per scanner, however many sessions."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sources = load_sources(work)
        self._members: pl.DataFrame | None = None
        self._scanned: pl.DataFrame | None = None

    def publish(self, session: date) -> Published:
        """Publish the universe of one session, unless it stands and the configuration is the same.

        Raises:
            EmptyUniverseError: no source names any instrument for this session.
            ConfigurationError: TWS does not know symbols of a list; names every one.
        """
        work, partition = self._work, Partition(session)
        inputs = {_CONFIG: self._sources.config_id}
        if standing := unchanged(work, UNIVERSE, partition, inputs):
            return standing
        frames = [self._from_lists()]
        is_latest = session == work.latest_session()
        if is_latest:
            frames.append(self._from_scanners())
        members = _merged(pl.concat(frames))
        if members.is_empty():
            raise EmptyUniverseError(session, self._sources.labels)
        frame = members.with_columns(
            pl.lit(session).alias("session"),
            pl.lit(work.clock.now()).dt.cast_time_unit("us").alias("observed_at"),
            pl.lit(is_latest).alias("is_pit"),
        ).select(UNIVERSE.schema.names())
        if not is_latest:
            frame = _with_observed(frame, work.lake.curated.read_many(UNIVERSE, [partition]))
        published = publish_frame(work, UNIVERSE, partition, frame, inputs=inputs)
        self._export(session, frame)
        return published

    def _from_lists(self) -> pl.DataFrame:
        if self._members is None:
            self._members = self._resolve()
        return self._members

    def _resolve(self) -> pl.DataFrame:
        """Return one row per (source, profile, instrument); asks TWS for names that it was not asked lately."""
        names = sorted({named.name for named in self._sources.named})
        known = self._known()
        to_ask = [name for name in names if name not in known]
        if to_ask:
            known |= self._ask(to_ask)
        rows = [
            {**known[named.name], "sources": named.source, "profiles": named.profile} for named in self._sources.named
        ]
        return _MEMBERS.frame(rows)

    def _known(self) -> dict[str, dict[str, object]]:
        """Return names that the newest universe resolved within the fetch throttle."""
        work = self._work
        stored = work.lake.curated.partitions(UNIVERSE)
        rows = work.lake.curated.read_many(UNIVERSE, stored[-1:])
        fresh = rows.filter(pl.col("observed_at") >= work.clock.now() - throttle_of(work))
        known: dict[str, dict[str, object]] = {}
        for row in fresh.iter_rows(named=True):
            member = {name: row[name] for name in _IDENTITY}
            known[f"{row['exchange']}:{row['symbol']}"] = member
            known[row["symbol"]] = member
        return known

    def _ask(self, names: Sequence[str]) -> dict[str, dict[str, object]]:
        contracts = []
        for name in names:
            exchange, symbol = split_qualified(name)
            contracts.append(
                Contract.listed(exchange, symbol, venues.asset_class_at(exchange), venues.currency_at(exchange))
            )
        answers = self._work.gate.run(lambda opened: ask_details(self._work, opened, contracts, strict=False))
        found = {name: _best(answer, name) for name, answer in zip(names, answers, strict=True)}
        if unknown := sorted(name for name, one in found.items() if one is None):
            lists = sorted({named.source for named in self._sources.named if named.name in unknown})
            raise ConfigurationError(
                ", ".join(lists),
                f"TWS knows no such instrument: {', '.join(unknown)}.",
                "Correct the EXCHANGE:SYMBOL, or take it out of the list.",
            )
        return {name: _identity(one) for name, one in found.items() if one}

    def _from_scanners(self) -> pl.DataFrame:
        if self._scanned is None:
            self._scanned = self._work.gate.run(self._scan) if self._sources.scanners else _MEMBERS.empty()
        return self._scanned

    async def _scan(self, opened: OpenSource) -> pl.DataFrame:
        rows: list[dict[str, object]] = []
        for name, profile, scanner in self._sources.scanners:
            found = await opened.source.scan(scanner.request())
            answers = await ask_details(self._work, opened, [row.contract for row in found])
            rows += [
                {**_identity(answer[0]), "sources": f"scanner:{name}", "profiles": profile}
                for answer in answers
                if answer
            ]
        return _MEMBERS.frame(rows)

    def _export(self, session: date, frame: pl.DataFrame) -> None:
        """Write the session's instruments for other programs; equal content is left alone."""
        path = self._work.layout.export(session) / "candidates.json"
        rows = frame.sort("con_id").select(
            pl.format("{}:{}", "exchange", "symbol").alias("symbol"),
            "exchange",
            "con_id",
            "sources",
            "profiles",
            "is_pit",
        )
        text = json.dumps({"session": str(session), "candidates": rows.to_dicts()}, indent=2) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


_IDENTITY = ("con_id", "symbol", "exchange", "currency", "asset_class")


class _Members:
    """Shape of resolved members before they are merged over sources and profiles."""

    schema = pl.Schema({name: UNIVERSE.schema[name] for name in (*_IDENTITY, "sources", "profiles")})

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def frame(self, rows: Sequence[dict[str, object]]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema=self.schema)


_MEMBERS = _Members()


def _identity(details: ContractDetails) -> dict[str, object]:
    return {
        "con_id": details.con_id,
        "symbol": details.symbol,
        "exchange": details.primary_exchange or details.exchange,
        "currency": details.currency,
        "asset_class": details.asset_class,
    }


def _best(answer: Sequence[ContractDetails], name: str) -> ContractDetails | None:
    """Return the instrument that a name means: the one listed on the exchange it names, else the only one."""
    exchange, _ = split_qualified(name)
    listed = [one for one in answer if not exchange or exchange in (one.primary_exchange, one.exchange)]
    return listed[0] if listed else None


def _with_observed(frame: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Keep, of a session that is past, the members that were observed at the time; today's lists only add to them.

    A member that other profiles ask for by now was not known to them then, and says so.
    """
    observed = standing.filter(pl.col("is_pit"))
    now = frame.select("con_id", pl.col("sources").alias("_sources"), pl.col("profiles").alias("_profiles"))
    joined = observed.join(now, on="con_id", how="left").with_columns(
        _union("sources", "_sources"), _union("profiles", "_profiles"), pl.col("profiles").alias("_before")
    )
    kept = joined.with_columns((pl.col("profiles") == pl.col("_before")).alias("is_pit")).select(frame.columns)
    return pl.concat([kept, frame.join(kept, on="con_id", how="anti")]).sort("con_id")


def _union(name: str, other: str) -> pl.Expr:
    both = pl.concat_str(name, other, separator=";", ignore_nulls=True)
    return both.str.split(";").list.unique().list.sort().list.join(";").alias(name)


def _merged(members: pl.DataFrame) -> pl.DataFrame:
    """One row per instrument; sources and profiles are joined in a fixed order."""

    def joined(name: str) -> pl.Expr:
        return pl.col(name).unique().sort().str.join(";")

    return (
        members.group_by("con_id")
        .agg(pl.col("symbol", "exchange", "currency", "asset_class").first(), joined("sources"), joined("profiles"))
        .sort("con_id")
    )
