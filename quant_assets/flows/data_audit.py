"""The data audit: what is damaged, lost, altered, missing, stale, drifted, left over or newly toxic, and its mend."""

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import polars as pl

from quant_assets.control.files import write_text
from quant_assets.domain.accounting import is_unexplained, mass_delisting
from quant_assets.domain.certificates import Certificate
from quant_assets.domain.differences import Difference
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, ALL, BAR_ACCOUNTING, QUARANTINE_TWS_BARS, Table
from quant_assets.domain.toxic import REAL_MOVE, VERDICTS
from quant_assets.errors import CorruptFileError
from quant_assets.errors.base import listed
from quant_assets.flows.anchors import doubts
from quant_assets.flows.breaks import MEND, every_break
from quant_assets.flows.care import DATA_TABLES, spans_of
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.certify import Examined, examined, published_sessions
from quant_assets.flows.compact import prove_copies
from quant_assets.flows.damage import mend_of
from quant_assets.flows.drift import drift
from quant_assets.flows.returning import outdated_factors
from quant_assets.flows.tags import damaged_tags
from quant_assets.flows.work import Work
from quant_assets.lakehouse.aside import make_way
from quant_assets.lakehouse.compaction import months
from quant_assets.lakehouse.copies import month_of
from quant_assets.lakehouse.damage import Damage, damages
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.leftovers import leftovers
from quant_assets.lakehouse.orphans import orphans
from quant_assets.lakehouse.tag import mend_of_tag

_RESTORE = "restore overrides.jsonl and audit.jsonl from one backup, or see docs/runbook.md"
_SHOWN = 5
_LOOKED_INTO = 5
"""Drifted sessions of which the rows are compared, the newest first: the certified state has to be computed again."""
_TOXIC = tuple(verdict for verdict in VERDICTS if verdict != REAL_MOVE)

Rows = Mapping[str, Sequence[str]]
"""Verdict → names of rows."""
Seen = tuple[str, Rows]
"""Content id of a session's quarantine, and its rows by verdict."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that somebody should know of."""

    severity: Literal["error", "warn", "info"]
    table: str
    what: str
    mend: str = ""


def audit_data(work: Work, *, peek: bool = False, quick: bool = False) -> list[AuditFinding]:
    """Look at every table; what quarantine holds is remembered, so that the next audit tells what is new.

    Args:
        work: the unit of work.
        peek: remember nothing: nobody may read these findings, and news stay news until somebody does.
        quick: look at footers, sizes and times, and hash only what is not, by these, what was committed.
    """
    catalog, manifests = refresh_catalog(work, full=True), list(_manifests(work))
    damaged = damages(work.lake, ALL, quick=quick, progress=work.progress)
    published = published_sessions(work)
    outdated = outdated_factors(work, published[0], published[-1]) if published else {}
    sessions = [examined(work, session, outdated) for session in published]
    certificates = [one.certificate for one in sessions]
    return [
        *manifests,
        *(AuditFinding("error", one.table.name, str(one), mend_of(one)) for one in damaged),
        *([] if quick else _copies(work, damaged)),
        *(found for table in ALL for found in _of_table(work, table, catalog["tables"][table.name])),
        *_tags(work),
        *_words(work),
        *_stale(work, sessions),
        *_drifted(work, certificates, {(one.table.name, one.partition.session) for one in damaged}),
        *_refused(certificates),
        *_minutes(work),
        *_breaks(work),
        *_leftovers(work),
        *_orphans(work),
        *_toxic(work, peek=peek),
    ]


def _manifests(work: Work) -> Iterator[AuditFinding]:
    """Tell which manifests are damaged; from then on the files of these tables answer for themselves."""
    for table in ALL:
        found = [store.damaged_manifest(table) for store in (work.lake.raw, work.lake.curated)]
        if error := next((one for one in found if one), None):
            what = f"{work.layout.relative(error.path)} is damaged, and no file is: {error.cause}"
            yield AuditFinding("error", table.name, what, f"quant lake reindex {table.name}")


