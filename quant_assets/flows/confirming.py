"""People's word on price breaks that nothing explains: one was a real move, kept in the chain of overrides.

It takes effect when the session, and those whose daily window holds it, are built again: then what lies on its two
sides is on one price basis, and is computed across. The newest word about an instrument in a session counts, as long as
the break is as large as it was when it was said. Nothing is removed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import polars as pl

from quant_assets.domain.breaks import REAL_MOVES, UNEXPLAINED_BREAK, price_breaks, told_apart
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS, UNIVERSE
from quant_assets.domain.toxic import REAL_MOVE
from quant_assets.errors import NoMoveError, UnknownNameError
from quant_assets.flows.breaks import with_max_jump
from quant_assets.flows.words import Line, say
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import instant_text
from quant_assets.lakehouse.layout import Partition

BREAKS: Final = "breaks"
"""Input of what is made with words on breaks: the id of all of them; absent where nobody said anything."""

MADE_WITH_BREAKS: Final = (ADJUSTMENT_FACTORS.name, CURATED_TWS_1D_BARS.name)
"""Tables that are made with words on breaks."""

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
        line | {"session": date.fromisoformat(line["session"]), "note": f"{line['who']}: {line['why']}"}
        for line in newest.values()
        if line["event"] == _EVENT
    ]
    told = [{name: row.get(name) for name in REAL_MOVES} for row in rows]
    return pl.DataFrame(told, schema=REAL_MOVES).sort("con_id", "session")


def concerning(work: Work, table: str, session: date) -> Sequence[date]:
    """Return the sessions whose breaks concern a partition of a table; none where it is not made with such words."""
    if table == CURATED_TWS_1D_BARS.name:
        return work.calendar.window(session, work.settings.manifest.max_lookback_sessions)
    return [session] if table == ADJUSTMENT_FACTORS.name else []


def breaks_id(work: Work, sessions: Sequence[date]) -> str:
    """Return one id for all that was said about breaks of some sessions; empty when nothing was.

    Raises:
        BrokenChainError: the words cannot be proved; what no session's words concern does not ask for them.
    """
    if not sessions:
        return ""
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
    """Both closes are null where two answers for the same prices differ."""
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
    for row in _rows(work, sessions).iter_rows(named=True):
        line = words.get((row["con_id"], str(row["session"])))
        yield Break(**row, said=sentence(line) if line else "")


_PLACE = ["con_id", "session"]
_MARKS = ("dq_status", "dq_rules")
_BREAKS = pl.DataFrame(
    schema={
        "session": pl.Date,
        "con_id": pl.Int64,
        "symbol": pl.String,
        "kind": pl.String,
        "close_before": pl.Float64,
        "close_after": pl.Float64,
        "ratio": pl.Float64,
        "evidence": pl.String,
        "is_own": pl.Boolean,
        "before": pl.Date,
    }
)
_INNER = ("is_own", "before")
_DENIALS = pl.DataFrame(schema={"con_id": pl.Int64, "session": pl.Date, "denial": pl.String})
_SPLITS = ("split", "split_and_dividend")


def _rows(work: Work, sessions: Sequence[date] | None) -> pl.DataFrame:
    """Return the columns of `Break`, but for what was said, by session and symbol.

    The factors of a session tell of its breaks; the daily windows that hold it, of those that the factors do not know.
    What an answer as of the session denies has no closes: it is two answers for the same prices.
    """
    stored = [one.session for one in work.lake.curated.partitions(ADJUSTMENT_FACTORS)]
    wanted = stored if sessions is None else sorted({*sessions} & {*stored})
    told = pl.concat([_BREAKS, *(_of_factors(work, session) for session in wanted)])
    known = told.filter(~pl.col("is_own"))
    later = pl.concat([_BREAKS, *(_of_window(work, one) for one in _windows(work, sessions))])
    asked = pl.lit(value=True) if sessions is None else pl.col("session").is_in([*sessions])
    more = later.filter(asked).unique(_PLACE, keep="first", maintain_order=True).join(known, on=_PLACE, how="anti")
    denials = pl.concat([_DENIALS, *(_denials(work, session, more) for session in more["session"].unique())])
    found = pl.concat([told, _without_denied(more, denials)])
    return found.sort("session", "symbol", "con_id", "is_own").drop(_INNER)


def _denials(work: Work, session: date, found: pl.DataFrame) -> pl.DataFrame:
    """Return which breaks of later windows the answers as of their session deny, and how.

    They do when the session's factors tell of a split, or its own window holds the same two sides at another ratio. An
    answer that lacks one side denies nothing.
    """
    curated, at = work.lake.curated, Partition(session)
    denials = [_DENIALS]
    if curated.exists(ADJUSTMENT_FACTORS, at):
        links = curated.read(ADJUSTMENT_FACTORS, at).filter(pl.col("session") != session, pl.col("kind").is_in(_SPLITS))
        split = pl.format("as of {} it is a split: {}", "as_of_session", "evidence")
        denials.append(links.select("con_id", session="as_of_session", denial=split))
    if curated.exists(CURATED_TWS_1D_BARS, at):
        days = curated.read(CURATED_TWS_1D_BARS, at, [*_PLACE, "open", "close"]).sort(_PLACE)
        before, close_before = (pl.col(name).shift(1).over("con_id") for name in ("session", "close"))
        sides = days.with_columns(before=before, close_before=close_before, price_ratio=pl.col("open") / close_before)
        theirs = sides.filter(pl.col("session") == session).with_columns(note=pl.lit(""))
        shared = found.with_columns(price_ratio="ratio").join(theirs, on=[*_PLACE, "before"], how="semi")
        apart = told_apart(shared, theirs.select(list(REAL_MOVES)))[0].join(theirs, on=_PLACE, suffix="_then")
        other = pl.format("as of {} it is {} times", "session", pl.col("price_ratio_then").round(4))
        denials.append(apart.select(*_PLACE, denial=other))
    return pl.concat(denials)


def _without_denied(found: pl.DataFrame, denials: pl.DataFrame) -> pl.DataFrame:
    """Return breaks; those that are denied without closes, and with what denies them."""
    joined = found.join(denials.unique(_PLACE, keep="first", maintain_order=True), on=_PLACE, how="left")
    is_open = pl.col("denial").is_null()
    closes = [pl.when(is_open).then(name).alias(name) for name in ("close_before", "close_after")]
    told = pl.concat_str("evidence", "denial", separator="; ", ignore_nulls=True).alias("evidence")
    return joined.with_columns(*closes, told).select(_BREAKS.columns)


def _of_factors(work: Work, session: date) -> pl.DataFrame:
    """Return the breaks of a session that its factors tell of; `is_own` where its minutes stand apart from its day."""
    factors = work.lake.curated.read(ADJUSTMENT_FACTORS, Partition(session))
    is_own, ratio = pl.col("session") == session, pl.col("observed_ratio")
    found = factors.filter(pl.col("kind").is_in([UNEXPLAINED_BREAK, REAL_MOVE]))
    told = found.with_columns(is_own=is_own, ratio=ratio, before=pl.lit(None, pl.Date))
    return told.with_columns(session=pl.lit(session)).select(_BREAKS.columns)


def _windows(work: Work, sessions: Sequence[date] | None) -> list[Partition]:
    """Return the daily windows that tell of breaks of some sessions, or of all, the newest first.

    Of a session it is the newest that holds it and the one before it. Besides, few windows that hold all sessions
    together: what is found when all are asked about is found of one of them, too.
    """
    stored = [*reversed(work.lake.curated.partitions(CURATED_TWS_1D_BARS))]
    held = {one: concerning(work, CURATED_TWS_1D_BARS.name, one.session)[1:] for one in stored}
    chosen, seen = stored[-1:], set[date]()
    for one in stored:
        if one.session not in seen:
            chosen.append(one)
            seen |= {*held[one]}
    if sessions is not None:
        newest = (next((one for one in stored if session in held[one]), None) for session in sessions)
        chosen = [one for one in chosen if not {*sessions}.isdisjoint(held[one])] + [one for one in newest if one]
    return sorted({*chosen}, reverse=True)


def _of_window(work: Work, partition: Partition) -> pl.DataFrame:
    """Return the breaks that the marks of a daily window tell of."""
    curated = work.lake.curated
    days = curated.read(CURATED_TWS_1D_BARS, partition, [*_PLACE, "symbol", "open", "close", "volume", *_MARKS])
    broken = days.join(days.drop_nulls("dq_rules"), on="con_id", how="semi")
    if broken.is_empty():
        return _BREAKS
    members = curated.read(UNIVERSE, partition, ["con_id", "asset_class"])
    bounded = broken.join(with_max_jump(work, members).select("con_id", "max_jump"), on="con_id", how="left")
    before = pl.col("session").shift(1).over("con_id").alias("before")
    marked = days.sort(_PLACE).with_columns(before).drop_nulls("dq_rules")
    found = price_breaks(bounded).join(marked.select(*_PLACE, "symbol", "before", *_MARKS), on=_PLACE)
    held = concerning(work, CURATED_TWS_1D_BARS.name, partition.session)
    footer = curated.footer(CURATED_TWS_1D_BARS, partition)
    has_heard = footer is not None and footer.inputs.get(BREAKS, "") == breaks_id(work, held)
    moves = real_moves(work, held if has_heard else [])
    moved = told_apart(found, moves)[1].select(*_PLACE, is_said=pl.lit(value=True))
    is_before_another = (pl.col("dq_status") == "error") & pl.col("is_said")  # whose mark it carries
    is_move = (pl.col("dq_rules") == REAL_MOVE) | is_before_another.fill_null(value=False)
    kind = pl.when(is_move).then(pl.lit(REAL_MOVE)).otherwise(pl.lit(UNEXPLAINED_BREAK))
    rows = found.join(moved, on=_PLACE, how="left", maintain_order="left")
    return rows.with_columns(kind=kind, ratio="price_ratio", is_own=pl.lit(value=False)).select(_BREAKS.columns)


def sentence(line: Line) -> str:
    """Return who said what and when."""
    done = "says that it was a real move" if line["event"] == _EVENT else "takes that back"
    return f"{line['timestamp'][:16]}Z  {line['who']} {done}: {line['why']}"


# ------------------------------------------------------------ saying


def confirm(
    work: Work, session: date, symbol: str, *, by: str, why: str, takes_back: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """Write down that an unexplained break was a real move, or take that back.

    The word is about the break as the newest window has it, or else the factors: that is what readers cross first.

    Args:
        work: the stores.
        session: the first session beyond the break.
        symbol: `QFID`, or `NYSE:QFID` where two exchanges have one.
        by: who says so.
        why: the reason.
        takes_back: the break is to be unexplained again.
        dry_run: write nothing.

    Returns:
        What was written, or would be; the word that stands, and nothing is written, where the break is confirmed in
        the factors and in every window. It says which of both in `is_new`.

    Raises:
        NotASessionError, FutureSessionError: the day is no session of the calendar, or has not closed yet.
        NotPublishedError: the session has no factors, and no daily window holds it.
        UnknownNameError: no instrument of that name has such a break.
        NoMoveError: two answers for the same prices differ: no price moved.
        BrokenChainError: what was said before cannot be proved.
    """
    work.calendar.require_closed(session, work.clock.now())
    found = _confirmed(work, session, symbol) if takes_back else _broken(work, session, symbol)
    if not takes_back and (stands := _standing(work, session, found)):
        return {**stands, "is_new": False}
    row = found.row(0, named=True)
    event = _TAKEN_BACK if takes_back else _EVENT
    body = {
        "session": str(session),
        "con_id": row["con_id"],
        "price_ratio": row["price_ratio"],
        "close_before": row["close_before"],
        "who": by,
        "why": why,
    }
    if dry_run:
        return {"event": event, "symbol": row["symbol"], **body, "is_new": True}
    line = say(work.words, work.audit, event, run_id=work.run_id, symbol=row["symbol"], body=body)
    return {**line, "is_new": True}


def _standing(work: Work, session: date, found: pl.DataFrame) -> Line | None:
    """Return the word by which a break counts as a real move in all that tells of it; None where it does not."""
    unexplained, _ = told_apart(found, real_moves(work, [session]))
    con_id = found["con_id"][0]
    return [line for line in said(work, [session]) if line["con_id"] == con_id][-1] if unexplained.is_empty() else None


def _broken(work: Work, session: date, symbol: str) -> pl.DataFrame:
    """Return the break of an instrument as each window has it, the newest first, and as the factors do."""
    windows = _windows(work, [session])
    if not windows:
        work.lake.curated.read(ADJUSTMENT_FACTORS, Partition(session), ["con_id"])
    found = _rows(work, [session])
    con_id, _ = _named(work, session, symbol, found.select("con_id").unique(), "with a price break")
    mine = found.filter(pl.col("con_id") == con_id)
    moves = mine.drop_nulls("close_before")
    if moves.is_empty():
        raise NoMoveError(mine["symbol"][0], session, mine["evidence"][0])
    theirs = pl.concat([_BREAKS, *(_of_window(work, one) for one in windows)]).drop(_INNER)
    of_windows = theirs.filter(pl.col("session") == session, pl.col("con_id") == con_id)
    return pl.concat([of_windows, moves]).with_columns(price_ratio="ratio")


def _confirmed(work: Work, session: date, symbol: str) -> pl.DataFrame:
    moves = real_moves(work, [session])
    con_id, name = _named(work, session, symbol, moves.select("con_id"), "with a confirmed move")
    return moves.filter(pl.col("con_id") == con_id).with_columns(symbol=pl.lit(name))


def _named(work: Work, session: date, symbol: str, those: pl.DataFrame, what: str) -> tuple[int, str]:
    """Return con_id and symbol of the one of some instruments that has a name, then or in a later window."""
    places = [Partition(session), *_windows(work, [session])]
    members = work.lake.curated.read_many(UNIVERSE, places, ["con_id", "symbol", "exchange"])
    named = members.join(those, on="con_id").with_columns(pl.format("{}:{}", "exchange", "symbol").alias("name"))
    fitting = named.filter((pl.col("symbol") == symbol) | (pl.col("name") == symbol))
    if fitting["con_id"].n_unique() != 1:
        known = {*named["name" if fitting.height else "symbol"]}
        raise UnknownNameError("instrument", symbol, known, f"{what} on {session}")
    return fitting.select("con_id", "symbol").row(0)


def to_build(work: Work, session: date) -> tuple[date, date]:
    """Return the first and the last session that a word on a break of a session concerns, of those that stand."""
    made = [
        one.session
        for table in (ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS)
        for one in work.lake.curated.partitions(table)
        if session in concerning(work, table.name, one.session)
    ]
    return min(made, default=session), max(made, default=session)
