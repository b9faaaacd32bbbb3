"""Judging all rules in one query refuses exactly the frames that judging them one by one refuses."""

import math
from datetime import date

import pandera.errors
import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context

from quant_assets.domain.tables import Column, Table
from quant_assets.domain.validation import model, sound_model, validate

TABLE = Table(
    name="measured",
    zone="silver",
    key=("session", "con_id"),
    columns=(
        Column("session", pl.Date, "date", "Session"),
        Column("con_id", pl.Int64, "id", "Instrument", ge=1),
        Column("price", pl.Float64, "USD", "Price", gt=0.0),
        Column("bare", pl.Float64, "any", "A number without bounds"),
        Column("share", pl.Float32, "fraction", "Share", nullable=True, ge=0.0, le=1.0),
        Column("side", pl.String, "enum", "Side", nullable=True, isin=("LONG", "SHORT")),
    ),
    grain="(session, con_id)",
    description="Measured.",
    producer="measured",
    row_rules={"share_below_price": "share <= price", "long_is_dear": "side <> 'LONG' OR price >= 1"},
)

NUMBERS = st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0, 0.0, 0.5, 1.0, 2.0])
ROWS = st.fixed_dictionaries(
    {
        "session": st.sampled_from([None, date(2024, 1, 2), date(2024, 1, 3)]),
        "con_id": st.sampled_from([None, 0, 1, 2, 3]),
        "price": NUMBERS,
        "bare": NUMBERS,
        "share": NUMBERS,
        "side": st.sampled_from([None, "LONG", "SHORT", "long"]),
    }
)
SOUND = {"session": date(2024, 1, 2), "con_id": 1, "price": 2.0, "bare": 0.0, "share": 0.5, "side": "LONG"}


@given(st.lists(ROWS, max_size=3), st.booleans())
@example([SOUND], False)
@example([{**SOUND, "bare": math.nan}], False)
@example([{**SOUND, "share": math.nan}], False)
@example([{**SOUND, "share": None, "side": None}], False)
@example([SOUND, SOUND], False)
def test_all_rules_at_once_pass_what_passes_rule_by_rule(rows, beside_a_sound_one):
    others = [{**SOUND, "session": date(2024, 1, 4)}] if beside_a_sound_one else []
    frame = TABLE.frame([*others, *rows])
    by_rule = _passes(model(TABLE), frame)
    assert _passes(sound_model(TABLE), frame) == by_rule
    assert (validate(TABLE, frame) == []) == by_rule


def _passes(schema, frame):
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors:
            return False
    return True
