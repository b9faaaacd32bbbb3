"""The dimension built from the one before equals the one built from everything; names resolve to who bore them."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.domain.instruments import extended, history
from quant_assets.domain.symbology import called
from quant_assets.domain.tables import INSTRUMENTS, RAW_INSTRUMENTS

DAYS = [date(2024, 1, 2) + timedelta(days=i) for i in range(8)]
BASE = {
    "exchange": "SMART", "currency": "USD", "asset_class": "STK", "timezone": "US/Eastern", "industry": "Energy",
    "category": "", "trading_hours": "", "liquid_hours": "", "pipeline_version": "1",
}  # fmt: skip

seen = st.fixed_dictionaries(
    {
        "con_id": st.integers(1, 4),
        "symbol": st.sampled_from(["X", "Y"]),
        "primary_exchange": st.sampled_from(["NYSE", "ARCA"]),
        "min_tick": st.sampled_from([0.01, 0.05]),
        "ids": st.sampled_from(["", "ISIN=US0000000001", "ISIN=US0000000002"]),
        "long_name": st.sampled_from(["ONE", "TWO"]),
        "batch": st.integers(1, 2),
    }
)
weeks = st.lists(st.lists(seen, max_size=5), min_size=len(DAYS), max_size=len(DAYS))
members_of_day = st.lists(st.sets(st.integers(1, 4)), min_size=len(DAYS), max_size=len(DAYS))


def raw(day, rows):
    at = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
    unique = {(row["con_id"], row["batch"]): row for row in rows}
    return RAW_INSTRUMENTS.frame(
        [
            {
                **BASE,
                **{name: value for name, value in row.items() if name != "batch"},
                "session": day,
                "batch_id": f"b{row['batch']}",
                "ingested_at": at + timedelta(minutes=row["batch"]),
            }
            for row in unique.values()
        ]
    )


@settings(max_examples=60, deadline=None)
@given(weeks, members_of_day, st.sets(st.integers(0, len(DAYS) - 1)))
def test_building_on_what_stands_equals_building_from_everything(week, members, stops):
    """Sessions may be skipped, too: what came between two builds is folded in by the later one."""
    frames = [raw(day, rows) for day, rows in zip(DAYS, week, strict=True)]
    standing, folded_to = INSTRUMENTS.empty(), -1
    for at in sorted(stops):
        known = pl.DataFrame({"con_id": sorted(members[at])}, schema={"con_id": pl.Int64})
        new = pl.concat(frames[folded_to + 1 : at + 1])
        standing, folded_to = extended(standing, new, known, DAYS[at]), at
        assert_frame_equal(standing, history(pl.concat(frames[: at + 1]), known, DAYS[at]))


@settings(max_examples=60, deadline=None)
@given(weeks, st.integers(0, len(DAYS) - 1), st.sampled_from(["X", "Y"]))
def test_a_name_on_a_date_is_whoever_bore_it_then(week, day, symbol):
    """Against the plain question: who was described so in the details of that very session?"""
    frames = [raw(one, rows) for one, rows in zip(DAYS, week, strict=True)]
    everything = history(pl.concat(frames), pl.DataFrame({"con_id": [1, 2, 3, 4]}), DAYS[-1])
    newest = frames[day].sort("ingested_at").unique("con_id", keep="last")
    plain = set(newest.filter(pl.col("symbol") == symbol)["con_id"])
    found = set(called(everything, symbol, "", DAYS[day], DAYS[day])["con_id"])
    assert plain <= found, "who was seen under the name is found"
    for con_id in found - plain:  # the others bore it before and after, and were not looked at on the day
        assert newest.filter(pl.col("con_id") == con_id).is_empty()


@settings(max_examples=40, deadline=None)
@given(weeks)
def test_a_successor_is_seen_only_after_its_predecessor(week):
    frames = [raw(day, rows) for day, rows in zip(DAYS, week, strict=True)]
    found = history(pl.concat(frames), pl.DataFrame({"con_id": [1, 2, 3, 4]}), DAYS[-1])
    born = dict(found.group_by("con_id").agg(pl.col("valid_from").min()).iter_rows())
    last = dict(found.group_by("con_id").agg(pl.col("last_seen").max()).iter_rows())
    for con_id, heir in found.drop_nulls("successor").select("con_id", "successor").iter_rows():
        assert born[heir] > last[con_id]
