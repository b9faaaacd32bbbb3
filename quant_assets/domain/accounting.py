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
from quant_assets.domain.tables.bars import ACCOUNTING_REASONS
from quant_assets.domain.tables.core import in_strict_order

EXPLAINED: Final = ACCOUNTING_REASONS["explained"]
"""Reasons for a minute without a bar that traded.

closed: the instrument's exchange did not open · half_day: it closed early · halt: no trade in the whole session of an
instrument that had traded in every one of a month before it, or in a run of minutes of one that traded in all others,
with the daily volume to prove it · no_trades: proved · vendor_filler: a bar without volume and without trades ·
not_listed: its daily history has no bar or begins later · delisted: it ended, and stayed so for a month ·
no_permission, unknown_contract: TWS refuses · quarantined: the bars of the minute broke a rule · accepted: a person put
on record that nothing is to be had

A halt cannot always be told: of an instrument that trades now and then, minutes without a trade look the same, and so
does the end of a session. Then it is `no_trades`, which is proved as well.
"""
UNEXPLAINED: Final = ACCOUNTING_REASONS["unexplained"]
"""suspect_empty: TWS has nothing for the session, and nothing proves that there is nothing · unexplained: the rest"""

KINDS: Final = tuple(ACCOUNTING_REASONS)
"""Terms of the equation, in its order."""

GONE_AFTER: Final = 20
"""Sessions without a daily bar, a month, after which an instrument counts as delisted. Until then it may be halted:
on the evening of a day without a trade, every daily history ends before that day."""
HALT_MINUTES: Final = 5
"""A run of silent minutes that may be a halt: the shortest pause of the US exchanges."""
ALWAYS_TRADES: Final = 0.01
"""Share of its minutes up to which an instrument may be silent outside halts, and yet count as one that trades in each
minute: then five silent ones in a row are no accident."""

ENDED_TOGETHER: Final = 3
ENDED_SHARE: Final = 0.05
"""As many instruments, and as large a share of a session's, do not leave the exchange on one day: they stay explained,
and somebody has to look whether TWS still serves them."""

_SHUT: Final = ("closed", "half_day")
_HELD: Final = ("no_permission", "unknown_contract")
_MINUTE: Final = ["con_id", "ts"]


def is_unexplained() -> pl.Expr:
    """Return whether a row of `bar_accounting` is of minutes that nothing explains, be a value filled in or not."""
    return (pl.col("kind") == "unexplained") | (pl.col("reason") == "imputed_unexplained")


def is_quarantined() -> pl.Expr:
    """Return whether a row of `bar_accounting` is of minutes that quarantine took, be a value filled in or not."""
    return pl.col("reason").is_in(["quarantined", "imputed_quarantined"])


