"""Daily bars of a range: the window as of its end, and of whom it does not hold the newest earlier one that does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE
from quant_assets.lakehouse.health import Hours
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.reading import newest_dimension
from quant_assets.lakehouse.store import CuratedStore

_TABLE = CURATED_TWS_1D_BARS


@dataclass(frozen=True, slots=True)
class Windows:
    """The daily windows that answer for some instruments over a range of sessions.

    A window holds the universe of its session, and whoever left it has no row as of later ones: a range that ends after
    an instrument left would lose it, and keep who survived.
    """

    store: CuratedStore
    sessions: Sequence[date]
    """All of the range, ascending."""
    rows: Mapping[date, pl.DataFrame]
    """Session as of which a window is → its rows of the instruments that no later window of the range holds."""
    described: "Described"

    @classmethod
    def read(cls, store: CuratedStore, con_ids: Sequence[int], sessions: Sequence[date]) -> "Windows":
        """Read the window as of the last session, and go back from it only as long as somebody is missing."""
        found = {sessions[-1]: _rows(store, sessions[-1], con_ids)}
        left = _without(con_ids, found[sessions[-1]])
        described = Described.read(store, left, sessions)
        for session in reversed(sessions[:-1]):
            wanted = [con_id for con_id in left if described.may_hold(con_id, session)]
            if wanted and not (rows := _rows(store, session, wanted)).is_empty():
                found[session] = rows
                left = _without(left, rows)
        return cls(store, sessions, found, described)

    @property
    def bars(self) -> pl.DataFrame:
        """All rows of the windows, of sessions before the range, too."""
        parts = list(self.rows.values())
        return pl.concat(parts).sort("con_id", "session") if len(parts) > 1 else parts[0]

    def before(self) -> dict[date, tuple[date, ...]]:
        """Return, per window, the sessions of the range that it does not reach back to, whoever is asked about."""
        is_alone = len(self.rows) == 1
        asked = {day: rows for day, rows in self.rows.items() if is_alone or not rows.is_empty()}
        early = {day: self._before(day, rows) for day, rows in asked.items()}
        return {day: lacking for day, lacking in early.items() if lacking}

    def _before(self, window: date, rows: pl.DataFrame) -> tuple[date, ...]:
        """Read another column only where none of the rows that were asked for reaches back to the first session."""
        if (rows["session"] <= self.sessions[0]).any():
            return ()
        begins = self.store.read_many(_TABLE, [Partition(window)], ["session"])["session"].min()
        return tuple(day for day in self.sessions if not isinstance(begins, date) or day < begins)

    def after(self, hours: Hours) -> dict[tuple[date, str], tuple[date, ...]]:
        """Return (window, symbol) → sessions after it in which the instrument was expected, and no window holds it.

        Expected is who is in the universe and whose exchange was open; nobody asks about who has left.
        """
        held = [_held(rows, window) for window, rows in self.rows.items() if window != self.sessions[-1]]
        if not held:
            return {}
        last = pl.concat(held)
        spans = list(last.select("con_id", "window").iter_rows())
        doubtful = [
            day
            for day in self.sessions
            if any(day > window and self.described.may_hold(con_id, day) for con_id, window in spans)
        ]
        columns = ["session", "con_id", "asset_class", "exchange"]
        members = self.store.read_many(
            UNIVERSE, [Partition(day) for day in doubtful], columns, last["con_id"].to_list()
        )
        expected = [
            hours(day, part.drop("session")).select("con_id", session=pl.lit(day))
            for (day,), part in members.group_by("session")
        ]
        if not expected:
            return {}
        lacking = pl.concat(expected).join(last, on="con_id").filter(pl.col("session") > pl.col("window"))
        days = lacking.group_by("window", "symbol").agg(pl.col("session").sort()).sort("window", "symbol")
        return {(window, symbol): tuple(listed) for window, symbol, listed in days.iter_rows()}


@dataclass(frozen=True, slots=True)
class Described:
    """In which sessions instruments were described, as the newest dimension of a range knows it."""

    until: date | None
    """The session of that dimension; nothing is known of later ones."""
    spans: Mapping[int, tuple[date, date]]
    """con_id → the first and the last session in which TWS described it."""

    @classmethod
    def read(cls, store: CuratedStore, con_ids: Sequence[int], sessions: Sequence[date]) -> "Described":
        """Read what the newest dimension says of some instruments; nothing where nobody is asked about."""
        newest = newest_dimension(store, sessions) if con_ids else None
        if newest is None:
            return cls(None, {})
        columns = ["con_id", "valid_from", "last_seen"]
        rows = store.read_many(INSTRUMENTS, [Partition(newest)], columns, con_ids)
        spans = rows.group_by("con_id").agg(pl.col("valid_from").min(), pl.col("last_seen").max())
        return cls(newest, {con_id: (first, last) for con_id, first, last in spans.iter_rows()})

    def may_hold(self, con_id: int, session: date) -> bool:
        """Return whether a session's universe may hold an instrument, by its details.

        A member of whom TWS told nothing in its last sessions is taken to have left when it was described last.
        """
        first, last = self.spans.get(con_id, (date.min, date.max))
        return self.until is None or session > self.until or first <= session <= last


def _rows(store: CuratedStore, window: date, con_ids: Sequence[int]) -> pl.DataFrame:
    return store.read_many(_TABLE, [Partition(window)], con_ids=con_ids)


def _without(con_ids: Sequence[int], rows: pl.DataFrame) -> list[int]:
    held = set(rows["con_id"].unique())
    return [con_id for con_id in con_ids if con_id not in held]


def _held(rows: pl.DataFrame, window: date) -> pl.DataFrame:
    """Return con_id, symbol and window of the instruments of a window's rows."""
    return rows.group_by("con_id").agg(pl.col("symbol").last()).with_columns(window=pl.lit(window))
