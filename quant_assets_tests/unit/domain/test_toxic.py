"""Absurd prices against hand-written sequences of closes."""

import polars as pl
import pytest

from quant_assets.domain import toxic
from quant_assets.domain.quality import on_minutes_basis
from quant_assets_tests.builders import curated_bars, references

NONE = references()


def verdicts(closes, reference=NONE, **rows):
    bars = curated_bars(closes)
    for position, changes in rows.items():
        at = int(position.removeprefix("r"))
        for name, value in changes.items():
            bars = bars.with_columns(
                pl.when(pl.int_range(pl.len()) == at).then(pl.lit(float(value))).otherwise(name).alias(name)
            )
    return toxic.judge(bars, reference)["toxic"].to_list()


def bad(n, *places):
    return ["bad_print" if i in places else None for i in range(n)]


@pytest.mark.parametrize("spike", [0.01, 10_000.0, 601.0, 100 / 6.01])
def test_one_spike_rejects_itself_and_no_neighbour(spike):
    assert verdicts([100, 100, spike, 100, 100]) == bad(5, 2)


@pytest.mark.parametrize("move", [60.0, 140.0, 590.0, 17.0])
def test_moves_below_the_bound_are_no_matter(move):
    assert verdicts([100, 100, move, move, 100]) == bad(5)


def test_a_spike_in_the_first_minute_with_a_reference():
    assert verdicts([10_000, 100, 100, 100], references(c101=99.0)) == bad(4, 0)


def test_a_spike_in_the_first_minute_without_a_reference():
    assert verdicts([10_000, 100, 100, 100]) == bad(4, 0)


def test_a_spike_in_the_last_minute():
    assert verdicts([100, 100, 100, 0.01]) == bad(4, 3)
    assert verdicts([100, 100, 100, 0.01], references(c101=99.0)) == bad(4, 3)


@pytest.mark.parametrize("n", [2, 3])
def test_bad_prints_in_a_row_are_all_rejected_and_the_good_bar_after_them_stays(n):
    closes = [100.0] * 5 + [0.01] * n + [100.0] * 5
    assert verdicts(closes) == bad(len(closes), *range(5, 5 + n))


def test_two_different_bad_prints_in_a_row():
    assert verdicts([100, 100, 100, 0.01, 10_000, 100, 100, 100]) == bad(8, 3, 4)


def test_a_good_bar_between_two_bad_prints_stays():
    assert verdicts([100, 100, 0.01, 100, 0.01, 100, 100]) == bad(7, 2, 4)


def test_bad_prints_in_the_first_two_minutes_with_a_reference():
    assert verdicts([0.01, 0.01, 100, 100, 100, 100], references(c101=99.0)) == bad(6, 0, 1)


def test_a_level_shift_holds_back_its_edge_only():
    assert verdicts([100, 100, 100, 1000, 1000, 1000, 1000]) == [None] * 3 + ["level_shift"] + [None] * 3


def test_a_reverse_split_overnight_holds_back_the_first_bar_only():
    assert verdicts([1000, 1001, 1002, 1003], references(c101=100.0)) == ["level_shift", None, None, None]


def test_a_wick_alone_condemns_its_bar():
    assert verdicts([100, 100, 100, 100], r2={"high": 9_000}) == bad(4, 2)
    assert verdicts([100, 100, 100, 100], r0={"low": 0.01}) == bad(4, 0)
    assert verdicts([100, 100, 100, 100], r3={"low": 0.01}) == bad(4, 3)


def test_a_single_bar_is_judged_by_the_reference():
    assert verdicts([100], references(c101=99.0)) == [None]
    assert verdicts([1], references(c101=99.0)) == bad(1, 0)
    assert verdicts([1]) == [None]


def test_instruments_do_not_judge_each_other():
    bars = pl.concat([curated_bars([100, 101, 102]), curated_bars([0.01, 0.01, 0.01], con_id=102)])
    assert toxic.judge(bars, references(c101=100.0, c102=0.01))["toxic"].null_count() == 6


def test_the_evidence_names_both_neighbours():
    evidence = toxic.judge(curated_bars([100, 0.01, 101]), NONE)["toxic_evidence"].to_list()
    assert evidence == [None, "close 0.01 against 100.0 before and 101.0 after", None]


def test_a_side_that_is_not_there_is_told_in_the_evidence():
    judged = toxic.judge(curated_bars([0.01, 90]), NONE)
    assert judged["toxic"].to_list() == [None, "level_shift"]
    assert judged["toxic_evidence"][1] == "close 90.0 against 0.01 before and none after"


def test_a_frame_without_rows_keeps_its_columns():
    judged = toxic.judge(curated_bars([]), NONE)
    assert judged.is_empty()
    assert judged.columns[-2:] == ["toxic", "toxic_evidence"]


