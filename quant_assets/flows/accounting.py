"""Accounting for the minutes of a session: what the domain needs for it, from the stores."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.domain import venues
from quant_assets.domain.accounting import account, imbalance, unexplained_share
from quant_assets.domain.outcomes import PROOFS
from quant_assets.flows.ingest.ledger import read_ledger
from quant_assets.flows.publishing import Finding
from quant_assets.flows.work import Work

BALANCES = "balances"
EXPLAINED = "explained"
CHECKS = {BALANCES: "Per instrument, present, imputed, explained and unexplained minutes add up to the expected ones"}
WARNINGS = {EXPLAINED: "The unexplained share of all expected minutes keeps to lakehouse.max_unexplained"}
ACCOUNTING_VERSION = "2"

_USUAL_WINDOW = 10
"""Sessions up to this one whose longest is an exchange's usual one."""


def accounted(
    work: Work,
    session: date,
    members: pl.DataFrame,
    valid: pl.DataFrame,
    quarantine: pl.DataFrame,
    day_volumes: pl.DataFrame,
    vintages: pl.DataFrame,
) -> pl.DataFrame:
    """Return rows of `bar_accounting` of a session.

    Args:
        work: stores and calendars.
        session: the session.
        members: its universe.
        valid: its curated bars.
        quarantine: its rejected rows.
        day_volumes: con_id, day_volume of the session's daily bar.
        vintages: rows of `raw_tws_daily_bars` near the session.
    """
    named = work.calendars_of(members)
    lives = vintages.group_by("con_id").agg(
        pl.col("session").min().alias("first_day"), pl.col("session").max().alias("last_day")
    )
    volumes = day_volumes.select("con_id", pl.col("day_volume").alias("daily_volume"))
    return account(
        session,
        members,
        venues.minutes_of(session, named).select("con_id", "ts"),
        _usual(named, work.calendar.window(session, _USUAL_WINDOW)),
        valid,
        quarantine,
        _speaking(work, session),
        lives.join(volumes, on="con_id", how="full", coalesce=True),
    )


def _usual(named: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """Return con_id and n_usual: the length of the longest of some sessions of its exchange."""
    minutes = {
        name: max((hours.n_minutes for day in sessions if (hours := venues.calendar(name).hours_on(day))), default=0)
        for name in named["calendar"].unique()
    }
    n_usual = pl.col("calendar").replace_strict(minutes, return_dtype=pl.Int64).alias("n_usual")
    return named.select("con_id", n_usual)


def _speaking(work: Work, session: date) -> pl.DataFrame:
    """Return the ledger row that speaks for each instrument: the newest proved one, else the newest."""
    ledger = read_ledger(work, [session]).filter(pl.col("bar_size") == "1 min")
    ranked = ledger.with_columns(pl.col("proof").is_in(PROOFS).alias("_proved"))
    newest = ranked.sort("_proved", "asked_at", "request_id").unique("con_id", keep="last", maintain_order=True)
    return newest.select("con_id", "outcome", "proof", "detail")


def accounting_findings(work: Work, accounted: pl.DataFrame, members: pl.DataFrame) -> list[Finding]:
    """Judge the equation, which blocks, and the share that nothing explains, which warns."""
    odd = imbalance(accounted, members)
    told = "; ".join(
        f"{row['symbol']}: {row['minutes']} of {row['expected']} expected minutes, smallest entry {row['fewest']}"
        for row in odd.head(5).iter_rows(named=True)
    )
    share, limit = unexplained_share(accounted), work.settings.manifest.lakehouse.max_unexplained
    worst = (
        accounted.filter(pl.col("kind") == "unexplained")
        .group_by("symbol")
        .agg(pl.col("minutes").sum())
        .sort("minutes", "symbol", descending=[True, False])
    )
    names = ", ".join(f"{symbol} {minutes}" for symbol, minutes in worst.head(5).iter_rows())
    minutes = dict(accounted.group_by("reason").agg(pl.col("minutes").sum()).sort("reason").iter_rows())
    return [
        Finding(BALANCES, odd.is_empty(), f"{odd.height} instruments do not come out even: {told}", metadata=minutes),
        Finding(
            EXPLAINED,
            share <= limit,
            f"{share:.2%} of the expected minutes are unexplained, more than {limit:.2%}: {names}",
            blocking=False,
            metadata={"unexplained_share": round(share, 6), "unexplained_minutes": names},
        ),
    ]
