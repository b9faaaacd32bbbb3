"""Is an answer with 1-minute bars all there is? Judged by its minutes, the daily volume and earlier answers."""

from typing import Final

import polars as pl

from quant_assets.domain.bars import BASIS_TOLERANCE
from quant_assets.domain.hours import HOURS, is_open, n_open_minutes
from quant_assets.domain.outcomes import IN_SHARES, LOTS, LOTS_BARS, LOTS_RATIO, NOTHING, REFUSED_ROWS
from quant_assets.domain.tables.core import in_strict_order

VOLUME_TOLERANCE: Final = 0.001
"""Minute volumes add up to the daily volume when they differ by no more than this share of it. An average minute of a
US session holds 1/390, more than twice as much: no ordinary minute can hide in it."""
LOST_SHARE: Final = 0.25
"""Minutes count as lost, and not as without trades, when the daily volume has at least this share of what as many
average minutes would hold. Midday minutes hold about half of the average; late prints and rounding far less."""

_NEED: Final = ["session", "con_id"]
_ANSWER: Final = [*_NEED, "request_id"]
_VALUES: Final = ["answer_row", "ts", "open", "high", "low", "close", "volume", "wap", "bar_count"]

ANSWERS: Final = pl.Schema(
    {
        "session": pl.Date(),
        "con_id": pl.Int64(),
        "request_id": pl.String(),
        **HOURS,
        "is_share": pl.Boolean(),
        "may_be_lots": pl.Boolean(),
        "words": pl.String(),
        "first_asked": pl.Date(),
        "last_asked": pl.Date(),
        "first_row": pl.Date(),
        "last_row": pl.Date(),
        "n_nothing": pl.Int64(),
        "is_reread": pl.Boolean(),
    }
)
"""One row per session that an answer was to bring.

`is_share`: its volume counts shares, of which a trade has at least one · `may_be_lots`: TWS has a setting that counts
its volume in lots; null is no · `words`: TWS's own, when it said that there is no data · `first_asked`, `last_asked`:
sessions that the request covers · `first_row`, `last_row`: sessions of the whole answer, null without rows ·
`n_nothing`: how often it has been asked before and came back without a bar · `is_reread`: the session is settled, and
was asked for again to see what the vendor revised
"""

DAILY_VOLUMES: Final = pl.Schema({"session": pl.Date(), "con_id": pl.Int64(), "daily_volume": pl.Float64()})
"""What the daily history says of a session: 0 where it covers the session and has no bar; no row where it is silent."""


def judge_minutes(
    answers: pl.DataFrame,
    rows: pl.DataFrame,
    daily: pl.DataFrame,
    earlier: pl.DataFrame,
    *,
    among_lots: bool = False,
) -> pl.DataFrame:
    """Say what each answer came to for each session that it was to bring.

    Args:
        answers: ANSWERS.
        rows: rows of `raw_tws_bars` of these answers; those of other sessions are not among them.
        daily: DAILY_VOLUMES.
        earlier: rows of `raw_tws_bars` of earlier answers about the same sessions and instruments.
        among_lots: another answer had its volumes in lots. The setting is one for all, so that nothing is kept that
            may be in lots, nor when one of these answers is.

    Returns:
        session, con_id, request_id, outcome, proof (empty while nothing speaks for the outcome), detail, n_rows,
        same_as (batch id of an earlier answer with equal rows, or null), is_kept (its rows add to bronze: they are
        what was asked for, nothing equal is there, and a settled session loses no minute by them) and unit (of what TWS
        has a setting for: `lots`, `shares`, `unclear` where it may be either; null where volumes have nothing to tell).
    """
    has_traded = pl.col("volume").is_null() | (pl.col("volume") > 0)
    traded = earlier.filter(has_traded).select(_NEED).unique().with_columns(pl.lit(value=True).alias("has_traded"))
    counted = (
        answers.join(_counts(rows, answers), on=_ANSWER, how="left")
        .join(daily, on=_NEED, how="left")
        .join(traded, on=_NEED, how="left")
        .join(compare(rows, answers, earlier), on=_ANSWER, how="left")
        .with_columns(
            pl.col("n_rows", "n_present", "n_odd", "n_counted", "n_revised").fill_null(0),
            pl.col("agrees", "loses_minutes", "has_traded").fill_null(value=False),
            n_open_minutes().alias("n_expected"),
        )
        .with_columns((pl.col("n_expected") - pl.col("n_present")).alias("n_missing"))
    )
    said = counted.with_columns(_outcome().alias("outcome")).with_columns(_unit().alias("unit"))
    in_lots = pl.lit(among_lots) | (pl.col("unit") == "lots").fill_null(value=False).any()
    suspect = in_lots & _is_unclear() & ~pl.col("outcome").is_in([*NOTHING, *REFUSED_ROWS])
    outcome = pl.when(suspect).then(pl.lit("wrong_unit")).otherwise("outcome")
    judged = said.with_columns(outcome.alias("outcome")).with_columns(_proof().alias("proof"))
    adds = (pl.col("n_rows") > 0) & pl.col("same_as").is_null() & ~_is_worse() & ~_is_rebased()
    is_kept = adds & ~pl.col("outcome").is_in(REFUSED_ROWS)
    return judged.with_columns(_detail().alias("detail"), is_kept.alias("is_kept")).select(
        *_ANSWER, "outcome", "proof", "detail", "n_rows", "same_as", "is_kept", "unit"
    )


