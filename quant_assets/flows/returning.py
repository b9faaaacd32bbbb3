"""Instruments that left the universe and return: which sessions of the time away their next answer tells of.

What changed while nobody asked shows only when the answer of before and the next one are compared. The link that does
so is that of the first session away, and it was published before the next answer came.
"""

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Container, Iterator
from datetime import date

import polars as pl

from quant_assets.domain.dividends import told_of_the_time_away
from quant_assets.domain.instruments import PRIMARY_SERIES
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, RAW_TWS_DAILY_BARS
from quant_assets.errors import CorruptFileError
from quant_assets.flows.ingest.vintages import FULL_EVERY
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition

_TOLD = pl.Schema({"con_id": pl.Int64(), "session": pl.Date(), "vintage": pl.Date()})
_AWAY = pl.Schema({"con_id": pl.Int64(), "since": pl.Date()})


def outdated_factors(work: Work, first: date, last: date = date.max) -> dict[date, str]:
    """Return the sessions of a range whose factors lack what a later answer tells of them, ascending.

    Returns:
        Session → id of the answers that its factors should be made from.
    """
    published = [day for day in work.lake.curated.sessions(ADJUSTMENT_FACTORS) if first <= day <= last]
    return _lacking(work, published, _vintages(work, first, _furthest(work, min(last, work.latest_session()))))


def newly_outdated_factors(work: Work) -> dict[date, str]:
    """Return the same of all sessions and the newest answers alone: what a run left behind that has just fetched them.

    However long the history, only those who return with these answers are looked for.
    """
    newest = work.lake.raw.newest(RAW_TWS_DAILY_BARS)
    if newest is None:
        return {}
    return _lacking(work, work.lake.curated.sessions(ADJUSTMENT_FACTORS), [newest.session])


def _lacking(work: Work, sessions: list[date], vintages: list[date]) -> dict[date, str]:
    """Return which of some sessions have factors that were made before a vintage came that tells of them."""
    told, asked = pl.DataFrame(schema=_TOLD), frozenset(sessions)
    for one in vintages:
        with contextlib.suppress(CorruptFileError):  # named with the other damaged files
            told = pl.concat([told, _told_or_missed(work, one, asked)])
    by_session = {
        day: sorted(of)
        for day, of in told.filter(pl.col("session").is_in(sessions)).group_by("session").agg("vintage").iter_rows()
    }
    return {
        day: combined_id(work.lake.raw.input_id(RAW_TWS_DAILY_BARS, Partition(one)) for one in dict.fromkeys(of))
        for day, of in sorted(by_session.items())
        if lacks(work, _footer(work, day), of)
    }


def _footer(work: Work, session: date) -> Footer | None:
    try:
        return work.lake.curated.footer(ADJUSTMENT_FACTORS, Partition(session))
    except CorruptFileError:
        return None


def lacks(work: Work, footer: Footer | None, vintages: list[date]) -> bool:
    """Return whether factors were made before one of some vintages came."""
    marks = (work.lake.raw.watermark(RAW_TWS_DAILY_BARS, Partition(one)) for one in set(vintages))
    return footer is not None and any(mark > footer.watermark for mark in marks)


def telling_of(work: Work, session: date) -> pl.DataFrame:
    """Return con_id and vintage of the later answers that tell of a session, of instruments that return with them.

    It is a function of the answers alone: factors are the same whenever, and in whatever order, they are published.
    """
    told = (told_by(work, one) for one in _vintages(work, session, _furthest(work, session)))
    frames = [one.filter(pl.col("session") == session) for one in told if not one.is_empty()]
    return pl.concat([pl.DataFrame(schema=_TOLD), *frames]).select("con_id", "vintage").unique()


def told_by(work: Work, vintage: date) -> pl.DataFrame:
    """Return con_id, session, vintage: of which earlier sessions a vintage tells, of those who return with it."""
    return _once(work, "told", vintage, _told_by)


def _told_by(work: Work, vintage: date) -> pl.DataFrame:
    away = _once(work, "away", vintage, _away)
    told = told_of_the_time_away(_history(work, vintage, away), away).filter(pl.col("session") < vintage)
    return told.with_columns(pl.lit(vintage).alias("vintage")).select(_TOLD.names())


def answered_in(work: Work, vintage: date) -> pl.DataFrame:
    """Return con_id and is_full of the instruments that have an answer in a vintage."""
    return _once(work, "answered", vintage, _answered_in)


def _answered_in(work: Work, vintage: date) -> pl.DataFrame:
    rows = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(vintage), ["con_id", "is_full"])
    return rows.group_by("con_id").agg(pl.col("is_full").any())


