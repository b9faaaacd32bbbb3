"""Accounting for the minutes of a session: what the domain needs for it, from the stores."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.domain import venues
from quant_assets.domain.accounting import (
    GONE_AFTER,
    account,
    imbalance,
    is_unexplained,
    mass_delisting,
    unexplained_share,
)
from quant_assets.domain.limits import UNEXPLAINED, Limits, beyond, taken
from quant_assets.domain.outcomes import PROOFS
from quant_assets.flows.accepting import accepted_holes
from quant_assets.flows.ingest.ledger import read_ledger
from quant_assets.flows.publishing import Finding
from quant_assets.flows.work import Work

BALANCES = "balances"
EXPLAINED = "explained"
BOUNDED = "quarantine_bounded"
ENDED = "few_delisted_at_once"
CHECKS = {BALANCES: "Per instrument, present, imputed, explained and unexplained minutes add up to the expected ones"}
WARNINGS = {
    EXPLAINED: "The unexplained share of all expected minutes keeps to lakehouse.max_unexplained",
    BOUNDED: "Of no instrument, quarantine takes more than lakehouse.max_quarantined of the minutes that TWS sent",
    ENDED: "No more instruments than leave an exchange on one day count as delisted since the same one",
}
ACCOUNTING_VERSION = "3"

_MONTH = 20
"""Sessions in a row with trades that make an instrument one that trades steadily."""
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
    named = work.timetables_of(members)
    lives = _lives(work, session, named, vintages)
    volumes = day_volumes.select("con_id", pl.col("day_volume").alias("daily_volume"))
    return account(
        session,
        members,
        venues.minutes_of(session, named, work.told).select("con_id", "ts"),
        _usual(named, work.calendar.window(session, _USUAL_WINDOW)),
        valid,
        quarantine,
        _speaking(work, session),
        lives.join(volumes, on="con_id", how="full", coalesce=True),
        accepted_holes(work, [session]).drop("session"),
    )


def _lives(work: Work, session: date, named: pl.DataFrame, vintages: pl.DataFrame) -> pl.DataFrame:
    """Return what the daily histories say of the instruments' lives, as `account` wants it.

    A session after the last bar has none for certain when a vintage reaches beyond it, as every one does that speaks
    for the session accounted for.
    """
    lives = vintages.group_by("con_id").agg(
        pl.col("session").min().alias("first_day"),
        pl.col("session").max().alias("last_day"),
        pl.max_horizontal(pl.col("vintage").max(), pl.lit(session)).alias("known_until"),
    )
    every = pl.Series(work.calendar.all_sessions)
    places = [every.search_sorted(lives[name], side="right").cast(pl.Int64) for name in ("known_until", "last_day")]
    known = lives.with_columns((places[0] - places[1]).alias("n_silent")).drop("known_until")
    return known.join(_steady(work, session, named, vintages), on="con_id", how="left")


def _steady(work: Work, session: date, named: pl.DataFrame, vintages: pl.DataFrame) -> pl.DataFrame:
    """Return con_id and is_steady: it traded in each session of the month that ends with its last bar before this one.

    So a halt of several days stays one: what counts is how the instrument traded before it.
    """
    near = work.calendar.window(session, GONE_AFTER + _MONTH + 1)[:-1]
    kept = {name: [day for day in near if venues.calendar(name).is_session(day)] for name in named["calendar"].unique()}
    places = pl.DataFrame(
        [(name, day, place) for name, days in kept.items() for place, day in enumerate(days)],
        schema={"calendar": pl.String, "session": pl.Date, "place": pl.Int64},
        orient="row",
    )
    days = vintages.filter(pl.col("session").is_in(near)).select("con_id", "session").unique()
    placed = days.join(named, on="con_id").join(places, on=["calendar", "session"])
    in_month = pl.col("place") > pl.col("place").max() - _MONTH
    return placed.group_by("con_id").agg((in_month.sum() >= _MONTH).alias("is_steady"))


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


def balance(accounted: pl.DataFrame, members: pl.DataFrame) -> str:
    """Return what is wrong with the equation; empty when it comes out even."""
    odd = imbalance(accounted, members)
    told = "; ".join(
        f"{row['symbol']}: {row['minutes']} of {row['expected']} expected minutes, smallest entry {row['fewest']}"
        for row in odd.head(5).iter_rows(named=True)
    )
    return "" if odd.is_empty() else f"{odd.height} instruments do not come out even: {told}"


def accounting_findings(work: Work, accounted: pl.DataFrame, members: pl.DataFrame) -> list[Finding]:
    """Judge the equation, which blocks, and what is unexplained or in quarantine, which warns."""
    limits = Limits.of(work.settings.manifest.lakehouse)
    odd, out = balance(accounted, members), taken(accounted, limits)
    lost = accounted.filter(is_unexplained()).group_by("symbol").agg(pl.col("minutes").sum())
    worst = lost.sort("minutes", "symbol", descending=[True, False]).head(5)
    names = ", ".join(f"{symbol} {minutes}" for symbol, minutes in worst.iter_rows())
    share = round(unexplained_share(accounted), 6)
    minutes = dict(accounted.group_by("reason").agg(pl.col("minutes").sum()).sort("reason").iter_rows())
    text = beyond(accounted, limits).get(UNEXPLAINED, "")
    shown = {"unexplained_share": share, "unexplained_minutes": names}
    return [
        Finding(BALANCES, not odd, odd, metadata=minutes),
        Finding(EXPLAINED, not text, text, blocking=False, metadata=shown),
        Finding(ENDED, not (ended := mass_delisting(accounted)), ended, blocking=False),
        Finding(BOUNDED, not out, f"beyond {limits.max_quarantined:.2%}: {out}" if out else "", blocking=False),
    ]


def expected_days(work: Work, members: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """Return con_id and n_expected: on how many of the sessions its own exchange was open."""
    named = work.timetables_of(members)
    counts = {name: sum(map(work.calendar_named(name).is_session, sessions)) for name in named["calendar"].unique()}
    n_expected = pl.col("calendar").replace_strict(counts, return_dtype=pl.Int64).alias("n_expected")
    return named.select("con_id", n_expected)
