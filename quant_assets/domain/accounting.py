"""Bar accounting: where every expected minute of every instrument went.

expected = present + imputed + explained (by a reason) + unexplained, per session and instrument. Expected are the
minutes of the exchange's usual session, so that half days and holidays are explained minutes, too.
"""

from datetime import date
from typing import Final

import polars as pl

from quant_assets.domain.completeness import is_lossy
from quant_assets.domain.outcomes import NOTHING
from quant_assets.domain.tables import BAR_ACCOUNTING
from quant_assets.domain.tables.core import in_strict_order

EXPLAINED: Final = (
    "closed",
    "half_day",
    "halt",
    "no_trades",
    "vendor_filler",
    "not_listed",
    "delisted",
    "no_permission",
    "unknown_contract",
    "quarantined",
)
"""Reasons for a minute without a bar that traded.

closed: the instrument's exchange did not open · half_day: it closed early · halt: no trade in the whole session of an
instrument that trades before it · no_trades: proved · vendor_filler: a bar without volume and without trades ·
not_listed, delisted: its daily history has no bar or begins later, or has ended · no_permission, unknown_contract:
TWS refuses · quarantined: the bars of the minute broke a rule
"""
UNEXPLAINED: Final = ("suspect_empty", "unexplained")
"""suspect_empty: TWS has nothing for the session, and nothing proves that there is nothing · unexplained: the rest"""

KINDS: Final = ("present", "imputed", "explained", "unexplained")
"""Terms of the equation, in its order."""

_SHUT: Final = ("closed", "half_day")
_WITH_BAR: Final = ("present", "imputed", "vendor_filler")
_HELD: Final = ("no_permission", "unknown_contract")


def account(
    session: date,
    members: pl.DataFrame,
    grid: pl.DataFrame,
    usual: pl.DataFrame,
    valid: pl.DataFrame,
    quarantine: pl.DataFrame,
    ledger: pl.DataFrame,
    daily: pl.DataFrame,
) -> pl.DataFrame:
    """Account for every expected minute of a session.

    Args:
        session: the session.
        members: con_id, symbol of the universe.
        grid: con_id, ts: the minutes in which each instrument's own exchange was open.
        usual: con_id, n_usual: minutes of its exchange's usual session.
        valid: rows of `curated_tws_1m_bars` of the session.
        quarantine: rows of `quarantine_tws_bars` of the session.
        ledger: con_id, outcome, proof, detail: the request that speaks for the session; one row per instrument.
        daily: con_id, daily_volume, first_day, last_day: volume of the session, and the history's first and last one.

    Returns:
        Rows of `bar_accounting`: one per instrument and reason that has minutes, and `present` for everybody.
    """
    counted = (
        members.select("con_id", "symbol")
        .join(usual, on="con_id", how="left")
        .join(_counts(grid, valid, quarantine), on="con_id", how="left")
        .join(ledger.select("con_id", "outcome", "proof", "detail"), on="con_id", how="left")
        .join(daily, on="con_id", how="left")
        .with_columns(pl.col("n_usual", "^n_.*$").fill_null(0), pl.col("outcome", "proof", "detail").fill_null(""))
        .with_columns(pl.max_horizontal("n_usual", "n_open").alias("expected"))
        .with_columns(_reason(session).alias("why"))
    )
    is_open = pl.col("n_open") > 0
    parts = [
        _part(counted, "present", pl.col("n_traded"), pl.lit("")),
        _part(counted, "imputed", pl.col("n_imputed"), pl.lit("is_imputed_close")),
        _part(counted, "vendor_filler", pl.col("n_filler"), pl.lit("volume 0 in 0 trades")),
        _part(counted, "quarantined", pl.col("n_rejected"), pl.lit("quarantine_tws_bars")),
        _part(counted.filter(~is_open), "closed", pl.col("expected"), pl.lit("the exchange's calendar")),
        _part(
            counted.filter(is_open),
            "half_day",
            pl.col("expected") - pl.col("n_open"),
            pl.format("{} of {} usual minutes", "n_open", "n_usual"),
        ),
        _part(counted, pl.col("why"), pl.col("n_missing"), _evidence()),
    ]
    rows = pl.concat(parts).filter((pl.col("minutes") != 0) | (pl.col("reason") == "present"))
    merged = rows.group_by("con_id", "symbol", "reason", "expected").agg(
        pl.col("minutes").sum(), pl.col("evidence").filter(pl.col("evidence") != "").first().fill_null("")
    )
    return merged.with_columns(pl.lit(session).alias("session"), _kind().alias("kind")).select(
        BAR_ACCOUNTING.schema.names()
    )


