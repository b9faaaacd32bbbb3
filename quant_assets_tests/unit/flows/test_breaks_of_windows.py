"""A price break that lies in daily windows only, before the lake's first session: listed, confirmed and taken back."""

from datetime import timedelta

import polars as pl
import pytest

from quant_assets.domain.bars import daily_window
from quant_assets.domain.quality import finish_daily
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS, UNIVERSE
from quant_assets.errors import NoMoveError, NotPublishedError, UnexplainedBreakError, UnknownNameError
from quant_assets.flows.certify import stale_tables
from quant_assets.flows.confirming import BREAKS, breaks, breaks_id, confirm, real_moves, to_build
from quant_assets.flows.curate import Curator
from quant_assets.flows.readers import feature_store
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR, both, universe
from quant_assets_tests.unit.flows.broken import BEFORE, BREAK, FACTOR, LATER, broken_market
from quant_assets_tests.unit.flows.lab import Lab, after, standing_at

NEXT = CALENDAR.following(LATER)
STORED = (LATER, NEXT)
PRICE_COLUMNS = ("open", "high", "low", "close")
NOW = after(NEXT) + timedelta(days=1)


@pytest.fixture
def lab(tmp_path) -> Lab:
    """Two evenings; the break is a session before the first of them."""
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NYSE:QFID"), market=broken_market)
    for day in STORED:
        assert all(one.is_committed for one in lab.run([day]).published)
    return lab


def say(lab: Lab, hours: int, symbol: str = "QFID", session=BREAK, **options):
    with standing_at(lab, NOW + timedelta(hours=hours)) as work:
        return confirm(work, session, symbol, by="anna", why="a buyout", **options)


def rebuild(lab: Lab, hours: int) -> None:
    with standing_at(lab, NOW + timedelta(hours=hours)) as work:
        assert [name for day in STORED for name, _ in stale_tables(work, day)] == ["curated_tws_1d_bars"] * 2
        assert all(Curator(work).daily_bars(day).is_committed for day in STORED)
        assert [name for day in STORED for name, _ in stale_tables(work, day)] == []


def closes(lab: Lab) -> list[float]:
    with standing_at(lab, NOW + timedelta(days=1)) as work:
        bars = feature_store(work).get_curated_bars(["QFID"], BEFORE, NEXT, "1d", adjust="splits")
    return bars.sort("session")["close"].to_list()


def listed(lab: Lab, sessions=None) -> list[tuple]:
    with standing_at(lab, NOW + timedelta(days=1)) as work:
        return [(one.session, one.symbol, one.kind, one.may_be_a_move) for one in breaks(work, sessions)]


def test_a_break_before_the_first_session_is_listed_confirmed_in_every_window_and_taken_back(lab):
    with pytest.raises(UnexplainedBreakError, match=f"on another price basis from {BREAK} on"):
        closes(lab)
    assert listed(lab) == listed(lab, [BREAK]) == [(BREAK, "QFID", "unexplained_break", True)]
    assert listed(lab, list(STORED)) == []
    with standing_at(lab, NOW) as work:
        (one,) = breaks(work)
        assert to_build(work, BREAK) == (LATER, NEXT), "of the break's own session nothing is stored"
    days = lab.lake.curated.read(CURATED_TWS_1D_BARS, Partition(NEXT)).filter(pl.col("symbol") == "QFID")
    by_day = {row["session"]: row for row in days.iter_rows(named=True)}
    assert (one.close_before, one.close_after) == (by_day[BEFORE]["close"], by_day[BREAK]["close"])
    assert one.ratio == pytest.approx(by_day[BREAK]["open"] / by_day[BEFORE]["close"], rel=1e-12)
    assert one.ratio == pytest.approx(FACTOR, rel=0.1)

    said = say(lab, 0)
    assert (said["price_ratio"], said["is_new"]) == (one.ratio, True)
    kept = lab.lake.layout.overrides.read_bytes()
    assert say(lab, 1) == {**said, "is_new": False}, "a second word would change nothing"
    assert lab.lake.layout.overrides.read_bytes() == kept
    rebuild(lab, 1)
    assert listed(lab) == [(BREAK, "QFID", "real_move", True)]
    assert closes(lab) == [by_day[day]["close"] for day in sorted(by_day) if day >= BEFORE]

    say(lab, 2, takes_back=True)
    rebuild(lab, 3)
    assert listed(lab) == [(BREAK, "QFID", "unexplained_break", True)]
    with pytest.raises(UnexplainedBreakError):
        closes(lab)


def test_what_no_table_tells_of_is_not_confirmed(lab):
    with pytest.raises(UnknownNameError, match="price break"):
        say(lab, 0, "QMKT")
    with pytest.raises(UnknownNameError, match="price break"):
        say(lab, 0, session=BEFORE)
    with pytest.raises(NotPublishedError, match="adjustment_factors"):
        say(lab, 0, session=CALENDAR.window(LATER, 90)[0])
    assert not lab.lake.layout.overrides.exists()


