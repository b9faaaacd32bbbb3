"""The calendar of conditions: what each instrument has of each session, from a bounded number of files."""

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from quant_assets.domain.accounting import is_unexplained
from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.health import DAYS, EXCUSES, condition
from quant_assets.domain.hours import n_open_minutes
from quant_assets.domain.tables import BAR_ACCOUNTING, BY_NAME, CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, UNIVERSE
from quant_assets.errors import CorruptFileError
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore

Hours = Callable[[date, pl.DataFrame], pl.DataFrame]
"""Session and members (con_id, asset_class, exchange) → con_id and HOURS; closed ones have no row."""

_MEMBER = ("session", "con_id", "symbol", "asset_class", "exchange")


def instrument_days(store: CuratedStore, sessions: Sequence[date], hours: Hours, *, latest: date) -> pl.DataFrame:
    """Return one row per instrument and session with the columns of `DAYS`, sorted by con_id and session.

    Who was asked for is what the session's universe says; of a session without one, what the newest universe of the
    sessions says. Of an instrument that was delisted no minute is expected in a session that was not fetched since.

    Args:
        store: the lakehouse.
        sessions: which ones, ascending.
        hours: opening and closing by instrument.
        latest: the newest session that is expected by then, which may not have been fetched yet.
    """
    asked = _members(store, sessions)
    if asked.is_empty() or not sessions:
        return pl.DataFrame(schema=DAYS)
    counted = [_counts(store, session) for session in sessions]
    found = asked.join(_expected(asked, hours), on=["session", "con_id"], how="left")
    joined = found.join(pl.concat(counted), on=["session", "con_id"], how="left")
    still = joined.with_columns(pl.when(_was_delisted()).then(0).otherwise("expected").alias("expected"))
    filled = still.with_columns(pl.col("expected", "present", "rejected", "warned", "accepted", "broken").fill_null(0))
    return filled.with_columns(condition(latest=pl.lit(latest))).select(list(DAYS)).sort("con_id", "session")


def _was_delisted() -> pl.Expr:
    """Return whether nothing is known of a session, and an instrument was delisted by the last one that tells of it."""
    tells = pl.col("unexplained").is_not_null() | (pl.col("present") > 0)
    gone = pl.when(tells).then(pl.col("delisted").fill_null(0) > 0)
    return gone.is_null() & gone.forward_fill().over("con_id", order_by="session").fill_null(value=False)


def observed_since(store: CuratedStore, sessions: Sequence[date]) -> list[date]:
    """Return the sessions from the first published universe on: a lakehouse begins where its owner begins it."""
    first = next((one for one in store.sessions(UNIVERSE) if store.exists(UNIVERSE, Partition(one))), None)
    return [session for session in sessions if first and session >= first]


def _members(store: CuratedStore, sessions: Sequence[date]) -> pl.DataFrame:
    universes = {session: _read(store, UNIVERSE.name, session, _MEMBER) for session in sessions}
    published = [one for one in universes.values() if one.height]
    if not published:
        return UNIVERSE.empty().select(_MEMBER)
    newest = published[-1]
    return pl.concat(
        one if one.height else newest.with_columns(pl.lit(session).alias("session"))
        for session, one in universes.items()
    )


def _expected(asked: pl.DataFrame, hours: Hours) -> pl.DataFrame:
    parts = []
    for (session,), members in asked.group_by("session", maintain_order=True):
        assert isinstance(session, date)
        open_ = hours(session, members.select("con_id", "asset_class", "exchange"))
        expected = n_open_minutes().cast(pl.Int64).alias("expected")
        parts.append(open_.select("con_id", pl.lit(session).alias("session"), expected))
    return pl.concat(parts)


def _counts(store: CuratedStore, session: date) -> pl.DataFrame:
    bars = _read(store, CURATED_TWS_1M_BARS.name, session, ("session", "con_id", "dq_status", "dq_rules"))
    rejected = _read(store, QUARANTINE_TWS_BARS.name, session, ("session", "con_id", "verdict"))
    key = ["session", "con_id"]
    present = bars.group_by(key).agg(
        pl.len().cast(pl.Int64).alias("present"),
        (pl.col("dq_status") != "ok").sum().cast(pl.Int64).alias("warned"),
        pl.col("dq_rules").str.contains(UNEXPLAINED_BREAK, literal=True).sum().cast(pl.Int64).alias("broken"),
    )
    gone = rejected.group_by(key).agg(pl.len().cast(pl.Int64).alias("rejected"))
    joined = present.join(gone, on=key, how="full", coalesce=True)
    return joined.join(_accounted(store, session), on=key, how="full", coalesce=True).select(
        *key, "present", "warned", "broken", "rejected", "unexplained", "excused", "accepted", "delisted"
    )


def _accounted(store: CuratedStore, session: date) -> pl.DataFrame:
    """Return the unexplained, the excused, the accepted and the delisted minutes by instrument."""
    rows = _read(store, BAR_ACCOUNTING.name, session, ("session", "con_id", "kind", "reason", "minutes"))
    minutes = pl.col("minutes")
    return rows.group_by("session", "con_id").agg(
        minutes.filter(is_unexplained()).sum().alias("unexplained"),
        minutes.filter(pl.col("reason").is_in(EXCUSES)).sum().alias("excused"),
        minutes.filter(pl.col("reason") == "accepted").sum().alias("accepted"),
        minutes.filter(pl.col("reason") == "delisted").sum().alias("delisted"),
    )


def unexplained_minutes(store: CuratedStore, sessions: Sequence[date]) -> tuple[int, int]:
    """Return how many minutes of some sessions nothing explains, and how many were expected."""
    columns = ("con_id", "kind", "reason", "minutes", "expected")
    unexplained = expected = 0
    for session in sessions:
        rows = _read(store, BAR_ACCOUNTING.name, session, columns)
        unexplained += int(rows.filter(is_unexplained())["minutes"].sum())
        expected += int(rows.unique("con_id")["expected"].sum())
    return unexplained, expected


def _read(store: CuratedStore, name: str, session: date, columns: Sequence[str]) -> pl.DataFrame:
    """Return some columns; a file that cannot be read has none here: the table's own health says so."""
    try:
        return store.read_many(BY_NAME[name], [Partition(session)], columns)
    except CorruptFileError:
        return BY_NAME[name].empty().select(columns)
