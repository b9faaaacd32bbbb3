"""Which of several answers speaks for a bar, and which vintage speaks for a daily window."""

from datetime import date

import polars as pl

from quant_assets.domain.adjustments import SNAP, snapped
from quant_assets.domain.instruments import PRIMARY_SERIES
from quant_assets.domain.toxic import MAX_LOG_JUMP
from quant_assets.settings.quality import PRICES

BASIS_TOLERANCE = 0.005
"""Two answers are on the same price basis when the median ratio of their closes is within this of 1."""

SEAM_TOLERANCE = 0.04
"""Two answers without a common minute are on the same price basis when, where they come closest in time, their closes
are within this of each other. Prices move less within a session, mostly; splits by a twentieth and more."""

_ANSWER = ["con_id", "request_id"]
_DAILY_SERIES = ["con_id", "what_to_show"]
_VALUES = (*PRICES, "volume")


def newest_answers(raw: pl.DataFrame) -> pl.DataFrame:
    """Keep, of all answers about one session, the rows that speak for it.

    The newest answer that has a minute wins, so that a shorter re-fetch never loses minutes; but an older answer
    counts only when its closes agree with the newest one where both have bars, or, when no minute is common, where
    they come closest. After a split they do not, and rows of both bases are never mixed: when the ratio on the overlap
    is that of a split, the older rows are put on the newest answer's basis, and else they stand back. A bad print in a
    short newest answer says nothing of the basis: it does not make the older answers stand back.

    Args:
        raw: rows of `raw_tws_bars` of one series and one session, any number of batches.

    Returns:
        The winning rows, all of them from the newest answer that has their minute; duplicates inside one answer stay.
        `rescaled_by` is what the prices of a row were multiplied by (1 for rows as served), and `rescaled_at` when
        the answer arrived whose basis they were put on (null for rows as served).
    """
    if raw.is_empty() or one_answer_each(raw):
        return raw.with_columns(**_AS_SERVED)
    ranked = raw.with_columns(
        pl.struct("ingested_at", "request_id").rank("dense", descending=True).over("con_id").alias("_age")
    )
    newest = ranked.filter(pl.col("_age") == 1).with_columns(**_AS_SERVED)
    eligible = newest if ranked["_age"].max() == 1 else _on_one_basis(ranked, newest)
    newest_per_minute = pl.col("_age") == pl.col("_age").min().over("con_id", "ts")
    return eligible.filter(newest_per_minute).drop("_age")


def one_answer_each(raw: pl.DataFrame) -> bool:
    """Return whether every instrument's rows are of one answer, and stand together; else it has to be looked at."""
    instrument, request, arrived = (pl.col(x).ne(pl.col(x).shift(1)) for x in ("con_id", "request_id", "ingested_at"))
    changes = raw.select(
        instrument.sum().alias("instruments"),
        (instrument | request | arrived).sum().alias("answers"),
        (pl.col("con_id") < pl.col("con_id").shift(1)).any().alias("mixed"),
    )
    n_instruments, n_answers, is_mixed = changes.row(0)
    return n_instruments == n_answers and not is_mixed


_AS_SERVED = {
    "rescaled_by": pl.lit(1.0),
    "rescaled_at": pl.lit(None, dtype=pl.Datetime("us", "UTC")),
}


