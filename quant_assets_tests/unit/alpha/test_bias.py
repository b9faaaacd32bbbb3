"""The bias meter, counted by hand over five sessions."""

from datetime import date, timedelta

import polars as pl

from quant_assets.domain.bias import bias_meter

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(5)]


def bars(**present: str) -> pl.DataFrame:
    """Return bars; `a1="xx.xx"` is instrument 1 with bars on all sessions but the third."""
    rows = [(DAYS[n], int(name[1:])) for name, marks in present.items() for n, mark in enumerate(marks) if mark == "x"]
    return pl.DataFrame(rows, schema={"session": pl.Date, "con_id": pl.Int64}, orient="row")


def candidates(*rejected: int, not_pit: int | None = None) -> pl.DataFrame:
    rows = [(i, f"S{i}", "rejected" if i in rejected else "accepted", i != not_pit) for i in range(1, 6)]
    return pl.DataFrame(rows, schema=["con_id", "symbol", "verdict", "is_pit"], orient="row")


def test_every_lost_day_is_of_one_kind():
    seen = bars(a1="xxxxx", a2="..xxx", a3="xx...", a4="x.x.x")  # 5 has no bar at all
    found = bias_meter(seen, candidates(3, 5), DAYS)
    assert found["universe_days"] == 25
    assert found["lost"] == {"no_history": 5, "before_first_bar": 2, "inside": 2, "after_last_bar": 3}
    assert (found["lost_days"], found["lost_fraction"]) == (12, 0.48)
    assert found["lost_by_verdict"] == {"accepted": 4, "rejected": 8}
    assert [one["symbol"] for one in found["instruments"]] == ["S5", "S3", "S2", "S4"]
    assert (found["is_pit"], found["not_pit"]) == (True, 0)


def test_bars_and_lost_days_are_the_universe_days():
    seen = bars(a1=".xx.x", a2="....x", a3="x....", a4=".....", a5="xxxxx")
    found = bias_meter(seen, candidates(), DAYS)
    assert seen.height + found["lost_days"] == found["universe_days"]


def test_bars_outside_the_window_count_for_nothing():
    seen = bars(a1="xxxxx")
    outside = seen.with_columns(pl.col("session") + timedelta(days=30))
    assert bias_meter(outside, candidates(), DAYS)["lost"]["no_history"] == 25


def test_who_could_not_be_known_then_is_counted():
    found = bias_meter(bars(a1="xxxxx"), candidates(not_pit=4), DAYS)
    assert (found["is_pit"], found["not_pit"]) == (False, 1)
