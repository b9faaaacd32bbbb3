"""What holds for every session and instrument of the synthetic market."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.gateway.hours import trading_hours
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets_tests.unit.gateway.clients import synthetic

AS_OF = datetime(2027, 12, 30, 22, tzinfo=UTC)
HOURS = trading_hours()
RECENT = HOURS.between(date(2024, 1, 2), date(2027, 12, 1))
ordinals = st.integers(RECENT.start, RECENT.stop - 1)
indexes = st.integers(0, 41)


def minutes_of(market, index, first, last=None, *, what="TRADES", as_of=AS_OF):
    end = HOURS.close_at(first if last is None else last)
    return market.minute_bars(market.listings[index].instrument, HOURS.open_at(first), end, what, as_of)


def days_of(market, index, first, last=None, *, what="TRADES", as_of=AS_OF):
    instrument, last = market.listings[index].instrument, first if last is None else last
    return market.daily_bars(instrument, HOURS.session(first), HOURS.session(last), what, as_of)


def planted_on(market, index, ordinal):
    day = HOURS.session(ordinal)
    events = market.planted_events(day, day).filter(pl.col("con_id") == market.listings[index].instrument.con_id)
    return set(events["kind"])


@settings(max_examples=120, deadline=None)
@given(indexes, ordinals)
def test_a_day_is_the_aggregate_of_its_minutes(index, ordinal):
    market = synthetic()
    minutes, days = minutes_of(market, index, ordinal), days_of(market, index, ordinal)
    assert minutes.is_empty() == days.is_empty()
    if days.is_empty():
        return
    day, planted = days.row(0, named=True), planted_on(market, index, ordinal)
    assert (day["open"], day["close"]) == (minutes["open"][0], minutes["close"][-1])
    if "gap" in planted:
        assert day["volume"] > minutes["volume"].sum()
        assert day["high"] >= minutes["high"].max()
        return
    assert (day["volume"], day["bar_count"]) == (minutes["volume"].sum(), minutes["bar_count"].sum())
    if "bad_print" not in planted:
        assert (day["high"], day["low"]) == (minutes["high"].max(), minutes["low"].min())
        vwap = (minutes["wap"] * minutes["volume"]).sum() / minutes["volume"].sum()
        assert day["wap"] == pytest.approx(vwap, rel=1e-3)


@settings(max_examples=80, deadline=None)
@given(indexes, ordinals, st.sampled_from(["TRADES", "ADJUSTED_LAST", "MIDPOINT", "BID", "ASK", "BID_ASK"]))
def test_every_bar_is_sound(index, ordinal, what):
    bars = minutes_of(synthetic(), index, ordinal, what=what)
    ts = bars["ts"]
    assert ts.is_sorted()
    assert ts.n_unique() == len(ts)
    assert len(ts) <= HOURS.minutes([ordinal])[0]
    assert (bars["high"] >= bars.select(pl.max_horizontal("open", "close")).to_series()).all()
    assert (bars["low"] <= bars.select(pl.min_horizontal("open", "close")).to_series()).all()
    assert (bars["low"] > 0).all()
    if what in ("TRADES", "ADJUSTED_LAST"):
        assert bars["wap"].is_between(bars["low"], bars["high"]).all()
        assert ((bars["volume"] > 0) == (bars["bar_count"] >= 1)).all()
        assert (bars["volume"] >= bars["bar_count"]).all()
    else:
        assert (bars.select(pl.col("volume", "wap", "bar_count") == -1).to_numpy()).all()


@settings(max_examples=60, deadline=None)
@given(indexes, ordinals)
def test_prices_of_their_own_day_are_on_the_cent(index, ordinal):
    bars = minutes_of(synthetic(), index, ordinal, as_of=HOURS.close_at(ordinal) + timedelta(minutes=5))
    for name in ("open", "high", "low", "close"):
        assert np.allclose(bars[name] * 100, np.rint(bars[name] * 100), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(indexes, ordinals, st.integers(0, 30), st.integers(0, 30))
def test_a_session_alone_equals_the_same_session_in_a_range(index, ordinal, before, after):
    alone, ranged = SyntheticMarket(11, HOURS), SyntheticMarket(11, HOURS)
    one = minutes_of(alone, index, ordinal)
    many = minutes_of(ranged, index, ordinal - before, min(ordinal + after, RECENT.stop))
    day = (pl.col("ts") >= HOURS.open_at(ordinal)) & (pl.col("ts") < HOURS.close_at(ordinal))
    assert one.equals(many.filter(day))
    days = days_of(ranged, index, ordinal - before, min(ordinal + after, RECENT.stop))
    assert days_of(alone, index, ordinal).equals(days.filter(pl.col("session") == HOURS.session(ordinal)))


@settings(max_examples=15, deadline=None)
@given(indexes, ordinals)
def test_the_same_seed_is_the_same_market_and_another_is_not(index, ordinal):
    first, again, other = (minutes_of(SyntheticMarket(seed, HOURS), index, ordinal) for seed in (3, 3, 4))
    assert first.equals(again)
    assert first.is_empty() or not first.equals(other)


@settings(max_examples=40, deadline=None)
@given(indexes, ordinals, st.integers(0, 400))
def test_nothing_is_sent_that_had_not_completed(index, ordinal, minute):
    now = HOURS.open_at(ordinal) + timedelta(minutes=minute, seconds=30)
    bars = minutes_of(synthetic(), index, ordinal, as_of=now)
    assert (bars["ts"] + timedelta(minutes=1) <= now).all()
    assert days_of(synthetic(), index, ordinal, as_of=now).is_empty() == (
        now < HOURS.close_at(ordinal) or bars.is_empty()
    )


@settings(max_examples=40, deadline=None)
@given(indexes, st.sampled_from(["TRADES", "ADJUSTED_LAST"]), ordinals, st.integers(0, 300))
def test_history_only_ever_moves_by_one_factor(index, what, ordinal, later):
    """What was sent and what is sent later differ by the split (and dividend) factor, bar by bar."""
    market, then = synthetic(), HOURS.close_at(ordinal) + timedelta(hours=1)
    now = HOURS.close_at(min(ordinal + later, len(HOURS.opens) - 1)) + timedelta(hours=1)
    old, new = (minutes_of(market, index, ordinal, what=what, as_of=as_of) for as_of in (then, now))
    assert old["ts"].equals(new["ts"])
    if not old.is_empty():
        ratio = (new["close"] / old["close"]).to_numpy()
        assert np.allclose(ratio, ratio[0], rtol=1e-4)
