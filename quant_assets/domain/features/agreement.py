"""How far two producers of the same daily technicals agree, column by column."""

import polars as pl

from quant_assets.domain.tables import TV_TECHNICALS_1D

VALUES = tuple(column.name for column in TV_TECHNICALS_1D.columns if column.dtype == pl.Float64)

_QUANTILE = 0.95


def agreement(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Compare two frames of TV_TECHNICALS_1D of one session.

    Args:
        ours: rows of one producer.
        theirs: rows of the other.

    Returns:
        One row per value column, in the table's order: column, n_both (instruments with a value on both sides),
        n_only_ours, n_only_theirs, mean_abs, p95_abs and max_abs of the differences in the column's own unit (null
        without a pair), and same_sign, the share of pairs whose values have one sign (what a rating says).
    """
    joined = (
        _long(ours, "ours").join(_long(theirs, "theirs"), on=["con_id", "column"], how="full", coalesce=True).lazy()
    )
    both = pl.col("ours").is_not_null() & pl.col("theirs").is_not_null()
    difference = (pl.col("ours") - pl.col("theirs")).abs().filter(both)
    same = (pl.col("ours").sign() == pl.col("theirs").sign()).filter(both)
    compared = joined.group_by("column").agg(
        n_both=both.sum().cast(pl.Int64),
        n_only_ours=(pl.col("ours").is_not_null() & pl.col("theirs").is_null()).sum().cast(pl.Int64),
        n_only_theirs=(pl.col("ours").is_null() & pl.col("theirs").is_not_null()).sum().cast(pl.Int64),
        mean_abs=difference.mean(),
        p95_abs=difference.quantile(_QUANTILE, "nearest"),
        max_abs=difference.max(),
        same_sign=same.mean(),
    )
    order = pl.LazyFrame({"column": VALUES})
    return order.join(compared, on="column", how="left", maintain_order="left").collect()


def _long(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.unpivot(VALUES, index="con_id", variable_name="column", value_name=name)