@pytest.mark.parametrize(("kind", "ratio"), [("unexplained_break", 13.7), ("split", 0.05), ("none", 1.0)])
def test_the_factors_of_a_session_come_before_the_windows_that_hold_it(lab, kind, ratio):
    """They tell of another answer for the same prices: a jump within a later one makes no move of that."""
    theirs = lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(LATER)).filter(pl.col("symbol") == "QFID")
    link = pl.col("session") != LATER
    said = theirs.with_columns(
        as_of_session=pl.lit(BREAK),
        session=pl.when(link).then(BEFORE).otherwise(BREAK),
        kind=pl.when(link).then(pl.lit(kind)).otherwise("kind"),
        observed_ratio=pl.when(link).then(ratio).otherwise("observed_ratio"),
    )
    lab.lake.curated.write(ADJUSTMENT_FACTORS, Partition(BREAK), said)
    if kind == "none":
        write_level_window(lab)
    assert listed(lab) == listed(lab, [BREAK]) == [(BREAK, "QFID", "unexplained_break", False)]
    with pytest.raises(NoMoveError, match="two answers for the same prices differ"):
        say(lab, 0)
    assert not lab.lake.layout.overrides.exists()


def write_level_window(lab: Lab) -> None:
    """Store the window as of the break as served on one basis: no price jumps in it."""
    later = lab.lake.curated.read(CURATED_TWS_1D_BARS, Partition(LATER)).filter(pl.col("session") <= BREAK)
    at_break = pl.col("session") == BREAK
    level = later.with_columns(
        pl.lit(BREAK).alias("as_of_session"),
        pl.lit("ok").alias("dq_status"),
        pl.lit(None, pl.String).alias("dq_rules"),
        *(
            pl.when(at_break).then(pl.col("close").shift(1).over("con_id")).otherwise(name).alias(name)
            for name in PRICE_COLUMNS
        ),
    )
    lab.lake.curated.write(CURATED_TWS_1D_BARS, Partition(BREAK), level)


def test_factors_with_nothing_to_compare_deny_no_jump(tmp_path):
    """An instrument without an answer as of the session itself has factors of kind `none`, too."""
    lab = Lab(tmp_path, lookback=6)
    write_window(lab, HELD[5])
    write_factors(lab, FIRST_BREAK, "none", None)
    assert listed(lab, [FIRST_BREAK]) == [(FIRST_BREAK, "S101", "unexplained_break", True)]
    assert say(lab, 0, "S101", FIRST_BREAK)["price_ratio"] == 20.0


def test_a_window_of_the_session_itself_that_jumps_as_far_denies_nothing(tmp_path):
    """Nor does one that lacks the session before the break: it knows the price of one side only."""
    lab = Lab(tmp_path, lookback=6)
    write_window(lab, HELD[5])
    write_window(lab, FIRST_BREAK)
    assert listed(lab, [FIRST_BREAK]) == [(FIRST_BREAK, "S101", "unexplained_break", True)]
    days = lab.lake.curated.read(CURATED_TWS_1D_BARS, Partition(FIRST_BREAK))
    far_before = days.filter(pl.col("session") != HELD[2]).with_columns(
        pl.lit("ok").alias("dq_status"),
        pl.lit(None, pl.String).alias("dq_rules"),
        *(pl.when(pl.col("session") == HELD[1]).then(5.0).otherwise(name).alias(name) for name in PRICE_COLUMNS),
    )
    lab.lake.curated.write(CURATED_TWS_1D_BARS, Partition(FIRST_BREAK), far_before)
    assert listed(lab, [FIRST_BREAK]) == [(FIRST_BREAK, "S101", "unexplained_break", True)]


# ------------------------------------------------------------ windows written by hand

PRICES = [1.0, 1.0, 1.0, 20.0, 20.0, 400.0, 400.0, 400.0]
SHARES = [1000.0, 1000.0, 1000.0, 100.0, 100.0, 4.0, 4.0, 4.0]
HELD = CALENDAR.window(LATER, len(PRICES))
FIRST_BREAK, SECOND_BREAK = HELD[3], HELD[5]


def write_window(lab: Lab, of, con_ids=(101,), moves=None, words="", times=1.0) -> None:
    """Store the window of six sessions as of a day: up to 20 times on the fourth of HELD, and again on the sixth.

    `times` multiplies the prices beyond the first break.
    """
    sessions = CALENDAR.window(of, 6)
    prices, volumes = dict(zip(HELD, PRICES, strict=True)), dict(zip(HELD, SHARES, strict=True))
    closes = {day: prices.get(day, 1.0) * (times if day >= FIRST_BREAK else 1.0) for day in sessions}
    rows = pl.concat([daily_window(both(closes, of, con_id=one), of, sessions) for one in con_ids])
    thin = pl.col("session").replace_strict(volumes, default=1000.0, return_dtype=pl.Float64)
    expected = pl.DataFrame(
        {"con_id": con_ids, "n_expected": [6] * len(con_ids)}, schema_overrides={"con_id": pl.Int64}
    )
    finished = finish_daily(rows.with_columns(volume=thin), expected, "1", moves)
    lab.lake.curated.write(CURATED_TWS_1D_BARS, Partition(of), finished, inputs={BREAKS: words} if words else {})
    lab.lake.curated.write(UNIVERSE, Partition(of), universe(of, con_ids))


