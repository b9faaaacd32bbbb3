"""People's word on minutes that nobody has: accepted as lost, kept in the chain of overrides and in the audit log.

It takes effect when the session is curated again: then those minutes are explained, as `accepted`. The newest word
about an instrument in a session counts, and covers as many minutes as were lost when it was said: what a hole grows by
after it is unexplained again.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.accounting import is_unexplained
from quant_assets.domain.tables import BAR_ACCOUNTING, UNIVERSE
from quant_assets.errors import UnknownNameError
from quant_assets.flows.words import say
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_EVENT = "hole_accept"
_TAKEN_BACK = "hole_reopen"
_SHAPE = {"session": pl.Date, "con_id": pl.Int64, "accepted": pl.Int64, "note": pl.String}


def accepted_holes(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return session, con_id, accepted (minutes), note (who and why) of the words that count, by session and con_id.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    newest = {(line["session"], line["con_id"]): line for line in _lines(work) if _day(line) in set(sessions)}
    rows = [
        (_day(line), line["con_id"], line["minutes"], f"{line['who']}: {line['why']}")
        for line in newest.values()
        if line["event"] == _EVENT
    ]
    return pl.DataFrame(rows, schema=_SHAPE, orient="row").sort("session", "con_id")


def _lines(work: Work) -> Iterator[dict[str, Any]]:
    return (line for line in work.words.lines() if line["event"] in (_EVENT, _TAKEN_BACK))


def _day(line: dict[str, Any]) -> date:
    return date.fromisoformat(line["session"])


def accept(
    work: Work, session: date, symbol: str, *, by: str, why: str, takes_back: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """Write down that somebody accepts the unexplained minutes of an instrument as lost, or takes that back.

    Args:
        work: the stores.
        session: the session.
        symbol: `QMKT`, or `ARCA:QMKT` where two exchanges have one.
        by: who says so.
        why: the reason.
        takes_back: the minutes are to be unexplained again.
        dry_run: write nothing.

    Returns:
        What was written, or would be.

    Raises:
        NotASessionError: the day is no session of the calendar.
        FutureSessionError: the session has not closed yet.
        NotPublishedError: the session is not accounted for.
        UnknownNameError: no instrument of that name has such minutes.
        BrokenChainError: what was said before cannot be proved.
    """
    work.calendar.require_closed(session, work.clock.now())
    standing = accepted_holes(work, [session]).select("con_id", "accepted")
    lost = (
        _lost(work, session).join(standing, on="con_id", how="full", coalesce=True).with_columns(pl.all().fill_null(0))
    )
    open_ = lost.filter(pl.col("accepted" if takes_back else "lost") > 0)
    named = work.lake.curated.read(UNIVERSE, Partition(session), ["con_id", "symbol", "exchange"])
    names = named.join(open_, on="con_id").with_columns(pl.format("{}:{}", "exchange", "symbol").alias("name"))
    fitting = names.filter((pl.col("symbol") == symbol) | (pl.col("name") == symbol))
    if fitting.height != 1:
        what = f"with {'accepted' if takes_back else 'unexplained'} minutes on {session}"
        raise UnknownNameError("instrument", symbol, names["name" if fitting.height else "symbol"], what)
    row = fitting.row(0, named=True)
    body = {
        "session": str(session),
        "con_id": row["con_id"],
        "minutes": 0 if takes_back else row["lost"] + row["accepted"],
        "who": by,
        "why": why,
    }
    event = _TAKEN_BACK if takes_back else _EVENT
    if dry_run:
        return {"event": event, "symbol": row["symbol"], **body}
    return say(work.words, work.audit, event, run_id=work.run_id, symbol=row["symbol"], body=body)


def _lost(work: Work, session: date) -> pl.DataFrame:
    """Return con_id, lost: the minutes that nothing explains."""
    rows = work.lake.curated.read(BAR_ACCOUNTING, Partition(session)).filter(is_unexplained())
    return rows.group_by("con_id").agg(pl.col("minutes").sum().alias("lost"))
