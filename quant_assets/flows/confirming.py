"""People's word on price breaks that nothing explains: one was a real move, kept in the chain of overrides.

It takes effect when the session, and those whose daily window holds it, are built again: then what lies on its two
sides is on one price basis, and is computed across. The newest word about an instrument in a session counts, as long as
the break is as large as it was when it was said. Nothing is removed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import polars as pl

from quant_assets.domain.breaks import REAL_MOVES, UNEXPLAINED_BREAK
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS, UNIVERSE
from quant_assets.domain.toxic import REAL_MOVE
from quant_assets.errors import NoMoveError, UnknownNameError
from quant_assets.flows.words import Line, say
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import instant_text
from quant_assets.lakehouse.layout import Partition

BREAKS: Final = "breaks"
"""Input of what is made with words on breaks: the id of all of them; absent where nobody said anything."""

_EVENT = "break_confirm"
_TAKEN_BACK = "break_reopen"
EVENTS: Final = (_EVENT, _TAKEN_BACK)


# ------------------------------------------------------------ what was said


def said(work: Work, sessions: Sequence[date] | None = None) -> list[Line]:
    """Return the words on breaks of some sessions, or of all, the oldest first.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    wanted = None if sessions is None else {str(session) for session in sessions}
    lines = (line for line in work.words.lines() if line["event"] in EVENTS)
    return [line for line in lines if wanted is None or line["session"] in wanted]


