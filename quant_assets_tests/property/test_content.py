"""Content ids hold for any frame, not only for the ones that were thought of."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.lakehouse.content import content_id

COLUMNS = ["key", "price", "text", "flag"]
SCHEMA = {"key": pl.Int64, "price": pl.Float64, "text": pl.String, "flag": pl.Boolean}

rows = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(-(2**62), 2**62),
            "price": st.none() | st.floats(),
            "text": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            "flag": st.none() | st.booleans(),
        }
    ),
    max_size=12,
    unique_by=lambda row: row["key"],
)


def identify(some_rows):
    return content_id(pl.DataFrame(some_rows, schema=SCHEMA), COLUMNS, ["key"])


def meaning(some_rows):
    """What rows say, in a form in which equal sayings are equal: -0.0 is 0.0 and all NaNs are one."""
    return {
        (row["key"], "nan" if row["price"] != row["price"] else row["price"], row["text"], row["flag"])
        for row in some_rows
    }


@settings(max_examples=150, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_row_order_never_matters(some_rows, random):
    shuffled = list(some_rows)
    random.shuffle(shuffled)
    assert identify(shuffled) == identify(some_rows)


@settings(max_examples=300, deadline=None)
@given(rows, rows)
def test_ids_are_equal_exactly_when_the_contents_are(left, right):
    assert (identify(left) == identify(right)) == (meaning(left) == meaning(right))


@settings(max_examples=150, deadline=None)
@given(rows.filter(bool), st.data())
def test_any_single_change_changes_the_id(some_rows, data):
    number = data.draw(st.integers(0, len(some_rows) - 1))
    column = data.draw(st.sampled_from(COLUMNS[1:]))
    other = data.draw(
        {"price": st.none() | st.floats(), "text": st.none() | st.text("ab"), "flag": st.none() | st.booleans()}[column]
    )
    changed = [{**row, column: other} if index == number else row for index, row in enumerate(some_rows)]
    assert (identify(changed) == identify(some_rows)) == (meaning(changed) == meaning(some_rows))
