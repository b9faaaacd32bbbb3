"""Which answer speaks for a minute, and which vintage for a daily window."""

from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.domain.bars import daily_window, newest_answers, overlap_agrees
from quant_assets_tests.builders import CALENDAR, both, hours, minute, raw_bars, vintage

OLD = hours().closes_at + timedelta(hours=10)
NEW = OLD + timedelta(days=1)


def spoken(*answers):
    kept = newest_answers(pl.concat(answers)).sort("con_id", "ts", "answer_row")
    return [
        (int((ts - minute(0)).total_seconds()) // 60, close) for ts, close in kept.select("ts", "close").iter_rows()
    ]


def test_the_newer_answer_wins_per_minute():
    old = raw_bars([100, 101, 102], ingested_at=OLD)
    new = raw_bars([100, 101.2, 102], request="b2-000", ingested_at=NEW)
    assert spoken(old, new) == spoken(new, old) == [(0, 100), (1, 101.2), (2, 102)]


def test_a_shorter_newer_answer_loses_no_minutes():
    old = raw_bars([100, 101, 102, 103], ingested_at=OLD)
    new = raw_bars([101.1], first=1, request="b2-000", ingested_at=NEW)
    assert spoken(old, new) == [(0, 100), (1, 101.1), (2, 102), (3, 103)]


def test_another_price_basis_is_never_mixed_in():
    old = raw_bars([100, 101, 102, 103], ingested_at=OLD)
    split = raw_bars([50, 50.5], request="b2-000", ingested_at=NEW)
    assert spoken(old, split) == [(0, 50), (1, 50.5), (2, 51), (3, 51.5)], "the rest follows the split"
    other = raw_bars([77, 77.77], request="b2-000", ingested_at=NEW)
    assert spoken(old, other) == [(0, 77), (1, 77.77)], "77 % is no split"
    lone = raw_bars([50], request="b2-000", ingested_at=NEW)
    assert spoken(old, lone) == [(0, 50)], "one minute proves no split"


def test_of_three_answers_those_on_the_basis_of_the_newest_count():
    oldest = raw_bars([200, 202, 204, 206], request="b0-000", ingested_at=OLD - timedelta(days=1))
    old = raw_bars([100, 101, 102], ingested_at=OLD)
    new = raw_bars([100, 101], request="b2-000", ingested_at=NEW)
    assert spoken(oldest, old, new) == [(0, 100), (1, 101), (2, 102), (3, 103)], "206 is 103 after two for one"


def test_an_older_answer_without_a_common_minute_counts_when_the_prices_meet_at_the_seam():
    """Half of a session came, and later the other half: neither is thrown away."""
    morning = raw_bars([100, 101, 102], ingested_at=OLD)
    rest = raw_bars([102.5, 103], first=3, request="b2-000", ingested_at=NEW)
    assert spoken(morning, rest) == [(0, 100), (1, 101), (2, 102), (3, 102.5), (4, 103)]
    assert spoken(rest.with_columns(ingested_at=pl.lit(OLD)), morning.with_columns(ingested_at=pl.lit(NEW))) == [
        *[(0, 100), (1, 101), (2, 102)],
        *[(3, 102.5), (4, 103)],
    ]


def test_an_older_answer_on_another_basis_is_dropped_although_no_minute_is_common():
    morning = raw_bars([100, 101, 102], ingested_at=OLD)
    rest = raw_bars([51.2, 51.5], first=3, request="b2-000", ingested_at=NEW)
    assert spoken(morning, rest) == [(3, 51.2), (4, 51.5)]
    five_percent = raw_bars([97.1, 98], first=3, request="b2-000", ingested_at=NEW)
    assert spoken(morning, five_percent) == [(3, 97.1), (4, 98)]


def test_instruments_have_their_own_newest_answer():
    old = raw_bars([100, 101], ingested_at=OLD)
    other = raw_bars([7], con_id=102, request="b2-000", ingested_at=NEW)
    assert newest_answers(pl.concat([old, other])).height == 3


def test_duplicates_inside_one_answer_stay_for_the_rules_to_judge():
    twice = raw_bars([100, 101], rows=[{"minute": 1, "close": 101.5}])
    assert spoken(twice) == [(0, 100), (1, 101), (1, 101.5)]
    assert newest_answers(twice.clear()).is_empty()


def test_an_answer_spoiled_by_one_bad_print_does_not_silence_the_older_one():
    old = raw_bars([100, 101, 102, 103, 104], ingested_at=OLD)
    new = raw_bars([100, 101, 0.01, 103], request="b2-000", ingested_at=NEW)
    assert spoken(old, new)[-1] == (4, 104)


@pytest.mark.parametrize(
    "prices",
    [
        pytest.param({1: 0.01}, id="alone"),
        pytest.param({1: 0.01, 2: 102.0}, id="one of two common minutes"),
        pytest.param({2: 1.02, 5: 105.0}, id="the only common minute, at the ratio of a split"),
        pytest.param({5: 0.01}, id="alone, after the older answer"),
        pytest.param({5: 0.01, 6: 106.0}, id="at the seam"),
        pytest.param({5: 0.0, 6: 106.0}, id="no price at the seam"),
        pytest.param({1: -1.0, 2: 102.0}, id="a negative price"),
    ],
)
def test_a_short_answer_with_a_bad_print_does_not_cost_the_session(prices):
    old = raw_bars([100, 101, 102, 103, 104], ingested_at=OLD)
    new = raw_bars(prices, request="b2-000", ingested_at=NEW)
    expected = dict(enumerate([100.0, 101.0, 102.0, 103.0, 104.0])) | prices
    assert spoken(old, new) == sorted(expected.items()), "the bad print itself is the toxic filter's"


def test_a_bad_print_at_the_end_of_the_older_answer_does_not_cost_its_session():
    old = raw_bars([100, 101, 0.01], ingested_at=OLD)
    new = raw_bars([102.5, 103], first=3, request="b2-000", ingested_at=NEW)
    assert spoken(old, new) == [(0, 100), (1, 101), (2, 0.01), (3, 102.5), (4, 103)]


def test_a_bad_print_does_not_hide_a_split():
    old = raw_bars([100, 101, 102, 103], ingested_at=OLD)
    apart = raw_bars({4: 0.01, 5: 51.0}, request="b2-000", ingested_at=NEW)
    assert spoken(old, apart) == [(4, 0.01), (5, 51.0)], "51 after 103 is another basis"
    tenth = raw_bars({4: 10.3}, request="b2-000", ingested_at=NEW)
    assert spoken(old, tenth) == [(4, 10.3)], "ten for one is a split, and one bar cannot tell"


# ------------------------------------------------------------ daily

D = CALENDAR.window(date(2024, 2, 15), 8)


def closes(*values, until=7):
    """Closes of the last sessions up to D[until]."""
    return dict(zip(D[until + 1 - len(values) : until + 1], values, strict=True))


def window(vintages, as_of=7, n=8):
    sessions = CALENDAR.window(D[as_of], n)
    found = daily_window(pl.concat(vintages), D[as_of], sessions).sort("con_id", "session")
    return dict(found.select("session", "close").iter_rows())


def test_a_full_vintage_of_the_session_is_its_window_and_observed():
    rows = daily_window(both(closes(1, 2, 3), D[7]), D[7], D).sort("session")
    assert rows["close"].to_list() == [1, 2, 3]
    assert set(rows["known_basis"]) == {"observed"}
    assert set(rows["as_of_session"]) == {D[7]}
    assert rows["known_at"][0] == hours(D[7]).closes_at + timedelta(hours=10)


def test_short_overlaps_extend_a_full_vintage():
    parts = [
        both(closes(1, 2, 3, until=4), D[4]),
        both(closes(3, 4, until=5), D[5], is_full=False),
        both(closes(4, 5, 6, until=7), D[7], is_full=False),
    ]
    assert window(parts) == closes(1, 2, 3, 4, 5, 6)
    assert window(parts, as_of=5) == closes(1, 2, 3, 4, until=5)
    assert window(parts, as_of=4) == closes(1, 2, 3, until=4)


def test_a_revised_value_replaces_the_first_one_and_an_equal_value_keeps_its_first_knowledge():
    first = both(closes(1, 2, 3, until=6), D[6], volume=900.0)
    again = both(closes(2, 3, 4, until=7), D[7], is_full=False, volume=900.0)
    revised = again.with_columns(pl.when(pl.col("session") == D[6]).then(950.0).otherwise("volume").alias("volume"))
    rows = daily_window(pl.concat([first, revised]), D[7], D).sort("session")
    assert rows["volume"].to_list() == [900, 900, 950, 900]
    known = dict(rows.select("session", "known_at").iter_rows())
    old, new = (hours(day).closes_at + timedelta(hours=10) for day in (D[6], D[7]))
    assert known == {D[4]: old, D[5]: old, D[6]: new, D[7]: new}


def test_a_backfill_is_cut_from_the_nearest_later_vintage_and_says_assumed():
    near, far = both(closes(1, 2, 3, 4, until=6), D[6]), both(closes(10, 20, 30, 40, 50), D[7])
    rows = daily_window(pl.concat([far, near]), D[4], D[:5]).sort("session")
    assert dict(rows.select("session", "close").iter_rows()) == closes(1, 2, until=4)
    assert set(rows["known_basis"]) == {"assumed"}
    assert set(rows["vintage"]) == {D[6]}


def test_a_backfill_takes_the_later_vintage_that_reaches_back_furthest():
    shallow, deep = both(closes(5, 6, 7, until=6), D[6]), both(closes(1, 2, 3, 4, 5, 6, 7, 8), D[7])
    assert window([shallow, deep], as_of=4, n=3) == closes(3, 4, 5, until=4)


def test_a_vintage_that_stops_before_the_session_gives_way_to_a_later_full_one():
    parts = [both(closes(1, 2, 3, until=3), D[3]), both(closes(10, 20, 30, 40, 50), D[7])]
    assert window(parts, as_of=5) == closes(10, 20, 30, until=5)


def test_a_delisted_instrument_keeps_its_window_when_a_later_vintage_knows_no_more():
    alive = both(closes(100, 102, 104, until=3), D[3])
    later = both(closes(50, 51, 52, until=3), D[7])
    assert window([alive, later], as_of=5, n=4) == closes(102, 104, until=3)


def test_a_split_rebases_the_whole_window():
    before = both(closes(100, 102, 104, until=5), D[5])
    after = both(closes(50, 51, 52, 53, until=6), D[6])
    short = both(closes(53, 54), D[7], is_full=False)
    assert window([before, after, short]) == closes(50, 51, 52, 53, 54)
    assert window([before, after, short], as_of=5) == closes(100, 102, 104, until=5)


def test_two_answers_of_one_vintage_on_two_bases_are_never_mixed():
    at = hours(D[6]).closes_at
    early = both(closes(104, 106, until=6), D[6], request="b1-0", ingested_at=at + timedelta(hours=5))
    late = both(closes(50, 51, 52, 53, until=6), D[6], request="b2-0", ingested_at=at + timedelta(hours=14))
    assert window([early, late], as_of=6) == window([late, early], as_of=6) == closes(50, 51, 52, 53, until=6)


def test_instruments_have_their_own_base():
    parts = [both(closes(1, 2), D[7]), both(closes(7, 8, until=6), D[6], con_id=102)]
    rows = daily_window(pl.concat(parts), D[7], D)
    assert dict(rows.group_by("con_id").len().iter_rows()) == {101: 2, 102: 2}


def test_without_adjusted_last_the_close_stands_in():
    rows = daily_window(vintage(closes(1, 2, 3), D[7]), D[7], D)
    assert rows["adj_close"].to_list() == rows["close"].to_list()


def test_adjusted_closes_come_beside_the_closes():
    rows = daily_window(both(closes(10, 20), D[7], adjusted=closes(9, 20)), D[7], D).sort("session")
    assert rows["adj_close"].to_list() == [9, 20]


def test_an_adjusted_series_of_another_basis_is_not_stitched_to_the_closes():
    """After a split the trades came and the adjusted series did not: half of its window would be on the old basis."""
    parts = [
        both(closes(100, 102, 104, until=6), D[6]),
        vintage(closes(50, 51, 52, 53), D[7], what="TRADES"),
    ]
    rows = daily_window(pl.concat(parts), D[7], D).sort("session")
    assert rows["close"].to_list() == rows["adj_close"].to_list() == [50, 51, 52, 53]


def test_an_adjusted_series_that_stops_early_is_not_completed_by_closes():
    """The last session's dividend is unknown: mixing would make a jump that never was."""
    parts = [
        both(closes(100, 102, 104, until=6), D[6], adjusted=closes(99, 101, 104, until=6)),
        vintage(closes(104, 106), D[7], what="TRADES", is_full=False),
    ]
    rows = daily_window(pl.concat(parts), D[7], D).sort("session")
    assert rows["adj_close"].to_list() == [100, 102, 104, 106]


def test_no_vintage_gives_an_empty_window():
    assert daily_window(both(closes(1, 2), D[7]).clear(), D[7], D).is_empty()
    assert daily_window(both(closes(1, 2), D[7], is_full=False), D[7], D).is_empty()


@pytest.mark.parametrize(
    ("fetched", "agrees"),
    [
        ([99, 100, 101], True),
        ([99, 100.005, 101], True),
        ([49.5, 50, 50.5], False),
        ([98.5, 99.5, 100.4], False),
        ([98.995, 99.995, 100.995], False),
    ],
)
def test_an_overlap_agrees_when_the_basis_is_the_same(fetched, agrees):
    stored = both(closes(99, 100, 101, until=6), D[6])
    short = both({**closes(*fetched, until=6), D[7]: 1.0}, D[7])
    verdict = overlap_agrees(stored, short)
    assert verdict["agrees"].to_list() == [agrees, agrees]
    assert verdict["n_overlap"].to_list() == [3, 3]


def test_a_dividend_of_a_cent_on_a_share_of_a_thousand_changes_the_basis():
    stored = both(closes(1000, 1010, 1020, until=6), D[6])
    paid = both({day: price * (1 - 0.01 / 1020) for day, price in closes(1000, 1010, 1020, until=6).items()}, D[7])
    assert overlap_agrees(stored, paid)["agrees"].to_list() == [False, False]


def test_without_an_overlap_nothing_agrees():
    verdict = overlap_agrees(both(closes(1, 2, until=4), D[4]), both(closes(3, 4), D[7]))
    assert verdict["agrees"].to_list() == [False, False]
