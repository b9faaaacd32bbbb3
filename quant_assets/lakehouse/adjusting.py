"""The price basis of what readers return: factors from the lakehouse, put to rows of any table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.adjustments import OVERLAP, chained, rebased
from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS
from quant_assets.errors import NotPublishedError, UnexplainedBreakError, UnknownNameError, UnprovedBasisError
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.settings.quality import PRICES

ADJUSTMENTS = ("as_served", "splits", "total")
PER_SHARE = "quote currency per share"
SHARES = "shares"
BAR_PRICES = (*PRICES, "wap")

_FACTORS = (
    "as_of_session", "con_id", "symbol", "session", "split_factor", "total_return_factor", "kind", "evidence",
)  # fmt: skip


def require_adjustment(adjust: str) -> str:
    """Return the name of an adjustment.

    Raises:
        UnknownNameError: it is none of ADJUSTMENTS.
    """
    if adjust not in ADJUSTMENTS:
        raise UnknownNameError("adjustment", adjust, ADJUSTMENTS)
    return adjust


@dataclass(frozen=True, slots=True)
class Basis:
    """Factors of some instruments over consecutive sessions, to the price basis of the last one."""

    factors: pl.DataFrame
    """con_id, session, own, split, total: see `domain.adjustments.chained`."""
    session: date
    """The session whose basis it is."""

    @classmethod
    def read(
        cls,
        store: CuratedStore,
        calendar: TradingCalendar,
        con_ids: Sequence[int],
        first: date,
        last: date,
        minutes_from: date | None = None,
    ) -> "Basis":
        """Read the factors that lead from any session of a range to the basis of its last one.

        Args:
            store: where they are.
            calendar: the sessions.
            con_ids: of whom.
            first: first session of the range.
            last: the session whose basis it is.
            minutes_from: the first session with minutes, where rows of the day before stand beside them; else `first`.

        Raises:
            NotPublishedError: factors of a session of the range are missing: a split in it would go unseen.
            UnexplainedBreakError: an instrument's price basis breaks inside the range, and no factor leads across.
        """
        sessions = calendar.between(first, last)
        missing = [day for day in sessions if not store.exists(ADJUSTMENT_FACTORS, Partition(day))]
        if missing:
            span = f"{missing[0]}..{missing[-1]}" if len(missing) > 1 else str(missing[0])
            raise NotPublishedError(
                ADJUSTMENT_FACTORS.name, span, f"Run `quant flow data --sessions {missing[0]}..{missing[-1]}`."
            )
        rows = store.read_many(ADJUSTMENT_FACTORS, [Partition(day) for day in sessions], _FACTORS)
        mine = rows.filter(pl.col("con_id").is_in(list(con_ids)))
        _refuse_breaks(mine, sessions, minutes_from or first)
        return cls(chained(mine, list(con_ids), sessions), last)

    def of_minutes(
        self, rows: pl.DataFrame, adjust: str, prices: Sequence[str], volumes: Sequence[str]
    ) -> pl.DataFrame:
        """Put rows that were made from stored 1-minute bars on the basis."""
        return rebased(rows, self.factors, adjust, prices=tuple(prices), volumes=tuple(volumes))

    def of_windows(
        self,
        rows: pl.DataFrame,
        adjust: str,
        prices: Sequence[str],
        volumes: Sequence[str],
        calendar: TradingCalendar | None = None,
    ) -> pl.DataFrame:
        """Put rows that were made from daily windows on the basis.

        Args:
            rows: con_id, session, and what is scaled.
            adjust: `splits` or `total`.
            prices: columns in quote currency per share.
            volumes: columns in shares.
            calendar: given where the values beside a session's minutes are those of the session before.
        """
        windows = self.factors.with_columns((pl.col(name) / pl.col("own")).alias(name) for name in ("split", "total"))
        if calendar:
            days = {day: calendar.following(day) for day in windows["session"].unique()}
            windows = windows.with_columns(pl.col("session").replace_strict(days, return_dtype=pl.Date))
        return rebased(rows, windows, adjust, prices=tuple(prices), volumes=tuple(volumes))

    def of_window(self, rows: pl.DataFrame, adjust: str, prices: Sequence[str], volumes: Sequence[str]) -> pl.DataFrame:
        """Put rows of daily windows on the basis: all rows of a window are on that of its `as_of_session`."""
        dated = rows.rename({"session": "_session", "as_of_session": "session"})
        moved = self.of_windows(dated, adjust, prices, volumes)
        return moved.rename({"session": "as_of_session", "_session": "session"})


def _refuse_breaks(factors: pl.DataFrame, sessions: Sequence[date], minutes_from: date) -> None:
    """Refuse factors that would have to lead across an unexplained break: nobody knows by how much.

    A row of the session before D breaks between the two; one of D itself stands between its minutes and all others.
    """
    if len(sessions) < 2:  # noqa: PLR2004 - one session is on one basis
        return
    day = pl.col("as_of_session")
    is_crossed = pl.when("is_own").then(day >= minutes_from).otherwise(day > sessions[0])
    broken = (
        factors.with_columns((pl.col("session") == day).alias("is_own"))
        .filter((pl.col("kind") == UNEXPLAINED_BREAK) & is_crossed)
        .sort("as_of_session", "is_own", "symbol")
    )
    for row in broken.head(1).iter_rows(named=True):
        ways = _ways_out(row, broken.row(-1, named=True), sessions, minutes_from)
        at, told = row["as_of_session"], row["evidence"]
        raise UnexplainedBreakError(row["symbol"], at, ways, told, broken["symbol"], is_own=row["is_own"])


def _ways_out(
    first: Mapping[str, Any], last: Mapping[str, Any], sessions: Sequence[date], minutes_from: date
) -> list[str]:
    """Return which parts of a range can be read, given its first and its last break.

    The minutes of a session that stand apart can be read alone. Where rows of the day before stand beside minutes, what
    is read begins a session after a break, and no session stands alone.
    """
    is_beside = minutes_from > sessions[0]
    after = sessions[sessions.index(last["as_of_session"]) + (last["is_own"] or is_beside) :]
    before = [one for one in sessions if minutes_from <= one < first["as_of_session"]]
    alone = [f"{first['as_of_session']} alone"] if first["is_own"] and not is_beside else []
    return [*(f"from {one} on" for one in after[:1]), *(f"up to {one}" for one in before[-1:]), *alone]


def refuse_unproved(store: CuratedStore, calendar: TradingCalendar, rows: pl.DataFrame) -> None:
    """Refuse rows of an instrument on two sides of a time that its daily history does not reach across.

    Factors of 1 stand between them because nothing could be compared, not because nothing happened. Who has rows on one
    side alone lacks nothing.

    Args:
        store: where the daily windows are.
        calendar: the sessions.
        rows: con_id, session of what is to be adjusted.

    Raises:
        UnprovedBasisError: names the first such time.
    """
    days = rows.select((pl.col("session").max() - pl.col("session").min()).dt.total_days()).item()
    if days is None or days <= OVERLAP:
        return
    place = {day: number for number, day in enumerate(calendar.all_sessions)}
    apart = (
        rows.select("con_id", "session")
        .unique()
        .sort("con_id", "session")
        .with_columns(pl.col("session").shift(1).over("con_id").alias("last"))
        .drop_nulls("last")
        .with_columns(pl.col("session", "last").replace_strict(place, return_dtype=pl.Int64).name.suffix("_place"))
        .filter(pl.col("session_place") - pl.col("last_place") > OVERLAP)
    )
    if apart.is_empty():
        return
    returns = [Partition(day) for day in apart["session"].unique()]
    windows = store.read_many(
        CURATED_TWS_1D_BARS,
        returns,
        ["as_of_session", "con_id", "symbol", "session"],
        apart["con_id"].unique().to_list(),
    )
    begins = windows.group_by("as_of_session", "con_id").agg(pl.col("symbol").last(), pl.col("session").min())
    unproved = (
        apart.select("con_id", "last", "session")
        .join(begins.rename({"session": "begins", "as_of_session": "session"}), on=["con_id", "session"], how="left")
        .filter((pl.col("begins") > pl.col("last")).fill_null(value=True))
        .with_columns(pl.coalesce("symbol", pl.format("instrument {}", "con_id")).alias("symbol"))
        .sort("session", "symbol")
    )
    for row in unproved.head(1).iter_rows(named=True):
        raise UnprovedBasisError(row["symbol"], row["last"], row["session"], row["begins"], unproved["symbol"])


def adjusted_window(window: pl.DataFrame, adjust: str) -> pl.DataFrame:
    """Return rows of a daily window, which is adjusted for splits as it is served; `total` takes dividends out, too.

    Raises:
        UnexplainedBreakError: an instrument has rows on both sides of an unexplained break.
    """
    _refuse_two_bases(window)
    return total_return(window) if adjust == "total" else window


def _refuse_two_bases(window: pl.DataFrame) -> None:
    sides = (
        window.sort("con_id", "session")
        .group_by("con_id", maintain_order=True)
        .agg(
            pl.col("symbol").last(),
            pl.col("session").filter(pl.col("dq_status") == "error").max().alias("before"),
            pl.col("session").filter(pl.col("dq_status") != "error").min().alias("first"),
            pl.col("close").filter(pl.col("dq_status") == "error").last().alias("close"),
            pl.col("open").filter(pl.col("dq_status") != "error").first().alias("open"),
        )
        .drop_nulls(["before", "first"])
    )
    for row in sides.head(1).iter_rows(named=True):
        told = f"close {row['close']} before, open {row['open']} then"
        ways = [f"from {row['first']} on", f"up to {row['before']}"]
        raise UnexplainedBreakError(row["symbol"], row["first"], ways, told, sides["symbol"])


def total_return(window: pl.DataFrame) -> pl.DataFrame:
    """Take the dividends up to the newest row out of the prices of a daily window.

    A window that was fetched later has later dividends in its adjusted closes as well. They are no part of the past:
    the newest row keeps its price, as it does among the minutes.
    """
    factor = pl.col("adj_close") / pl.col("close")
    later = factor.sort_by("session").last().over("con_id")
    prices = (*PRICES, "wap")
    return window.with_columns(*((pl.col(name) * factor / later).alias(name) for name in prices))


def window_bars(
    store: CuratedStore, calendar: TradingCalendar, bars: pl.DataFrame, adjust: str, last: date
) -> pl.DataFrame:
    """Put rows of daily windows on the basis as of a session, those of older windows by the factors of minutes.

    Args:
        store: where the factors are.
        calendar: the sessions.
        bars: rows of CURATED_TWS_1D_BARS, of one window or several per instrument.
        adjust: `splits` or `total`.
        last: the session whose basis it is.

    Raises:
        NotPublishedError, UnexplainedBreakError: see `Basis.read`.
    """
    adjusted = adjusted_window(bars, adjust)
    parts = [adjusted.filter(pl.col("as_of_session") == last)]
    for (window,), part in adjusted.filter(pl.col("as_of_session") < last).group_by("as_of_session"):
        assert isinstance(window, date)
        basis = Basis.read(store, calendar, part["con_id"].unique().to_list(), window, last)
        parts.append(basis.of_window(part, adjust, (*BAR_PRICES, "adj_close"), ("volume",)))
    return pl.concat(parts).sort("con_id", "session") if len(parts) > 1 else adjusted
