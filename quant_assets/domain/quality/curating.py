"""From raw answers to valid bars and quarantine: every row accounted for, in one pass over the session."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from quant_assets.domain import tables, toxic
from quant_assets.domain.bars import as_served, newest_answers, one_answer_each
from quant_assets.domain.quality import checks
from quant_assets.domain.quality.findings import Book, by_row, found
from quant_assets.domain.quality.imputation import impute
from quant_assets.domain.quality.overrides import named_rows
from quant_assets.domain.quality.rules import RULES
from quant_assets.domain.quality.terms import SessionTerms
from quant_assets.domain.tables.core import in_strict_order
from quant_assets.settings.quality import PRICES, QualityConfig

TRANSFORM_VERSION = "4"

OBSERVED_WITHIN_DAYS = 1
"""A bar that arrived by the day after its session counts as known then; a later one is a backfill."""

_MINUTE = ["con_id", "ts"]
_ROW = ["con_id", "request_id", "answer_row"]
_SLIM = ["_row", "con_id", "ts", *PRICES, "volume", "bar_count", "answer_row"]
_DAY = ("previous_close", "day_high", "day_low", "day_close", "day_volume", "usual_volume", "real_move")


@dataclass(frozen=True, slots=True)
class Curation:
    """One session, divided: every row that speaks for it is in exactly one of the two frames."""

    valid: pl.DataFrame
    quarantine: pl.DataFrame
    n_superseded: int
    """Raw rows of older answers that a newer answer speaks for; they stay in bronze only."""
    findings: pl.DataFrame
    """con_id, rule, severity, n: how often each rule was broken, kept rows included."""
    compared: pl.DataFrame
    """Per instrument: what its minutes add up to, beside the day's own bar."""
    n_imputed: int = 0
    """Bars of `valid` that no row stands for; all of them are masked."""

    @property
    def n_reordered(self) -> int:
        """Rows that came out of time order and were put in place."""
        return self.n_of("out_of_order")

    @property
    def n_rescaled(self) -> int:
        """Rows of older answers that were put on the price basis of a newer one, a split away from theirs."""
        return self.n_of("rescaled")

    def n_of(self, rule: str) -> int:
        """Return how many rows broke a rule, kept ones included."""
        return int(self.findings.filter(pl.col("rule") == rule)["n"].sum())


def curate_minutes(
    raw: pl.DataFrame,
    session: date,
    hours: pl.DataFrame,
    daily: pl.DataFrame,
    *,
    config: QualityConfig | None = None,
    overrides: pl.DataFrame | None = None,
) -> Curation:
    """Divide one session's raw 1-minute rows into valid bars and quarantine.

    Order of judgement: the newest answer speaks; rules on single rows; answers that are shifted as a whole; duplicates
    of a minute (the row with the largest volume stays, then the one sent last); toxic prices against both neighbours
    and the day; prices and volumes against the day's own bar. A later judgement looks only at what earlier ones left.

    Args:
        raw: all rows of `raw_tws_bars` of the session, of one series per instrument.
        session: the session.
        hours: con_id, HOURS: each instrument's own hours; asset_class and symbol where known. The
            rows of an instrument without hours are outside the session.
        daily: con_id, previous_close, and where they are known day_high, day_low, day_close, day_volume (the session's
            daily bar as of the session), usual_volume (shares, median of the sessions before) and real_move (by how
            much the price moved over night, as somebody says who knows); on the basis of the minutes, see
            `on_minutes_basis`.
        config: severities, thresholds and imputation; the defaults when None.
        overrides: rows that somebody released or confirmed, as `overrides.OVERRIDES`.

    Returns:
        Both tables' frames, ready to commit but for their order, and what was found.
    """
    config = config or QualityConfig()
    # one chunk: Polars 2.1 panics on text made from filtered rows whose columns are cut in different places
    ordered = raw.rechunk() if in_strict_order(raw, _ROW) else raw.sort(_ROW)
    alone = one_answer_each(ordered)
    spoken = newest_answers(ordered)
    rows = (spoken if alone else spoken.sort(_ROW)).with_row_index("_row")
    terms = SessionTerms.of(rows["con_id"].unique(maintain_order=True), hours, session, config)
    book = Book(config, named_rows(rows, overrides, "release")["_row"])
    told = pl.format("{} by {}, as {} confirmed", "verdict", "rule", "who")
    confirmed = named_rows(rows, overrides, "confirm")
    book.add(found(confirmed, "confirmed", told, verdict=pl.col("verdict")))
    compared = _judge(book, rows, terms, hours, _day_of(daily))
    findings = book.all()
    valid = _valid(rows, findings, raw, session, alone=alone)
    filled = impute(valid, hours, config.imputation)
    return Curation(
        valid=filled,
        quarantine=_quarantined(rows, findings),
        n_superseded=raw.height - rows.height,
        findings=_counted(rows, findings),
        compared=compared,
        n_imputed=filled.height - valid.height,
    )


