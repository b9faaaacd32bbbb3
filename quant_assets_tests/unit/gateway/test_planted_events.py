"""What the event table claims is in the data."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets_tests.unit.gateway.clients import synthetic

NOW = datetime(2027, 6, 30, 22, tzinfo=UTC)
FIRST, LAST = date(2026, 1, 2), date(2026, 12, 31)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def market():
    return synthetic()


@pytest.fixture(scope="module")
def events(market):
    return market.planted_events(FIRST, LAST)


def of_kind(events, kind):
    return list(events.filter(kind=kind).iter_rows(named=True))


def instrument(market, con_id):
    found = market.find(NOW, con_id=con_id)
    assert found is not None
    return found


def minutes(market, event, as_of=NOW):
    day = datetime(event["session"].year, event["session"].month, event["session"].day, tzinfo=UTC)
    return market.minute_bars(instrument(market, event["con_id"]), day, day + DAY, "TRADES", as_of)


def daily(market, con_id, first, last, what="TRADES", *, as_of=NOW):
    return market.daily_bars(instrument(market, con_id), first, last, what, as_of)


@pytest.mark.parametrize("kind", ["halt", "gap"])
def test_minutes_are_missing_where_halts_and_gaps_are(market, events, kind):
    for event in of_kind(events, kind):
        bars = minutes(market, event)
        inside = bars["ts"].is_between(event["first_ts"], event["last_ts"])
        assert not inside.any()
        around = [event["first_ts"] - timedelta(minutes=1), event["last_ts"] + timedelta(minutes=1)]
        assert set(around) <= set(bars["ts"])


def test_a_halt_balances_with_the_day_and_a_gap_does_not(market, events):
    for kind, balances in (("halt", True), ("gap", False)):
        for event in of_kind(events, kind):
            day = daily(market, event["con_id"], event["session"], event["session"])
            assert (minutes(market, event)["volume"].sum() == day["volume"][0]) is balances


def test_a_bad_print_is_one_bar_a_hundred_times_off(market, events):
    found = of_kind(events, "bad_print")
    assert {event["detail"] for event in found} == {"x100", "x0.01"}
    for event in found:
        bars = minutes(market, event).with_columns(
            ratio=pl.col("close") / pl.col("close").shift(1), back=pl.col("close").shift(-1) / pl.col("close")
        )
        odd = bars.filter((pl.col("ratio").log().abs() > np.log(6)) & (pl.col("back").log().abs() > np.log(6)))
        assert odd["ts"].to_list() == [event["first_ts"]]
        assert odd["ratio"][0] == pytest.approx(float(event["detail"][1:]), rel=0.06)
        day = daily(market, event["con_id"], event["session"], event["session"])
        assert day["high"][0] / day["low"][0] < 2


def test_events_stay_away_from_the_edges_of_a_session(market, events):
    hours = market.hours
    for event in events.filter(pl.col("kind").is_in(["halt", "gap", "bad_print"])).iter_rows(named=True):
        n = hours.ordinal_on_or_after(event["session"])
        assert hours.open_at(n) + timedelta(minutes=30) <= event["first_ts"] <= event["last_ts"]
        assert event["last_ts"] < hours.close_at(n) - timedelta(minutes=29)


def test_a_split_rewrites_history_on_its_day(market):
    found = of_kind(market.planted_events(date(2024, 1, 2), date(2027, 1, 2)), "split")
    assert len(found) >= 8
    for event in found:
        eve = market.hours.session(market.hours.ordinal_on_or_after(event["session"]) - 1)
        before, after = (
            daily(market, event["con_id"], eve - 30 * DAY, eve, as_of=datetime(*day.timetuple()[:3], 23, tzinfo=UTC))
            for day in (eve, event["session"])
        )
        ratio = float(event["detail"])
        assert np.allclose(before["close"] / after["close"], ratio, rtol=1e-4)
        assert np.allclose(after["volume"] / before["volume"], ratio, rtol=1e-12)
        assert (after["wap"].is_between(after["low"], after["high"])).all()


def test_a_split_does_not_look_like_a_return(market):
    for event in of_kind(market.planted_events(date(2024, 1, 2), date(2027, 1, 2)), "split"):
        closes = daily(market, event["con_id"], event["session"] - 10 * DAY, event["session"] + 10 * DAY)["close"]
        assert (closes.log().diff().abs().drop_nulls() < 0.15).all()


def test_a_dividend_moves_adjusted_prices_and_no_others(market, events):
    found = of_kind(events, "dividend")
    assert len({event["con_id"] for event in found}) > 20
    for event in found[::7]:
        eve = market.hours.session(market.hours.ordinal_on_or_after(event["session"]) - 1)
        as_of = datetime(*event["session"].timetuple()[:3], 23, tzinfo=UTC)
        trades, adjusted = (
            daily(market, event["con_id"], eve, event["session"], what, as_of=as_of)
            for what in ("TRADES", "ADJUSTED_LAST")
        )
        factor = adjusted["close"] / trades["close"]
        raw_close = daily(market, event["con_id"], eve, eve, as_of=as_of - DAY)["close"][0]
        assert factor[0] == pytest.approx(1 - float(event["detail"]) / raw_close, rel=1e-5)
        assert factor[1] == 1
        assert trades["volume"].equals(adjusted["volume"])


def test_lives_begin_end_and_change_names_when_the_table_says(market):
    events = market.planted_events(date(2024, 1, 2), date(2026, 12, 31))
    for event in of_kind(events, "listing"):
        bars = daily(market, event["con_id"], event["session"] - 30 * DAY, event["session"] + 5 * DAY)
        assert bars["session"][0] == event["session"]
        assert market.find(datetime(2024, 1, 2, 22, tzinfo=UTC), con_id=event["con_id"]) is None
    for event in of_kind(events, "delisting"):
        bars = daily(market, event["con_id"], event["session"] - 5 * DAY, event["session"] + 30 * DAY)
        assert bars["session"][-1] == event["session"]
        assert minutes(market, event | {"session": event["session"] + 3 * DAY}).is_empty()
    for event in of_kind(events, "symbol_change"):
        opened = datetime(*event["session"].timetuple()[:3], 15, tzinfo=UTC)
        assert market.find(opened, symbol=event["symbol"]).con_id == event["con_id"]
        assert market.find(opened - DAY, symbol=event["detail"].removeprefix("was ")).con_id == event["con_id"]


def test_what_is_delisted_pays_no_more(market):
    (gone,) = of_kind(market.planted_events(date(2026, 9, 1), date(2026, 9, 30)), "delisting")
    first, last = gone["session"] - 200 * DAY, gone["session"]
    soon, late = (
        daily(market, gone["con_id"], first, last, "ADJUSTED_LAST", as_of=datetime(year, 10, 1, 22, tzinfo=UTC))
        for year in (2026, 2027)
    )
    assert soon.equals(late)


def test_the_half_day_is_known(market, events):
    (thanksgiving, christmas) = of_kind(events, "half_day")
    assert (thanksgiving["session"], christmas["session"]) == (date(2026, 11, 27), date(2026, 12, 24))
    bars = market.minute_bars(
        market.find(NOW, symbol="QTEB"),
        datetime(2026, 11, 27, tzinfo=UTC),
        datetime(2026, 11, 28, tzinfo=UTC),
        "TRADES",
        NOW,
    )
    assert len(bars) == 210
    assert bars["ts"][-1] == thanksgiving["last_ts"]


@pytest.mark.parametrize("start", [date(2024, 2, 1), date(2025, 7, 15), date(2026, 11, 2), date(2027, 3, 1)])
def test_every_month_holds_minute_events_and_every_year_corporate_ones(market, start):
    month = market.planted_events(start, start + 28 * DAY)["kind"].value_counts()
    counts = dict(month.iter_rows())
    assert min(counts[kind] for kind in ("halt", "gap", "bad_print")) >= 3
    year = dict(market.planted_events(start, start + 364 * DAY)["kind"].value_counts().iter_rows())
    assert year["split"] >= 2
    assert year["dividend"] >= 80


def test_thin_instruments_skip_minutes_and_filler_ones_send_flat_bars(market):
    day = (datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC))
    thin = market.minute_bars(market.find(NOW, symbol="QFIE"), *day, "TRADES", NOW)
    assert 150 < len(thin) < 280
    assert (thin["volume"] > 0).all()
    filled = market.minute_bars(market.find(NOW, symbol="QMAD"), *day, "TRADES", NOW)
    idle = filled.with_columns(last=pl.col("close").shift(1)).filter(pl.col("volume") == 0)
    assert len(filled) == 390
    assert len(idle) > 30
    for name in ("open", "high", "low", "close", "wap"):
        assert (idle[name] == idle["last"]).all()
    assert (idle["bar_count"] == 0).all()
    assert len(market.minute_bars(market.find(NOW, symbol="QFIE"), *day, "BID", NOW)) == 390


@pytest.mark.parametrize("bar", ["day", "minute"])
def test_instruments_of_one_sector_move_together_more_than_others(market, bar):
    sectors, series = [], []
    for listing in market.listings[:40]:
        if not listing.has_plain_life:
            continue
        if bar == "day":
            frame = daily(market, listing.instrument.con_id, date(2025, 1, 2), date(2026, 11, 20))
        else:
            span = (datetime(2026, 11, 9, tzinfo=UTC), datetime(2026, 11, 14, tzinfo=UTC))
            frame = market.minute_bars(listing.instrument, *span, "MIDPOINT", NOW)
            frame = frame.group_by_dynamic("ts", every="15m").agg(pl.col("close").median()).filter(pl.len() > 0)
        sectors.append(listing.sector)
        series.append(frame["close"].log().diff().drop_nulls().to_numpy())
    n = min(map(len, series))
    corr = np.corrcoef(np.array([x[:n] for x in series]))
    same = np.equal.outer(sectors, sectors)
    off_diagonal = ~np.eye(len(sectors), dtype=bool)
    assert corr[same & off_diagonal].mean() > corr[~same].mean() + 0.1
    assert corr[~same].mean() > 0.1


def test_volume_is_u_shaped(market):
    bars = market.minute_bars(
        market.find(NOW, symbol="QTEA"),
        datetime(2026, 11, 2, tzinfo=UTC),
        datetime(2026, 11, 21, tzinfo=UTC),
        "TRADES",
        NOW,
    )
    by_hour = bars.group_by(pl.col("ts").dt.convert_time_zone("America/New_York").dt.time()).agg(
        pl.col("volume").mean()
    )
    volume = by_hour.sort("ts")["volume"]
    assert volume[:15].mean() > 2 * volume[180:210].mean()
    assert volume[-15:].mean() > 1.5 * volume[180:210].mean()


def test_there_are_forty_instruments_in_eight_sectors_and_all_say_that_they_are_invented(market):
    everybody = market.instruments(NOW)
    assert all("(synthetic)" in x.long_name for x in everybody)
    found = [x for x in everybody if x.sec_type == "STK" and x.currency == "USD"]
    assert len(found) >= 40
    assert len({x.industry for x in found} - {"Funds"}) == 8
    assert len({x.con_id for x in found}) == len({x.symbol for x in found}) == len(found)
    assert all("(synthetic)" in x.long_name and x.market_name == "SYNTHETIC" for x in found)
