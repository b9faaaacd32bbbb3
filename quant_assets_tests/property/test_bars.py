"""Daily windows: whatever was fetched, there is one row per session, and one basis per window."""

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.bars import daily_window
from quant_assets_tests.builders import CALENDAR, hours, vintage

DAYS = CALENDAR.window(date(2024, 2, 15), 12)

fetch = st.fixed_dictionaries(
    {
        "of": st.integers(0, 11),
        "length": st.integers(1, 12),
        "con_id": st.integers(101, 102),
        "what": st.sampled_from(["TRADES", "ADJUSTED_LAST"]),
        "hour": st.integers(1, 20),
    }
)


def fetched(drawn, split_on):
    """Answers on the basis of their own day; a fetch after a split is full, as ingestion makes it."""
    parts, seen = [], {}
    for n, one in enumerate(sorted(drawn, key=lambda one: (one["of"], one["hour"]))):
        series = (one["con_id"], one["what"])
        basis = 10.0 if one["of"] >= split_on else 1.0
        is_full = seen.get(series) != basis
        seen[series] = basis
        span = DAYS[max(0, one["of"] + 1 - one["length"]) : one["of"] + 1]
        closes = {day: basis * (100 + DAYS.index(day)) for day in span}
        at = hours(DAYS[one["of"]]).closes_at + timedelta(hours=one["hour"], seconds=n)
        parts.append(
            vintage(
                closes,
                DAYS[one["of"]],
                what=one["what"],
                con_id=one["con_id"],
                is_full=is_full,
                request=f"b{n}-0",
                ingested_at=at,
            )
        )
    return pl.concat(parts)


@settings(max_examples=150, deadline=None)
@given(st.lists(fetch, min_size=1, max_size=10), st.integers(0, 12), st.integers(0, 11), st.integers(0, 99))
def test_sessions_are_unique_and_the_basis_is_one(drawn, split_on, as_of, seed):
    raw = fetched(drawn, split_on)
    found = daily_window(raw, DAYS[as_of], DAYS[: as_of + 1]).sort("con_id", "session")
    assert found.select("con_id", "session").n_unique() == found.height
    assert found.filter(pl.col("session") > DAYS[as_of]).is_empty()
    assert (found["known_at"] <= found["ingested_at"]).all()
    days = {day: number for number, day in enumerate(DAYS)}
    ratios = found.with_columns(
        (pl.col(name) / (100 + pl.col("session").replace_strict(days, return_dtype=pl.Float64)))
        .round(9)
        .alias(f"_{name}")
        for name in ("close", "adj_close")
    )
    per_instrument = ratios.group_by("con_id").agg(pl.col("_close", "_adj_close").n_unique())
    assert set(per_instrument["_close"]) | set(per_instrument["_adj_close"]) <= {1}
    shuffled = raw.sample(fraction=1.0, shuffle=True, seed=seed)
    assert daily_window(shuffled, DAYS[as_of], DAYS[: as_of + 1]).sort("con_id", "session").equals(found)


@settings(max_examples=60, deadline=None)
@given(st.lists(fetch, min_size=1, max_size=10), st.integers(0, 10))
def test_live_windows_do_not_change_when_later_vintages_come(drawn, as_of):
    raw = fetched(drawn, 12)
    of_then = raw.filter(pl.col("vintage") <= DAYS[as_of])
    before = daily_window(of_then, DAYS[as_of], DAYS[: as_of + 1])
    after = daily_window(raw, DAYS[as_of], DAYS[: as_of + 1])
    columns = ["con_id", "session", "close"]
    assert before.select(columns).join(after.select(columns), on=columns, how="anti").is_empty()
