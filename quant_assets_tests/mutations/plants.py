"""Kinds of faults, planted one per instrument into an answer that was clean; each knows which rules ought to see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

import polars as pl

PRICES = ("open", "high", "low", "close")
BASIS = (*PRICES, "wap")
"""Columns that stand on a price basis: what moves a bar's prices moves its average, too."""
MARK = "_planted"
EDGE = 40
"""Minutes at both ends of a session that nothing is planted into, so that a fault has neighbours."""

Plant = Callable[[pl.DataFrame, Random], pl.DataFrame]
Days = Callable[[pl.DataFrame], pl.DataFrame]
Unit = Literal["minute", "instrument", "counted", "harmless"]


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    name: str
    about: str
    plant: Plant
    """One instrument's rows of an answer → the spoiled rows, with MARK true on those that are wrong."""
    seen_by: tuple[str, ...]
    """Rules, or metrics, of which one has to speak; the first is the one that is declared to find all of them."""
    unit: Unit = "minute"
    """What is counted: planted minutes, or instruments. `counted`: planted minutes, of a rule that marks no row and is
    only counted by instrument. Of a harmless one, minutes that are wrongly rejected."""
    why_not: str = ""
    """Why it cannot be found for certain; empty for a kind that is declared detectable."""
    needs_daily: bool = False
    """Whether it can only be found where the daily history knows the session."""
    needs_trades: bool = False
    """Whether it can only be seen where the source tells the number of trades, or the average price."""
    factor: float | None = None
    """Split that the adjustment factors tell of: from the minutes to the basis of the daily history."""
    day: Days = field(default=lambda daily: daily)
    """The daily reference of the planted instruments → what it is beside the fault."""
    is_confirmed: bool = False
    """Whether somebody confirms the marked rows."""


