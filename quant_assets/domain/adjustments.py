"""Splits and dividends, found in the data itself: which factor puts prices of one session on another's basis.

TWS serves every answer on the price basis of the day that it is asked on. So the same session, served on two days with
a split between them, comes with two prices, and their ratio is the split: no vendor of corporate actions is needed.
Three bases meet here: that of the daily window as of a session, that of the window as of the session before it, and
that of the stored 1-minute bars, which were fetched on whatever day.
"""

from datetime import date
from fractions import Fraction

import polars as pl

from quant_assets.domain.breaks import UNEXPLAINED_BREAK, price_breaks, told_apart
from quant_assets.domain.dividends import SAME_BASIS, dividends
from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.domain.toxic import MAX_JUMP, REAL_MOVE
from quant_assets.settings.quality import PRICES

VERSION = "4"

PLAUSIBLE: tuple[Fraction, ...] = tuple(
    sorted(
        {
            ratio
            for new, old in (
                *((n, 1) for n in (*range(2, 11), 12, 15, 16, 20, 25, 30, 35, 40, 45, 50, 60, 70, 75, 80, 90, 100)),
                *((n, 1) for n in (125, 150, 200, 250, 300, 400, 500, 750, 1000)),
                *((3, 2), (4, 3), (5, 2), (5, 3), (5, 4), (6, 5), (7, 2), (7, 4), (7, 5), (8, 5), (9, 2), (11, 10)),
                (21, 20),
            )
            for ratio in (Fraction(new, old), Fraction(old, new))
        }
    )
)
"""Price factors of splits and reverse splits that companies carry out; anything else is no split."""

OVERLAP = 10
"""Sessions of an instrument whose closes are compared between two windows."""
REACH = 60
"""Sessions of all calendars that are looked back over, so that each instrument has its last `OVERLAP` ones: ten of its
own are two weeks, beside a calendar of all days Tokyo has been closed for ten of them, and a halt lasts weeks."""
SNAP = 5e-3
"""How far, relatively, the ratio of two answers of one series may lie from the split that it is taken for."""
COARSE_SNAP = 0.02
"""The same for minutes against days: an auction or a late print makes their closes differ."""
COARSEST = 1.15
"""Smallest factor, up or down, that minutes against days can prove."""


