"""Asking scanners: TWS's, TradingView's, and screens over our own lakehouse. Each is asked once, whoever wants it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from quant_assets.connectors.base import ScanRow
from quant_assets.connectors.tradingview import ScanResult, TradingViewClient, from_tradingview, query_of
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, UNIVERSE
from quant_assets.errors import InvalidRecordsError, NotPublishedError, UnsafeNameError
from quant_assets.flows.discover import members
from quant_assets.flows.discover.lookup import Member, resolve
from quant_assets.flows.discover.sources import Asked
from quant_assets.flows.ingest.details import ask_details
from quant_assets.flows.screens import apply, fields_of, gather
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.names import split_qualified

REACH = 5
"""Sessions that a screen goes back for the newest published one."""


@dataclass
class Found:
    """What sources named, what could not be used of it, and what was read for it."""

    rows: list[dict[str, object]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """`source: reason` → records."""
    inputs: dict[str, str] = field(default_factory=dict)
    """What screens read: `screen:name|table|session` → content id."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Source → figures, for metadata and the audit log."""

    def take(
        self, source: str, profiles: Iterable[str], named: Sequence[tuple[Mapping[str, object], dict[str, Any]]]
    ) -> None:
        """Add instruments that a source named, each with what it said of them."""
        for member, said in named:
            told = members.told(source, **said)
            self.rows += [{**member, "sources": source, "profiles": one, "metadata": told} for one in profiles]

    def refuse(self, source: str, problems: Mapping[str, str], *, strict: bool) -> None:
        """Count records that cannot be used.

        Raises:
            InvalidRecordsError: there are some, and the source is strict.
        """
        if problems and strict:
            raise InvalidRecordsError(source, problems)
        self.dropped.update(f"{source}: {why}" for why in problems.values())


def scan_live(work: Work, asked: Sequence[Asked]) -> Found:
    """Ask live scanners; what they say is of now.

    Raises:
        InvalidRecordsError: a strict scanner named what TWS does not know.
        ScannerUnavailableError, ScannerRefusedError, MalformedAnswerError: TradingView fails.
    """
    found = Found()
    for one in asked:
        if one.scanner.source == "tws":
            _take_tws(work, one, found)
        elif one.scanner.source == "tradingview":
            _take_tradingview(work, one, found)
    return found


def _take_tws(work: Work, asked: Asked, found: Found) -> None:
    async def job(opened: OpenSource) -> tuple[list[ScanRow], list[list[Any]]]:
        rows = await opened.source.scan(asked.scanner.request())
        return rows, await ask_details(work, opened, [row.contract for row in rows])

    rows, answers = work.gate.run(job)
    named, problems = [], {}
    for row, answer in zip(rows, answers, strict=True):
        member = members.identity(answer[0]) if answer else None
        if why := _unfit(member, asked):
            problems[str(row.contract)] = why
        elif member:
            named.append((member, {"rank": row.rank + 1}))
    _settle(asked, named, problems, len(rows), found)


def _take_tradingview(work: Work, asked: Asked, found: Found) -> None:
    with TradingViewClient.of(work.settings.manifest.tradingview) as client:
        results = client.scan(query_of(asked.name, asked.scanner, asked.interval))
    aliases = work.settings.manifest.symbology.aliases
    names = {one.name: _ours(one.name, aliases) for one in results}
    resolved = resolve(work, [name for several in names.values() for name in several])
    named, problems = [], {}
    for rank, one in enumerate(results, start=1):
        member = next((member for name in names[one.name] for member in resolved[name]), None)
        if why := _unfit(member, asked):
            problems[one.name] = why
        elif member:
            named.append((member, {"rank": rank, **_said(one)}))
    _settle(asked, named, problems, len(results), found)


def _ours(name: str, aliases: Mapping[str, str]) -> list[str]:
    """Return the names that TWS may know an instrument of TradingView by; none where no name is legal."""
    exchanges, symbol = from_tradingview(name)
    legal = []
    for qualified in (f"{exchange}:{symbol}" for exchange in exchanges):
        try:
            split_qualified(qualified)
        except UnsafeNameError:
            continue
        legal.append(aliases.get(qualified, qualified))
    return list(dict.fromkeys(legal))


def _said(result: ScanResult) -> dict[str, Any]:
    return {name: value for name, value in result.values.items() if value is not None}


def _unfit(member: Member | None, asked: Asked) -> str:
    """Return why a record cannot be used, or nothing."""
    if member is None:
        return "not known to TWS"
    if asked.scanner.exchanges and member["exchange"] not in asked.scanner.exchanges:
        return f"listed on {member['exchange']}"
    return ""


def _settle(
    asked: Asked,
    named: Sequence[tuple[Member, dict[str, Any]]],
    problems: Mapping[str, str],
    n_rows: int,
    found: Found,
) -> None:
    found.refuse(asked.label, problems, strict=asked.is_strict)
    found.take(asked.label, asked.profiles, named)
    found.notes[asked.label] = {"rows": n_rows, "used": len(named), "dropped": len(problems)}


def screen_before(work: Work, session: date, asked: Sequence[Asked]) -> Found:
    """Run screens over the newest published session before the one that is discovered.

    Raises:
        NotPublishedError: a strict screen finds no published session to look at.
    """
    found = Found()
    for one in asked:
        try:
            _take_screen(work, session, one, found)
        except NotPublishedError:
            if one.is_strict:
                raise
            found.notes[one.label] = {"screened_session": None}
            found.inputs[one.label] = "nothing published"
    return found


def _take_screen(work: Work, session: date, asked: Asked, found: Found) -> None:
    before = _newest_before(work, session)
    gathered = gather(work.lake.curated, before, fields_of(asked.scanner))
    screened = apply(asked.scanner, gathered)
    universe = work.lake.curated.read(UNIVERSE, Partition(before))
    who = {row["con_id"]: {name: row[name] for name in members.IDENTITY} for row in universe.iter_rows(named=True)}
    passing = [row for row in screened.found.iter_rows(named=True) if row["con_id"] in who]
    fit = [row for row in passing if not _unfit(who[row["con_id"]], asked)]
    said = [(who[row["con_id"]], _figures(row, before)) for row in fit]
    found.take(asked.label, asked.profiles, said)
    found.inputs |= {f"{asked.label}|{name}": content_id for name, content_id in gathered.inputs.items()}
    found.notes[asked.label] = {
        "screened_session": str(before),
        "judged": screened.n_judged,
        "passed": screened.n_passed,
        "used": len(said),
    }


def _figures(row: Mapping[str, Any], before: date) -> dict[str, Any]:
    return {"rank": row["rank"], "score": row["score"], "screened_session": str(before)}


def _newest_before(work: Work, session: date) -> date:
    """Return the newest session before another that has daily bars and a universe.

    Raises:
        NotPublishedError: there is none within reach.
    """
    store = work.lake.curated
    window = [day for day in work.calendar.window(session, REACH + 1) if day < session]
    for day in reversed(window):
        at = Partition(day)
        if store.exists(CURATED_TWS_1D_BARS, at) and store.exists(UNIVERSE, at):
            return day
    span = f"{window[0]}..{window[-1]}" if window else f"before {session}"
    raise NotPublishedError(CURATED_TWS_1D_BARS.name, span, "Run `quant flow data` for one of these sessions first.")


def live_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the members that a live scanner named."""
    return frame.filter(pl.col("sources").str.contains(r"(?:^|;)scanner:"))