def _counts(rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Count the rows, the minutes inside the session, their volume, and the bars with fewer shares than trades.

    A minute that an answer tells twice counts once, with the larger volume.
    """
    placed = rows.join(_hours(answers), on=_NEED, how="left").with_columns(is_open().alias("_inside"))
    odd = (pl.col("volume") < pl.col("bar_count")).fill_null(value=False)
    is_counted = pl.col("volume").is_not_null() & pl.col("bar_count").is_not_null()
    per_answer = placed.group_by(_ANSWER).agg(
        pl.len().cast(pl.Int64).alias("n_rows"),
        (odd & pl.col("_inside")).sum().cast(pl.Int64).alias("n_odd"),
        (is_counted & pl.col("_inside")).sum().cast(pl.Int64).alias("n_counted"),
        (pl.col("volume").sum() / pl.col("bar_count").sum()).alias("trade"),
        pl.col("close").mean().alias("price"),
    )
    minutes = placed.filter("_inside")
    if not in_strict_order(minutes, ["request_id", "ts"]):
        minutes = minutes.group_by([*_ANSWER, "ts"]).agg(pl.col("volume").max())
    volumes = minutes.group_by(_ANSWER).agg(
        pl.len().cast(pl.Int64).alias("n_present"), pl.col("volume").sum().alias("minute_volume")
    )
    return per_answer.join(volumes, on=_ANSWER, how="left")


def _hours(answers: pl.DataFrame) -> pl.DataFrame:
    return answers.select(*_NEED, *HOURS).unique(_NEED)


def _inside(rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    return rows.join(_hours(answers), on=_NEED, how="inner").filter(is_open())


def compare(rows: pl.DataFrame, answers: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Compare answers with earlier ones about the same sessions.

    Args:
        rows: rows of `raw_tws_bars` of the answers.
        answers: session, con_id, request_id and HOURS of each.
        earlier: rows of `raw_tws_bars` of earlier answers.

    Returns:
        session, con_id, request_id of answers that have an earlier one with rows: agrees (one has exactly the same
        minutes), same_as (batch of one with exactly the same rows), loses_minutes (earlier ones have minutes that this
        one lacks), n_revised (minutes that the newest of them tells otherwise) and ratio (median close, this ÷ that).
    """
    if earlier.is_empty():
        empty = {"agrees": pl.Boolean(), "same_as": pl.String(), "loses_minutes": pl.Boolean(), "n_revised": pl.Int64()}
        empty |= {"ratio": pl.Float64()}
        return pl.DataFrame(schema={**{name: ANSWERS[name] for name in _ANSWER}, **empty})
    old = earlier.rename({"request_id": "_other"})
    pairs = answers.select(_ANSWER).join(old.select(*_NEED, "_other", "batch_id").unique(), on=_NEED)
    new_minutes, old_minutes = _minutes(rows, answers, "request_id"), _minutes(old, answers, "_other")
    are_all_common = (pl.col("_n") == pl.col("_both")) & (pl.col("_m") == pl.col("_both"))
    minutes = _matched(pairs, new_minutes, old_minutes, ["ts"]).select(
        *_ANSWER, "_other", are_all_common.alias("_agrees")
    )
    equal = _matched(pairs, rows, old, _VALUES).select(*_ANSWER, "_other", are_all_common.alias("_equal"))
    known = old_minutes.select(*_NEED, "ts").unique()
    lacking = (
        answers.select(_ANSWER)
        .join(known, on=_NEED)
        .join(new_minutes, on=[*_ANSWER, "ts"], how="anti")
        .select(_ANSWER)
        .unique()
        .with_columns(pl.lit(value=True).alias("loses_minutes"))
    )
    return (
        pairs.join(minutes, on=[*_ANSWER, "_other"])
        .join(equal, on=[*_ANSWER, "_other"])
        .group_by(_ANSWER)
        .agg(
            pl.col("_agrees").any().alias("agrees"),
            pl.col("batch_id").filter(pl.col("_equal")).max().alias("same_as"),
        )
        .join(lacking, on=_ANSWER, how="left")
        .join(_revised(rows, answers, earlier), on=_ANSWER, how="left")
        .with_columns(pl.col("n_revised").fill_null(0), pl.col("loses_minutes").fill_null(value=False))
    )


def _minutes(rows: pl.DataFrame, answers: pl.DataFrame, request: str) -> pl.DataFrame:
    return _inside(rows, answers).select(*_NEED, request, "ts").unique()


def _matched(pairs: pl.DataFrame, new: pl.DataFrame, old: pl.DataFrame, values: list[str]) -> pl.DataFrame:
    """Count, per pair of answers, the rows of each (`_n`, `_m`) and those that both have (`_both`)."""
    both = new.join(old, on=[*_NEED, *values], how="inner", nulls_equal=True).group_by(*_ANSWER, "_other")
    return (
        pairs.join(new.group_by(_ANSWER).agg(pl.len().alias("_n")), on=_ANSWER, how="left")
        .join(old.group_by(*_NEED, "_other").agg(pl.len().alias("_m")), on=[*_NEED, "_other"], how="left")
        .join(both.agg(pl.len().alias("_both")), on=[*_ANSWER, "_other"], how="left")
        .with_columns(pl.col("_n", "_m", "_both").fill_null(0))
    )


def _revised(rows: pl.DataFrame, answers: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Compare each answer minute by minute with the newest earlier one that has the minute: n_revised and ratio."""
    prices = ["open", "high", "low", "close", "volume"]
    newest = _inside(earlier, answers).sort("ingested_at", "request_id").unique([*_NEED, "ts"], keep="last")
    both = _inside(rows, answers).join(newest, on=[*_NEED, "ts"], suffix="_old")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_old")) for name in prices)
    return both.group_by(_ANSWER).agg(
        pl.col("ts").filter(differs).n_unique().cast(pl.Int64).alias("n_revised"),
        (pl.col("close") / pl.col("close_old")).median().alias("ratio"),
    )


# ---------------------------------------------------------------- the verdict


def _outcome() -> pl.Expr:
    nothing = pl.col("n_present") == 0
    idle = _is_idle()
    says = pl.col("words") != ""
    shifted = ((pl.col("first_row") < pl.col("first_asked")) & (pl.col("last_row") < pl.col("last_asked"))).fill_null(
        value=False
    )
    cut_off = pl.col("last_row").is_between(pl.col("first_asked"), pl.col("session")).fill_null(value=False)
    speaks_for_itself = _is_complete() | _adds_up() | pl.col("agrees")
    return (
        pl.when(nothing & says)
        .then(pl.lit("no_data"))
        .when(nothing & idle)
        .then(pl.lit("no_trades"))
        .when(nothing & (pl.col("n_nothing") > 0))
        .then(pl.lit("suspect_empty"))
        .when(shifted)
        .then(pl.lit("shifted"))
        .when(nothing & cut_off)
        .then(pl.lit("truncated"))
        .when(nothing)
        .then(pl.lit("empty"))
        .when(_is_in_lots())
        .then(pl.lit("wrong_unit"))
        .when(_is_worse())
        .then(pl.lit("truncated"))
        .when(speaks_for_itself)
        .then(pl.lit("bars"))
        .when(is_lossy())
        .then(pl.lit("truncated"))
        .otherwise(pl.lit("unconfirmed"))
    )


def _proof() -> pl.Expr:
    return (
        pl.when(pl.col("outcome").is_in(["no_data", "no_trades"]) & _is_idle())
        .then(pl.lit("daily"))
        .when((pl.col("outcome") != "bars") | _is_rebased())
        .then(pl.lit(""))
        .when(_is_complete())
        .then(pl.lit("complete"))
        .when(_adds_up())
        .then(pl.lit("volume"))
        .otherwise(pl.lit("agreement"))
    )


def _is_idle() -> pl.Expr:
    """Return whether the daily history knows of no trade, and no earlier answer brought one."""
    return (pl.col("daily_volume") == 0).fill_null(value=False) & ~pl.col("has_traded")


def _is_worse() -> pl.Expr:
    """Return whether it was to renew a settled session, and lacks minutes of it."""
    return pl.col("is_reread") & pl.col("loses_minutes")


def _is_rebased() -> pl.Expr:
    """Return whether it was to renew a settled session, and stands on another price basis: a split came between.

    That revises nothing. The session stays on the basis of its own day, as its daily history does.
    """
    return pl.col("is_reread") & ((pl.col("ratio") - 1).abs() > BASIS_TOLERANCE).fill_null(value=False)


def _is_complete() -> pl.Expr:
    return pl.col("n_present") == pl.col("n_expected")


def _adds_up() -> pl.Expr:
    """Return whether the minutes that are there hold the whole volume of the day."""
    gap = (pl.col("daily_volume") - pl.col("minute_volume")).abs()
    return ((pl.col("daily_volume") > 0) & (gap <= VOLUME_TOLERANCE * pl.col("daily_volume"))).fill_null(value=False)


def is_lossy() -> pl.Expr:
    """Return whether the day's volume says that minutes which traded are missing.

    Columns: daily_volume, minute_volume, n_present, n_missing.
    """
    usual = pl.col("n_missing") * pl.col("minute_volume") / pl.col("n_present")
    short = pl.col("daily_volume") - pl.col("minute_volume")
    beyond = short > VOLUME_TOLERANCE * pl.col("daily_volume")
    return (beyond & (pl.col("n_missing") > 0) & (short >= LOST_SHARE * usual)).fill_null(value=False)


def _is_in_lots() -> pl.Expr:
    by_bars = pl.col("n_odd") > LOTS_BARS * pl.col("n_counted")
    ratio = LOTS * pl.col("minute_volume") / pl.col("daily_volume")
    by_sum = (ratio - 1).abs() <= LOTS_RATIO
    is_most = 2 * pl.col("n_present") >= pl.col("n_expected")
    return pl.col("is_share") & (by_bars | (is_most & by_sum)).fill_null(value=False)


def _unit() -> pl.Expr:
    """Return what volumes count: they are the day's, or trades are larger than lots can have; or nobody knows.

    Of an answer that is dated elsewhere no volume is looked at.
    """
    adds_up = (pl.col("minute_volume") / pl.col("daily_volume") - 1).abs() <= LOTS_RATIO
    is_large = pl.col("price") * pl.col("trade").pow(2) >= IN_SHARES
    is_in_lots = pl.col("outcome") == "wrong_unit"
    tells = (pl.col("n_present") > 0) & (pl.col("minute_volume") > 0) & (pl.col("n_counted") > 0)
    return (
        pl.when(~pl.col("may_be_lots").fill_null(value=False) | (pl.col("outcome") == "shifted"))
        .then(None)
        .when(is_in_lots)
        .then(pl.lit("lots"))
        .when(~tells.fill_null(value=False))
        .then(None)
        .when((adds_up | is_large).fill_null(value=False))
        .then(pl.lit("shares"))
        .otherwise(pl.lit("unclear"))
    )


def _is_unclear() -> pl.Expr:
    return (pl.col("unit") == "unclear").fill_null(value=False)


# ---------------------------------------------------------------- in words


def _detail() -> pl.Expr:
    """Return the sentence of the ledger: TWS's own words, or ours; empty where there is nothing to tell."""
    of = pl.format("{} of {} minutes", "n_present", "n_expected")
    share = (100 * pl.col("minute_volume") / pl.col("daily_volume")).round(1)
    known = pl.when(pl.col("daily_volume") > 0).then(share)
    volume = pl.format("; they hold {} % of the daily volume", known)
    said = pl.col("outcome")
    text = (
        pl.when(said == "no_data")
        .then(pl.col("words"))
        .when(said == "no_trades")
        .then(pl.lit("no bar, and the daily history knows of no trade"))
        .when(said == "suspect_empty")
        .then(pl.lit("again no bar of this session"))
        .when(said == "empty")
        .then(pl.lit("the answer holds no bar of this session, and TWS did not say why"))
        .when(said == "shifted")
        .then(pl.format("asked for {} to {}, got {} to {}", "first_asked", "last_asked", "first_row", "last_row"))
        .when((said == "truncated") & (pl.col("n_present") == 0))
        .then(pl.format("the answer ends with {}", "last_row"))
        .when((said == "wrong_unit") & _is_unclear())
        .then(pl.concat_str(of, pl.lit(" with volumes that may be in lots of 100, as those of others are")))
        .when(said == "wrong_unit")
        .then(pl.concat_str(of, pl.lit(" with volumes in lots of 100"), volume.fill_null("")))
        .when(_is_rebased())
        .then(pl.format("on another price basis (closes x {}), so nothing was revised", pl.col("ratio").round(4)))
        .when(pl.col("proof") == "complete")
        .then(pl.lit(""))
        .when(pl.col("proof") == "volume")
        .then(pl.concat_str(of, pl.lit(", which hold the whole daily volume")))
        .when(pl.col("proof") == "agreement")
        .then(pl.concat_str(of, pl.lit("; another request brought the same"), volume.fill_null("")))
        .otherwise(pl.concat_str(of, volume.fill_null("")))
    )
    is_news = (pl.col("n_revised") > 0) & ~said.is_in(REFUSED_ROWS) & ~_is_worse() & ~_is_rebased()
    revises = pl.when(is_news).then(pl.format("revises {} bars of an earlier answer", "n_revised"))
    return pl.concat_str([pl.when(text != "").then(text), revises], separator="; ", ignore_nulls=True)
