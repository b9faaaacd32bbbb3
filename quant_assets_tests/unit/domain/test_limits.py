"""What a session may lose: shares are counted by hand, of 390 expected minutes per instrument."""

import polars as pl
import pytest

from quant_assets.domain.limits import Limits, beyond, degraded_of, losses, taken, told
from quant_assets.domain.tables import BAR_ACCOUNTING
from quant_assets.domain.tables.bars import ACCOUNTING_REASONS
from quant_assets_tests.builders import SESSION

LIMITS = Limits(max_unexplained=0.01, max_quarantined=0.05, max_degraded=0.1)
KIND = {reason: kind for kind, reasons in ACCOUNTING_REASONS.items() for reason in reasons}


def session(*instruments: dict[str, int]) -> pl.DataFrame:
    """Rows of `bar_accounting`: reason → minutes of each instrument, in the order of A, B, C …"""
    rows = [
        {
            "session": SESSION,
            "con_id": 100 + place,
            "symbol": chr(ord("A") + place),
            "kind": KIND[reason],
            "reason": reason,
            "minutes": minutes,
            "expected": sum(reasons.values()),
            "evidence": "",
        }
        for place, reasons in enumerate(instruments)
        for reason, minutes in reasons.items()
    ]
    return BAR_ACCOUNTING.frame(rows)


WHOLE, GONE = {"present": 390}, {"present": 0, "quarantined": 390}


def test_half_a_session_in_quarantine_is_beyond_the_limits_although_every_minute_is_explained():
    (text,) = beyond(session(*[WHOLE] * 10, *[GONE] * 10), LIMITS).values()
    assert text == (
        "quarantine took more than lakehouse.max_quarantined (5.00%) of the minutes of 10 of 20 instruments, and "
        "lakehouse.max_degraded (10.00%) bears 2: K 390 of 390, L 390 of 390, M 390 of 390, N 390 of 390, O 390 of 390 "
        "and 5 more"
    )


@pytest.mark.parametrize(
    ("sound", "gone", "is_kept"),
    [(1, 1, True), (0, 1, False), (1, 2, False), (18, 2, True), (17, 3, False), (0, 20, False)],
)
def test_one_bad_instrument_never_holds_up_sound_ones_and_many_do(sound, gone, is_kept):
    rows = session(*[WHOLE] * sound, *[GONE] * gone)
    assert (beyond(rows, LIMITS) == {}) is is_kept
    assert losses(rows, LIMITS)["is_degraded"].sum() == gone, "and nobody calls it good"


def test_a_share_is_of_the_minutes_that_tws_sent():
    """19 bad of 390 is below 5 %, 20 above; of an instrument that trades 20 minutes, 2 are above."""
    rows = session(
        {"present": 371, "quarantined": 19},
        {"present": 370, "quarantined": 20},
        {"present": 18, "quarantined": 2, "no_trades": 370},
        {"present": 370, "imputed_quarantined": 20},
    )
    assert losses(rows, LIMITS)["is_out"].to_list() == [False, True, True, True]
    assert taken(rows, LIMITS) == "B 20 of 390, D 20 of 390, C 2 of 20"


def test_a_certificate_names_who_lost_too_much_and_what_was_accepted():
    rows = session(
        WHOLE,
        {"present": 386, "unexplained": 4},
        {"present": 387, "unexplained": 3},
        {"present": 380, "accepted": 10},
        {"present": 200, "half_day": 180, "imputed_unexplained": 10},
        {"closed": 390},
        GONE,
    )
    assert told(rows, LIMITS) == (
        "B 4 of 390 minutes; E 10 of 210 minutes; G 390 of 390 minutes",
        "D 10 minutes",
    )
    assert losses(rows, LIMITS)["symbol"].to_list() == ["A", "B", "C", "D", "E", "G"], "F was closed"


def test_of_the_degraded_those_of_some_symbols_are_told_and_no_namesakes_in_part():
    rows = session(WHOLE, {"present": 386, "unexplained": 4}, GONE)
    degraded, _ = told(rows.with_columns(pl.col("symbol").replace({"B": "BRK B", "C": "BRK"})), LIMITS)
    assert degraded_of(degraded, {"BRK B", "A"}) == ["BRK B 4 of 390 minutes"]
    assert degraded_of(degraded, {"BRK"}) == ["BRK 390 of 390 minutes"]
    assert degraded_of("", {"A", ""}) == []


def test_unexplained_minutes_count_filled_in_or_not_and_accepted_ones_do_not():
    rows = session({"present": 382, "imputed_unexplained": 4, "suspect_empty": 4}, {"present": 340, "accepted": 50})
    assert list(beyond(rows, LIMITS).values()) == [
        "1.03% of the expected minutes are unexplained, more than lakehouse.max_unexplained (1.00%): A 8 of 390"
    ]
    assert beyond(rows, Limits(0.0103, 0.05, 0.1)) == {}


def test_only_narrower_or_new_limits_may_refuse_what_passed():
    passed = LIMITS.as_inputs()
    assert not LIMITS.may_refuse(passed)
    assert not Limits(0.02, 0.06, 0.2).may_refuse(passed)
    for narrower in (Limits(0.009, 0.05, 0.1), Limits(0.01, 0.04, 0.1), Limits(0.02, 0.06, 0.09)):
        assert narrower.may_refuse(passed)
    assert LIMITS.may_refuse({"max_unexplained": "0.01"}), "certified when nobody counted quarantine"
