"""However dirty an answer is: every row is in one place, and no row order, batching or rerun changes what is said."""

from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.domain import quality
from quant_assets.domain.tables import CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS
from quant_assets.domain.validation import validate
from quant_assets.lakehouse.content import content_id
from quant_assets_tests.builders import SESSION, hours, minute, raw_bars, references, trading

ROW = ["con_id", "request_id", "answer_row"]

price = st.one_of(st.floats(90, 110), st.sampled_from([0.0, -1.0, 0.01, 1e6, 50.0, 200.0]))
bar = st.fixed_dictionaries(
    {"minute": st.one_of(st.integers(0, 12), st.integers(-2, 391)), "close": price},
    optional={
        "high": price,
        "low": price,
        "volume": st.sampled_from([None, -5.0, 0.0, 10.0, 5000.0]),
        "bar_count": st.sampled_from([None, -1, 3]),
        "ts": st.integers(0, 700).map(lambda s: minute(0) + timedelta(seconds=s)),
    },
)
answers = st.lists(
    st.tuples(st.integers(101, 102), st.integers(0, 2), st.lists(bar, max_size=14)), min_size=1, max_size=4
)


def raw_of(drawn):
    frames = [
        raw_bars(
            [], rows=rows, con_id=con_id, request=f"b{n}-000", ingested_at=hours().closes_at + timedelta(hours=4 + hour)
        )
        for n, (con_id, hour, rows) in enumerate(drawn)
    ]
    return pl.concat(frames)


def curate(raw):
    return quality.curate_minutes(raw, SESSION, trading(), references(c101=100.0))


@settings(max_examples=80, deadline=None)
@given(answers)
def test_valid_quarantine_and_superseded_are_a_partition_of_the_rows(drawn):
    raw = raw_of(drawn)
    found = curate(raw)
    assert found.valid.height + found.quarantine.height + found.n_superseded == raw.height
    assert found.quarantine.select(ROW).n_unique() == found.quarantine.height
    speaking = found.valid.select("con_id", "ts", "close").join(
        raw.select("con_id", "ts", "close").unique(), on=["con_id", "ts", "close"], how="anti"
    )
    assert speaking.is_empty()
    assert validate(CURATED_TWS_1M_BARS, CURATED_TWS_1M_BARS.conform(found.valid)) == []
    assert validate(QUARANTINE_TWS_BARS, QUARANTINE_TWS_BARS.conform(found.quarantine)) == []


def said(found):
    parts = ((CURATED_TWS_1M_BARS, found.valid), (QUARANTINE_TWS_BARS, found.quarantine))
    return [content_id(table.conform(frame), table.content_columns, table.order) for table, frame in parts]


@settings(max_examples=50, deadline=None)
@given(answers, st.integers(0, 1000))
def test_the_order_in_which_rows_are_read_never_matters(drawn, seed):
    raw = raw_of(drawn)
    shuffled = raw.sample(fraction=1.0, shuffle=True, seed=seed)
    assert said(curate(shuffled)) == said(curate(raw))


@settings(max_examples=50, deadline=None)
@given(st.lists(bar, max_size=14))
def test_an_equal_answer_fetched_again_changes_nothing_that_is_valid(rows):
    first = raw_bars([], rows=rows, request="b1-000")
    again = raw_bars([], rows=rows, request="b2-000", ingested_at=hours().closes_at + timedelta(hours=20))
    once, twice = curate(first), curate(pl.concat([first, again]))
    assert said(once)[0] == said(twice)[0]
    known = pl.concat([once.valid, twice.valid]).group_by("con_id", "ts").agg(pl.col("known_at").n_unique())
    assert known.filter(pl.col("known_at") > 1).is_empty()
