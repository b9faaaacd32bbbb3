"""Inference at any instant is what a computation from nothing but the past of that instant gives."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain.features import GROUPS
from quant_assets.domain.tables import CURATED_TWS_1M_BARS
from quant_assets.flows.derive import publish_group
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR, hours
from quant_assets_tests.unit.features.conftest import CON_IDS, DAYS, make_work, write_session

GROUP = GROUPS["price_1m", "v1"]
NAMES = [feature.name for feature in GROUP.features]
SYMBOLS = [f"S{con_id}" for con_id in CON_IDS]
FIRST, LAST = hours(DAYS[1]).opens_at - timedelta(hours=1), hours(DAYS[2]).closes_at + timedelta(hours=1)
near_a_minute = st.builds(
    lambda whole, beside: hours(DAYS[1]).opens_at + timedelta(minutes=whole, microseconds=beside),
    st.integers(-2, 392),
    st.sampled_from([-1, 0, 1]),
)
anywhere = st.integers(0, int((LAST - FIRST).total_seconds() * 1e6)).map(lambda us: FIRST + timedelta(microseconds=us))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    work = make_work(tmp_path_factory.mktemp("inference"))
    for day in DAYS[:3]:
        write_session(work, day, missing=0.3)
        publish_group(work, GROUP, day)
    bars = pl.concat([work.lake.curated.read(CURATED_TWS_1M_BARS, Partition(day)) for day in DAYS[:3]])
    return FeatureStore(work.layout, CALENDAR), bars


@settings(max_examples=60, deadline=None)
@given(at=near_a_minute | anywhere)
def test_latest_equals_a_computation_from_bars_that_had_ended(made, at):
    store, bars = made
    ended = bars.filter(pl.col("ts") + timedelta(minutes=1) <= at)
    computed = GROUP.compute(ended.select(GROUP.inputs.columns), CALENDAR.minutes(DAYS[:3]))
    newest = computed.sort("con_id", "ts").group_by("con_id", maintain_order=True).last()
    found = store.get_features_for_inference("price_1m", "v1", SYMBOLS, at, mode="latest")
    assert found["features"].select("con_id", "ts", *NAMES).equals(newest.select("con_id", "ts", *NAMES))
    ages = {con_id: fresh["age_s"] for con_id, fresh in found["metadata"]["freshness"].items()}
    ends = dict(newest.select("con_id", pl.col("ts") + timedelta(minutes=1)).iter_rows())
    assert ages == {con_id: (at - end).total_seconds() for con_id, end in ends.items()}
    assert min(ages.values()) >= 0
