"""Discovery: the union of every active profile's lists, scanners and screens, as con_ids."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import ConfigurationError, CorruptFileError, EmptyUniverseError, LiveOnlyError
from quant_assets.flows.discover import members, set_aside
from quant_assets.flows.discover.export import export, recorded
from quant_assets.flows.discover.lookup import Member, resolve
from quant_assets.flows.discover.scan import Found, live_of, scan_live, screen_before
from quant_assets.flows.discover.sources import load_sources
from quant_assets.flows.positions import SOURCE as POSITIONS
from quant_assets.flows.positions import held_id, held_in, members_of
from quant_assets.flows.publishing import Published, publish_frame, unchanged
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_CONFIG = "discovery_config"


def standing_universe(work: Work, session: date, config_id: str) -> Published | None:
    """Return the universe that stands when the same configuration made it; else None.

    What screens saw is part of its record and not of this question: a universe is what was known when it was made,
    and history that is filled in later does not change it.
    """
    try:
        footer = work.lake.curated.footer(UNIVERSE, Partition(session))
    except CorruptFileError:
        return None
    expected = {_CONFIG: config_id, **held_id(work, session)}
    if footer is None or {k: footer.inputs.get(k) for k in (_CONFIG, POSITIONS)} != {POSITIONS: None, **expected}:
        return None
    standing = unchanged(work, UNIVERSE, Partition(session), footer.inputs)
    return set_aside.with_standing(standing, footer.inputs) if standing else None


class Discovery:
    """Builds universes for a run; TWS is asked once per symbol and once per scanner, however many sessions."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sources = load_sources(work)
        self._listed: Found | None = None
        self._denied: list[dict[str, Any]] = []
        """Listed symbols that are set aside, as rows of `given_up.refusals`."""
        self._scanned: Found | None = None

    def publish(self, session: date) -> Published:
        """Publish the universe of one session, unless it stands and the configuration is the same.

        Raises:
            EmptyUniverseError: no source names any instrument for this session.
            LiveOnlyError: the session is past, and a profile has live scanners alone (or is strict about them).
            ConfigurationError: TWS never knew symbols of a list, names every one; or the file of candidates is of
                another session.
            InvalidRecordsError: a strict source names records that cannot be used.
        """
        work, partition = self._work, Partition(session)
        self._require_given(session)
        if standing := standing_universe(work, session, self._sources.config_id):
            return self._exported(standing, session)
        is_latest = session == work.latest_session()
        observed = UNIVERSE.empty() if is_latest else self._observed(session)
        live_skipped = [] if is_latest else self._skip_live(session, observed)
        parts = [self._from_lists(), screen_before(work, session, self._sources.screens), self._held(session)]
        if is_latest:
            parts.append(self._from_scanners())
        merged = members.merge(members.frame([row for part in parts for row in part.rows]))
        frame = merged.with_columns(
            pl.lit(session).alias("session"),
            pl.lit(work.clock.now()).dt.cast_time_unit("us").alias("observed_at"),
            pl.lit(is_latest).alias("is_pit"),
        ).select(UNIVERSE.schema.names())
        frame = frame if is_latest else members.with_observed(frame, observed)
        if frame.is_empty():
            raise EmptyUniverseError(session, self._sources.labels)
        inputs = {_CONFIG: self._sources.config_id, **held_id(work, session)}
        inputs |= {k: v for part in parts for k, v in part.inputs.items()}
        aside = [{**row, "session": str(session)} for row in self._denied]
        inputs |= {set_aside.INPUT: json.dumps(aside, sort_keys=True)} if aside else {}
        told = self._record(session, frame, parts, live_skipped)
        findings = [set_aside.finding(aside)]
        published = publish_frame(work, UNIVERSE, partition, frame, inputs=inputs, findings=findings, metadata=told)
        return self._exported(published, session)

    def _exported(self, published: Published, session: date) -> Published:
        """Export what stands; whoever dies between the commit and the export leaves that to the next run."""
        if published.is_committed:
            export(self._work, session, self._work.lake.curated.read(UNIVERSE, Partition(session)))
        return published

    def _require_given(self, session: date) -> None:
        given = self._sources.given
        if given and given.session != session and (given.origin == "file" or given.session > session):
            load_sources(self._work, session)  # raises with the words for it

    def _observed(self, session: date) -> pl.DataFrame:
        """Return the members of a past session that were observed at the time."""
        standing = self._work.lake.curated.read_many(UNIVERSE, [Partition(session)]).filter(pl.col("is_pit"))
        return standing if standing.height else recorded(self._work, session)

    def _skip_live(self, session: date, observed: pl.DataFrame) -> list[str]:
        """Return the live scanners that are not asked about a past session and of which nothing is recorded.

        Raises:
            LiveOnlyError: a profile has nothing else, or is strict and asks one of them.
        """
        said = {source for text in live_of(observed)["sources"].to_list() for source in text.split(";")}
        missing = [one for one in self._sources.asked if one.scanner.is_live and one.label not in said]
        latest, names = self._work.latest_session(), {one.name for one in missing}
        for profile, scanners in self._sources.only_live():
            known = observed.filter(pl.col("profiles").str.split(";").list.contains(profile))
            if names & set(scanners) and known.is_empty():
                raise LiveOnlyError(session, latest, profile, scanners)
        return sorted(one.label for one in missing)

    def _from_lists(self) -> Found:
        if self._listed is None:
            self._listed = self._resolve()
        return self._listed

    def _resolve(self) -> Found:
        """Return one row per (source, profile, instrument); asks TWS for names that it was not asked lately."""
        sources, found = self._sources, Found()
        if sources.given:
            found.refuse(sources.given.label, dict(sources.given.problems), strict=sources.strict_lists)
        known = resolve(self._work, sorted({named.name for named in sources.named}))
        if unknown := sorted(name for name, meant in known.items() if not meant):
            self._refuse_unknown(unknown, found)
        if several := {name: meant for name, meant in known.items() if len(meant) > 1}:
            self._refuse_ambiguous(several, found)
        found.rows = [
            {**member, "sources": one.source, "profiles": one.profile, "metadata": one.metadata or None}
            for one in sources.named
            if one.name not in several
            for member in known[one.name]
        ]
        return found

    def _refuse_ambiguous(self, several: Mapping[str, Sequence[Member]], found: Found) -> None:
        """Drop symbols that mean more than one instrument.

        Raises:
            ConfigurationError: a strict list has some.
        """
        lists = ", ".join(self._lists_with(list(several)))
        means = {name: f"means {' or '.join(map(members.qualified, meant))}" for name, meant in several.items()}
        if self._sources.strict_lists:
            problems = "; ".join(f"{name} {meaning}" for name, meaning in means.items())
            raise ConfigurationError(lists, f"{problems}.", "Write EXCHANGE:SYMBOL.")
        found.refuse(lists, means, strict=False)

    def _refuse_unknown(self, unknown: list[str], found: Found) -> None:
        """Drop names that TWS denies; strict about a list, only those that it knew before, and each is told of.

        Raises:
            ConfigurationError: a strict list has names that TWS never knew.
        """
        lists = self._lists_with(unknown)
        if not self._sources.strict_lists:
            found.refuse(", ".join(lists), dict.fromkeys(unknown, "not known to TWS"), strict=False)
            return
        before = set_aside.last_known(self._work, unknown)
        if wrong := [name for name in unknown if name not in before]:
            raise ConfigurationError(
                ", ".join(self._lists_with(wrong)),
                f"TWS knows no such instrument: {', '.join(wrong)}.",
                "Correct the EXCHANGE:SYMBOL, or take it out of the list.",
            )
        self._denied = [set_aside.denied(name, ", ".join(self._lists_with([name])), before[name]) for name in unknown]
        found.refuse(", ".join(lists), dict.fromkeys(unknown, "known before, and denied by TWS"), strict=False)

    def _lists_with(self, names: Sequence[str]) -> list[str]:
        return sorted({named.source for named in self._sources.named if named.name in names})

    def _from_scanners(self) -> Found:
        if self._scanned is None:
            live = [one for one in self._sources.asked if one.scanner.is_live]
            self._scanned = scan_live(self._work, live)
        return self._scanned

    def _held(self, session: date) -> Found:
        """Return what the accounts held in the session, whoever asks for it."""
        held = held_in(self._work, session)
        rows = members_of(self._work, held)
        return Found([{**row, "sources": POSITIONS, "profiles": ""} for row in rows])

    def _record(
        self, session: date, frame: pl.DataFrame, parts: list[Found], live_skipped: list[str]
    ) -> Mapping[str, Any]:
        """Write down where the members come from and what was dropped; return it as metadata."""
        given = self._sources.given
        dropped = {reason: n for part in parts for reason, n in sorted(part.dropped.items())}
        notes = {source: figures for part in parts for source, figures in part.notes.items()}
        told: dict[str, Any] = {
            "candidates_from": f"{given.origin}: {given.where}" if given else "lists and scanners",
            "dropped": sum(dropped.values()),
        }
        told |= {"dropped_records": dropped} if dropped else {}
        told |= {"scanners": notes} if notes else {}
        told |= {"live_scanners_not_asked": live_skipped} if live_skipped else {}
        status = "warn" if dropped or live_skipped else "ok"
        self._work.audit.record(
            "discovered", run_id=self._work.run_id, rows=frame.height, status=status, session=str(session), **told
        )
        return told