def account(
    session: date,
    members: pl.DataFrame,
    grid: pl.DataFrame,
    usual: pl.DataFrame,
    valid: pl.DataFrame,
    quarantine: pl.DataFrame,
    ledger: pl.DataFrame,
    daily: pl.DataFrame,
    accepted: pl.DataFrame | None = None,
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
        daily: con_id, daily_volume, first_day, last_day: volume of the session, and the history's first and last one;
            n_silent: sessions after the last one that are known to have no bar; is_steady: whether it traded in every
            session of the month that ends with its last bar before this one.
        accepted: con_id, accepted (minutes), note: what a person accepts as lost, and in which words.

    Returns:
        Rows of `bar_accounting`: one per instrument and reason that has minutes, and `present` for everybody.
    """
    counted = (
        members.select("con_id", "symbol")
        .join(usual, on="con_id", how="left")
        .join(_counts(grid, valid, quarantine), on="con_id", how="left")
        .join(ledger.select("con_id", "outcome", "proof", "detail"), on="con_id", how="left")
        .join(daily, on="con_id", how="left")
        .join(_NOBODY if accepted is None else accepted, on="con_id", how="left")
        .with_columns(
            pl.col("n_usual", "^n_.*$", "accepted").fill_null(0),
            pl.col("outcome", "proof", "detail").fill_null(""),
            pl.col("is_steady").fill_null(value=False),
        )
        .with_columns(pl.max_horizontal("n_usual", "n_open").alias("expected"), _reason(session).alias("why"))
        .with_columns(_halted().alias("n_halted"))
        .with_columns((pl.col("n_bare") - pl.col("n_halted")).alias("n_lost"))
        .with_columns(_taken("n_lost", pl.col("accepted")).alias("n_accepted"))
        .with_columns(_taken("n_filled", pl.col("accepted") - pl.col("n_accepted")).alias("n_filled_accepted"))
    )
    is_open = pl.col("n_open") > 0
    n_guessed = pl.when(_is_lost()).then(pl.col("n_filled") - pl.col("n_filled_accepted")).otherwise(0)
    parts = [
        _part(counted, "present", pl.col("n_traded"), pl.lit("")),
        _part(counted, "imputed", pl.col("n_filled") - n_guessed, pl.lit("is_imputed_close")),
        _part(counted, "imputed_unexplained", n_guessed, pl.concat_str(pl.lit("is_imputed_close over "), _evidence())),
        _part(
            counted, "imputed_quarantined", pl.col("n_replaced"), pl.lit("is_imputed_close over quarantine_tws_bars")
        ),
        _part(counted, "vendor_filler", pl.col("n_filler"), pl.lit("volume 0 in 0 trades")),
        _part(counted, "quarantined", pl.col("n_rejected"), pl.lit("quarantine_tws_bars")),
        _part(counted.filter(~is_open), "closed", pl.col("expected"), _shut()),
        _part(
            counted.filter(is_open),
            "half_day",
            pl.col("expected") - pl.col("n_open"),
            pl.format("{} of {} usual minutes", "n_open", "n_usual"),
        ),
        _part(counted, "halt", pl.col("n_halted"), _evidence()),
        _part(counted, "accepted", pl.col("n_accepted"), pl.col("note").fill_null("")),
        _part(counted, pl.col("why"), pl.col("n_lost") - pl.col("n_accepted"), _evidence()),
    ]
    rows = pl.concat(parts).filter((pl.col("minutes") != 0) | (pl.col("reason") == "present"))
    merged = rows.group_by("con_id", "symbol", "reason", "expected").agg(
        pl.col("minutes").sum(), pl.col("evidence").filter(pl.col("evidence") != "").first().fill_null("")
    )
    return merged.with_columns(pl.lit(session).alias("session"), _kind().alias("kind")).select(
        BAR_ACCOUNTING.schema.names()
    )


_NOBODY: Final = pl.DataFrame(schema={"con_id": pl.Int64, "accepted": pl.Int64, "note": pl.String})


def _is_lost() -> pl.Expr:
    return pl.col("why").is_in(UNEXPLAINED)


def _taken(minutes: str, most: pl.Expr) -> pl.Expr:
    """Return how many of some minutes a person's word covers: none where they are explained without it."""
    return pl.when(_is_lost()).then(pl.min_horizontal(minutes, most)).otherwise(0)


def _halted() -> pl.Expr:
    """Return the minutes of a halt: silent in a run while the instrument trades in all others, and proved so."""
    always_trades = pl.col("n_missing") - pl.col("n_runs") <= ALWAYS_TRADES * pl.col("n_open")
    is_told = (pl.col("why") == "no_trades") & (pl.col("proof") == "volume") & always_trades
    return pl.when(is_told).then(pl.col("n_runs")).otherwise(0)


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
    """Count minutes per instrument, and the volume of those that TWS sent.

    n_open; n_traded, n_filler: with an observed bar; n_rejected, n_replaced: with rejected rows only, the latter filled
    in; n_missing: without any row, of which n_filled are filled in and n_bare are not; n_runs of those are in runs
    that may be halts.
    """
    is_filler = ((pl.col("volume") == 0) & (pl.col("bar_count") == 0)).fill_null(value=False)
    once = valid if in_strict_order(valid, _MINUTE) else valid.unique(_MINUTE)
    imputed = once.filter(pl.col("is_imputed_close")).select(_MINUTE)
    observed = once if imputed.is_empty() else once.filter(~pl.col("is_imputed_close"))
    bars = observed.group_by("con_id", maintain_order=True).agg(
        (~is_filler).sum().cast(pl.Int64).alias("n_traded"),
        is_filler.sum().cast(pl.Int64).alias("n_filler"),
        pl.col("volume").filter(~pl.col("is_imputed_volume")).sum().alias("valid_volume"),
    )
    stamped = quarantine.with_columns(pl.col("ts").dt.truncate("1m"))
    touched = stamped.select("con_id").unique()
    rejected = (
        stamped.join(grid.join(touched, on="con_id", how="semi"), on=_MINUTE, how="semi")
        .join(observed.join(touched, on="con_id", how="semi"), on=_MINUTE, how="anti")
        .group_by(_MINUTE)
        .agg(pl.col("volume").max())
    )
    lost = rejected.group_by("con_id").agg(
        pl.len().cast(pl.Int64).alias("n_out"), pl.col("volume").sum().alias("_lost")
    )
    missing = (
        grid.join(_complete(grid, observed), on="con_id", how="anti")
        .join(observed, on=_MINUTE, how="anti")
        .join(rejected, on=_MINUTE, how="anti")
    )
    bare = missing.join(imputed, on=_MINUTE, how="anti")
    joined = grid.group_by("con_id").agg(pl.len().cast(pl.Int64).alias("n_open"))
    joined = joined.join(bars, on="con_id", how="full", coalesce=True)
    for other in (
        lost,
        _number(missing, "n_missing"),
        _number(bare, "n_bare"),
        _number(imputed, "n_imputed"),
        _number(imputed.join(rejected, on=_MINUTE, how="semi"), "n_replaced"),
        _number(_in_runs(bare, grid), "n_runs"),
    ):
        joined = joined.join(other, on="con_id", how="full", coalesce=True)
    volume = pl.col("valid_volume").fill_null(0.0) + pl.col("_lost").fill_null(0.0)
    return joined.with_columns(pl.col("^n_.*$").fill_null(0), volume.alias("minute_volume")).select(
        "con_id",
        "minute_volume",
        *("n_open", "n_traded", "n_filler", "n_replaced", "n_missing", "n_bare", "n_runs"),
        (pl.col("n_out") - pl.col("n_replaced")).alias("n_rejected"),
        (pl.col("n_imputed") - pl.col("n_replaced")).alias("n_filled"),
        (pl.col("n_open") - pl.col("n_missing")).alias("n_present"),
    )


def _number(minutes: pl.DataFrame, name: str) -> pl.DataFrame:
    return minutes.group_by("con_id").agg(pl.len().cast(pl.Int64).alias(name))


def _in_runs(missing: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """Return the missing minutes that follow each other for long enough, inside the session."""
    place, last = pl.int_range(pl.len()).over("con_id").alias("_place"), (pl.len() - 1).over("con_id").alias("_last")
    laid = grid.join(missing.select("con_id").unique(), on="con_id", how="semi").sort(_MINUTE).with_columns(place, last)
    run = (pl.col("_place") - pl.int_range(pl.len()).over("con_id")).alias("_run")
    runs = laid.join(missing, on=_MINUTE, how="semi", maintain_order="left").with_columns(run)
    inside = (pl.col("_place").min() > 0) & (pl.col("_place").max() < pl.col("_last").first())
    is_long = (pl.len() >= HALT_MINUTES) & inside
    return runs.filter(is_long.over("con_id", "_run")).select(_MINUTE)


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
        .when((pl.col("proof") == "daily") & (pl.col("last_day") < day) & (pl.col("n_silent") >= GONE_AFTER))
        .then(pl.lit("delisted"))
        .when((pl.col("proof") == "daily") & pl.col("is_steady"))
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
    ended = pl.when(pl.col("why") == "delisted").then(pl.format("no daily bar since {}", "last_day"))
    said = pl.when(pl.col("outcome") == "").then(pl.lit("no request")).otherwise("outcome")
    proof = pl.when(pl.col("proof") != "").then(pl.format(", proved by {}", "proof"))
    words = pl.when(pl.col("detail") != "").then(pl.format(": {}", "detail"))
    return pl.coalesce(ended, pl.concat_str([said, proof, words], ignore_nulls=True))


def _shut() -> pl.Expr:
    """Return by what the exchange is known to be closed."""
    return pl.when(pl.col("outcome") == "closed").then(_evidence()).otherwise(pl.lit("the exchange's calendar"))


def _kind() -> pl.Expr:
    reason = pl.col("reason")
    return (
        pl.when(reason == "present")
        .then(pl.lit("present"))
        .when(reason.is_in(ACCOUNTING_REASONS["imputed"]))
        .then(pl.lit("imputed"))
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


def mass_delisting(accounted: pl.DataFrame) -> str:
    """Name instruments whose daily histories ended on one day, when so many did that the source is to blame.

    Args:
        accounted: rows of `bar_accounting` of a session.

    Returns:
        The day and the symbols; empty when no more ended together than companies do.
    """
    most = max(ENDED_TOGETHER, ENDED_SHARE * accounted["con_id"].n_unique())
    gone = accounted.filter(pl.col("reason") == "delisted").sort("symbol")
    together = gone.group_by("evidence").agg(pl.len().alias("n"), pl.col("symbol").head(5).str.join(", "))
    told = pl.format("{} of {} instruments have {}: {}", "n", accounted["con_id"].n_unique(), "evidence", "symbol")
    return "; ".join(together.filter(pl.col("n") >= most).sort("evidence").select(told).to_series())


def unexplained_share(accounted: pl.DataFrame) -> float:
    """Return the minutes that nothing explains, filled in or not, ÷ the expected ones."""
    expected = int(accounted.unique("con_id")["expected"].sum())
    unexplained = int(accounted.filter(is_unexplained())["minutes"].sum())
    return unexplained / expected if expected else 0.0


def coverage(accounted: pl.DataFrame) -> pl.DataFrame:
    """Return how much of each instrument's open minutes has a bar.

    Args:
        accounted: rows of `bar_accounting`.

    Returns:
        con_id, open (expected minutes in which its exchange was open; never 0: who was closed is left out), unexplained
        (minutes, filled in or not) and coverage (minutes with a curated bar ÷ open ones), by con_id.
    """
    minutes, reason = pl.col("minutes"), pl.col("reason")
    with_bar = pl.col("kind").is_in(["present", "imputed"]) | (reason == "vendor_filler")
    return (
        accounted.group_by("con_id")
        .agg(
            (pl.col("expected").first() - minutes.filter(reason.is_in(_SHUT)).sum()).alias("open"),
            minutes.filter(is_unexplained()).sum().alias("unexplained"),
            minutes.filter(with_bar).sum().alias("_with_bar"),
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
