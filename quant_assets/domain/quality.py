"""From raw answers to valid bars and quarantine: rules as data, every row accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.domain import tables, toxic
from quant_assets.domain.bars import as_served, newest_answers
from quant_assets.domain.calendar import Hours

TRANSFORM_VERSION = "1"

_MINUTE = ["con_id", "ts"]
_ROW = ["con_id", "request_id", "answer_row"]
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that breaks a row."""

    name: str
    verdict: str
    broken: pl.Expr
    evidence: pl.Expr


def row_rules(hours: Hours) -> tuple[Rule, ...]:
    """Return the rules that look at one row alone, most telling first; all send their rows to quarantine."""
    ts = pl.col("ts")
    outside = (ts < hours.opens_at) | (ts >= hours.closes_at)
    prices = pl.format("open {} high {} low {} close {}", *(_text(name) for name in _PRICES))
    return (
        Rule(
            "price_missing", "unusable", ~pl.all_horizontal(pl.col(_PRICES).is_finite().fill_null(value=False)), prices
        ),
        Rule("price_not_positive", "unusable", pl.any_horizontal(pl.col(_PRICES) <= 0), prices),
        Rule(
            "outside_session",
            "not_a_regular_minute",
            outside,
            pl.format("session {} to {} UTC", pl.lit(f"{hours.opens_at:%H:%M}"), pl.lit(f"{hours.closes_at:%H:%M}")),
        ),
        Rule(
            "off_minute",
            "not_a_regular_minute",
            ts != ts.dt.truncate("1m"),
            pl.lit("the bar does not start on a minute"),
        ),
        Rule(
            "ohlc_order",
            "unusable",
            (pl.col("high") < pl.max_horizontal("open", "low", "close"))
            | (pl.col("low") > pl.min_horizontal("open", "close")),
            prices,
        ),
        Rule(
            "volume_negative",
            "unusable",
            ~_is_sound_volume(),
            pl.format("volume {} in {} trades", _text("volume"), _text("bar_count")),
        ),
    )


def _text(name: str) -> pl.Expr:
    """Return a value as text for evidence: one that is missing is told, too, and does not make the sentence null."""
    return pl.col(name).cast(pl.String).fill_null("none")


def _is_sound_volume() -> pl.Expr:
    """Return whether volume and number of trades are absent, or numbers that are not negative."""
    volume, count = pl.col("volume"), pl.col("bar_count")
    return (volume.is_finite() & (volume >= 0)).fill_null(value=True) & (count >= 0).fill_null(value=True)


@dataclass(frozen=True, slots=True)
class Curation:
    """One session, divided: every row that speaks for it is in exactly one of the two frames."""

    valid: pl.DataFrame
    quarantine: pl.DataFrame
    n_superseded: int
    """Raw rows of older answers that a newer answer speaks for; they stay in bronze only."""
    n_reordered: int
    """Rows that came out of time order and were put in place."""
    n_rescaled: int = 0
    """Rows of older answers that were put on the price basis of a newer one, a split away from theirs."""


def curate_minutes(raw: pl.DataFrame, session: date, hours: Hours, reference: pl.DataFrame) -> Curation:
    """Divide one session's raw 1-minute rows into valid bars and quarantine.

    Order of judgement: the newest answer speaks; rules on single rows; duplicates of a minute (the row with the
    largest volume stays, then the one sent last); toxic prices against both neighbours. Rows that came out of order
    are sorted and marked `warn`.

    Args:
        raw: all rows of `raw_tws_bars` of the session (TRADES, 1 min).
        session: the session.
        hours: its opening and closing.
        reference: con_id, previous_close, for the first bar of each instrument.

    Returns:
        Both tables' frames, ready to commit but for their order.
    """
    speaking = newest_answers(raw).sort(_ROW)
    marked = _mark_disorder(speaking)
    singles = _apply_row_rules(marked, row_rules(hours))
    sound, broken = _split(singles)
    unique, repeated = _split(_mark_duplicates(sound))
    judged = _mark_toxic(unique, reference)
    valid, toxic_rows = _split(judged)
    rejected = pl.concat([broken, repeated, toxic_rows], how="diagonal")
    return Curation(
        valid=_as_curated(valid, raw, session),
        quarantine=_as_quarantine(rejected),
        n_superseded=raw.height - speaking.height,
        n_reordered=int(marked["_disordered"].sum()),
        n_rescaled=speaking.filter(pl.col("rescaled_by") != 1.0).height,
    )