def detect(
    session: date,
    before: date | None,
    members: pl.DataFrame,
    now: pl.DataFrame,
    then: pl.DataFrame,
    minutes: pl.DataFrame,
    moves: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Find what changed the price basis between a session and the one before it.

    Args:
        session: the session D.
        before: the session before it; None at the calendar's start.
        members: con_id, symbol: whom to speak of; max_jump where a class has another bound than the default.
        now: the daily window as of D: con_id, session, open, high, low, close, volume, adj_close, vintage. What an
            instrument had before D is its own last row: its exchange may be closed on the session before, or nobody
            traded. Where it has no row on D, what happened falls to the next session on which it has one.
        then: the same as of the session before; of sessions up to that one.
        minutes: `session_prices` of D, and of the session before for instruments without a window of that time.
        moves: breaks that a person says are real moves, as `breaks.REAL_MOVES`.

    Returns:
        ADJUSTMENT_FACTORS, two rows per member. That of the session before: factors that put its prices, on the basis
        of the window as of then, on the basis as of D. That of D: factors that put its stored minutes on the basis
        of the window as of D. Where one basis ends and another begins, and nothing explains it, the factors are 1 and
        the kind says so. Two answers that differ are told before a jump within one: no word on the jump joins them.
    """
    at_session = pl.col("session") == session
    bound = pl.col("max_jump") if "max_jump" in members.columns else pl.lit(None, pl.Float64)
    members = members.with_columns(bound.fill_null(MAX_JUMP).alias("max_jump"))
    own = _own(members, now.filter(at_session), minutes.filter(at_session)).with_columns(session=pl.lit(session))
    rows = [own]
    if before is not None:
        earlier = minutes.filter(pl.col("session") < session)
        rows.append(_link(members, now, then, session, earlier, moves).with_columns(session=pl.lit(before)))
    return (
        pl.concat(rows)
        .with_columns(pl.lit(session).alias("as_of_session"), pl.lit(VERSION).alias("transform_version"))
        .select(ADJUSTMENT_FACTORS.schema.names())
    )


# ------------------------------------------------------------ from one window to the next


def _link(
    members: pl.DataFrame,
    now: pl.DataFrame,
    then: pl.DataFrame,
    session: date,
    minutes: pl.DataFrame,
    moves: pl.DataFrame | None,
) -> pl.DataFrame:
    """Return the factors from the basis as of the session before to that of this one, with what proves them."""
    last_before = _last_before(now, session)
    bounds = members.select("con_id", "max_jump")
    broken, moved = (
        part.filter(pl.col("session") == session)
        for part in told_apart(price_breaks(now.join(bounds, on="con_id", how="left")), moves)
    )
    jumps = pl.concat(
        [
            broken.select(*_JUMP, broken="evidence"),
            moved.select(*_JUMP, moved=pl.format("a real move, {}; {}", "note", "evidence")),
        ],
        how="diagonal",
    )
    found = (
        members.select("con_id", "symbol", "max_jump")
        .join(jumps, on="con_id", how="left")
        .join(_overlap(now, then), on="con_id", how="left")
        .join(_against_days(last_before, minutes), on="con_id", how="left")
        .join(dividends(now).filter(pl.col("session") == session), on="con_id", how="left")
    )
    has_overlap = pl.col("_n_overlap").fill_null(0) > 0
    by_vintages = (
        pl.when(pl.col("_is_steady") & ((pl.col("_ratio") - 1).abs() > SAME_BASIS))
        .then(snapped(pl.col("_ratio"), SNAP))
        .otherwise(1.0)
    )
    by_minutes = pl.when(pl.col("_of_minutes_agree")).then(_coarse(pl.col("_of_minutes"))).otherwise(1.0)
    split = pl.when(has_overlap).then(by_vintages).otherwise(by_minutes).fill_null(1.0)
    ratio = pl.when(has_overlap).then(pl.col("_ratio")).otherwise(pl.col("_of_minutes"))
    dividend = pl.col("_dividend").fill_null(1.0)
    is_split, is_dividend = split != 1.0, dividend != 1.0
    is_odd = (has_overlap & ((ratio - 1).abs() > SAME_BASIS) & ~is_split).fill_null(value=False)
    is_apart = is_odd & _is_beyond(ratio)
    is_broken = pl.col("broken").is_not_null() | is_apart
    kind = (
        pl.when(is_broken)
        .then(pl.lit(UNEXPLAINED_BREAK))
        .when(pl.col("moved").is_not_null())
        .then(pl.lit(REAL_MOVE))
        .when(is_split & is_dividend)
        .then(pl.lit("split_and_dividend"))
        .when(is_split)
        .then(pl.lit("split"))
        .when(is_dividend)
        .then(pl.lit("dividend"))
        .when(is_odd)
        .then(pl.lit("unexplained"))
        .otherwise(pl.lit("none"))
    )
    return found.with_columns(
        pl.when(is_broken).then(1.0).otherwise(split).alias("split_factor"),
        pl.when(is_broken).then(1.0).otherwise(split * dividend).alias("total_return_factor"),
        kind.alias("kind"),
        pl.when(is_apart).then(ratio).otherwise(pl.coalesce("price_ratio", ratio)).alias("observed_ratio"),
        *(pl.when(~is_apart).then(name).alias(name) for name in ("close_before", "close_after")),
    ).select(*_FOUND, _link_evidence(has_overlap, is_dividend, is_odd, is_apart))


def _is_beyond(ratio: pl.Expr) -> pl.Expr:
    """Return whether a ratio is larger, up or down, than what a vendor revises or a company spins off."""
    return (ratio.log().abs() > pl.col("max_jump").log()).fill_null(value=False)


_FOUND = (
    "con_id", "symbol", "split_factor", "total_return_factor", "kind", "observed_ratio", "close_before", "close_after",
    "vintage_before", "vintage_after",
)  # fmt: skip
_JUMP = ("con_id", "price_ratio", "close_before", "close_after")


def _last_before(window: pl.DataFrame, session: date) -> pl.DataFrame:
    """Return the newest row of each instrument that is older than a session."""
    return window.filter(pl.col("session") < session).sort("session").group_by("con_id", maintain_order=True).last()


def _overlap(now: pl.DataFrame, then: pl.DataFrame) -> pl.DataFrame:
    """Compare the newest closes of two windows: the median ratio, over how many sessions, and whether they agree."""
    both = now.join(then, on=["con_id", "session"], how="inner", suffix="_then").sort("con_id", "session")
    ratio = pl.col("close") / pl.col("close_then")
    return (
        both.group_by("con_id", maintain_order=True)
        .tail(OVERLAP)
        .with_columns(ratio.alias("_one"))
        .group_by("con_id")
        .agg(
            pl.len().alias("_n_overlap"),
            pl.col("_one").median().alias("_ratio"),
            ((pl.col("_one") / pl.col("_one").median() - 1).abs() <= SNAP).mean().alias("_steady_share"),
            pl.col("vintage_then").last().alias("vintage_before"),
            pl.col("vintage").last().alias("vintage_after"),
            pl.col("close_then").last().alias("_close_then"),
            pl.col("close").last().alias("_close_now"),
        )
        .with_columns((pl.col("_steady_share") >= 0.5).alias("_is_steady"))  # noqa: PLR2004 - most of them
    )


def _against_days(daily: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Compare the day's four prices with those of its minutes: the median ratio, and whether most agree with it.

    One bad print moves the high or the low, a missing minute the open or the close; hardly anything but another price
    basis moves three of the four by the same factor.
    """
    both = daily.join(minutes, on=["con_id", "session"], how="inner", suffix="_minutes")
    ratios = pl.concat_list(*(pl.col(name) / pl.col(f"{name}_minutes") for name in PRICES))
    median = pl.col("_ratios").list.median()
    near = pl.col("_ratios").list.eval((pl.element() / pl.element().median() - 1).abs() <= COARSE_SNAP).list.sum()
    return both.with_columns(ratios.alias("_ratios")).select(
        "con_id",
        median.alias("_of_minutes"),
        (near >= 3).alias("_of_minutes_agree"),  # noqa: PLR2004 - three of four
        pl.col("close").alias("_day_close"),
        pl.col("close_minutes").alias("_minute_close"),
    )


def _link_evidence(has_overlap: pl.Expr, is_dividend: pl.Expr, is_odd: pl.Expr, is_apart: pl.Expr) -> pl.Expr:
    vintages = pl.format(
        "{} sessions, vintage {} against {}: close {} against {}, ratio {}",
        pl.col("_n_overlap"),
        pl.col("vintage_after"),
        pl.col("vintage_before"),
        pl.col("_close_now"),
        pl.col("_close_then"),
        pl.col("_ratio").round(6),
    )
    minutes = pl.format(
        "no window as of the session before; day {} against its minutes {}, ratio {}",
        pl.col("_day_close"),
        pl.col("_minute_close"),
        pl.col("_of_minutes").round(6),
    )
    dividend = pl.when(is_dividend).then(pl.format("; the adjusted closes step by {}", pl.col("_dividend").round(6)))
    odd = pl.when(is_odd).then(pl.lit("; the ratio is no split, and nothing is adjusted"))
    base = pl.when(has_overlap).then(vintages).otherwise(minutes).fill_null("nothing to compare")
    told = pl.concat_str(base, dividend, odd, ignore_nulls=True)
    return pl.when(is_apart).then(told).otherwise(pl.coalesce("broken", "moved", told)).alias("evidence")


# ------------------------------------------------------------ from the stored minutes to the window


def _own(members: pl.DataFrame, daily: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """Return the factors from the stored minutes of a session to the basis of the window as of it."""
    found = members.select("con_id", "symbol", "max_jump").join(
        _against_days(daily, minutes).join(daily.select("con_id", "vintage"), on="con_id"), on="con_id", how="left"
    )
    split = pl.when(pl.col("_of_minutes_agree")).then(_coarse(pl.col("_of_minutes"))).otherwise(1.0).fill_null(1.0)
    is_far = (pl.col("_of_minutes").log().abs() > pl.lit(COARSEST).log()).fill_null(value=False)
    is_broken = pl.col("_of_minutes_agree") & is_far & _is_beyond(pl.col("_of_minutes"))
    kind = (
        pl.when(split != 1.0)
        .then(pl.lit("basis"))
        .when(is_broken)
        .then(pl.lit(UNEXPLAINED_BREAK))
        .when(is_far)
        .then(pl.lit("unexplained"))
        .otherwise(pl.lit("none"))
    )
    text = pl.format(
        "day {} in vintage {} against its minutes {}, ratio {}",
        pl.col("_day_close"),
        pl.col("vintage"),
        pl.col("_minute_close"),
        pl.col("_of_minutes").round(6),
    ).fill_null("nothing to compare")
    odd = pl.when(kind.is_in(["unexplained", UNEXPLAINED_BREAK])).then(
        pl.lit("; the ratio is no split, and nothing is adjusted")
    )
    return found.with_columns(
        split.alias("split_factor"),
        split.alias("total_return_factor"),
        kind.alias("kind"),
        pl.col("_of_minutes").alias("observed_ratio"),
        *(pl.lit(None, pl.Float64).alias(name) for name in ("close_before", "close_after")),
        pl.lit(None, dtype=pl.Date).alias("vintage_before"),
        pl.col("vintage").alias("vintage_after"),
    ).select(*_FOUND, pl.concat_str(text, odd, ignore_nulls=True).alias("evidence"))


# ------------------------------------------------------------ ratios


def snapped(ratio: pl.Expr, tolerance: float, otherwise: float | None = 1.0) -> pl.Expr:
    """Return the plausible split nearest to each ratio, or `otherwise` where none is within the tolerance."""
    known = pl.Series("known", [float(one) for one in PLAUSIBLE])
    middles = (known.log() + known.shift(-1).log()).head(len(known) - 1) / 2
    nearest = pl.lit(known).gather(pl.lit(middles).search_sorted(ratio.fill_null(1.0).log()))
    return pl.when((ratio / nearest - 1).abs() <= tolerance).then(nearest).otherwise(otherwise)


def _coarse(ratio: pl.Expr) -> pl.Expr:
    nearest = snapped(ratio, COARSE_SNAP)
    return pl.when(nearest.log().abs() >= pl.lit(COARSEST).log()).then(nearest).otherwise(1.0)


# ------------------------------------------------------------ using the factors


def chained(factors: pl.DataFrame, con_ids: list[int], sessions: list[date]) -> pl.DataFrame:
    """Return, per instrument and session, the factors that put its stored minutes on the basis of the last session.

    Args:
        factors: rows of ADJUSTMENT_FACTORS as of the given sessions.
        con_ids: the instruments.
        sessions: consecutive sessions, ascending; the last one sets the basis.

    Returns:
        con_id, session, `own` (stored minutes → window as of the session), split and total (stored minutes → basis of
        the last session). Instruments that the factors do not know have 1.
    """
    schema = {"con_id": pl.Int64, "session": pl.Date}
    grid = pl.DataFrame({"con_id": con_ids}, {"con_id": pl.Int64}).join(
        pl.DataFrame({"session": sessions}, {"session": pl.Date}), how="cross"
    )
    known = factors.filter(pl.col("as_of_session").is_in(sessions))
    is_own = pl.col("session") == pl.col("as_of_session")
    own = known.filter(is_own).select("con_id", "session", pl.col("split_factor").alias("own"))
    links = known.filter(~is_own).select(
        "con_id",
        pl.col("as_of_session").alias("session"),
        pl.col("split_factor").alias("_split"),
        pl.col("total_return_factor").alias("_total"),
    )
    after = [
        pl.col(name).cum_prod(reverse=True).shift(-1, fill_value=1.0).over("con_id", order_by="session")
        for name in ("_split", "_total")
    ]
    keys = list(schema)
    return (
        grid.join(own, on=keys, how="left")
        .join(links, on=keys, how="left")
        .with_columns(pl.col("own", "_split", "_total").fill_null(1.0))
        .sort(keys)
        .with_columns(after)
        .select(
            *keys,
            "own",
            (pl.col("own") * pl.col("_split")).alias("split"),
            (pl.col("own") * pl.col("_total")).alias("total"),
        )
    )


def rebased(
    rows: pl.DataFrame,
    factors: pl.DataFrame,
    adjust: str,
    *,
    prices: tuple[str, ...] = (*PRICES, "wap"),
    volumes: tuple[str, ...] = ("volume",),
) -> pl.DataFrame:
    """Put rows on the basis that factors lead to: prices times their factor, volumes divided by that of splits alone.

    Args:
        rows: con_id, session, and what is scaled.
        factors: con_id, session, split, total.
        adjust: `splits` or `total`.
        prices: columns in quote currency per share.
        volumes: columns in shares: a dividend pays no shares, so it does not scale them.

    Returns:
        The rows with the same columns, in the same order.
    """
    keys = ["con_id", "session"]
    joined = rows.join(
        factors.select(*keys, pl.col("split").alias("_split"), pl.col("total").alias("_total")),
        on=keys,
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("_split", "_total").fill_null(1.0))
    price = pl.col("_total" if adjust == "total" else "_split")
    return joined.with_columns(
        *((pl.col(name) * price).alias(name) for name in prices if name in rows.columns),
        *((pl.col(name) / pl.col("_split")).alias(name) for name in volumes if name in rows.columns),
    ).select(rows.columns)