def _copies(work: Work, damaged: Sequence[Damage]) -> Iterator[AuditFinding]:
    """Tell which month copies hold other rows than their session files, or were rewritten and answer for nothing.

    A damaged session file proves no copy.
    """
    for table in ALL:
        for month in months(work.lake.curated, table):
            if month.state == "foreign":
                what = f"the month copy of {month.month} answers for nothing: {month.why}"
                yield AuditFinding("warn", table.name, what, f"quant lake compact --month {month.month}")
    unproved = {(one.table.name, month_of(one.partition.session)) for one in damaged}
    for one in prove_copies(work):
        if not one.equal and (one.table, one.month) not in unproved:
            what = f"the month copy of {one.month} answers reads with other rows: {one.why}"
            yield AuditFinding("error", one.table, what, f"quant lake compact --month {one.month}")


def _of_table(work: Work, table: Table, entry: dict[str, Any]) -> Iterator[AuditFinding]:
    """Tell what is missing, and whether the table is behind the calendar."""
    if table not in DATA_TABLES:
        return
    holds = entry["n_partitions"] > 0
    if lacking := entry["missing_sessions"]:
        spans = spans_of([date.fromisoformat(one) for one in lacking], work.calendar.all_sessions)
        what = f"lacks {len(lacking)}: {listed(spans, _SHOWN)}"
        yield AuditFinding("warn", table.name, what if holds else f"is empty, and {what}", _fill(table, holds=holds))
    if holds and (behind := entry["sessions_behind"]):
        yield AuditFinding("warn", table.name, f"is {behind} sessions behind", "quant flow data")


def _fill(table: Table, *, holds: bool) -> str:
    """Return what brings missing sessions: of a table that holds nothing, bronze knows everything that was asked."""
    return "quant repair" if holds or table.zone == "discovery" else "quant lake rebuild"


def _tags(work: Work) -> Iterator[AuditFinding]:
    """Tell which tags are damaged: nobody knows what they name, and `quant lake gc` keeps whatever it may be."""
    for name, error in damaged_tags(work).items():
        what = f"{work.layout.relative(error.path)} is damaged: {error.cause}"
        yield AuditFinding("error", "", what, mend_of_tag(name))


def _words(work: Work) -> Iterator[AuditFinding]:
    """Tell which words on quarantined rows cannot be proved: until that is mended, no session is curated."""
    for one in doubts(work):
        where = f"overrides.jsonl, line {one.line}" if one.line else "overrides.jsonl"
        severity: Literal["error", "info"] = "error" if one.is_tampering else "info"
        yield AuditFinding(severity, "", f"{where}: {one.detail}", _RESTORE if one.is_tampering else "")


def _stale(work: Work, sessions: Iterable[Examined]) -> Iterator[AuditFinding]:
    """Tell which tables were computed from something that a newer state has replaced, table by table."""
    days: dict[tuple[str, str], list[date]] = {}
    for one in sessions:
        for name, source in one.stale:
            days.setdefault((name, source), []).append(one.certificate.session)
    for (name, source), found in days.items():
        what = f"was made from an older {source}: {_some(found)}"
        yield AuditFinding("warn", name, what, _each("quant flow data", spans_of(found, work.calendar.all_sessions)))


def _drifted(
    work: Work, certificates: Iterable[Certificate], damaged: Collection[tuple[str, date]]
) -> Iterator[AuditFinding]:
    """Tell which sessions no longer hold what was certified, and for the newest ones what changed.

    Args:
        work: the unit of work.
        certificates: of all sessions, ascending.
        damaged: tables and sessions with a damaged file, which are named as that.
    """
    changed = [one for one in certificates if one.state == "changed"]
    for place, certificate in enumerate(reversed(changed)):
        moved = [name for name in certificate.changed if (name, certificate.session) not in damaged]
        drifted = f"{certificate.session} has drifted from its certificate: "
        mend = _recertify(certificate.session)
        try:
            found = drift(work, certificate.session) if place < _LOOKED_INTO else []
        except CorruptFileError:
            found = []  # named with the other unreadable files
        for one in found:
            if one.table in moved:
                yield AuditFinding("warn", one.table, drifted + _change(one.current_id, one.difference), mend)
        if moved and not found:
            yield AuditFinding("warn", "certified_sessions", drifted + ", ".join(moved), mend)