def _mark(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(where.fill_null(value=False).alias(MARK))


def _at(place: int, n: int = 1) -> pl.Expr:
    return pl.int_range(pl.len()).is_between(place, place + n - 1)


def _place(rows: pl.DataFrame, draw: Random, n: int = 1) -> int:
    return draw.randrange(EDGE, rows.height - EDGE - n)


def one(**values: pl.Expr | float | None) -> Plant:
    """Return a plant that changes some columns of one bar."""

    def plant(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
        here = _at(_place(rows, draw))
        changed = [pl.when(here).then(value).otherwise(pl.col(name)).alias(name) for name, value in values.items()]
        return _mark(rows.with_columns(changed), here)

    return plant


def scaled(factor: float, *, n: int = 1, columns: tuple[str, ...] = BASIS) -> Plant:
    """Return a plant that multiplies columns of `n` bars."""

    def plant(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
        here = _at(_place(rows, draw, n), n)
        changed = [pl.when(here).then(pl.col(name) * factor).otherwise(name).alias(name) for name in columns]
        return _mark(rows.with_columns(changed), here)

    return plant


def whole(**values: pl.Expr) -> Plant:
    """Return a plant that changes every row."""
    return lambda rows, _: _mark(rows.with_columns(**values), pl.lit(value=True))


def moved(delta: timedelta) -> Plant:
    """Return a plant that moves a whole answer in time."""
    return whole(ts=pl.col("ts") + delta)


def extra(ts: Callable[[pl.DataFrame], pl.Expr]) -> Plant:
    """Return a plant that appends a copy of the last bar at another time."""

    def plant(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
        added = rows.tail(1).with_columns(ts(rows).alias("ts"))
        return pl.concat([_mark(rows, pl.lit(value=False)), _mark(added, pl.lit(value=True))])

    return plant


def _on_basis(rows: pl.DataFrame, factor: float) -> pl.DataFrame:
    prices = [(pl.col(name) * factor).alias(name) for name in BASIS]
    return rows.with_columns(*prices, (pl.col("volume") / factor).alias("volume"))


def _other_basis(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return _mark(_on_basis(rows, 8), pl.lit(value=True))


def _day_on_that_basis(daily: pl.DataFrame) -> pl.DataFrame:
    """The day says what its minutes say: eight times the price of the session before, and an eighth of the shares."""
    prices = [(pl.col(f"day_{name}") * 8).alias(f"day_{name}") for name in ("high", "low", "close")]
    usual = pl.col("day_volume").alias("usual_volume")
    return daily.with_columns(*prices, (pl.col("day_volume") / 8).alias("day_volume"), usual)


def _small_basis(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return _mark(_on_basis(rows, 2), pl.lit(value=True))


def _rescaled(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    """An older answer on the basis before a 2:1 split; a newer one has all but the first hundred minutes."""
    older = _on_basis(rows, 2).with_columns(
        pl.format("o-{}", "con_id").alias("request_id"), pl.col("ingested_at") - timedelta(hours=1)
    )
    return pl.concat([_mark(older, _at(0, 100)), _mark(rows.slice(100), pl.lit(value=False))])


def _real_move(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    place = _place(rows, draw)
    moved = [pl.when(_at(place, rows.height)).then(pl.col(x) * 8).otherwise(x).alias(x) for x in BASIS]
    return _mark(rows.with_columns(moved), _at(place))


def _day_of_the_move(daily: pl.DataFrame) -> pl.DataFrame:
    higher = [(pl.col(name) * 8).alias(name) for name in ("day_high", "day_close")]
    return daily.with_columns(*higher, pl.col("day_volume").alias("usual_volume"))


def _thin(minutes: int) -> Plant:
    """Every other bar is there, and all of them are late."""

    def plant(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
        sparse = rows.gather_every(2)
        return _mark(sparse.with_columns(pl.col("ts") + timedelta(minutes=minutes)), pl.lit(value=True))

    return plant


def _as_it_was(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    return _mark(rows, _at(_place(rows, draw)))


def _unfinished(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    arrived = pl.col("ts").max() + pl.duration(seconds=30)
    return _mark(rows.with_columns(arrived.alias("ingested_at")), pl.col("ts") == pl.col("ts").max())


def _twice(change: float, *, more: float = 1.0) -> Plant:
    def plant(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
        place = _place(rows, draw)
        again = rows.slice(place, 1).with_columns(
            *((pl.col(name) * change).round(2).alias(name) for name in PRICES),
            (pl.col("volume") * more).alias("volume"),
        )
        marked = _mark(rows, pl.lit(value=False))
        return pl.concat([marked.head(place + 1), _mark(again, pl.lit(value=True)), marked.slice(place + 1)])

    return plant


def _answer_twice(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return pl.concat([_mark(rows, pl.lit(value=False)), _mark(rows, pl.lit(value=True))])


def _onto_the_next(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    here = _at(_place(rows, draw))
    later = pl.when(here).then(pl.col("ts") + timedelta(minutes=1)).otherwise("ts")
    return _mark(rows.with_columns(later.alias("ts")), here)


def _reordered(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    place = _place(rows, draw)
    late = rows.slice(place, 1)
    rest = pl.concat([rows.head(place), rows.slice(place + 1)])
    off = place + 5
    parts = [_mark(rest.head(off), pl.lit(value=False)), _mark(late, pl.lit(value=True))]
    return pl.concat([*parts, _mark(rest.slice(off), pl.lit(value=False))])


def _stale(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    place, n = _place(rows, draw, 8), 8
    here, values = _at(place, n), (*PRICES, "volume", "wap", "bar_count")
    frozen = [pl.when(here).then(pl.col(name).get(place)).otherwise(name).alias(name) for name in values]
    return _mark(rows.with_columns(frozen), _at(place + 1, n - 1))


def _without(n: int, *, at_end: bool = False) -> Plant:
    def plant(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
        place = rows.height - n if at_end else _place(rows, draw, n)
        return _mark(rows.filter(~_at(place, n)), pl.lit(value=True))

    return plant


def _foreign(n: int | None) -> Plant:
    """Prices of another instrument, of another price level, in some minutes or all."""

    def plant(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
        ratio = draw.choice([0.3, 0.45, 1.4, 1.7, 2.6, 3.7])
        noise = pl.lit(pl.Series([1 + draw.uniform(-0.004, 0.004) for _ in range(rows.height)]))
        here = pl.lit(value=True) if n is None else _at(_place(rows, draw, n), n)
        steps = (pl.lit(ratio) * noise).alias("_step")
        changed = [pl.when(here).then(pl.col(x) * pl.col("_step")).otherwise(x).alias(x) for x in BASIS]
        return _mark(rows.with_columns(steps).with_columns(changed).drop("_step"), here)

    return plant


def _filler(rows: pl.DataFrame, draw: Random) -> pl.DataFrame:
    place, n = _place(rows, draw, 5), 5
    flat = [pl.when(_at(place, n)).then(pl.col("close").get(place - 1)).otherwise(x).alias(x) for x in BASIS]
    none = [pl.when(_at(place, n)).then(0).otherwise(x).alias(x) for x in ("volume", "bar_count")]
    return _mark(rows.with_columns(*flat, *none), _at(place, n))


def _split_known(rows: pl.DataFrame, _: Random) -> pl.DataFrame:
    return _mark(_on_basis(rows, 0.1), pl.lit(value=False))


_SWAPPED: Mapping[str, pl.Expr] = {"high": pl.col("low") - 0.01, "low": pl.col("high")}

KINDS: tuple[Kind, ...] = (
    Kind("price_nan", "a close is NaN", one(close=float("nan")), ("price_missing",)),
    Kind("price_infinite", "a high is infinite", one(high=float("inf")), ("price_missing",)),
    Kind("price_null", "an open is missing", one(open=None), ("price_missing",)),
    Kind("price_zero", "a low is zero", one(low=0.0), ("price_not_positive",)),
    Kind("sign_flip", "all prices are negative", scaled(-1.0), ("price_not_positive",)),
    Kind("minus_one", "all prices are the sentinel -1", one(**dict.fromkeys(PRICES, -1.0)), ("price_not_positive",)),
    Kind("price_absurd", "prices of a billion", one(**dict.fromkeys(PRICES, 1e9)), ("price_above_limit",)),
    Kind("high_below_low", "high and low are swapped", one(**_SWAPPED), ("ohlc_order",)),
    Kind("close_above_high", "close is above high", one(close=pl.col("high") * 1.01), ("ohlc_order",)),
    Kind("open_below_low", "open is below low", one(open=pl.col("low") * 0.99), ("ohlc_order",)),
    Kind("volume_negative", "volume is negative", scaled(-1.0, columns=("volume",)), ("volume_negative",)),
    Kind("volume_minus_one", "volume is the sentinel -1", one(volume=-1.0), ("volume_negative",)),
    Kind("volume_nan", "volume is NaN", one(volume=float("nan")), ("volume_negative",)),
    Kind(
        "epoch_zero", "a bar of 1970", extra(lambda _: pl.lit(datetime(1970, 1, 1, tzinfo=UTC))), ("outside_session",)
    ),
    Kind(
        "after_the_close",
        "a bar that starts at the close, on half days too",
        extra(lambda rows: pl.lit(rows["ts"].max() + timedelta(minutes=1))),
        ("outside_session",),
    ),
    Kind(
        "before_the_open",
        "a bar ten minutes before the opening",
        extra(lambda rows: pl.lit(rows["ts"].min() - timedelta(minutes=10))),
        ("outside_session",),
    ),
    Kind(
        "off_minute",
        "a bar starts at half past a minute",
        one(ts=pl.col("ts") + timedelta(seconds=30)),
        ("off_minute",),
    ),
    Kind(
        "dst_late", "the whole answer is an hour late", moved(timedelta(hours=1)), ("shifted_hours", "outside_session")
    ),
    Kind(
        "dst_early",
        "the whole answer is an hour early",
        moved(timedelta(hours=-1)),
        ("shifted_hours", "outside_session"),
    ),
    Kind(
        "local_as_utc",
        "New York's clock is taken for UTC",
        moved(timedelta(hours=-5)),
        ("shifted_hours", "outside_session"),
    ),
    Kind(
        "two_minutes_late",
        "the whole answer is two minutes late",
        moved(timedelta(minutes=2)),
        ("shifted_hours", "outside_session"),
    ),
    Kind(
        "five_minutes_late",
        "the whole answer is five minutes late",
        moved(timedelta(minutes=5)),
        ("shifted_hours", "outside_session"),
    ),
    Kind(
        "five_minutes_early",
        "the whole answer is five minutes early",
        moved(timedelta(minutes=-5)),
        ("shifted_hours", "outside_session"),
    ),
    Kind(
        "wrong_session",
        "rows carry the date of the session before",
        whole(session=pl.col("session") - timedelta(days=1)),
        ("other_session",),
    ),
    Kind("other_series", "rows are of BID, not of TRADES", whole(what_to_show=pl.lit("BID")), ("unknown_series",)),
    Kind("other_symbol", "a row carries another symbol", one(symbol=pl.lit("OTHER")), ("other_symbol",)),
    Kind("unfinished_bar", "the last bar is received in the middle of its minute", _unfinished, ("unfinished_bar",)),
    Kind("duplicate_equal", "a bar is sent twice", _twice(1.0), ("duplicate_equal",)),
    Kind(
        "duplicate_conflicting",
        "a bar is sent again with other values",
        _twice(1.003, more=0.5),
        ("duplicate_conflicting",),
    ),
    Kind("duplicate_answer", "the whole answer comes twice", _answer_twice, ("duplicate_equal", "out_of_order")),
    Kind("shifted_minute", "one bar is moved onto the next minute", _onto_the_next, ("duplicate_conflicting",)),
    Kind("reordered", "a bar comes five rows late", _reordered, ("out_of_order",)),
    Kind("bad_print_up", "one bar x100", scaled(100.0), ("toxic_price",)),
    Kind("bad_print_down", "one bar /100", scaled(0.01), ("toxic_price",)),
    Kind("bad_print_run", "four bars x20", scaled(20.0, n=4), ("toxic_price",)),
    Kind("decimal_slip_up", "one bar x10", scaled(10.0), ("toxic_price",)),
    Kind("decimal_slip_down", "one bar /10", scaled(0.1), ("toxic_price",)),
    Kind("wick_up", "one high x8", scaled(8.0, columns=("high",)), ("toxic_price",)),
    Kind("wick_down", "one low /8", scaled(0.125, columns=("low",)), ("toxic_price",)),
    Kind("price_unit", "thirty bars x100: cents for dollars", scaled(100.0, n=30), ("toxic_price",)),
    Kind("small_bad_print", "one bar +30 %", scaled(1.3), ("far_outside_daily_range",), needs_daily=True),
    Kind(
        "small_wick",
        "one low -20 %",
        scaled(0.8, columns=("low",)),
        ("far_outside_daily_range",),
        needs_daily=True,
    ),
    Kind(
        "beyond_the_day",
        "one high 2 % above the highest of the session",
        one(high=pl.col("high").max() * 1.02),
        ("outside_daily_range",),
        needs_daily=True,
    ),
    Kind(
        "foreign_minutes",
        "twenty bars with another instrument's prices",
        _foreign(20),
        ("far_outside_daily_range", "toxic_price"),
        needs_daily=True,
    ),
    Kind(
        "foreign_session",
        "a whole session of another instrument's prices",
        _foreign(None),
        ("far_outside_daily_range", "toxic_price"),
        needs_daily=True,
    ),
    Kind(
        "missed_split",
        "minutes on the other side of an 8:1 split; the edge is held back",
        _other_basis,
        ("unexplained_break", "toxic_price"),
        needs_daily=True,
    ),
    Kind(
        "unexplained_break",
        "minutes and day on the other side of an 8:1 split from the sessions before, and nothing tells of it",
        _other_basis,
        ("unexplained_break", "toxic_price"),
        needs_daily=True,
        day=_day_on_that_basis,
    ),
    Kind(
        "other_basis",
        "minutes on the other side of a 2:1 split, nearer than a jump",
        _small_basis,
        ("other_basis",),
        "counted",
        needs_daily=True,
    ),
    Kind(
        "rescaled",
        "a newer answer is on the basis after a 2:1 split, and lacks a hundred minutes",
        _rescaled,
        ("rescaled",),
    ),
    Kind(
        "real_move",
        "the price goes to its eightfold and stays, and the day knows it",
        _real_move,
        ("real_move",),
        needs_daily=True,
        day=_day_of_the_move,
    ),
    Kind(
        "volume_x100",
        "one volume x100",
        scaled(100.0, columns=("volume",)),
        ("volume_unit",),
        needs_daily=True,
        needs_trades=True,
    ),
    Kind(
        "volume_div100",
        "one volume /100",
        scaled(0.01, columns=("volume",)),
        ("volume_unit",),
        needs_daily=True,
        needs_trades=True,
    ),
    Kind(
        "volume_x10",
        "one volume x10",
        scaled(10.0, columns=("volume",)),
        ("volume_tenfold", "volume_unit"),
        needs_daily=True,
        needs_trades=True,
    ),
    Kind(
        "volume_zero",
        "one volume is 0, its trades are not",
        one(volume=0.0),
        ("volume_contradicted",),
        needs_trades=True,
    ),
    Kind(
        "lots",
        "all volumes /100: lots for shares",
        whole(volume=pl.col("volume") / 100),
        ("session_volume_unit",),
        needs_daily=True,
    ),
    Kind(
        "lots_up",
        "all volumes x100",
        whole(volume=pl.col("volume") * 100),
        ("session_volume_unit",),
        needs_daily=True,
    ),
    Kind(
        "wap_x100", "one average price x100", scaled(100.0, columns=("wap",)), ("wap_outside_bar",), needs_trades=True
    ),
    Kind("wap_zero", "one average price is 0", one(wap=0.0), ("wap_outside_bar",), needs_trades=True),
    Kind("stale_repeats", "eight equal bars in a row", _stale, ("stale_repeat",)),
    Kind("gap", "ninety minutes are missing", _without(90), ("volume_vs_daily",), "instrument", needs_daily=True),
    Kind(
        "truncated",
        "the last hour is missing",
        _without(60, at_end=True),
        ("volume_vs_daily",),
        "instrument",
        needs_daily=True,
    ),
    Kind(
        "confirmed_row", "a sound row that somebody confirmed to be bad", _as_it_was, ("confirmed",), is_confirmed=True
    ),
    Kind("filler_bars", "five flat bars without volume: nothing traded", _filler, ("filler",), "counted"),
    Kind(
        "known_split",
        "a 10:1 split that the factors tell of",
        _split_known,
        (),
        "harmless",
        factor=10.0,
    ),
    Kind(
        "one_minute_late",
        "the whole answer is one minute late",
        moved(timedelta(minutes=1)),
        ("shifted_hours", "outside_session"),
        why_not="an instrument without a trade in its first minute looks the same; the bar after the close is found",
    ),
    Kind(
        "two_minutes_late_thin",
        "the answer of who trades every other minute is two minutes late",
        _thin(2),
        ("shifted_hours", "outside_session"),
        why_not="so does one that did not trade in its first minutes; the bars after the close are found",
    ),
    Kind(
        "open_close_swapped",
        "open and close of one bar are swapped",
        one(open=pl.col("close"), close=pl.col("open")),
        ("toxic_price",),
        why_not="every rule is kept: such a bar could have traded",
    ),
    Kind(
        "small_error",
        "one bar +0.1 %",
        scaled(1.001),
        ("outside_daily_range",),
        why_not="inside the day's range, and smaller than ordinary moves",
    ),
    Kind(
        "bad_print_3_percent",
        "one bar +3 %",
        scaled(1.03),
        ("outside_daily_range", "far_outside_daily_range"),
        why_not="on a day that moves more than that the day's own bar holds it, and it could have traded",
    ),
    Kind(
        "volume_div10",
        "one volume /10",
        scaled(0.1, columns=("volume",)),
        ("volume_unit",),
        why_not="small trades are ordinary, and the day lacks no more than by one bar that is missing",
    ),
    Kind(
        "volume_zero_uncounted",
        "one volume is 0, and the source does not count trades",
        one(volume=0.0, bar_count=None),
        ("volume_contradicted",),
        why_not="sources that count no trades serve such bars by the thousand, in minutes that did trade",
    ),
    Kind(
        "volume_doubled",
        "one volume x2",
        scaled(2.0, columns=("volume",)),
        ("volume_unit",),
        why_not="trades of twice the size are ordinary, and a minute is a small part of the day",
    ),
    Kind(
        "one_minute_lost",
        "one bar is missing",
        _without(1),
        ("volume_vs_daily",),
        "instrument",
        why_not="by its volume it is within tolerance; the accounting of minutes says that it is missing",
    ),
)
"""Every kind, detectable ones first."""
