"""People's words on quarantined rows: looking at a row, saying something about it, and what curation heeds.

A release lets a row into silver at the next curation of its session, a confirmation keeps it out whatever the rules
say. The newest word about a row counts, as long as the row still has the values that it had then. Nothing is removed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import polars as pl

from quant_assets.domain.quality import OVERRIDES, ROW_KEY, RULES, VERDICTS, row_hash
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, RAW_TWS_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import HardRuleError, UnknownNameError
from quant_assets.flows.words import say
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

Action = Literal["release", "confirm"]
_EVENTS = {"quarantine_release": "release", "quarantine_confirm": "confirm"}
_NEIGHBOURS = 3
_ID_LENGTH = 10


def overrides_of(work: Work, session: date) -> pl.DataFrame:
    """Return the newest word about each row of a session, as `OVERRIDES`.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    newest = {tuple(line[name] for name in ROW_KEY): line for line in said(work, session)}
    rows = [
        {**line, "ts": datetime.fromisoformat(line["ts"]), "action": _EVENTS[line["event"]]} for line in newest.values()
    ]
    return pl.DataFrame([{name: row[name] for name in OVERRIDES} for row in rows], schema=OVERRIDES)


def said(work: Work, session: date | None = None) -> list[dict[str, Any]]:
    """Return the words on rows of a session, or of all sessions, the oldest first.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    return [line for line in work.words.lines(session) if line["event"] in _EVENTS]


# ------------------------------------------------------------ rows and their names


def row_id(row: dict[str, Any]) -> str:
    """Return the name of a quarantined row: its session and a hash of its key, such as `20260109-1f3a90c2d4`."""
    key = "|".join(str(row[name]) for name in ROW_KEY)
    return f"{row['session']:%Y%m%d}-{hashlib.sha256(key.encode()).hexdigest()[:_ID_LENGTH]}"


def rejected(
    work: Work, sessions: Sequence[date], *, symbol: str = "", rule: str = "", verdict: str = ""
) -> list[dict[str, Any]]:
    """Return quarantined rows of sessions, with their names as `id`; `rule` may be any that the row broke.

    Raises:
        UnknownNameError: there is no such rule, or no such verdict.
    """
    if rule and rule not in (known := [one.name for one in RULES]):
        raise UnknownNameError("rule", rule, known)
    if verdict and verdict not in VERDICTS:
        raise UnknownNameError("verdict", verdict, VERDICTS)
    rows = work.lake.curated.read_many(QUARANTINE_TWS_BARS, [Partition(session) for session in sessions])
    wanted = rows.filter(
        pl.lit(not symbol) | (pl.col("symbol") == symbol),
        pl.col(f"broke_{rule}") if rule else pl.lit(value=True),
        pl.lit(not verdict) | (pl.col("verdict") == verdict),
    )
    return [{"id": row_id(row), **row} for row in wanted.iter_rows(named=True)]


def find(work: Work, name: str) -> dict[str, Any]:
    """Return the row of a name, or of the beginning of one that fits a single row.

    A row that was released is found as well, so that the word on it can be taken back.

    Raises:
        UnknownNameError: no row, or several, are named so; tells those of its session, else of the newest that has any.
    """
    day, _, _ = name.partition("-")
    try:
        session = datetime.strptime(day, "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        raise UnknownNameError("quarantined row", name, _newest_names(work)) from None
    rows = rejected(work, [session])
    rows += [row for row in _released(work, session) if row["id"] not in {one["id"] for one in rows}]
    fitting = [row for row in rows if row["id"].startswith(name)]
    if len(fitting) != 1:
        known = [row["id"] for row in fitting or rows] or _newest_names(work)
        raise UnknownNameError("quarantined row", name, known)
    return fitting[0]


def _newest_names(work: Work) -> list[str]:
    """Return the names of the rows of the newest session that has rows in quarantine."""
    curated = work.lake.curated
    for partition in reversed(curated.partitions(QUARANTINE_TWS_BARS)):
        if (footer := curated.footer(QUARANTINE_TWS_BARS, partition)) and footer.n_rows:
            return [row["id"] for row in rejected(work, [partition.session])]
    return []


def _released(work: Work, session: date) -> list[dict[str, Any]]:
    """Return the rows of bronze that somebody spoke about, in the shape of quarantined ones."""
    words = {line["row"]: line for line in said(work, session)}
    if not words:
        return []
    keys = overrides_of(work, session).select(ROW_KEY)
    rows = work.lake.raw.read(RAW_TWS_BARS, Partition(session)).join(keys, on=list(ROW_KEY), how="semi")
    found = []
    for row in rows.iter_rows(named=True):
        word = words[name := row_id(row)]
        told = {"rule": word["rule"], "rules": word["rule"], "verdict": word["verdict"]}
        flags = {f"broke_{rule.name}": False for rule in RULES}
        found.append({"id": name, **row, **told, "evidence": "see the log of overrides", **flags})
    return found


@dataclass(frozen=True, slots=True)
class Exhibit:
    """All that is known of one quarantined row."""

    row: dict[str, Any]
    neighbours: list[dict[str, Any]]
    """Bars of silver around it."""
    request: dict[str, Any] | None
    """Its line in the request ledger."""
    words: list[dict[str, Any]]
    """What people said about it, the oldest first."""


def exhibit(work: Work, name: str) -> Exhibit:
    """Collect the evidence about one row.

    Raises:
        UnknownNameError: see `find`.
    """
    row = find(work, name)
    partition = Partition(row["session"])
    bars = work.lake.curated.read_many(CURATED_TWS_1M_BARS, [partition]).filter(pl.col("con_id") == row["con_id"])
    ordered = bars.sort("ts").select("ts", "open", "high", "low", "close", "volume", "dq_status", "dq_rules")
    before = ordered.filter(pl.col("ts") < row["ts"]).tail(_NEIGHBOURS)
    after = ordered.filter(pl.col("ts") >= row["ts"]).head(_NEIGHBOURS)
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, partition)
    asked = ledger.filter(pl.col("request_id") == row["request_id"], pl.col("con_id") == row["con_id"]).to_dicts()
    words = [line for line in said(work, row["session"]) if _is_about(line, row)]
    return Exhibit(row, pl.concat([before, after]).to_dicts(), next(iter(asked), None), words)


def _is_about(line: dict[str, Any], row: dict[str, Any]) -> bool:
    return {**line, "ts": datetime.fromisoformat(line["ts"])}.items() >= {name: row[name] for name in ROW_KEY}.items()


# ------------------------------------------------------------ saying


def override(work: Work, action: Action, name: str, *, by: str, why: str, dry_run: bool = False) -> dict[str, Any]:
    """Write down that somebody releases or confirms a row; it takes effect when the session is curated again.

    Returns:
        What was written, or would be; with `is_new` False the word that says so already, and nothing is written.

    Raises:
        UnknownNameError: see `find`.
        HardRuleError: the row cannot enter silver, because silver's own schema forbids it.
        BrokenChainError: what was said before cannot be proved.
    """
    row = find(work, name)
    hard = [rule.name for rule in RULES if rule.is_hard and row[f"broke_{rule.name}"]]
    lasting = [rule for rule in hard if not rule.startswith(("duplicate_", "confirmed"))]
    if action == "release" and lasting:
        raise HardRuleError(name, lasting)
    body = {
        **{key: row[key] for key in ROW_KEY},
        "ts": row["ts"].isoformat(),
        "session": str(row["session"]),
        "row": row["id"],
        "rule": row["rule"],
        "verdict": row["verdict"],
        "values_hash": row_hash(row),
        "who": by,
        "why": why,
    }
    event = f"quarantine_{action}"
    before = [line for line in said(work, row["session"]) if _is_about(line, row)]
    if before and (before[-1]["event"], before[-1]["values_hash"]) == (event, body["values_hash"]):
        return {**before[-1], "is_new": False}
    if dry_run:
        return {"event": event, "symbol": row["symbol"], **body, "is_new": True}
    line = say(work.words, work.audit, event, run_id=work.run_id, symbol=row["symbol"], body=body)
    return {**line, "is_new": True}