def _on_one_basis(ranked: pl.DataFrame, newest: pl.DataFrame) -> pl.DataFrame:
    """Keep older answers that are on the newest one's price basis, or a split away from it; drop all others."""
    older = ranked.filter(pl.col("_age") > 1)
    speaking = newest.group_by("con_id", "ts").agg(pl.col("close").last().alias("_newest"))
    one = pl.col("_newest") / pl.col("close")
    ratios = (
        older.join(speaking, on=["con_id", "ts"], how="inner")
        .group_by(_ANSWER)
        .agg(
            pl.len().alias("_n"),
            one.median().alias("_ratio"),
            ((one / one.median() - 1).abs() <= SNAP).mean().alias("_steady"),
            ((one - 1).abs() <= BASIS_TOLERANCE).mean().alias("_equal"),
        )
        .filter((pl.col("_n") >= _ENOUGH) | ~_is_far(pl.col("_ratio")))
    )
    is_same = ((pl.col("_ratio") - 1).abs() <= BASIS_TOLERANCE) | (pl.col("_equal") >= _MOST)
    is_steady = (pl.col("_n") >= _ENOUGH) & (pl.col("_steady") > _MOST)
    split = pl.when(is_steady).then(snapped(pl.col("_ratio"), SNAP, otherwise=None))
    overlapping = ratios.with_columns(pl.when(is_same).then(1.0).otherwise(split).alias("rescaled_by"))
    apart = _seams(older.join(ratios, on=_ANSWER, how="anti"), speaking)
    meets = (pl.col("_ratio") - 1).abs() <= SEAM_TOLERANCE
    touching = apart.with_columns(pl.when(meets | pl.col("_is_print")).then(1.0).alias("rescaled_by"))
    columns = [*_ANSWER, "rescaled_by"]
    factors = pl.concat([overlapping.select(columns), touching.select(columns)]).drop_nulls("rescaled_by")
    arrived = newest.group_by("con_id").agg(pl.col("ingested_at").max().alias("rescaled_at"))
    kept = older.join(factors.select(*_ANSWER, "rescaled_by"), on=_ANSWER).join(arrived, on="con_id")
    is_moved = pl.col("rescaled_by") != 1.0
    moved = kept.with_columns(
        *((pl.col(name) * pl.col("rescaled_by")).alias(name) for name in (*PRICES, "wap") if name in kept.columns),
        *((pl.col(name) / pl.col("rescaled_by")).alias(name) for name in ("volume",) if name in kept.columns),
        pl.when(is_moved).then(pl.col("rescaled_at")).alias("rescaled_at"),
    )
    return pl.concat([newest, moved.select(newest.columns)])


def _seams(apart: pl.DataFrame, newest: pl.DataFrame) -> pl.DataFrame:
    """Say how answers with no common minute, or one whose price is absurd, meet the newest one.

    Returns:
        con_id, request_id, `_ratio` of the two closes that are nearest in time, of those that are not absurdly far
        apart if there are any: one bad print says nothing of the basis. `_is_print`: the newest answer is one bar, at
        a price that is absurd and no split's.
    """
    at = newest.with_columns(pl.col("ts").alias("_at")).sort("ts")
    old = apart.select(*_ANSWER, "ts", "close").sort("ts")
    pairs = old.join_asof(at, on="ts", by="con_id", strategy="nearest", check_sortedness=False)
    there = at.join(old.select(_ANSWER).unique(), on="con_id").sort("ts")
    beside = there.join_asof(
        old.with_columns(pl.col("ts").alias("_from")), on="ts", by=_ANSWER, strategy="nearest", check_sortedness=False
    ).select(*_ANSWER, pl.col("_from").alias("ts"), "close", "_newest", "_at")
    both = pl.concat([pairs.select(beside.columns), beside]).filter(pl.col("_newest").is_not_null())
    ratio = pl.col("close") / pl.col("_newest")
    ranked = both.with_columns(ratio.alias("_ratio"), _is_far(ratio).alias("_far")).sort(
        pl.col("_far"), (pl.col("ts") - pl.col("_at")).abs(), "_at", "ts"
    )
    first = ranked.unique(_ANSWER, keep="first", maintain_order=True)
    lone = newest.group_by("con_id").agg((pl.len() < _ENOUGH).alias("_lone"))
    no_split = snapped(1 / pl.col("_ratio"), SNAP, otherwise=None).is_null()
    return first.join(lone, on="con_id").select(
        *_ANSWER, "_ratio", (pl.col("_far") & pl.col("_lone") & no_split).alias("_is_print")
    )


def _is_far(ratio: pl.Expr) -> pl.Expr:
    """Whether two prices cannot both be of one session; no price at all is as far as can be."""
    return ~(ratio.log().abs() <= MAX_LOG_JUMP).fill_null(value=False) | ratio.is_nan()


_ENOUGH = 2
"""Minutes of overlap that it takes to tell a split from a bad print."""
_MOST = 0.5
"""Share of the overlap: more than it has to agree with its median, before the median is taken for a split; with as much
of it unchanged, the basis is the same and the rest are bad prints or revisions."""