def _part(counted: pl.DataFrame, reason: str | pl.Expr, minutes: pl.Expr, evidence: pl.Expr) -> pl.DataFrame:
    return counted.select(
        "con_id",
        "symbol",
        (pl.lit(reason) if isinstance(reason, str) else reason).alias("reason"),
        "expected",
        minutes.cast(pl.Int64).alias("minutes"),
        evidence.alias("evidence"),
    )


def _counts(grid: pl.DataFrame, valid: pl.DataFrame, quarantine: pl.DataFrame) -> pl.DataFrame:
    """Count minutes per instrument: open, traded, imputed, filler, rejected only, missing; and the minutes' volume."""
    minute = ["con_id", "ts"]
    is_filler = ((pl.col("volume") == 0) & (pl.col("bar_count") == 0)).fill_null(value=False)
    once = valid if in_strict_order(valid, minute) else valid.unique(minute)
    bars = once.group_by("con_id", maintain_order=True).agg(
        (~pl.col("is_imputed_close") & ~is_filler).sum().cast(pl.Int64).alias("n_traded"),
        pl.col("is_imputed_close").sum().cast(pl.Int64).alias("n_imputed"),
        (~pl.col("is_imputed_close") & is_filler).sum().cast(pl.Int64).alias("n_filler"),
        pl.col("volume").sum().alias("valid_volume"),
    )
    stamped = quarantine.with_columns(pl.col("ts").dt.truncate("1m"))
    touched = stamped.select("con_id").unique()
    rejected = stamped.join(grid.join(touched, on="con_id", how="semi"), on=minute, how="semi").join(
        once.join(touched, on="con_id", how="semi"), on=minute, how="anti"
    )
    lost = (
        rejected.group_by(minute)
        .agg(pl.col("volume").max())
        .group_by("con_id")
        .agg(pl.len().cast(pl.Int64).alias("n_rejected"), pl.col("volume").sum().alias("rejected_volume"))
    )
    missing = (
        grid.join(_complete(grid, once), on="con_id", how="anti")
        .join(once, on=minute, how="anti")
        .join(rejected, on=minute, how="anti")
        .group_by("con_id")
        .agg(pl.len().cast(pl.Int64).alias("n_missing"))
    )
    n_open = grid.group_by("con_id").agg(pl.len().cast(pl.Int64).alias("n_open"))
    joined = bars.join(n_open, on="con_id", how="full", coalesce=True)
    for other in (lost, missing):
        joined = joined.join(other, on="con_id", how="left")
    volume = pl.col("valid_volume").fill_null(0.0) + pl.col("rejected_volume").fill_null(0.0)
    counts = joined.with_columns(
        pl.col("n_traded", "n_imputed", "n_filler", "n_open", "n_rejected", "n_missing").fill_null(0),
        volume.alias("minute_volume"),
    ).drop("valid_volume", "rejected_volume")
    return counts.with_columns((pl.col("n_open") - pl.col("n_missing")).alias("n_present"))