def write_factors(lab: Lab, session, kind: str, ratio: float | None, close_before: float | None = None) -> None:
    """Store the factors of S101 as of a session: its link, and an own factor that says nothing."""
    common = {
        "as_of_session": session, "con_id": 101, "symbol": "S101", "split_factor": 1.0, "total_return_factor": 1.0,
        "evidence": "by hand", "transform_version": "1",
    }  # fmt: skip
    after = None if close_before is None or ratio is None else close_before * ratio
    told = {"kind": kind, "observed_ratio": ratio, "close_before": close_before, "close_after": after}
    rows = [{**common, "session": CALENDAR.previous(session), **told}, {**common, "session": session, "kind": "none"}]
    lab.lake.curated.write(ADJUSTMENT_FACTORS, Partition(session), ADJUSTMENT_FACTORS.frame(rows))


def test_a_confirmed_move_is_one_although_another_break_follows_it(tmp_path):
    lab = Lab(tmp_path, lookback=6)
    write_window(lab, HELD[5])
    assert [kind for _, _, kind, _ in listed(lab)] == ["unexplained_break"] * 2
    say(lab, 0, "S101", FIRST_BREAK)
    assert [kind for _, _, kind, _ in listed(lab)] == ["unexplained_break"] * 2, "nothing was built since"
    with standing_at(lab, NOW + timedelta(hours=1)) as work:
        moves, words = real_moves(work, [FIRST_BREAK]), breaks_id(work, [FIRST_BREAK])
    write_window(lab, HELD[5], moves=moves, words=words)
    assert listed(lab) == [
        (FIRST_BREAK, "S101", "real_move", True),
        (SECOND_BREAK, "S101", "unexplained_break", True),
    ]


def test_an_instrument_that_left_is_told_of_by_the_windows_of_its_time(tmp_path):
    """S101 is in the window as of the fifth of HELD alone, and not in the newest that holds its break."""
    lab = Lab(tmp_path, lookback=6)
    for day, con_ids in zip(HELD[4:], [(101, 102), (102,), (102,), (102,)], strict=True):
        write_window(lab, day, con_ids)
    told = [(session, symbol) for session, symbol, *_ in listed(lab)]
    assert told == [(FIRST_BREAK, "S101"), (FIRST_BREAK, "S102"), (SECOND_BREAK, "S102")]
    assert [symbol for _, symbol, *_ in listed(lab, [FIRST_BREAK])] == ["S101", "S102"]
    assert say(lab, 0, "S101", FIRST_BREAK)["close_before"] == 1.0
    assert say(lab, 1, "NYSE:S101", FIRST_BREAK, takes_back=True)["con_id"] == 101


def test_a_break_of_another_size_in_the_newest_window_is_confirmed_as_that_has_it(tmp_path):
    """The factors hold 25 times, the window 20: a word on the one does not let readers cross the other."""
    lab = Lab(tmp_path, lookback=6)
    write_window(lab, HELD[5])
    write_factors(lab, FIRST_BREAK, "unexplained_break", 25.0, 1.0)
    said = say(lab, 0, "S101", FIRST_BREAK)
    assert (said["price_ratio"], said["close_before"], said["is_new"]) == (20.0, 1.0, True)
    with standing_at(lab, NOW + timedelta(hours=1)) as work:
        moves, words = real_moves(work, [FIRST_BREAK]), breaks_id(work, [FIRST_BREAK])
    write_window(lab, HELD[5], moves=moves, words=words)
    assert say(lab, 2, "S101", FIRST_BREAK)["is_new"], "the factors have it unexplained"
    write_factors(lab, FIRST_BREAK, "real_move", 20.0, 1.0)
    assert not say(lab, 3, "S101", FIRST_BREAK)["is_new"]


def test_no_word_counts_that_an_older_window_has_unexplained(tmp_path):
    lab = Lab(tmp_path, lookback=6)
    write_window(lab, HELD[4])
    say(lab, 0, "S101", FIRST_BREAK)
    assert not say(lab, 1, "S101", FIRST_BREAK)["is_new"]
    write_window(lab, HELD[5], times=1.25)
    said = say(lab, 2, "S101", FIRST_BREAK)
    assert (said["price_ratio"], said["is_new"]) == (25.0, True)
    assert say(lab, 3, "S101", FIRST_BREAK)["is_new"], "the window before has 20 times"
