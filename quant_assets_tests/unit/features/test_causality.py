"""The certificate: it passes what is causal, and holds back what peeks, wherever it peeks."""

import re
from dataclasses import replace
from datetime import timedelta
from functools import cache

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
    assert certificate.n_instruments == (3 if group.is_daily else 7)
    assert len(certificate.cuts) == 2
    assert len(certificate.sampled_cuts) >= 64
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
    where = r"session=2024-01-03, con_id=10\d, ts=2024-01-03 \d\d:\d\d:00\+00:00"
    told = rf"vol_ma_20 at {where} is \S+, but \S+ when rows after 2024-01-03 \d\d:\d\d:00\+00:00 are (cut off|changed)"
    assert re.fullmatch(told, certificate.leaks[0])


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
    assert re.match("a row at session=2024-01-03, con_id=10.*, but none when rows after", certificate.leaks[0])


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
    assert certificate.n_values == 0 if n < 2 else certificate.n_values > 0
    assert len(certificate.cuts) == max(0, n - 1)


def test_a_half_day_is_tried_in_its_own_minutes():
    bars = random_minutes(1, session=HALF_DAY).select(VOLUME.inputs.columns)
    minutes = CALENDAR.minutes([HALF_DAY])
    certificate = certify(VOLUME, bars, minutes, volume_1m(bars, minutes))
    assert certificate.is_causal
    assert all(cut <= bars["ts"].max() for cut in certificate.cuts)


# ------------------------------------------------------------ leaks that hide


SESSIONS = CALENDAR.window(SESSION, 3)
TWO_DAYS = CALENDAR.minutes(SESSIONS[-2:])
PRICE = GROUPS["price_1m", "v1"]


@cache
def market(n, sessions=(SESSION,)):
    """Bars of `n` instruments, every minute of them."""
    drawn = [random_minutes(i, con_id=100 + i, session=day, missing=0.0) for day in sessions for i in range(n)]
    return pl.concat(drawn).select(PRICE.inputs.columns)


def planted(expression, where=True):
    """The price features, with a mean that knows better in some rows."""

    def compute(bars, minutes):
        place = pl.int_range(pl.len()).over("session", "con_id")
        numbered = PRICE.compute(bars, minutes).sort("session", "con_id", "ts").with_columns(_place=place)
        closes = bars.select("session", "con_id", "ts", "close")
        found = numbered.join(closes, on=["session", "con_id", "ts"], how="left", maintain_order="left")
        return found.with_columns(ma_5=pl.when(where).then(expression).otherwise("ma_5")).drop("_place", "close")

    return replace(PRICE, compute=compute)


def refused(group, bars, minutes=MINUTES):
    certificate = certify(group, bars, minutes, group.compute(bars, minutes))
    return not certificate.is_causal


BEFORE_LAST = pl.col("_place") == 388
LAST_CLOSE = pl.col("close").last().over("session", "con_id")


@pytest.mark.parametrize("first", [340, 351, 352, 355, 360, 380, 388])
def test_values_near_the_end_that_are_the_session_s_last_are_caught(first):
    """However few they are: what the last minute tells is known to nothing before it."""
    assert refused(planted(LAST_CLOSE, pl.col("_place").is_between(first, 388)), market(7))


@pytest.mark.parametrize("con_id", [100, 101, 117, 139, 140])
def test_a_leak_in_one_instrument_of_many_is_caught(con_id):
    one = pl.col("con_id") == con_id
    bars = market(41)
    assert refused(planted(LAST_CLOSE, one & (pl.col("_place") >= 350)), bars)
    assert refused(planted(pl.col("close").shift(-1).over("session", "con_id"), one & BEFORE_LAST), bars)


def test_a_leak_into_a_single_minute_is_caught_wherever_it_is_among_many_instruments():
    """Of 390 instruments one at least is cut after each minute, so that no minute is out of sight."""
    bars = market(7)
    many = pl.concat([bars.with_columns(pl.col("con_id") + 1000 * i) for i in range(56)])
    next_close = pl.col("close").shift(-1).over("session", "con_id")
    for place in (7, 218):
        assert refused(planted(next_close, pl.col("_place") == place), many)


def test_the_value_of_the_next_session_is_caught():
    bars = market(3, tuple(SESSIONS[-2:]))
    later = pl.col("close").last().over("con_id")
    assert refused(planted(later, pl.col("session") == SESSIONS[-2]), bars, TWO_DAYS)
    assert not refused(PRICE, bars, TWO_DAYS)


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("close").filter(pl.col("_place") == 389).mean(),
        pl.col("close").mean().over("ts").shift(-1).over("session", "con_id"),
        pl.col("close").rank().over("ts").shift(-1).over("session", "con_id").cast(pl.Float64),
    ],
    ids=["mean of all at the end", "mean of all a minute later", "rank among all a minute later"],
)
@pytest.mark.parametrize("where", [True, BEFORE_LAST], ids=["everywhere", "last but one"])
def test_the_cross_section_of_the_future_is_caught(expression, where):
    assert refused(planted(expression, where), market(41))


def test_a_label_without_a_maturity_has_no_leave_to_look_ahead():
    def endless(bars, minutes):
        labels = forward_returns(bars, minutes)
        last = bars.select(pl.col("close").sort_by("ts").last().over("con_id")).to_series().max()
        value = pl.when(pl.col("matures_ts").is_null()).then(pl.lit(last)).otherwise("forward_return")
        return labels.with_columns(value.alias("forward_return"))

    assert not trial(replace(RETURNS, compute=endless), minute_bars()).is_causal


def test_instruments_with_hours_of_their_own_are_tried_in_them():
    """One opens an hour after the other; both are causal, and a leak before the last minute of either is caught."""
    hour = timedelta(hours=1)
    early = MINUTES.with_columns(con_id=pl.lit(100, dtype=pl.Int64))
    late = MINUTES.with_columns(pl.col("ts") + hour, con_id=pl.lit(101, dtype=pl.Int64))
    minutes = pl.concat([early, late])
    bars = market(2).with_columns(ts=pl.when(pl.col("con_id") == 101).then(pl.col("ts") + hour).otherwise("ts"))
    assert not refused(PRICE, bars, minutes)
    for con_id in (100, 101):
        assert refused(planted(LAST_CLOSE, (pl.col("con_id") == con_id) & BEFORE_LAST), bars, minutes)


def test_other_sessions_draw_other_samples_and_times():
    one, other = (
        certify(PRICE, bars, CALENDAR.minutes([day]), PRICE.compute(bars, CALENDAR.minutes([day])))
        for day in SESSIONS[-2:]
        for bars in [market(3, (day,))]
    )
    assert {cut.time() for cut in one.sampled_cuts} != {cut.time() for cut in other.sampled_cuts}
