"""How good a session is, in numbers with limits: of the whole session, and of each instrument."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from quant_assets.domain.outcomes import LOTS, LOTS_RATIO
from quant_assets.domain.quality.curating import Curation
from quant_assets.domain.quality.rules import RULES
from quant_assets.settings.quality import MetricLimits

DATASET = "curated_tws_1m_bars"
_LONG = ["con_id", "metric", "value", "threshold", "is_off"]
_SHOWN = 8
"""What one line of a check holds."""
_SHARES: Mapping[str, tuple[str, ...]] = {
    "duplicate_share": ("duplicate_equal", "duplicate_conflicting"),
    "disordered_share": ("out_of_order",),
    "stale_share": ("stale_repeat",),
    "filler_share": ("filler",),
}


def session_metrics(
    divided: Curation,
    counts: pl.DataFrame,
    session: date,
    limits: MetricLimits,
    *,
    unexplained: tuple[float, float],
) -> pl.DataFrame:
    """Return the rows of `dq_metrics` of a session, but for who recorded them and when.

    Args:
        divided: the session.
        counts: con_id, coverage (minutes with a bar ÷ open ones) and unexplained (minutes) of each instrument of the
            universe whose exchange was open.
        session: the session.
        limits: from where a metric warns.
        unexplained: share of the expected minutes that nothing explains, and from where it warns.

    Returns:
        dataset, session, con_id (null for the whole session), metric, value, status, threshold.
    """
    long = pl.concat([_of_session(divided, counts, limits, unexplained), _of_instruments(divided, counts, limits)])
    status = pl.when(pl.col("is_off").fill_null(value=False)).then(pl.lit("warn")).otherwise(pl.lit("ok"))
    return long.filter(pl.col("value").is_finite()).select(
        pl.lit(DATASET).alias("dataset"),
        pl.lit(session).alias("session"),
        "con_id",
        "metric",
        "value",
        status.alias("status"),
        "threshold",
    )


def _of_session(
    divided: Curation, counts: pl.DataFrame, limits: MetricLimits, unexplained: tuple[float, float]
) -> pl.DataFrame:
    n_speaking = divided.valid.height - divided.n_imputed + divided.quarantine.height
    by_rule: dict[str, int] = {rule.name: divided.n_of(rule.name) for rule in RULES}
    by_rule["filler"] = int(divided.compared["fillers"].sum())
    numbers: dict[str, float] = {
        "rows": n_speaking,
        "rows_valid": divided.valid.height,
        "rows_quarantined": divided.quarantine.height,
        "rows_imputed": divided.n_imputed,
        **{f"rule_{name}": n for name, n in by_rule.items()},
    }
    rows: list[tuple[str, float, float | None, bool]] = [
        (name, float(value), None, False) for name, value in numbers.items()
    ]
    shares = {"quarantined_share": divided.quarantine.height} | {
        name: sum(by_rule[rule] for rule in named) for name, named in _SHARES.items()
    }
    for name, n in shares.items():
        limit = getattr(limits, f"max_{name}")
        share = n / n_speaking if n_speaking else 0.0
        rows.append((name, share, limit, share > limit))
    coverage = float(counts["coverage"].mean() or 0.0)  # type: ignore[arg-type]
    rows.append(("coverage", coverage, limits.min_coverage, coverage < limits.min_coverage))
    missing, most = unexplained
    rows.append(("unexplained_share", missing, most, missing > most))
    rows.append(("unexplained_minutes", float(counts["unexplained"].sum()), None, False))
    schema = {"metric": pl.String, "value": pl.Float64, "threshold": pl.Float64, "is_off": pl.Boolean}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.lit(None, pl.Int64).alias("con_id")).select(_LONG)


def _of_instruments(divided: Curation, counts: pl.DataFrame, limits: MetricLimits) -> pl.DataFrame:
    compared = divided.compared
    least = pl.lit(limits.min_coverage)
    coverage = counts.select("con_id", value="coverage", threshold=least, is_off=pl.col("coverage") < least)
    parts = [coverage.with_columns(pl.lit("coverage").alias("metric"))]
    lost = counts.filter(pl.col("unexplained") > 0).select("con_id", value=pl.col("unexplained").cast(pl.Float64))
    parts.append(
        lost.with_columns(
            threshold=pl.lit(None, pl.Float64), is_off=pl.lit(value=False), metric=pl.lit("unexplained_minutes")
        )
    )
    on_basis = compared.filter(~pl.col("is_other_basis"))
    for name, limit in (*((x, "daily_tolerance") for x in ("high", "low", "close")), ("volume", "volume_tolerance")):
        off = pl.col(name) / pl.col(f"day_{name}") - 1
        parts.append(
            on_basis.select("con_id", value=off, threshold=limit, is_off=off.abs() > pl.col(limit)).with_columns(
                pl.lit(f"{name}_vs_daily").alias("metric")
            )
        )
    broken = divided.findings.select(
        "con_id", pl.format("rule_{}", "rule").alias("metric"), value=pl.col("n").cast(pl.Float64)
    )
    summed = broken.group_by("con_id", "metric").agg(pl.col("value").sum())
    parts.append(summed.with_columns(threshold=pl.lit(None, pl.Float64), is_off=pl.lit(value=False)))
    fillers = compared.filter(pl.col("fillers") > 0).select("con_id", value=pl.col("fillers").cast(pl.Float64))
    parts.append(
        fillers.with_columns(
            threshold=pl.lit(None, pl.Float64), is_off=pl.lit(value=False), metric=pl.lit("rule_filler")
        )
    )
    return pl.concat([part.select(_LONG) for part in parts])


def hundredfold(metrics: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of metrics that say: the minutes hold a hundred times the volume of the day, or a hundredth.

    One of the two is in lots; what a session is made of counts in one unit.

    Args:
        metrics: rows of `dq_metrics`.
    """
    times = 1 + pl.col("value")
    apart = pl.min_horizontal((times / LOTS - 1).abs(), (times * LOTS - 1).abs())
    return metrics.filter((pl.col("metric") == "volume_vs_daily") & (apart <= LOTS_RATIO))


def complaints(metrics: pl.DataFrame, symbols: pl.DataFrame) -> tuple[str, str]:
    """Return what is off in the whole session, and which instruments do not reconcile with their daily bar, as text.

    Args:
        metrics: rows of `dq_metrics` of a session.
        symbols: con_id, symbol.
    """
    off = metrics.filter(pl.col("status") == "warn")
    session = off.filter(pl.col("con_id").is_null()).sort("metric").select("metric", "value", "threshold")
    told = [f"{name} {value:.4g} (limit {limit:g})" for name, value, limit in session.iter_rows()]
    daily = (
        off.filter(pl.col("metric").str.ends_with("_vs_daily"))
        .join(symbols.select("con_id", "symbol"), on="con_id")
        .sort("symbol", "metric")
        .select("symbol", "metric", "value")
    )
    named = [f"{symbol} {metric} {value:+.2%}" for symbol, metric, value in daily.head(_SHOWN).iter_rows()]
    rest = f" and {daily.height - _SHOWN} more" if daily.height > _SHOWN else ""
    return ", ".join(told), ", ".join(named) + rest