def as_served(rows: pl.DataFrame) -> pl.DataFrame:
    """Take the rescaling of `newest_answers` back, for rows that are shown as evidence."""
    if "rescaled_by" not in rows.columns:
        return rows
    return rows.with_columns(
        *((pl.col(name) / pl.col("rescaled_by")).alias(name) for name in (*PRICES, "wap")),
        (pl.col("volume") * pl.col("rescaled_by")).alias("volume"),
    )


def daily_window(vintages: pl.DataFrame, as_of: date, sessions: list[date]) -> pl.DataFrame:
    """Build the trailing daily window as of a session, on one price basis per instrument.

    Live, the newest full answer up to `as_of` is extended, and revised, by the short overlaps that were fetched after
    it; they agreed with it where they overlap, else a new full one would have been fetched. For a backfill no answer
    of that time reaches back far enough: a later one is cut at `as_of`, and the rows say `assumed`.

    Args:
        vintages: rows of `raw_tws_daily_bars`, any series and vintages.
        as_of: the session as of which the window is seen.
        sessions: expected sessions of the window, ascending, the last one being `as_of` or the one before it.

    Returns:
        One row per instrument and session with adj_close beside OHLCV; columns as `curated_tws_1d_bars` but for
        dq_status, coverage and transform_version, and is_adjusted: whether ADJUSTED_LAST speaks for the instrument.
        `known_at` is the first time that a vintage brought the value.
        What has no trades of its own is seen by its midpoints, or by its aggregated trades.
        Where ADJUSTED_LAST does not speak for the basis of the trades, adj_close is the close.
    """
    vintages = vintages.with_columns(pl.col("what_to_show").replace(dict.fromkeys(PRIMARY_SERIES, "TRADES")))
    chosen = _chosen_rows(vintages, as_of, sessions[0]).filter(pl.col("session").is_in(sessions))
    adjusted = chosen.filter(pl.col("what_to_show") == "ADJUSTED_LAST")
    trades = _with_adjusted(chosen.filter(pl.col("what_to_show") == "TRADES"), adjusted)
    values = ["con_id", "session", *_VALUES]
    first_known = (
        vintages.filter(pl.col("what_to_show") == "TRADES")
        .group_by(values)
        .agg(pl.col("ingested_at").min().alias("known_at"))
    )
    return trades.join(first_known, on=values, how="left", nulls_equal=True).with_columns(
        pl.lit(as_of).alias("as_of_session"),
        pl.when(pl.col("vintage") <= as_of)
        .then(pl.col("known_basis"))
        .otherwise(pl.lit("assumed"))
        .alias("known_basis"),
    )


def _with_adjusted(trades: pl.DataFrame, adjusted: pl.DataFrame) -> pl.DataFrame:
    """Add adj_close, from an adjusted series that starts from the same vintage and reaches as far.

    Else a split would stand in one of the two columns only, or a dividend in part of one: then adj_close is the close.
    A session that only the trades have takes the factor of the session after it.
    """
    extent = [pl.col("_base").first(), pl.col("session").max().alias("_last")]
    same = (
        adjusted.group_by("con_id")
        .agg(extent)
        .join(trades.group_by("con_id").agg(extent), on=["con_id", "_base", "_last"])
    )
    closes = adjusted.join(same, on="con_id", how="semi").select(
        "con_id", "session", pl.col("close").alias("_adjusted")
    )
    factor = (pl.col("_adjusted") / pl.col("close")).backward_fill().over("con_id")
    joined = trades.sort("con_id", "session").join(closes, on=["con_id", "session"], how="left", maintain_order="left")
    return joined.with_columns(
        pl.coalesce("_adjusted", factor * pl.col("close"), "close").alias("adj_close"),
        pl.col("_adjusted").is_not_null().any().over("con_id").alias("is_adjusted"),
    ).drop("_adjusted")


def _chosen_rows(vintages: pl.DataFrame, as_of: date, start: date) -> pl.DataFrame:
    """Return, per series and session, the newest row on the basis of one full answer; `_base` is its vintage."""
    bases = _base_answers(vintages, as_of, start)
    rows = vintages.join(bases, on=_DAILY_SERIES, how="inner").filter(pl.col("session") <= as_of)
    is_base = pl.col("request_id") == pl.col("_request")
    extends = (
        ~pl.col("is_full")
        & (pl.col("vintage") <= as_of)
        & (
            (pl.col("vintage") > pl.col("_base"))
            | ((pl.col("vintage") == pl.col("_base")) & (pl.col("ingested_at") > pl.col("_at")))
        )
    )
    newest_first = rows.filter(is_base | extends).sort(
        "vintage", "ingested_at", "request_id", "answer_row", descending=[True, True, True, False]
    )
    return newest_first.unique(subset=[*_DAILY_SERIES, "session"], keep="first", maintain_order=True)


