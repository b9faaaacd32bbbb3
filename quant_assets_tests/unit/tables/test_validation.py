"""What Pandera models made from declarations say, each verdict written down by hand."""

import math
from datetime import UTC, date, datetime
from unittest import mock

import numpy as np
import polars as pl
import pytest

from quant_assets.domain.tables import ALL, CANDIDATES, CURATED_TWS_1M_BARS, RAW_TWS_BARS, Column, Table
from quant_assets.domain.validation import Failure, model, validate
from quant_assets.errors import DefectError

TABLE = Table(
    name="things",
    zone="silver",
    key=("session", "con_id"),
    columns=(
        Column("session", pl.Date, "date", "Session"),
        Column("con_id", pl.Int64, "id", "Instrument", gt=0),
        Column("price", pl.Float64, "USD", "Price", gt=0.0),
        Column("share", pl.Float64, "fraction", "Share", nullable=True, ge=0.0, le=1.0),
        Column("free", pl.Float64, "any", "Anything", nullable=True),
        Column("side", pl.String, "enum", "Side", isin=("LONG", "SHORT")),
    ),
    grain="(session, con_id)",
    description="Things.",
    producer="things",
    row_rules={"share_below_price": "share <= price"},
)

DAY = date(2024, 1, 2)
GOOD = {"session": DAY, "con_id": 1, "price": 2.0, "share": 0.5, "free": None, "side": "LONG"}


def things(*changes):
    """One good row per change, with that change and a con_id of its own."""
    return TABLE.frame([{**GOOD, "con_id": number, **change} for number, change in enumerate(changes, start=1)])


def verdicts(frame, table=TABLE):
    return {(failure.column, failure.check): failure.n_failures for failure in validate(table, frame)}


def test_good_rows_break_nothing():
    assert validate(TABLE, things({}, {"share": None}, {"share": 0.0}, {"share": 1.0}, {"side": "SHORT"})) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price": 0.0}, {("price", "gt"), ("", "share_below_price")}),
        ({"price": -1.0, "share": None}, {("price", "gt")}),
        ({"price": None}, {("price", "not_nullable")}),
        ({"price": math.inf}, {("price", "finite")}),
        ({"share": 1.5}, {("share", "le")}),
        ({"share": -0.1}, {("share", "ge")}),
        ({"share": math.nan, "price": 3.0}, {("share", "le"), ("share", "finite"), ("", "share_below_price")}),
        ({"free": math.nan}, set()),
        ({"free": math.inf}, set()),
        ({"side": "long"}, {("side", "isin")}),
        ({"side": None}, {("side", "not_nullable")}),
        ({"con_id": 0}, {("con_id", "gt")}),
        ({"session": None}, {("session", "not_nullable")}),
        ({"share": 0.9, "price": 0.8}, {("", "share_below_price")}),
    ],
)
def test_one_bad_row_among_good_ones(change, expected):
    failures = validate(TABLE, things({}, change, {}))
    assert {(failure.column, failure.check) for failure in failures} == expected
    assert all(failure.n_failures == 1 for failure in failures)


def test_nan_counts_as_null_where_null_is_forbidden():
    assert verdicts(things({"price": math.nan, "share": None}))[("price", "not_nullable")] == 1


def test_repeated_keys_are_counted_with_all_their_rows():
    failures = validate(TABLE, things({}, {"con_id": 1}, {"con_id": 1}, {}))
    assert failures == [
        Failure("", "key_is_unique", 3, ("session=2024-01-02 con_id=1",) * 3),
    ]


def test_counts_are_of_all_rows_and_examples_are_few():
    (failure,) = validate(TABLE, things(*[{"price": -float(number), "share": None} for number in range(1, 101)]))
    assert failure.n_failures == 100
    assert failure.examples == ("-1.0", "-2.0", "-3.0", "-4.0", "-5.0")
    assert str(failure) == "price: gt fails in 100 rows, such as -1.0, -2.0, -3.0, -4.0, -5.0"


def test_shape_is_a_defect_of_ours_and_told_apart():
    wrong = things({"price": -1.0, "share": None}).drop("side").with_columns(pl.col("con_id").cast(pl.Int32), extra=1)
    failures = validate(TABLE, wrong)
    assert {(failure.column, failure.check) for failure in failures if failure.is_shape} == {
        ("side", "missing"),
        ("extra", "undeclared"),
        ("con_id", "dtype"),
    }
    assert ("price", "gt") in {(failure.column, failure.check) for failure in failures}


def test_a_missing_column_of_a_row_rule_is_reported_once_as_missing():
    assert [(failure.column, failure.check) for failure in validate(TABLE, things({}).drop("share"))] == [
        ("share", "missing")
    ]


