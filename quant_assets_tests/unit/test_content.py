"""Content ids: what changes them, what must not, and one value pinned for ever."""

import hashlib
import math
import struct
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.lakehouse.content import combined_id, content_id

DAY = date(2024, 1, 2)
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
COLUMNS = ["session", "ts", "con_id", "symbol", "close", "is_ok"]
ORDER = ["con_id", "ts"]


def bars():
    return pl.DataFrame(
        {
            "session": [DAY, DAY, DAY],
            "ts": [NOON, NOON + timedelta(microseconds=1), None],
            "con_id": [1, 1, 2],
            "symbol": ["A", "Ž✓", None],
            "close": [1.5, None, -2.25],
            "is_ok": [True, False, None],
        },
        schema={
            "session": pl.Date,
            "ts": pl.Datetime("us", "UTC"),
            "con_id": pl.Int64,
            "symbol": pl.String,
            "close": pl.Float64,
            "is_ok": pl.Boolean,
        },
    )


PINNED = "50f63ee2da91b845ce2b702efabe8ddc6a25f97289618f62dca7c78e6972dc66"


def by_hand():
    """The canonical bytes of `bars()`, written out with nothing but struct."""
    days = (DAY - date(1970, 1, 1)).days
    noon = days * 86_400_000_000 + 12 * 3_600_000_000
    text = "Ž✓".encode()
    return b"".join(
        [
            b"rows=3;",
            b"session:i8;" + bytes([1, 1, 1]) + struct.pack("<3q", days, days, days),
            b"ts:i8;" + bytes([1, 1, 0]) + struct.pack("<3q", noon, noon + 1, 0),
            b"con_id:i8;" + bytes([1, 1, 1]) + struct.pack("<3q", 1, 1, 2),
            b"symbol:utf8;" + bytes([1, 1, 0]) + struct.pack("<3q", 1, len(text), 0) + b"A" + text,
            b"close:f8;" + bytes([1, 0, 1]) + struct.pack("<3d", 1.5, 0.0, -2.25),
            b"is_ok:i8;" + bytes([1, 1, 0]) + struct.pack("<3q", 1, 0, 0),
        ]
    )


def test_the_id_is_the_hash_of_bytes_that_are_written_out_by_hand():
    assert content_id(bars(), COLUMNS, ORDER) == hashlib.sha256(by_hand()).hexdigest()


def test_the_pinned_id():
    """A change of this value orphans every stored id: it needs a migration, never a new constant."""
    assert content_id(bars(), COLUMNS, ORDER) == PINNED


def same(left, right, columns=("x",), order=("x",)):
    return content_id(left, list(columns), list(order)) == content_id(right, list(columns), list(order))


def test_row_order_and_column_order_of_the_frame_do_not_matter():
    shuffled = bars().sample(fraction=1.0, shuffle=True, seed=3).select(reversed(COLUMNS))
    assert content_id(shuffled, COLUMNS, ORDER) == content_id(bars(), COLUMNS, ORDER)


def test_columns_that_are_not_named_do_not_matter():
    with_provenance = bars().with_columns(ingested_at=pl.lit("now"), batch_id=pl.lit("b7"))
    assert content_id(with_provenance, COLUMNS, ORDER) == content_id(bars(), COLUMNS, ORDER)


def test_chunks_do_not_matter():
    pieces = pl.concat([bars()[:1], bars()[1:]], rechunk=False)
    assert pieces.n_chunks() == 2
    assert content_id(pieces, COLUMNS, ORDER) == content_id(bars(), COLUMNS, ORDER)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([0.0], [-0.0]),
        ([math.nan], [-math.nan]),
        ([math.nan], [struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]]),
    ],
    ids=["-0.0", "-nan", "nan with payload"],
)
def test_floats_that_mean_the_same_have_one_id(left, right):
    schema = {"k": pl.Int64, "x": pl.Float64}
    frames = [pl.DataFrame({"k": [1], "x": values}, schema=schema) for values in (left, right)]
    assert same(*frames, order=("k",))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pl.Series([None], dtype=pl.Float64), pl.Series([0.0])),
        (pl.Series([None], dtype=pl.Float64), pl.Series([math.nan])),
        (pl.Series([None], dtype=pl.Int64), pl.Series([0])),
        (pl.Series([None], dtype=pl.String), pl.Series([""])),
        (pl.Series([None], dtype=pl.Boolean), pl.Series([False])),
        (pl.Series([1.0]), pl.Series([1])),
        (pl.Series([1.0]), pl.Series([math.nextafter(1.0, 2.0)])),
        (pl.Series(["ab", "c"]), pl.Series(["a", "bc"])),
        (pl.Series([1, 1]), pl.Series([1])),
    ],
    ids=str,
)
def test_different_content_has_different_ids(left, right):
    frames = [series.to_frame("x").with_row_index("k") for series in (left, right)]
    assert not same(*frames, order=("k",))


def test_names_count():
    frame = pl.DataFrame({"x": [1], "y": [1]})
    assert content_id(frame, ["x"], ["x"]) != content_id(frame, ["y"], ["y"])


def test_integer_width_does_not_count_because_no_value_differs():
    assert same(pl.DataFrame({"x": [1]}), pl.DataFrame({"x": pl.Series([1], dtype=pl.Int32)}))


def test_dtypes_without_a_canonical_form_are_refused():
    with pytest.raises(TypeError, match="no canonical form"):
        content_id(pl.DataFrame({"x": [[1, 2]]}), ["x"], [])


def test_empty_frames_have_an_id_that_depends_on_their_columns():
    schema = {"x": pl.Int64, "y": pl.Int64}
    empty = pl.DataFrame(schema=schema)
    assert content_id(empty, ["x"], ["x"]) == hashlib.sha256(b"rows=0;x:i8;").hexdigest()
    assert content_id(empty, ["x", "y"], ["x"]) != content_id(empty, ["x"], ["x"])


def test_combined_ids_ignore_order_and_see_every_member():
    assert combined_id(["b", "a"]) == combined_id(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert combined_id(["a"]) != combined_id(["a", "a"])
