"""Rules as values: their names, severities and numbers, and what configuration may change."""

from dataclasses import fields
from datetime import timedelta

import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.domain import quality
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, DQ_METRICS, QUARANTINE_TWS_BARS
from quant_assets.settings.quality import RULE_NAMES, MetricLimits, QualityConfig, Thresholds
from quant_assets_tests.builders import CON_ID, SESSION, minute, paused, raw_bars, references, trading

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


def test_a_bar_in_a_pause_is_outside_the_session():
    found = curate(raw_bars(dict.fromkeys((119, 120, 179, 180), 100.0)), hours=paused())
    assert found.quarantine.select("ts", "rule", "evidence").rows() == [
        (minute(n), "outside_session", "session 14:30 to 21:00 UTC, paused 16:30 to 17:30") for n in (120, 179)
    ]


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


def day_of(volume):
    """Return a daily bar that the flat bars at 100 of the tests below agree with."""
    prices = dict.fromkeys(("previous_close", "day_high", "day_low", "day_close", "usual_volume"), 100.0)
    return pl.DataFrame({"con_id": [CON_ID], **prices, "day_volume": [volume]})


def broken(rows, volume=None, **options):
    """Return (minute, rule, status) of the bars that a rule spoke of; a rejected one has no status."""
    daily = references() if volume is None else day_of(volume)
    found = quality.curate_minutes(raw_bars([], rows=rows), SESSION, trading(), daily, **options)
    kept = found.valid.filter(pl.col("dq_rules").is_not_null()).select("ts", "dq_rules", "dq_status")
    out = found.quarantine.select("ts", "rules", dq_status=pl.lit(None, pl.String))
    told = [*kept.iter_rows(), *out.iter_rows()]
    return sorted(((ts - minute(0)) // timedelta(minutes=1), rules, status) for ts, rules, status in told)


@pytest.mark.parametrize(
    ("wap", "volume", "is_odd"),
    [
        pytest.param(100.0, 1000.0, False, id="on the low"),
        pytest.param(101.0, 1000.0, False, id="on the high"),
        pytest.param(99.6, 1000.0, False, id="four tenths of a percent below the low"),
        pytest.param(99.4, 1000.0, True, id="six tenths below"),
        pytest.param(101.6, 1000.0, True, id="six tenths above the high"),
        pytest.param(10050.0, 1000.0, True, id="in cents"),
        pytest.param(0.0, 1000.0, True, id="zero"),
        pytest.param(float("nan"), 1000.0, True, id="no number"),
        pytest.param(10050.0, None, True, id="of an unknown volume"),
        pytest.param(None, 1000.0, False, id="not known"),
        pytest.param(0.0, 0.0, False, id="the average of no trade"),
    ],
)
def test_an_average_price_lies_within_its_own_bar(wap, volume, is_odd):
    count = 0 if volume == 0 else 10
    bar = {"minute": 3, "close": 100.5, "open": 100.5, "low": 100.0, "high": 101.0, "wap": wap}
    flat = {"low": 100.5, "high": 100.5} if volume == 0 else {}
    row = bar | flat | {"volume": volume, "bar_count": count}
    assert broken([row]) == ([(3, "wap_outside_bar", "warn")] if is_odd else [])


def test_how_far_outside_an_average_price_may_be_is_configured_by_class():
    row = {"minute": 3, "close": 100.0, "wap": 99.6}
    strict = QualityConfig(asset_classes={"STK": {"wap_tolerance": 0.001}})
    assert (broken([row]), broken([row], config=strict)) == ([], [(3, "wap_outside_bar", "warn")])


@pytest.mark.parametrize(
    ("volume", "trades", "high", "is_odd"),
    [
        pytest.param(0.0, 7, 100.0, True, id="trades of nothing"),
        pytest.param(0.0, 0, 100.2, True, id="a move without a trade"),
        pytest.param(0.0, 0, 100.0, False, id="a filler"),
        pytest.param(0.0, None, 100.2, False, id="trades are not counted"),
        pytest.param(None, 7, 100.2, False, id="volume is not known"),
        pytest.param(500.0, 7, 100.2, False, id="an ordinary bar"),
    ],
)
def test_a_bar_without_volume_has_no_trades_and_does_not_move(volume, trades, high, is_odd):
    row = {"minute": 3, "close": 100.0, "high": high, "volume": volume, "bar_count": trades}
    assert broken([row]) == ([(3, "volume_contradicted", None)] if is_odd else [])


PLAIN = [{"minute": n, "close": 100.0, "volume": 1000.0 + n, "bar_count": 10} for n in range(9)]
"""Volumes differ, so that no bar repeats another; together they are 9036."""


@pytest.mark.parametrize(
    ("volume", "trades", "day", "expected"),
    [
        pytest.param(10000.0, 10, 10036.0, [(9, "volume_tenfold", "error")], id="the day has a tenth of it"),
        pytest.param(10000.0, 10, 10100.0, [(9, "volume_tenfold", "error")], id="and a late print"),
        pytest.param(10000.0, 10, 19036.0, [], id="the day has all of it: a block"),
        pytest.param(10000.0, 10, 13000.0, [], id="the day says neither"),
        pytest.param(10000.0, 100, 10036.0, [], id="its trades are of the usual size"),
        pytest.param(100000.0, 10, 10036.0, [(9, "volume_unit", None)], id="a hundred times too large"),
    ],
)
def test_a_volume_ten_times_too_large_is_proved_by_its_trades_and_the_day(volume, trades, day, expected):
    odd = {"minute": 9, "close": 100.0, "volume": volume, "bar_count": trades}
    assert broken([*PLAIN, odd], day) == expected
    assert broken([*PLAIN, odd]) == [], "nobody else tells how much was traded"


@pytest.mark.parametrize(
    ("late", "missing", "is_shifted"),
    [
        pytest.param(2, (), True, id="two minutes late"),
        pytest.param(-5, (), True, id="five minutes early"),
        pytest.param(2, range(100, 120), True, id="late, with a gap inside"),
        pytest.param(2, range(1, 389, 2), False, id="every other minute: nobody can tell"),
        pytest.param(1, (), False, id="one minute: the first may lack a trade"),
        pytest.param(2, (0,), False, id="more is missing at the opening than comes after the close"),
        pytest.param(20, range(1, 389, 2), True, id="twenty minutes, however thin"),
    ],
)
def test_a_dense_answer_that_is_shifted_by_few_minutes_is_told_from_a_thin_one(late, missing, is_shifted):
    closes = {n + late: 100.0 + n / 100 for n in range(390) if n not in missing}
    found = curate(raw_bars(closes))
    spilled = sum(not 0 <= n < 390 for n in closes)
    assert found.n_of("outside_session") == spilled
    assert found.n_of("shifted_hours") == (len(closes) if is_shifted else 0)
    assert found.valid.height == (0 if is_shifted else len(closes) - spilled)