def _base_answers(vintages: pl.DataFrame, as_of: date, start: date) -> pl.DataFrame:
    """Return the full answer that fixes the basis of each series: `_base` (its vintage), `_request` and `_at`.

    The newest one up to `as_of`, unless a later one knows more of the window: because it begins before it, or because
    the overlaps after the former end too early. Of later ones, that which reaches back furthest, then the nearest.
    """
    answers = (
        vintages.filter(pl.col("is_full"))
        .group_by(*_DAILY_SERIES, pl.col("vintage").alias("_base"), pl.col("request_id").alias("_request"))
        .agg(
            pl.col("ingested_at").max().alias("_at"),
            pl.max_horizontal(pl.col("session").min(), pl.lit(start)).alias("_first"),
            pl.col("session").filter(pl.col("session") <= as_of).max().alias("_reach"),
        )
    )
    before = answers.filter(pl.col("_base") <= as_of).sort("_base", "_at", "_request", descending=True)
    after = answers.filter(pl.col("_base") > as_of).sort(
        "_first", "_base", "_at", "_request", descending=[False, False, True, True]
    )
    live = before.unique(_DAILY_SERIES, keep="first", maintain_order=True)
    late = after.unique(_DAILY_SERIES, keep="first", maintain_order=True)
    reached = (
        vintages.join(live, on=_DAILY_SERIES, how="inner")
        .filter(pl.col("vintage").is_between("_base", as_of) & (pl.col("session") <= as_of))
        .group_by(_DAILY_SERIES)
        .agg(pl.col("session").max().alias("_last"))
    )
    compared = live.join(reached, on=_DAILY_SERIES, how="left").join(late, on=_DAILY_SERIES, how="left", suffix="_late")
    is_enough = (pl.col("_last") >= pl.col("_reach_late")) & (pl.col("_first") <= pl.col("_first_late"))
    kept = compared.filter(is_enough | pl.col("_reach_late").is_null()).select(live.columns)
    return pl.concat([kept, late.join(kept, on=_DAILY_SERIES, how="anti")]).drop("_first", "_reach")


def overlap_agrees(stored: pl.DataFrame, fetched: pl.DataFrame, tolerance: float = 1e-6) -> pl.DataFrame:
    """Compare a short re-fetch with what is stored of the same series.

    On an unchanged basis TWS serves the same numbers again, so that the median ratio is 1 and the smallest dividend
    shows: a cent on a share of a thousand moves it by ten times the tolerance. One revised close does not move it; a
    false alarm costs one full window.

    Args:
        stored: con_id, what_to_show, session, close.
        fetched: the same columns, as just served.
        tolerance: largest relative difference that is no change of basis.

    Returns:
        con_id, what_to_show, n_overlap, ratio (median fetched ÷ stored) and agrees (True only with an overlap).
    """
    key = ["con_id", "what_to_show"]
    both = fetched.join(stored, on=[*key, "session"], how="inner", suffix="_stored")
    ratios = both.group_by(key).agg(
        pl.len().alias("n_overlap"), (pl.col("close") / pl.col("close_stored")).median().alias("ratio")
    )
    return (
        fetched.select(key)
        .unique()
        .join(ratios, on=key, how="left")
        .with_columns(((pl.col("ratio") - 1).abs() <= tolerance).fill_null(value=False).alias("agrees"))
    )


def session_prices(minutes: pl.DataFrame) -> pl.DataFrame:
    """Summarize 1-minute bars of sessions.

    Args:
        minutes: con_id, session, ts, open, high, low, close; rows without sound prices are left out.

    Returns:
        con_id, session, open (of the first minute), high, low, close (of the last minute).
    """
    sound = pl.all_horizontal((pl.col(name) > 0) & pl.col(name).is_finite() for name in PRICES)
    return (
        minutes.filter(sound)
        .group_by("con_id", "session")
        .agg(
            pl.col("open").sort_by("ts").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").sort_by("ts").last(),
        )
    )