def _complete(grid: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Return con_id of instruments that have a bar in each open minute, which needs no look at single minutes.

    Their hours have no break, and as many different whole minutes as there are lie between the first and the last.
    """
    span = [pl.len().alias("n"), pl.col("ts").min().alias("first"), pl.col("ts").max().alias("last")]
    opened = grid.group_by("con_id").agg(span)
    is_whole = (pl.col("ts").dt.truncate("1m") == pl.col("ts")).all().alias("is_whole")
    held = bars.group_by("con_id").agg(*span, is_whole)
    both = opened.join(held, on=["con_id", "n", "first", "last"])
    unbroken = pl.col("n") == (pl.col("last") - pl.col("first")).dt.total_minutes() + 1
    return both.filter(unbroken & pl.col("is_whole")).select("con_id")


def _reason(session: date) -> pl.Expr:
    """Return why minutes are missing that neither a bar nor a rejected one speaks for."""
    said, proved = pl.col("outcome"), pl.col("proof") != ""
    day = pl.lit(session)
    return (
        pl.when(said.is_in(_HELD))
        .then(said)
        .when(said == "closed")
        .then(pl.lit("closed"))
        .when((pl.col("proof") == "daily") & (pl.col("first_day").is_null() | (pl.col("first_day") > day)))
        .then(pl.lit("not_listed"))
        .when((pl.col("proof") == "daily") & (pl.col("last_day") < day))
        .then(pl.lit("delisted"))
        .when(pl.col("proof") == "daily")
        .then(pl.lit("halt"))
        .when(proved & (pl.col("proof") == "agreement") & is_lossy())
        .then(pl.lit("unexplained"))
        .when(proved)
        .then(pl.lit("no_trades"))
        .when(said.is_in(NOTHING))
        .then(pl.lit("suspect_empty"))
        .otherwise(pl.lit("unexplained"))
    )


def _evidence() -> pl.Expr:
    """Return what the reason rests on: the outcome and the proof of the request, and its words."""
    said = pl.when(pl.col("outcome") == "").then(pl.lit("no request")).otherwise("outcome")
    proof = pl.when(pl.col("proof") != "").then(pl.format(", proved by {}", "proof"))
    words = pl.when(pl.col("detail") != "").then(pl.format(": {}", "detail"))
    return pl.concat_str([said, proof, words], ignore_nulls=True)


def _kind() -> pl.Expr:
    reason = pl.col("reason")
    return (
        pl.when(reason.is_in(["present", "imputed"]))
        .then(reason)
        .when(reason.is_in(EXPLAINED))
        .then(pl.lit("explained"))
        .otherwise(pl.lit("unexplained"))
    )


def imbalance(accounted: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Return the instruments whose minutes do not come out even.

    Args:
        accounted: rows of `bar_accounting`.
        members: con_id, symbol of the universe.

    Returns:
        symbol, expected, minutes (their sum) and fewest (the smallest entry) of those for which the sum is not what
        is expected, an entry is negative, or nothing is said at all.
    """
    sums = accounted.group_by("con_id").agg(
        pl.col("expected").first(), pl.col("minutes").sum(), pl.col("minutes").min().alias("fewest")
    )
    joined = members.select("con_id", "symbol").join(sums, on="con_id", how="left")
    odd = (pl.col("minutes") != pl.col("expected")) | (pl.col("fewest") < 0) | pl.col("minutes").is_null()
    return joined.filter(odd).select("symbol", "expected", "minutes", "fewest")


def unexplained_share(accounted: pl.DataFrame) -> float:
    """Return the unexplained minutes ÷ the expected ones."""
    expected = int(accounted.unique("con_id")["expected"].sum())
    unexplained = int(accounted.filter(pl.col("kind") == "unexplained")["minutes"].sum())
    return unexplained / expected if expected else 0.0


def coverage(accounted: pl.DataFrame) -> pl.DataFrame:
    """Return how much of each instrument's open minutes has a bar.

    Args:
        accounted: rows of `bar_accounting`.

    Returns:
        con_id, open (expected minutes in which its exchange was open; never 0: who was closed is left out), unexplained
        (minutes) and coverage (minutes with a curated bar ÷ open ones), by con_id.
    """
    minutes, reason = pl.col("minutes"), pl.col("reason")
    return (
        accounted.group_by("con_id")
        .agg(
            (pl.col("expected").first() - minutes.filter(reason.is_in(_SHUT)).sum()).alias("open"),
            minutes.filter(pl.col("kind") == "unexplained").sum().alias("unexplained"),
            minutes.filter(reason.is_in(_WITH_BAR)).sum().alias("_with_bar"),
        )
        .filter(pl.col("open") > 0)
        .select("con_id", "open", "unexplained", (pl.col("_with_bar") / pl.col("open")).alias("coverage"))
        .sort("con_id")
    )


def equation(accounted: pl.DataFrame) -> str:
    """Return the equation of a whole session, with its numbers."""
    of = dict(accounted.group_by("kind").agg(pl.col("minutes").sum()).iter_rows())
    expected = int(accounted.unique("con_id")["expected"].sum())
    return f"{expected} expected = " + " + ".join(f"{of.get(kind, 0)} {kind}" for kind in KINDS)