def _mark_disorder(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark rows that start before a row that the same answer sent earlier."""
    latest_before = pl.col("ts").cum_max().shift(1).over("con_id", "request_id")
    return rows.with_columns(
        (pl.col("ts") < latest_before).fill_null(value=False).alias("_disordered"),
        pl.lit(value=False).alias("_resolved"),
    )


def _apply_row_rules(rows: pl.DataFrame, rules: tuple[Rule, ...]) -> pl.DataFrame:
    broken = {rule.name: rule.broken.fill_null(value=False) for rule in rules}
    names = pl.concat_str(
        [pl.when(condition).then(pl.lit(name)) for name, condition in broken.items()], separator=";", ignore_nulls=True
    )
    first = pl.coalesce(pl.when(condition).then(pl.lit(name)) for name, condition in broken.items())
    verdict = pl.coalesce(pl.when(broken[rule.name]).then(pl.lit(rule.verdict)) for rule in rules)
    evidence = pl.coalesce(pl.when(broken[rule.name]).then(rule.evidence) for rule in rules)
    return rows.with_columns(
        first.alias("rule"), names.alias("rules"), verdict.alias("verdict"), evidence.alias("evidence")
    )


def _split(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return rows.filter(pl.col("rule").is_null()), rows.filter(pl.col("rule").is_not_null())


def _mark_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    """Of several rows of one minute keep the one with the largest volume, then the one sent last.

    Windows over every minute would cost more than all other rules together; only repeated minutes are looked at.
    """
    repeated = rows.select(_MINUTE).is_duplicated()
    if not repeated.any():
        return rows
    return pl.concat([rows.filter(~repeated), _judge_repeated(rows.filter(repeated))])


def _judge_repeated(rows: pl.DataFrame) -> pl.DataFrame:
    minute = _MINUTE
    ordered = rows.sort(*minute, "volume", "answer_row", descending=[False, False, True, True], nulls_last=True)
    values = [*_PRICES, "volume"]
    position = pl.int_range(pl.len()).over(minute)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).first().over(minute)) for name in values)
    rule = pl.when(position > 0).then(
        pl.when(differs).then(pl.lit("duplicate_conflicting")).otherwise(pl.lit("duplicate_equal"))
    )
    kept = pl.format(
        "kept row {}: close {} volume {}; this row: close {} volume {}",
        pl.col("answer_row").first().over(minute),
        pl.col("close").first().over(minute),
        _text("volume").first().over(minute),
        "close",
        _text("volume"),
    )
    marked = ordered.with_columns(rule.alias("rule"), kept.alias("_kept"))
    found = pl.col("rule").is_not_null()
    conflict = (pl.col("rule") == "duplicate_conflicting").any().over(minute)
    return marked.with_columns(
        pl.when(found).then(pl.col("rule")).alias("rules"),
        pl.when(found).then(pl.lit("repeated_minute")).alias("verdict"),
        pl.when(found).then(pl.col("_kept")).alias("evidence"),
        conflict.fill_null(value=False).alias("_resolved"),
    ).drop("_kept")


def _mark_toxic(rows: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    judged = toxic.judge(rows.sort("con_id", "ts"), reference)
    found = pl.col("toxic").is_not_null()
    toxic_price = pl.when(found).then(pl.lit("toxic_price"))
    return judged.with_columns(
        toxic_price.alias("rule"),
        toxic_price.alias("rules"),
        pl.col("toxic").alias("verdict"),
        pl.col("toxic_evidence").alias("evidence"),
    ).drop("toxic", "toxic_evidence")


def _as_curated(valid: pl.DataFrame, raw: pl.DataFrame, session: date) -> pl.DataFrame:
    frame = _with_first_known(valid, raw).with_columns(
        pl.when(pl.col("_disordered") | pl.col("_resolved") | (pl.col("rescaled_by") != 1.0))
        .then(pl.lit("warn"))
        .otherwise(pl.lit("ok"))
        .alias("dq_status"),
        _basis(session).alias("known_basis"),
        pl.lit(TRANSFORM_VERSION).alias("transform_version"),
        *(
            pl.lit(value=False).alias(column.name)
            for column in tables.CURATED_TWS_1M_BARS.columns
            if column.name.startswith("is_imputed_")
        ),
    )
    return frame.select(tables.CURATED_TWS_1M_BARS.schema.names())


def _with_first_known(valid: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """Add known_at: when any answer first brought the value that stands, or the basis that it was put on."""
    if raw.select("con_id", "request_id").n_unique() == raw["con_id"].n_unique():
        return valid.with_columns(pl.col("ingested_at").alias("known_at"))
    value = [*_MINUTE, *_PRICES, "volume"]
    first_known = raw.group_by(value).agg(pl.col("ingested_at").min().alias("known_at"))
    joined = valid.join(first_known, on=value, how="left", nulls_equal=True)
    return joined.with_columns(pl.coalesce("rescaled_at", "known_at").alias("known_at"))


def _basis(session: date) -> pl.Expr:
    """Return `observed` for values received within two days of their session, else `assumed`."""
    days = (pl.col("known_at").dt.date() - pl.lit(session)).dt.total_days()
    return pl.when(days <= OBSERVED_WITHIN_DAYS).then(pl.lit("observed")).otherwise(pl.lit("assumed"))


OBSERVED_WITHIN_DAYS = 1
"""A bar that arrived by the day after its session counts as known then; a later one is a backfill."""


def _as_quarantine(rejected: pl.DataFrame) -> pl.DataFrame:
    frame = as_served(rejected).with_columns(pl.lit(TRANSFORM_VERSION).alias("transform_version"))
    return frame.select(tables.QUARANTINE_TWS_BARS.schema.names())


def accounting(valid: pl.DataFrame, quarantine: pl.DataFrame, universe: pl.DataFrame, hours: Hours) -> pl.DataFrame:
    """Count minutes per instrument of a session.

    Returns:
        con_id, symbol, expected, present, quarantined (minutes that only rejected rows have), missing, coverage.
    """
    present = valid.group_by("con_id").agg(pl.col("ts").n_unique().alias("present"))
    inside = quarantine.filter(pl.col("ts").is_between(hours.opens_at, hours.closes_at, closed="left")).with_columns(
        pl.col("ts").dt.truncate("1m")
    )
    lost = (
        inside.join(valid, on=["con_id", "ts"], how="anti")
        .group_by("con_id")
        .agg(pl.col("ts").n_unique().alias("quarantined"))
    )
    counts = (
        universe.select("con_id", "symbol")
        .join(present, on="con_id", how="left")
        .join(lost, on="con_id", how="left")
        .with_columns(
            pl.col("present", "quarantined").fill_null(0).cast(pl.Int64), pl.lit(hours.n_minutes).alias("expected")
        )
    )
    return counts.with_columns(
        (pl.col("expected") - pl.col("present") - pl.col("quarantined")).alias("missing"),
        (pl.col("present") / pl.col("expected")).alias("coverage"),
    ).sort("con_id")


def rule_counts(quarantine: pl.DataFrame) -> Mapping[str, int]:
    """Return how many rows each rule rejected."""
    counted = quarantine.group_by("rule").len().sort("rule")
    return dict(counted.iter_rows())


def sound_daily(window: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide a daily window into rows with positive, ordered prices and sound volumes, and the rest."""
    is_sound = (
        pl.all_horizontal((pl.col(name) > 0) & pl.col(name).is_finite() for name in (*_PRICES, "adj_close"))
        & _is_sound_volume()
        & (pl.col("high") >= pl.max_horizontal("open", "low", "close"))
        & (pl.col("low") <= pl.min_horizontal("open", "close"))
    ).fill_null(value=False)
    return window.filter(is_sound), window.filter(~is_sound)


def finish_daily(window: pl.DataFrame, expected: pl.DataFrame, version: str) -> pl.DataFrame:
    """Add coverage, status and version to a sound daily window.

    Args:
        window: sound rows.
        expected: con_id, n_expected: sessions of the window in which the instrument's exchange was open.
        version: of the transform.

    Returns:
        Rows of `curated_tws_1d_bars`; coverage is sessions present ÷ sessions expected.
    """
    counted = window.join(expected, on="con_id", how="left", maintain_order="left")
    return counted.with_columns(
        (pl.len().over("con_id") / pl.col("n_expected")).alias("coverage"),
        pl.lit("ok").alias("dq_status"),
        pl.lit(version).alias("transform_version"),
    ).select(tables.CURATED_TWS_1D_BARS.schema.names())
