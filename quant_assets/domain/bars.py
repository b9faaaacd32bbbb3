"""Which of several answers speaks for a bar, and which vintage speaks for a daily window."""

from datetime import date

import polars as pl

BASIS_TOLERANCE = 0.005
"""Two answers are on the same price basis when the median ratio of their closes is within this of 1."""

_ANSWER = ["con_id", "request_id"]


def newest_answers(raw: pl.DataFrame) -> pl.DataFrame:
    """Keep, of all answers about one session, the rows that speak for it.

    The newest answer that has a minute wins, so that a shorter re-fetch never loses minutes; but an older answer
    counts only when its closes agree with the newest one where both have bars. After a split the bases differ, and
    rows of both are never mixed.

    Args:
        raw: rows of `raw_tws_bars` of one series and one session, any number of batches.

    Returns:
        The winning rows, all of them from the newest answer that has their minute; duplicates inside one answer stay.
    """
    if raw.is_empty():
        return raw
    ranked = raw.with_columns(
        pl.struct("ingested_at", "request_id").rank("dense", descending=True).over("con_id").alias("_age")
    )
    eligible = ranked.filter(pl.col("_age") == 1) if ranked["_age"].max() == 1 else _same_basis(ranked)
    newest_per_minute = pl.col("_age") == pl.col("_age").min().over("con_id", "ts")
    return eligible.filter(newest_per_minute).drop("_age")


def _same_basis(ranked: pl.DataFrame) -> pl.DataFrame:
    """Drop answers whose overlap with the newest answer is on another price basis, or that have no overlap."""
    newest = ranked.filter(pl.col("_age") == 1).group_by("con_id", "ts").agg(pl.col("close").last().alias("_newest"))
    ratios = (
        ranked.join(newest, on=["con_id", "ts"], how="inner")
        .group_by(_ANSWER)
        .agg((pl.col("close") / pl.col("_newest")).median().alias("_ratio"))
        .filter((pl.col("_ratio") - 1).abs() <= BASIS_TOLERANCE)
    )
    agreeing = ranked.join(ratios.select(_ANSWER), on=_ANSWER, how="semi")
    return pl.concat([ranked.filter(pl.col("_age") == 1), agreeing.filter(pl.col("_age") > 1)])


def daily_window(vintages: pl.DataFrame, as_of: date, sessions: list[date]) -> pl.DataFrame:
    """Build the trailing daily window as of a session, on one price basis per instrument.

    Live, the newest full vintage up to `as_of` is extended by the short overlaps that were fetched after it; they
    agreed with it where they overlap, else a new full one would have been fetched. For a backfill no vintage reaches
    back to `as_of`: the nearest later one is cut at `as_of`, and the rows say `assumed`.

    Args:
        vintages: rows of `raw_tws_daily_bars`, TRADES and ADJUSTED_LAST, any vintages.
        as_of: the session as of which the window is seen.
        sessions: expected sessions of the window, ascending, the last one being `as_of`.

    Returns:
        One row per instrument and session with adj_close beside OHLCV; columns as `curated_tws_1d_bars` but for
        dq_status, coverage and transform_version.
    """
    chosen = _chosen_rows(vintages, as_of).filter(pl.col("session").is_in(sessions))
    adjusted = chosen.filter(pl.col("what_to_show") == "ADJUSTED_LAST").select(
        "con_id", "session", pl.col("close").alias("adj_close")
    )
    trades = chosen.filter(pl.col("what_to_show") == "TRADES")
    return trades.join(adjusted, on=["con_id", "session"], how="left").with_columns(
        pl.lit(as_of).alias("as_of_session"),
        pl.col("adj_close").fill_null(pl.col("close")),
        pl.when(pl.col("vintage") <= as_of).then(pl.col("known_basis")).otherwise(pl.lit("assumed")).alias("known_basis"),
        pl.col("ingested_at").alias("known_at"),
    )


def _chosen_rows(vintages: pl.DataFrame, as_of: date) -> pl.DataFrame:
    series = ["con_id", "what_to_show"]
    full = vintages.filter(pl.col("is_full"))
    base = (
        full.group_by(series)
        .agg(
            pl.col("vintage").filter(pl.col("vintage") <= as_of).max().alias("_before"),
            pl.col("vintage").filter(pl.col("vintage") >= as_of).min().alias("_after"),
        )
        .with_columns(pl.coalesce("_before", "_after").alias("_base"))
    )
    joined = vintages.join(base, on=series, how="inner")
    reach = joined.filter(
        (pl.col("session") <= as_of)
        & (pl.col("vintage") >= pl.col("_base"))
        & ((pl.col("vintage") <= as_of) | (pl.col("vintage") == pl.col("_base")))
    )
    # A base that lies before `as_of` without reaching it is completed by the nearest later vintage only when the
    # short overlaps in between were never fetched: the whole window is then taken from that later one.
    reached = reach.group_by(series).agg(pl.col("session").max().alias("_last"))
    short = base.join(reached, on=series).filter((pl.col("_last") < as_of) & pl.col("_after").is_not_null())
    late = vintages.join(short.select(*series, "_after"), on=series, how="inner").filter(
        (pl.col("vintage") == pl.col("_after")) & (pl.col("session") <= as_of)
    )
    rows = pl.concat(
        [
            reach.join(short, on=series, how="anti").select(vintages.columns),
            late.select(vintages.columns),
        ]
    )
    newest_first = rows.sort("vintage", "ingested_at", "answer_row")
    return newest_first.unique(subset=[*series, "session"], keep="first", maintain_order=True)


def overlap_agrees(stored: pl.DataFrame, fetched: pl.DataFrame, tolerance: float = 1e-4) -> pl.DataFrame:
    """Compare a short re-fetch with what is stored of the same series.

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
    return fetched.select(key).unique().join(ratios, on=key, how="left").with_columns(
        ((pl.col("ratio") - 1).abs() <= tolerance).fill_null(value=False).alias("agrees")
    )
