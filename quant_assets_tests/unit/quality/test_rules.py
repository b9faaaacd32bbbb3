"""Rules as values: their names, severities and numbers, and what configuration may change."""

from dataclasses import fields
from datetime import timedelta

import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.domain import quality
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, DQ_METRICS, QUARANTINE_TWS_BARS
from quant_assets.settings.quality import RULE_NAMES, MetricLimits, QualityConfig, Thresholds
from quant_assets_tests.builders import CON_ID, SESSION, minute, raw_bars, references, trading

GOOD = [100.0, 100.1, 100.2, 100.3, 100.4, 100.5]


def curate(*answers, hours=None, **options):
    raw = pl.concat(answers)
    return quality.curate_minutes(raw, SESSION, trading() if hours is None else hours, references(), **options)


def test_every_rule_is_declared_once_and_has_a_column_in_quarantine():
    names = [rule.name for rule in quality.RULES]
    assert sorted(names) == sorted(RULE_NAMES)
    assert len(set(names)) == len(names)
    flags = [name for name in QUARANTINE_TWS_BARS.schema if name.startswith("broke_")]
    assert sorted(flags) == sorted(f"broke_{name}" for name in names)


def test_parameters_are_thresholds_that_exist():
    assert {name for rule in quality.RULES for name in rule.parameters} <= set(Thresholds.model_fields)
    assert {field.name for field in fields(quality.Rule)} >= {"name", "severity", "verdict", "about", "parameters"}


def test_a_severity_can_be_raised():
    stale = raw_bars([100.0] * 6)
    kept = curate(stale)
    assert kept.valid["dq_rules"].to_list() == [None, *["stale_repeat"] * 5]
    strict = curate(stale, config=QualityConfig(severities={"stale_repeat": "quarantine"}))
    assert (strict.valid.height, strict.quarantine.height) == (1, 5)
    assert (
        curate(stale, config=QualityConfig(severities={"stale_repeat": "ok"})).valid["dq_status"].to_list()
        == ["ok"] * 6
    )


def test_a_severity_that_silver_rests_on_cannot_be_lowered():
    with pytest.raises(ValidationError, match="ohlc_order is always quarantine"):
        QualityConfig(severities={"ohlc_order": "warn"})
    with pytest.raises(ValidationError, match="Input should be 'price_missing'"):
        QualityConfig(severities={"nonsense": "warn"})


def test_a_class_keeps_the_defaults_of_what_is_not_said():
    config = QualityConfig(asset_classes={"CASH": {"stale_bars": 7}, "BOND": {"max_jump": 2.0}})
    assert config.thresholds("CASH").stale_bars == 7
    assert config.thresholds("CASH").max_jump == QualityConfig().thresholds("CASH").max_jump == 1.5
    assert config.thresholds("BOND").max_jump == 2.0
    assert config.thresholds("STK") == config.thresholds("WAR") == Thresholds()
    with pytest.raises(ValidationError, match="daily_reject"):
        QualityConfig(asset_classes={"STK": {"daily_reject": 0.001}})


def test_instruments_of_two_classes_are_judged_by_their_own_numbers_and_hours():
    """The same tripling is a bad print of a coin pair, and no matter of a stock; each has its own opening."""
    first, second = (raw_bars([100, 100, 300, 100, 100, 100], con_id=CON_ID + n) for n in (0, 1))
    hours = trading().with_columns(
        pl.Series("asset_class", ["STK", "CRYPTO"]),
        pl.when(pl.col("con_id") == CON_ID).then(pl.lit(minute(1))).otherwise("opens_at").alias("opens_at"),
    )
    series = {"CRYPTO": {"series": ["TRADES"], "max_jump": 2.5}}
    found = curate(first, second, hours=hours, config=QualityConfig(asset_classes=series))
    assert found.quarantine.select("con_id", "ts", "rule").rows() == [
        (CON_ID, minute(0), "outside_session"),
        (CON_ID + 1, minute(2), "toxic_price"),
    ]


def test_an_instrument_whose_exchange_is_closed_has_no_bar():
    found = curate(raw_bars(GOOD), raw_bars(GOOD, con_id=CON_ID + 1), hours=trading(con_ids=[CON_ID]))
    assert found.quarantine.select("con_id", "rule").unique().rows() == [(CON_ID + 1, "outside_session")]
    assert found.quarantine["evidence"].unique().to_list() == ["its exchange is closed that day"]


def test_metrics_count_rules_and_warn_beyond_their_limits():
    rows = [{"minute": 3, "close": 100.3}, {"minute": 390}]
    late = raw_bars(GOOD, rows=rows)
    found = curate(late)
    counts = pl.DataFrame({"con_id": [CON_ID], "coverage": [6 / 390], "unexplained": [384]})
    limits = MetricLimits(max_quarantined_share=0.2)
    measured = quality.session_metrics(found, counts, SESSION, limits, unexplained=(384 / 390, 0.01))
    whole = {
        m: (v, s)
        for m, v, s in measured.filter(pl.col("con_id").is_null()).select("metric", "value", "status").iter_rows()
    }
    assert whole["rows"] == (8.0, "ok")
    assert whole["rule_duplicate_equal"] == whole["rule_outside_session"] == (1.0, "ok")
    assert whole["quarantined_share"] == (0.25, "warn")
    assert whole["duplicate_share"] == (0.125, "warn")
    assert whole["coverage"] == (6 / 390, "warn")
    assert whole["unexplained_share"] == (384 / 390, "warn")
    assert whole["unexplained_minutes"] == (384.0, "ok")
    of_one = measured.filter(pl.col("con_id") == CON_ID, pl.col("metric") == "unexplained_minutes")
    assert of_one["value"].to_list() == [384.0]
    assert (
        DQ_METRICS.conform(
            measured.with_columns(pipeline_version=pl.lit("0"), recorded_at=pl.lit(minute(0) + timedelta(hours=9)))
            .cast({"recorded_at": DQ_METRICS.schema["recorded_at"]})
            .select(DQ_METRICS.schema.names())
        ).height
        == measured.height
    )


def test_rows_in_several_chunks_are_judged_like_rows_in_one():
    parts = [raw_bars(GOOD, con_id=CON_ID + n, rows=[{"minute": 7, "low": 0.0}]) for n in range(2)]
    cut, whole = pl.concat(parts, rechunk=False), pl.concat(parts).rechunk()
    left, right = (curate(rows) for rows in (cut, whole))
    assert left.quarantine.equals(right.quarantine)
    assert left.valid.select(CURATED_TWS_1M_BARS.schema.names()).equals(right.valid)
