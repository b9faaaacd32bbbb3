"""The certificate: it passes what is causal, and holds back what peeks, wherever it peeks."""

from dataclasses import replace

import polars as pl
import pytest

from quant_assets.domain.features import GROUPS, LABELS, certify, forward_returns, technicals_1d, volume_1m
from quant_assets_tests.builders import CALENDAR, HALF_DAY, SESSION, curated_bars
from quant_assets_tests.unit.features.makers import daily_bars, random_minutes, walk

MINUTES = CALENDAR.minutes([SESSION])
VOLUME = GROUPS["volume_1m", "v1"]
TECHNICALS = GROUPS["tv_technicals_1d", "v1"]
RETURNS = LABELS["v1"]


def minute_bars(n=7):
    return pl.concat([random_minutes(i, con_id=100 + i) for i in range(n)])


def days(n=3):
    return pl.concat([daily_bars(*walk(120, i)[:1], con_id=100 + i, spread=0.1) for i in range(n)])


def trial(group, bars):
    bars = bars.select(group.inputs.columns)
    return certify(group, bars, MINUTES, group.compute(bars, MINUTES))


@pytest.mark.parametrize("group", [*GROUPS.values(), *LABELS.values()], ids=lambda group: group.table.name)
def test_every_group_of_the_registry_is_causal(group):
    certificate = trial(group, days() if group.is_daily else minute_bars())
    assert certificate.leaks == ()
    assert certificate.n_instruments == (3 if group.is_daily else 5)
    assert len(certificate.cuts) == 4
    assert certificate.n_values > 1000


def leaking(expression):
    """The volume features, with one column that looks where it should not."""
    column = expression.over("con_id", order_by="ts").alias("vol_ma_20")
    return replace(VOLUME, compute=lambda bars, minutes: volume_1m(bars, minutes).with_columns(column))


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("vol_percentile_20").shift(-1),
        pl.col("vol_ma_20").mean(),
        pl.col("vol_ma_20").fill_null(strategy="backward"),
        pl.col("vol_ma_20").rank() / pl.len(),
        pl.len().cast(pl.Float64),
    ],
    ids=["next value", "mean of the session", "backward fill", "rank in the session", "number of bars"],
)
def test_a_group_that_peeks_is_caught(expression):
    certificate = trial(leaking(expression), minute_bars())
    assert not certificate.is_causal
    assert certificate.leaks[0].startswith("vol_ma_20 at session=2024-01-03, con_id=100, ts=2024-01-03 1")
    assert "when rows after 2024-01-03 1" in certificate.leaks[0]


def test_a_group_that_centres_its_window_is_caught():
    def centred(bars, minutes):
        value = pl.col("close").rolling_mean(21, center=True, min_samples=1).over("con_id")
        closes = bars.sort("con_id", "ts").with_columns(value.alias("vol_ma_20")).select("con_id", "ts", "vol_ma_20")
        return volume_1m(bars, minutes).drop("vol_ma_20").join(closes, on=["con_id", "ts"], how="left")

    assert not trial(replace(VOLUME, compute=centred), minute_bars()).is_causal


def test_a_group_that_mixes_instruments_is_caught():
    """Its values depend on who else was ingested, so that they cannot be reproduced for one instrument."""

    def mixed(bars, minutes):
        return volume_1m(bars, minutes).with_columns(pl.col("vol_ma_20").mean().over("ts").alias("vol_ma_20"))

    assert not trial(replace(VOLUME, compute=mixed), minute_bars()).is_causal


def test_a_group_that_drops_rows_for_what_comes_later_is_caught():
    def last_known(bars, minutes):
        return volume_1m(bars, minutes).filter(pl.col("ts") != pl.col("ts").max().over("con_id"))

    certificate = trial(replace(VOLUME, compute=last_known), minute_bars())
    assert any("but None when" in leak for leak in certificate.leaks)


def test_technicals_of_a_later_bar_are_caught():
    def peeking(bars, _):
        return technicals_1d(bars).with_columns(pl.col("rsi").shift(-1).over("con_id").alias("rsi"))

    certificate = trial(replace(TECHNICALS, compute=peeking), days())
    assert {leak.split()[0] for leak in certificate.leaks} == {"rsi"}


def test_a_label_may_look_as_far_as_it_says_and_no_further():
    def further(bars, minutes):
        ts = pl.col("matures_ts").shift(1).over("con_id", "horizon", order_by="ts")
        return forward_returns(bars, minutes).with_columns(ts.alias("matures_ts"))

    assert trial(RETURNS, minute_bars()).is_causal
    assert not trial(replace(RETURNS, compute=further), minute_bars()).is_causal


def test_the_trial_is_deterministic_whatever_the_order_of_rows():
    bars = minute_bars()
    group = leaking(pl.col("vol_ma_20").mean())
    assert trial(group, bars) == trial(group, bars.sample(fraction=1.0, shuffle=True, seed=3))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_almost_nothing_has_almost_no_future(n):
    certificate = trial(VOLUME, curated_bars([100.0] * n))
    assert certificate.is_causal
    assert len(certificate.cuts) == max(0, n - 1)


def test_a_half_day_is_tried_in_its_own_minutes():
    bars = random_minutes(1, session=HALF_DAY).select(VOLUME.inputs.columns)
    minutes = CALENDAR.minutes([HALF_DAY])
    certificate = certify(VOLUME, bars, minutes, volume_1m(bars, minutes))
    assert certificate.is_causal
    assert all(cut <= bars["ts"].max() for cut in certificate.cuts)
