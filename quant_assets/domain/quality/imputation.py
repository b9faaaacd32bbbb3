"""Filling missing minutes, on request: bounded, masked, and never in bronze."""

from collections.abc import Mapping

import polars as pl

from quant_assets.domain import tables
from quant_assets.domain.hours import HOURS, is_open
from quant_assets.settings.quality import Imputation, ImputedColumn

_RULE = "imputed"


def impute(valid: pl.DataFrame, hours: pl.DataFrame, ways: Mapping[ImputedColumn, Imputation]) -> pl.DataFrame:
    """Fill missing values of a session's bars as configured; nothing is when nothing is.

    A missing minute is filled when it lies between two observed ones and its run is no longer than `max_minutes`; a
    run that is longer stays empty as a whole. `ffill` repeats the last observed bar's value, `interpolate` draws a
    line to the next one (and so looks ahead: masked values are no input of features), `constant` writes a number.
    Prices are filled together or not at all. A missing volume in a bar that was observed is filled, too.

    Args:
        valid: rows of `curated_tws_1m_bars` of one session.
        hours: con_id, HOURS.
        ways: column → how.

    Returns:
        The bars with the filled ones among them: masks set, `dq_status` warn, `wap` and `bar_count` null in what was no
        bar. A row with a filled value is known when the last of what it is made from was: its own bar, and those that
        the value comes from; it is `assumed` where any of them is.
    """
    if not ways or valid.is_empty():
        return valid
    filled = _on_all_minutes(valid, hours) if "close" in ways else valid.sort("con_id", "ts")
    filled = filled.with_columns(_filled(name, way) for name, way in ways.items())
    masks = [(pl.col(name).is_null() & pl.col(f"_{name}").is_not_null()).alias(f"is_imputed_{name}") for name in ways]
    marked = filled.with_columns(masks).with_columns(pl.coalesce(name, f"_{name}").alias(name) for name in ways)
    touched = pl.any_horizontal(f"is_imputed_{name}" for name in ways)
    known = _with_sources("known_at", ways)
    is_assumed = pl.any_horizontal(one == "assumed" for one in _with_sources("known_basis", ways))
    told = marked.with_columns(
        pl.max_horizontal(known).alias("known_at"),
        pl.when(is_assumed).then(pl.lit("assumed")).otherwise(pl.lit("observed")).alias("known_basis"),
        pl.col("transform_version", "session", "symbol").forward_fill().over("con_id"),
        pl.when(touched & (pl.col("dq_status").fill_null("ok") == "ok"))
        .then(pl.lit("warn"))
        .otherwise("dq_status")
        .alias("dq_status"),
        pl.when(touched)
        .then(pl.concat_str("dq_rules", pl.lit(_RULE), separator=";", ignore_nulls=True))
        .otherwise("dq_rules")
        .alias("dq_rules"),
        *(pl.col(column.name).fill_null(value=False) for column in tables.bars.IMPUTED),
    )
    return told.filter(pl.col("close").is_not_null()).select(valid.columns)


def _on_all_minutes(valid: pl.DataFrame, hours: pl.DataFrame) -> pl.DataFrame:
    """Lay bars on each instrument's open minutes from its first to its last one; other columns are null between."""
    spans = valid.group_by("con_id", maintain_order=True).agg(
        pl.col("ts").min().alias("_first"), pl.col("ts").max().alias("_last")
    )
    inside = spans.join(hours.select("con_id", *HOURS), on="con_id").filter(
        pl.col("_first") >= pl.col("opens_at"), pl.col("_last") < pl.col("closes_at")
    )
    minutes = pl.datetime_ranges("_first", "_last", interval="1m", closed="both", time_unit="us").alias("ts")
    grid = inside.select("con_id", minutes, *HOURS).explode("ts").filter(is_open()).select("con_id", "ts")
    others = valid.join(inside, on="con_id", how="anti")
    laid = grid.join(valid, on=["con_id", "ts"], how="left", maintain_order="left").select(valid.columns)
    return pl.concat([laid, others]).sort("con_id", "ts")


def _filled(name: str, way: Imputation) -> pl.Expr:
    """Return what a column's nulls become, as `_name`; null where nothing fills them."""
    column = pl.col(name)
    if way.method == "constant":
        value = pl.lit(way.value, pl.Float64)
    elif way.method == "ffill":
        value = column.forward_fill().over("con_id")
    else:
        value = column.interpolate().over("con_id")
    missing = column.is_null()
    run = missing.rle_id().over("con_id")
    length = pl.len().over("con_id", run)
    follows = column.backward_fill().over("con_id").is_not_null()
    precedes = column.forward_fill().over("con_id").is_not_null()
    bounded = length <= way.max_minutes
    enclosed = pl.lit(value=True) if way.method == "constant" else follows & precedes
    return pl.when(missing & bounded & enclosed).then(value).alias(f"_{name}")


def _with_sources(column: str, ways: Mapping[ImputedColumn, Imputation]) -> list[pl.Expr]:
    """Return a row's own value of a column, and those of the rows that its filled values are made from, else null."""
    found = [pl.col(column)]
    for name, way in ways.items():
        is_filled = pl.col(f"is_imputed_{name}")
        held = pl.when(pl.col(name).is_not_null() & ~is_filled).then(column)
        if way.method != "constant":
            found.append(pl.when(is_filled).then(held.forward_fill().over("con_id")))
        if way.method == "interpolate":
            found.append(pl.when(is_filled).then(held.backward_fill().over("con_id")))
    return found