def _once(work: Work, question: str, vintage: date, look: Callable[[Work, date], pl.DataFrame]) -> pl.DataFrame:
    """Look into a vintage once per unit of work, and again after a batch was added to it."""
    key = question, vintage, work.lake.raw.input_id(RAW_TWS_DAILY_BARS, Partition(vintage))
    if key not in work.looked_into:
        work.looked_into[key] = look(work, vintage)
    return work.looked_into[key]


def _told_or_missed(work: Work, vintage: date, asked: Container[date]) -> pl.DataFrame:
    """Return what a vintage tells, and the sessions near it in which those who return with it were members, too.

    They had no answer then, so their minutes were held against nothing. Only what is asked about is looked into.
    """
    away = _once(work, "away", vintage, _away)
    if away.is_empty():
        return pl.DataFrame(schema=_TOLD)
    since, calendar, store = away["since"].min(), work.calendar, work.lake.curated
    before = calendar.previous(vintage)
    days = calendar.window(before, FULL_EVERY) if before else []
    near = [day for day in days if day in asked and isinstance(since, date) and day > since]
    own = [pl.DataFrame(schema={"as_of_session": pl.Date, "session": pl.Date, "con_id": pl.Int64})]
    for day in near:
        with contextlib.suppress(CorruptFileError):
            own.append(store.read_many(ADJUSTMENT_FACTORS, [Partition(day)], own[0].columns))
    missed = (
        pl.concat(own)
        .filter(pl.col("session") == pl.col("as_of_session"))
        .join(away, on="con_id")
        .filter(pl.col("session") > pl.col("since"))
        .select("con_id", "session", pl.lit(vintage).alias("vintage"))
    )
    return pl.concat([told_by(work, vintage), missed])


def _away(work: Work, vintage: date) -> pl.DataFrame:
    """Return con_id and `since`: who has a full answer in a vintage, none as of the session before, but one earlier.

    Earlier is as far back as a window reaches: beyond that there is nothing to compare.
    """
    before = work.calendar.previous(vintage)
    returned = answered_in(work, vintage).filter("is_full").select("con_id")
    if before:
        returned = returned.join(answered_in(work, before), on="con_id", how="anti")
    found = [pl.DataFrame(schema=_AWAY)]
    for one in _vintages_before(work, vintage):
        if returned.is_empty():
            break
        here = returned.join(answered_in(work, one), on="con_id", how="semi")
        found.append(here.with_columns(pl.lit(one).alias("since")))
        returned = returned.join(here, on="con_id", how="anti")
    return pl.concat(found)


def _history(work: Work, vintage: date, away: pl.DataFrame) -> pl.DataFrame:
    """Return con_id, session, close and adj_close of the full answers in a vintage of some instruments."""
    if away.is_empty():
        return pl.DataFrame(schema={**_TOLD, "close": pl.Float64, "adj_close": pl.Float64}).drop("vintage")
    columns = ["con_id", "what_to_show", "session", "close", "is_full"]
    rows = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(vintage), columns).filter("is_full")
    mine = rows.join(away, on="con_id", how="semi").unique(["con_id", "what_to_show", "session"], keep="last")
    adjusted = mine.filter(pl.col("what_to_show") == "ADJUSTED_LAST").select("con_id", "session", adj_close="close")
    return (
        mine.filter(pl.col("what_to_show").is_in(PRIMARY_SERIES))
        .join(adjusted, on=["con_id", "session"], how="left")
        .select("con_id", "session", "close", pl.coalesce("adj_close", "close").alias("adj_close"))
    )


def _vintages(work: Work, after: date, last: date) -> list[date]:
    return [one for one in work.lake.raw.sessions(RAW_TWS_DAILY_BARS) if after < one <= last]


def _vintages_before(work: Work, vintage: date) -> Iterator[date]:
    """Yield the vintages before one, the newest first, as far as its windows reach back."""
    before = work.calendar.previous(vintage)
    first = work.calendar.window(before, work.settings.manifest.max_lookback_sessions)[0] if before else vintage
    return (one for one in reversed(work.lake.raw.sessions(RAW_TWS_DAILY_BARS)) if first <= one < vintage)


def _furthest(work: Work, session: date) -> date:
    """Return the last session whose windows reach back to one."""
    sessions = work.calendar.all_sessions
    place = bisect_left(sessions, session) + work.settings.manifest.max_lookback_sessions
    return sessions[min(place, len(sessions) - 1)]