def real_moves(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return the breaks of some sessions that count as real moves, as `REAL_MOVES`.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    newest = {(line["con_id"], line["session"]): line for line in said(work, sessions)}
    rows = [
        (line["con_id"], date.fromisoformat(line["session"]), line["price_ratio"], f"{line['who']}: {line['why']}")
        for line in newest.values()
        if line["event"] == _EVENT
    ]
    return pl.DataFrame(rows, schema=REAL_MOVES, orient="row").sort("con_id", "session")


def windows(work: Work, session: date) -> Mapping[str, Sequence[date]]:
    """Return of each table that is made with such words those sessions whose breaks concern its partition."""
    n_lookback = work.settings.manifest.max_lookback_sessions
    return {
        ADJUSTMENT_FACTORS.name: [session],
        CURATED_TWS_1D_BARS.name: work.calendar.window(session, n_lookback),
    }


def breaks_id(work: Work, sessions: Sequence[date]) -> str:
    """Return one id for all that was said about breaks of some sessions; empty when nothing was.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    hashes = [line["hash"] for line in said(work, sessions)]
    return combined_id(hashes) if hashes else ""


def as_input(work: Work, sessions: Sequence[date]) -> dict[str, str]:
    """Return the same as an input of what is made; none when nothing was said, so that what stands stays.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    words = breaks_id(work, sessions)
    return {BREAKS: words} if words else {}


def heard(work: Work, sessions: Sequence[date]) -> str:
    """Return when the last word about breaks of some sessions was said, ISO 8601 UTC; empty when none was.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    return max((instant_text(line["timestamp"]) for line in said(work, sessions)), default="")


# ------------------------------------------------------------ looking


@dataclass(frozen=True, slots=True)
class Break:
    """A price break as the tables have it: unexplained, or a real move by somebody's word."""

    session: date
    con_id: int
    symbol: str
    kind: str
    """`unexplained_break` or `real_move`."""
    close_before: float | None
    """Both closes are null where the break is none of the daily window: two answers for the same prices differ."""
    close_after: float | None
    ratio: float
    evidence: str
    said: str
    """The newest word on it, in words; empty when nobody said anything."""

    @property
    def may_be_a_move(self) -> bool:
        """Whether the price went from one session to the next within one answer."""
        return self.close_before is not None


def breaks(work: Work, sessions: Sequence[date] | None = None) -> Iterator[Break]:
    """Yield the breaks of some sessions, or of all, by session and symbol.

    Raises:
        BrokenChainError: the words cannot be proved.
    """
    words = {(line["con_id"], line["session"]): line for line in said(work, sessions)}
    stored = [one.session for one in work.lake.curated.partitions(ADJUSTMENT_FACTORS)]
    for session in stored if sessions is None else sorted({*sessions} & {*stored}):
        for row in _rows(work, session).iter_rows(named=True):
            line = words.get((row["con_id"], str(session)))
            yield Break(session, **row, said=sentence(line) if line else "")


def _rows(work: Work, session: date) -> pl.DataFrame:
    """Return con_id, symbol, kind, close_before, close_after, ratio and evidence of a session's breaks."""
    factors = work.lake.curated.read(ADJUSTMENT_FACTORS, Partition(session))
    found = factors.filter(pl.col("kind").is_in([UNEXPLAINED_BREAK, REAL_MOVE])).sort("symbol", "con_id", "session")
    told = ("close_before", "close_after", pl.col("observed_ratio").alias("ratio"), "evidence")
    return found.select("con_id", "symbol", "kind", *told)


def sentence(line: Line) -> str:
    """Return who said what and when."""
    done = "says that it was a real move" if line["event"] == _EVENT else "takes that back"
    return f"{line['timestamp'][:16]}Z  {line['who']} {done}: {line['why']}"


# ------------------------------------------------------------ saying


def confirm(
    work: Work, session: date, symbol: str, *, by: str, why: str, takes_back: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """Write down that an unexplained break was a real move, or take that back.

    Args:
        work: the stores.
        session: the first session beyond the break.
        symbol: `QFID`, or `NYSE:QFID` where two exchanges have one.
        by: who says so.
        why: the reason.
        takes_back: the break is to be unexplained again.
        dry_run: write nothing.

    Returns:
        What was written, or would be.

    Raises:
        NotASessionError, FutureSessionError: the day is no session of the calendar, or has not closed yet.
        NotPublishedError: the session has no factors, or no universe.
        UnknownNameError: no instrument of that name has such a break.
        NoMoveError: two answers for the same prices differ: no price moved.
        BrokenChainError: what was said before cannot be proved.
    """
    work.calendar.require_closed(session, work.clock.now())
    row = _confirmed(work, session, symbol) if takes_back else _broken(work, session, symbol)
    event = _TAKEN_BACK if takes_back else _EVENT
    body = {
        "session": str(session),
        "con_id": row["con_id"],
        "price_ratio": row["price_ratio"],
        "who": by,
        "why": why,
    }
    if dry_run:
        return {"event": event, "symbol": row["symbol"], **body}
    return say(work.words, work.audit, event, run_id=work.run_id, symbol=row["symbol"], body=body)


def _broken(work: Work, session: date, symbol: str) -> dict[str, Any]:
    found = _rows(work, session).with_columns(price_ratio="ratio")
    names = found.select("con_id").unique()
    con_id = _named(work, session, symbol, names, "instrument with a price break")
    mine = found.filter(pl.col("con_id") == con_id)
    moves = mine.drop_nulls("close_before")
    if moves.is_empty():
        raise NoMoveError(mine["symbol"][0], session, mine["evidence"][0])
    return moves.row(0, named=True)


def _confirmed(work: Work, session: date, symbol: str) -> dict[str, Any]:
    moves = real_moves(work, [session])
    con_id = _named(work, session, symbol, moves.select("con_id"), "instrument with a confirmed move")
    known = work.lake.curated.read(UNIVERSE, Partition(session), ["con_id", "symbol"])
    return moves.filter(pl.col("con_id") == con_id).join(known, on="con_id").row(0, named=True)


def _named(work: Work, session: date, symbol: str, those: pl.DataFrame, kind: str) -> int:
    """Return the con_id of the one of some instruments that has a name."""
    members = work.lake.curated.read(UNIVERSE, Partition(session), ["con_id", "symbol", "exchange"])
    named = members.join(those, on="con_id").with_columns(pl.format("{}:{}", "exchange", "symbol").alias("name"))
    fitting = named.filter((pl.col("symbol") == symbol) | (pl.col("name") == symbol))
    if fitting.height != 1:
        raise UnknownNameError(f"{kind} on {session}", symbol, named["name" if fitting.height else "symbol"])
    return int(fitting["con_id"][0])


def to_build(work: Work, session: date) -> tuple[date, date]:
    """Return the first and the last session that a word on a break of a session concerns, of those that stand."""
    held = [
        one.session
        for one in work.lake.curated.partitions(CURATED_TWS_1D_BARS)
        if session in windows(work, one.session)[CURATED_TWS_1D_BARS.name]
    ]
    return session, max(held, default=session)
