"""The bias meter: how much of what a portfolio could have been made of was never there to be judged."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

_KINDS = ("no_history", "before_first_bar", "inside", "after_last_bar")


def bias_meter(bars: pl.DataFrame, candidates: pl.DataFrame, window: Sequence[date]) -> dict[str, Any]:
    """Count the universe-days of a window on which a member of the universe has no daily bar.

    Args:
        bars: session, con_id of every daily bar; other sessions than the window's are ignored.
        candidates: con_id, symbol, verdict, is_pit of every member of the universe.
        window: the calendar's sessions, ascending.

    Returns:
        universe, sessions, universe_days, lost (days by kind: no history at all, before the first bar, inside, after
        the last bar, which is what a delisting leaves), lost_fraction, lost_by_verdict, is_pit, not_pit (members whose
        judgement could not have been made then), and the instruments that lost most.

    Instruments that left the market before the universe was drawn up are in no table, so no count can show them: with
    `is_pit` false the true loss is larger.
    """
    places = pl.DataFrame(
        {"session": list(window), "place": range(len(window))}, schema={"session": pl.Date, "place": pl.Int64}
    )
    seen = (
        bars.join(places, on="session")
        .group_by("con_id")
        .agg(
            pl.col("place").min().alias("first"),
            pl.col("place").max().alias("last"),
            pl.len().cast(pl.Int64).alias("n"),
        )
    )
    n = len(window)
    has = pl.col("n").is_not_null()
    counted = (
        candidates.select("con_id", "symbol", "verdict", "is_pit")
        .join(seen, on="con_id", how="left")
        .with_columns(
            no_history=pl.when(has).then(0).otherwise(n),
            before_first_bar=pl.when(has).then("first").otherwise(0),
            inside=pl.when(has).then(pl.col("last") - pl.col("first") + 1 - pl.col("n")).otherwise(0),
            after_last_bar=pl.when(has).then(n - 1 - pl.col("last")).otherwise(0),
        )
        .with_columns(lost=pl.sum_horizontal(_KINDS))
    )
    days = counted.height * n
    lost = {kind: int(counted[kind].sum()) for kind in _KINDS}
    total = sum(lost.values())
    worst = counted.filter(pl.col("lost") > 0).sort("lost", "con_id", descending=[True, False])
    return {
        "universe": counted.height,
        "sessions": n,
        "universe_days": days,
        "lost": lost,
        "lost_days": total,
        "lost_fraction": round(total / days, 9) if days else 0.0,
        "lost_by_verdict": dict(sorted(counted.group_by("verdict").agg(pl.col("lost").sum()).rows())),
        "is_pit": bool(counted["is_pit"].all()),
        "not_pit": counted.filter(~pl.col("is_pit")).height,
        "instruments": worst.select("con_id", "symbol", "verdict", *_KINDS).to_dicts(),
    }