def test_a_rule_that_cannot_be_evaluated_is_a_defect():
    broken = Table("b", "silver", ("a",), (Column("a", pl.Int64, "", ""),), "", "", "b", row_rules={"odd": "zz > 1"})
    with pytest.raises(DefectError, match="'odd' of table 'b'"):
        validate(broken, pl.DataFrame({"a": [1]}))


def test_an_empty_frame_of_the_right_shape_breaks_nothing():
    for table in ALL:
        assert validate(table, table.empty()) == [], table.name


def test_the_model_is_pandera_and_built_once():
    import pandera.polars as pa

    assert isinstance(model(TABLE), pa.DataFrameSchema)
    assert model(TABLE) is model(TABLE)
    twin = Table(TABLE.name, "silver", ("a",), (Column("a", pl.Int64, "", ""),), "", "", "x")
    assert model(twin) is not model(TABLE), "two declarations of one name do not share a model"


def test_every_declared_rule_is_in_the_model():
    for table in ALL:
        schema = model(table)
        assert list(schema.columns) == list(table.schema)
        names = {check.name for check in schema.checks}
        assert names == {*table.row_rules, "key_is_unique"}
        for column in table.columns:
            bounds = {name for name in ("ge", "gt", "le") if getattr(column, name) is not None}
            present = {check.name for check in schema.columns[column.name].checks} - {"finite", "isin"}
            assert present == bounds, (table.name, column.name)


def test_the_environment_cannot_switch_validation_off():
    from pandera.config import config_context

    with config_context(validation_enabled=False):
        assert verdicts(things({"price": -1.0, "share": None})) == {("price", "gt"): 1}


def test_bronze_keeps_what_was_served_whatever_it_was():
    row = {name: "x" for name, dtype in RAW_TWS_BARS.schema.items() if dtype == pl.String}
    at = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    row |= {"source": "TWS", "bar_size": "1 min", "what_to_show": "TRADES", "session": DAY, "con_id": 1, "ts": at}
    row |= {"use_rth": True, "ingested_at": at, "answer_row": 0, "volume": -1.0, "wap": math.inf}
    row |= {"open": 1.0, "high": 0.5, "low": 2.0, "close": -1.0}
    assert validate(RAW_TWS_BARS, RAW_TWS_BARS.frame([row])) == []


def test_candidates_have_two_verdicts_only():
    row = {name: "x" for name, dtype in CANDIDATES.schema.items() if dtype == pl.String}
    row |= {"session": DAY, "con_id": 1, "direction": "LONG", "verdict": "maybe", "is_pit": True}
    assert verdicts(CANDIDATES.frame([row]), CANDIDATES) == {("verdict", "isin"): 1}


def minute_bars(n_instruments):
    """Bars of one session, as wide as the real table."""
    n = n_instruments * 390
    base = 50 + np.sin(np.arange(n))
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    frame = pl.DataFrame({"con_id": np.repeat(np.arange(1, n_instruments + 1), 390)}).with_columns(
        session=pl.lit(DAY),
        symbol=pl.format("S{}", "con_id"),
        ts=pl.lit(start) + pl.duration(minutes=pl.int_range(pl.len()) % 390),
        open=pl.Series(base),
        high=pl.Series(base + 1),
        low=pl.Series(base - 1),
        close=pl.Series(base + 0.5),
        volume=pl.Series(np.floor(1e4 * (base - 48))),
        wap=pl.Series(base + 0.2),
        bar_count=pl.Series(np.arange(n) % 100),
        dq_status=pl.lit("ok"),
        dq_rules=pl.lit(None, pl.String),
        known_at=pl.lit(start),
        known_basis=pl.lit("observed"),
        transform_version=pl.lit("v1"),
        **{f"is_imputed_{name}": pl.lit(value=False) for name in ("open", "high", "low", "close", "volume")},
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in CURATED_TWS_1M_BARS.schema.items())


def test_a_sound_frame_costs_the_same_few_queries_however_many_rules_its_table_has():
    assert len(CURATED_TWS_1M_BARS.columns) > 2 * len(TABLE.columns)
    assert queries(TABLE, things({}, {})) == queries(CURATED_TWS_1M_BARS, minute_bars(3)) <= 6


def queries(table, frame):
    with mock.patch.object(pl.LazyFrame, "collect", autospec=True, side_effect=pl.LazyFrame.collect) as collect:
        assert validate(table, frame) == []
    return collect.call_count


def test_a_broken_session_is_asked_rule_by_rule():
    frame = minute_bars(3).with_columns(high=pl.lit(-1.0))
    assert {failure.check for failure in validate(CURATED_TWS_1M_BARS, frame)} >= {"gt"}