# ------------------------------------------------------------ what the rest of the day says


def day(**known):
    """Return what is known of a day whose close before was 10."""
    usual = {"previous_close": 10.0, "usual_volume": 6000.0, **known}
    return pl.DataFrame({"con_id": [101], **{name: [value] for name, value in usual.items()}})


HIGH = {"day_high": 101.0, "day_low": 99.0, "day_close": 100.0}
LOW = {"day_high": 10.1, "day_low": 9.9, "day_close": 10.0}
UP = [100.0] * 6
"""Six bars of 1,000 shares each, ten times the close before."""


def test_a_move_that_the_day_agrees_with_is_real():
    assert verdicts(UP, day(**HIGH, day_volume=6000.0)) == ["real_move"] + [None] * 5


def test_a_move_inside_the_session_is_real_when_the_day_spans_both_levels():
    known = day(day_high=101.0, day_low=9.9, day_close=100.0, day_volume=6000.0)
    assert verdicts([10.0, 10.0, 10.0, 100.0, 100.0, 100.0], known) == [None] * 3 + ["real_move"] + [None] * 2


def test_a_jump_overnight_with_the_volume_of_a_reverse_split_is_a_missed_split():
    assert verdicts(UP, day(**HIGH, day_volume=6000.0, usual_volume=60_000.0)) == ["missed_split"] + [None] * 5


def test_a_fall_overnight_with_as_many_dollars_as_ever_is_a_missed_split():
    known = day(previous_close=1000.0, usual_volume=600.0, **HIGH, day_volume=6000.0)
    assert verdicts(UP, known) == ["missed_split"] + [None] * 5


def test_a_crash_trades_more_dollars_and_is_real():
    known = day(previous_close=1000.0, usual_volume=100.0, **HIGH, day_volume=6000.0)
    assert verdicts(UP, known) == ["real_move"] + [None] * 5


def test_a_split_that_the_factors_tell_of_is_no_matter():
    """The minutes times a tenth are on the basis of the day, which knows 10 for 100 and ten shares for one."""
    known = day(**LOW, day_volume=60_000.0, usual_volume=60_000.0)
    own = pl.DataFrame({"con_id": [101, 102], "split_factor": [0.1, 7.0]})
    on_basis = on_minutes_basis(known, own)
    assert on_basis.to_dicts() == [
        {
            "con_id": 101,
            "previous_close": pytest.approx(100.0),
            "usual_volume": pytest.approx(6000.0),
            "day_high": pytest.approx(101.0),
            "day_low": pytest.approx(99.0),
            "day_close": pytest.approx(100.0),
            "day_volume": pytest.approx(6000.0),
        }
    ]
    assert verdicts(UP, on_basis) == [None] * 6
    assert on_minutes_basis(known, own.filter(con_id=102)).equals(known), "nothing is told of it"
    assert verdicts(UP, known) == ["missed_split"] + [None] * 5


def test_minutes_and_day_on_two_price_bases_are_a_missed_split():
    """Ten times the price and a tenth of the volume."""
    assert verdicts(UP, day(**LOW, day_volume=60_000.0)) == ["missed_split"] + [None] * 5


def test_a_session_in_another_unit_is_rejected_bar_by_bar():
    assert verdicts(UP, day(**LOW, day_volume=6000.0)) == ["unit_error"] * 6


def test_a_level_that_stays_to_the_close_and_that_the_day_denies_is_bad():
    assert verdicts([10.0, 10.0, 10.0, 10.0, 77.0, 78.0], day(**LOW, day_volume=6000.0)) == bad(6, 4, 5)


def test_several_bars_off_by_a_power_of_ten_are_a_unit_error_and_one_is_a_bad_print():
    closes = [100.0] * 4 + [10_000.0] * 3 + [100.0] * 4
    assert verdicts(closes) == [None] * 4 + ["unit_error"] * 3 + [None] * 4
    assert verdicts([100.0, 100.0, 10_000.0, 100.0, 100.0]) == bad(5, 2)


def test_the_largest_jump_is_configured():
    closes = [100.0, 100.0, 300.0, 100.0, 100.0]
    assert verdicts(closes) == [None] * 5
    assert verdicts(closes, day(previous_close=100.0, max_jump=2.0)) == bad(5, 2)


def test_the_evidence_tells_what_the_day_says():
    told = toxic.judge(curated_bars(UP), day(**HIGH, day_volume=6000.0))["toxic_evidence"][0]
    assert told == (
        "close 100.0 against 10.0 before and 100.0 after; the day's bar 99.0 to 101.0, volume 6000.0 of usually 6000.0"
    )