def _judge(book: Book, rows: pl.DataFrame, terms: SessionTerms, hours: pl.DataFrame, day: pl.DataFrame) -> pl.DataFrame:
    """Fill the book, judgement by judgement; returns the comparison with the day's bars."""
    singles = checks.single_rows(rows, terms)
    outside = rows.join(singles.filter(pl.col("rule") == "outside_session"), on="_row", how="semi")
    book.add(singles, checks.rescaled(rows), checks.disorder(rows), checks.shifted(rows, outside, terms))
    if "symbol" in hours.columns:
        book.add(checks.other_symbols(rows, hours))
    slim = book.without_out(rows.select(_SLIM))
    if not in_strict_order(slim, _MINUTE):
        slim = slim.sort(*_MINUTE, "_row")
        book.add(checks.repeated_minutes(slim, book.released))
        slim = book.without_out(slim)
    jumps = checks.toxic_prices(slim, day, terms)
    book.add(checks.stale_bars(slim, terms), jumps)
    split = slim.join(jumps.filter(pl.col("verdict") == toxic.MISSED_SPLIT), on="_row", how="semi")["con_id"]
    slim = book.without_out(slim)
    compared = checks.bases(checks.totals(slim), day, terms, split)
    basis = slim.join(compared.filter("is_other_basis"), on="con_id", suffix="_of_day")
    told = pl.format("the minutes' prices are {} times the day's", pl.col("scale").round(4))
    book.add(
        found(basis, "other_basis", told),
        checks.outside_the_day(slim, compared, terms),
        checks.volumes(slim, compared, terms),
    )
    return compared


def _day_of(daily: pl.DataFrame) -> pl.DataFrame:
    """Return the daily reference with every column that the checks look at; what is not known is null."""
    return daily.select(
        "con_id", *(name if name in daily.columns else pl.lit(None, pl.Float64).alias(name) for name in _DAY)
    )


def _valid(
    rows: pl.DataFrame, findings: pl.DataFrame, raw: pl.DataFrame, session: date, *, alone: bool
) -> pl.DataFrame:
    """Return the rows that enter silver, by instrument and minute, with status, knowledge and masks."""
    out = findings.filter(pl.col("severity") == "quarantine")["_row"].unique()
    kept = rows if out.is_empty() else rows.filter(~pl.col("_row").is_in(out.implode()))
    kept = kept if in_strict_order(kept, _MINUTE) else kept.sort(_MINUTE)
    noted = findings.filter(pl.col("severity").is_in(["warn", "error"]) & ~pl.col("_row").is_in(out.implode()))
    known = _with_first_known(kept, raw, alone=alone)
    return (
        _with_status(known, noted)
        .with_columns(
            _basis(session).alias("known_basis"),
            pl.lit(TRANSFORM_VERSION).alias("transform_version"),
            *(pl.lit(value=False).alias(column.name) for column in tables.bars.IMPUTED),
        )
        .select(tables.CURATED_TWS_1M_BARS.schema.names())
    )


def _with_status(rows: pl.DataFrame, noted: pl.DataFrame) -> pl.DataFrame:
    if noted.is_empty():
        return rows.with_columns(pl.lit("ok").alias("dq_status"), pl.lit(None, pl.String).alias("dq_rules"))
    folded = noted.group_by("_row", maintain_order=True).agg(
        pl.when((pl.col("severity") == "error").any())
        .then(pl.lit("error"))
        .otherwise(pl.lit("warn"))
        .alias("dq_status"),
        pl.col("rule").str.join(";").alias("dq_rules"),
    )
    return rows.join(folded, on="_row", how="left", maintain_order="left").with_columns(
        pl.col("dq_status").fill_null("ok")
    )


def _with_first_known(valid: pl.DataFrame, raw: pl.DataFrame, *, alone: bool) -> pl.DataFrame:
    """Add known_at: when any answer first brought the value that stands, or the basis that it was put on."""
    if alone:
        return valid.with_columns(pl.col("ingested_at").alias("known_at"))
    value = [*_MINUTE, *PRICES, "volume"]
    first_known = raw.group_by(value).agg(pl.col("ingested_at").min().alias("known_at"))
    joined = valid.join(first_known, on=value, how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(pl.coalesce("rescaled_at", "known_at").alias("known_at"))


def _basis(session: date) -> pl.Expr:
    """Return `observed` for values received by the day after their session, else `assumed`."""
    days = (pl.col("known_at").dt.date() - pl.lit(session)).dt.total_days()
    return pl.when(days <= OBSERVED_WITHIN_DAYS).then(pl.lit("observed")).otherwise(pl.lit("assumed"))


def _quarantined(rows: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    out = findings.filter((pl.col("severity") == "quarantine").any().over("_row"))
    folded = by_row(out)
    broke = (pl.col("rules").list.contains(rule.name).alias(f"broke_{rule.name}") for rule in RULES)
    frame = rows.join(folded, on="_row", how="inner", maintain_order="left").with_columns(
        *broke, pl.col("rules").list.join(";").alias("rules"), pl.lit(TRANSFORM_VERSION).alias("transform_version")
    )
    return as_served(frame).select(tables.QUARANTINE_TWS_BARS.schema.names())


def _counted(rows: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    named = findings.join(rows.select("_row", "con_id"), on="_row", how="left")
    return named.group_by("con_id", "rule", "severity").agg(pl.len().cast(pl.Int64).alias("n")).sort("con_id", "rule")