def _refused(certificates: Iterable[Certificate]) -> Iterator[AuditFinding]:
    """Tell which sessions were certified under wider limits than today's, and are beyond these."""
    for one in certificates:
        if one.state == "refused":
            what = f"{one.session} does not keep today's limits: {'; '.join(one.beyond)}"
            yield AuditFinding("warn", "certified_sessions", what, f"quant flow data --session {one.session} says more")


def _recertify(session: date) -> str:
    return f"look at quant lake revisions --session {session}, then quant flow data --session {session} certifies anew"


def _change(current: str, change: Difference | None) -> str:
    if not current:
        return "it is gone"
    if change is None:
        return "another content (the certified one cannot be computed any more)"
    columns = ", ".join(sorted(change.columns)[:_SHOWN])
    rows = f"{change.n_added} rows added, {change.n_removed} removed, {change.n_changed} changed"
    return f"{rows} ({columns})" if columns else rows


def _leftovers(work: Work) -> Iterator[AuditFinding]:
    if found := leftovers(work.layout):
        what = f"{len(found)} files that killed writers left beside their places, unless somebody is writing one"
        yield AuditFinding("info", "", what, "quant lake gc, which removes those older than a day")


def _orphans(work: Work) -> Iterator[AuditFinding]:
    found = [work.layout.relative(path) for path in orphans(work.lake, ALL)]
    if found:
        names = ", ".join(found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        what = f"{len(found)} files that no partition of any table owns, so nobody reads them: {names}"
        yield AuditFinding("warn", "", what, "move them out of data/lakehouse")


# ------------------------------------------------------------ minutes


def _minutes(work: Work) -> Iterator[AuditFinding]:
    """Tell which minutes nothing explains, and whose histories ended together."""
    lost: dict[date, str] = {}
    ended: dict[str, date] = {}
    n_lost = 0
    for rows in _accounted(work):
        session = rows["session"][0]
        worst = rows.filter(is_unexplained()).group_by("symbol").agg(pl.col("minutes").sum())
        if n := int(worst["minutes"].sum()):
            named = worst.sort("minutes", "symbol", descending=[True, False]).head(_SHOWN).iter_rows()
            lost[session] = f"{session} ({', '.join(f'{symbol} {minutes}' for symbol, minutes in named)})"
            n_lost += n
        if text := mass_delisting(rows):
            ended[text] = session
    if lost:
        days = sorted(lost)
        what = f"{n_lost} minutes that nothing explains in {_some(days, lost)}"
        mend = _each("quant repair", spans_of(days, work.calendar.all_sessions))
        accept = "quant repair accept --session S --symbol EXCHANGE:SYMBOL --why … for what nobody has"
        yield AuditFinding("warn", BAR_ACCOUNTING.name, what, f"{mend}; {accept}")
    for text, session in ended.items():
        mend = "look in TWS whether they still trade; quant flow data fetches their histories again"
        yield AuditFinding("warn", BAR_ACCOUNTING.name, f"{session}: {text}", mend)


def _accounted(work: Work) -> Iterator[pl.DataFrame]:
    """Yield the accounting of each session, ascending; what cannot be read is named with the other such files."""
    for partition in work.lake.curated.partitions(BAR_ACCOUNTING):
        with contextlib.suppress(CorruptFileError):
            rows = work.lake.curated.read(BAR_ACCOUNTING, partition)
            if not rows.is_empty():
                yield rows


def _breaks(work: Work) -> Iterator[AuditFinding]:
    """Tell whose price basis breaks where nothing explains it: no number may be computed across."""
    for session, symbol, times in every_break(work):
        what = f"{session}: {symbol} is on another price basis than before, {times}, and nothing explains it"
        yield AuditFinding("warn", ADJUSTMENT_FACTORS.name, what, MEND.format(session=session))


# ------------------------------------------------------------ quarantine


def _toxic(work: Work, *, peek: bool) -> list[AuditFinding]:
    """Tell what entered quarantine since somebody last read an audit; the first one tells of all that is there."""
    before = _remembered(work)
    now = dict(_in_quarantine(work, before))
    fresh: dict[str, dict[date, int]] = {}
    for key, (_, rows) in now.items():
        known = before[key][1] if key in before else {}
        for verdict, names in rows.items():
            if more := len(set(names) - set(known.get(verdict, ()))):
                fresh.setdefault(verdict, {})[date.fromisoformat(key)] = more
    if not peek:
        make_way(work.layout, work.layout.data_audit, work.clock.now())
        write_text(work.layout.data_audit, json.dumps(now, sort_keys=True) + "\n")
    return [_told(verdict, by_session) for verdict, by_session in sorted(fresh.items())]


def _told(verdict: str, by_session: Mapping[date, int]) -> AuditFinding:
    sessions = sorted(by_session)
    what = f"{verdict} rows that the last audit did not see: {sum(by_session.values())} in {_some(sessions)}"
    span = f"{sessions[0]}..{sessions[-1]}"
    mend = f"quant quarantine list --sessions {span} --verdict {verdict}, then release or confirm"
    return AuditFinding("warn" if verdict in _TOXIC else "info", QUARANTINE_TWS_BARS.name, what, mend)


def _in_quarantine(work: Work, before: Mapping[str, Seen]) -> Iterator[tuple[str, Seen]]:
    """Yield session → content id and rows by verdict; only sessions that changed since `before` are read."""
    store = work.lake.curated
    for partition in store.partitions(QUARANTINE_TWS_BARS):
        try:
            footer = store.footer(QUARANTINE_TWS_BARS, partition)
            if footer is None:
                continue
            known = before.get(partition.key)
            is_same = known is not None and known[0] == footer.content_id
            rows = known[1] if known and is_same else _rows(work, partition)
            yield partition.key, (footer.content_id, rows)
        except CorruptFileError:
            continue  # named with the other unreadable files


def _rows(work: Work, partition: Partition) -> Rows:
    """Return the rejected rows by verdict: an instrument at a time, whichever answer told of it."""
    rows = work.lake.curated.read(QUARANTINE_TWS_BARS, partition, ["con_id", "ts", "verdict"])
    named = rows.select("verdict", pl.format("{}@{}", "con_id", pl.col("ts").dt.epoch("s")).alias("row")).unique()
    return dict(named.sort("verdict", "row").group_by("verdict", maintain_order=True).agg("row").iter_rows())


def _remembered(work: Work) -> dict[str, Seen]:
    """Return what the last audit saw; nothing where it cannot be read, or was written by an earlier release."""
    try:
        said = json.loads(work.layout.data_audit.read_text(encoding="utf-8"))
        return {
            key: (str(content), {v: list(names) for v, names in rows.items()}) for key, (content, rows) in said.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _each(command: str, spans: Sequence[str]) -> str:
    """Return the command for every stretch: over all of them it would fetch what is missing between, too."""
    return listed((f"{command} --sessions {span}" for span in spans), _SHOWN)


def _some(sessions: list[date], words: Mapping[date, str] | None = None) -> str:
    rest = f" and {len(sessions) - _SHOWN} more" if len(sessions) > _SHOWN else ""
    return ", ".join(words[one] if words else str(one) for one in sessions[:_SHOWN]) + rest
