"""Wherever the minutes of a session are: each is in one place, and the equation comes out even."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant_assets.domain.accounting import KINDS, account, coverage, equation, imbalance, unexplained_share
from quant_assets.domain.outcomes import OUTCOMES, PROOFS
from quant_assets.domain.tables import BAR_ACCOUNTING
from quant_assets.domain.validation import validate
from quant_assets_tests.builders import CON_ID, SESSION, curated_bars, minute, universe

CON_IDS = (CON_ID, CON_ID + 1, CON_ID + 2)
LONGEST = 40
"""Minutes of the longest session: every case that the module tells apart fits into it."""

minutes = st.frozensets(st.integers(0, LONGEST - 1))


@dataclass(frozen=True)
class Instrument:
    """Where the minutes of one instrument are, by number; 0 is the opening of the longest session."""

    open: frozenset[int]
    usual: int
    traded: frozenset[int] = frozenset()
    imputed: frozenset[int] = frozenset()
    fillers: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    """May be outside the hours, and beside a bar that stands: then it is no place of a minute."""
    twice: bool = False
    """Whether each rejected minute was rejected twice."""
    outcome: str = ""
    proof: str = ""
    daily: float | None = None
    listed: tuple[int, int] | None = field(default=(-5, 5))
    """First and last day of its history, from the session on; None without a history."""
    silent: int = 0
    """Sessions after the last one that are known to have no bar."""
    is_steady: bool = False
    """Whether it traded in every session of the month before."""

    @property
    def bars(self) -> frozenset[int]:
        """Minutes with a curated bar."""
        return self.traded | self.imputed | self.fillers

    @property
    def expected(self) -> int:
        """Minutes that have to be accounted for."""
        return max(self.usual, len(self.open))


@st.composite
def instruments(draw):
    hours = draw(st.one_of(st.integers(0, LONGEST).map(lambda n: frozenset(range(n))), minutes))
    held = {n: draw(st.sampled_from(["", "traded", "imputed", "fillers"])) for n in sorted(hours)}
    if draw(st.booleans()):
        held = dict.fromkeys(held, "traded") | {n: held[n] for n in draw(minutes) & hours}
    placed = {
        name: frozenset(n for n, place in held.items() if place == name) for name in ("traded", "imputed", "fillers")
    }
    return Instrument(
        open=hours,
        usual=draw(st.integers(0, LONGEST)),
        **placed,
        rejected=draw(minutes),
        twice=draw(st.booleans()),
        outcome=draw(st.sampled_from(["", *OUTCOMES])),
        proof=draw(st.sampled_from(["", *PROOFS])),
        daily=draw(st.none() | st.floats(0, 1e5)),
        listed=draw(st.none() | st.tuples(st.integers(-5, 2), st.integers(-2, 5))),
        silent=draw(st.integers(0, 30)),
        is_steady=draw(st.booleans()),
    )


markets = st.lists(instruments(), min_size=1, max_size=len(CON_IDS))


def stamps(numbers, con_id):
    rows = [(con_id, minute(n)) for n in sorted(numbers)]
    return pl.DataFrame(rows, schema={"con_id": pl.Int64, "ts": pl.Datetime("us", "UTC")}, orient="row")


def bars_of(one, con_id):
    bars = curated_bars([100.0 if n in one.bars else None for n in range(LONGEST)], con_id=con_id)
    is_filler = pl.col("ts").is_in([minute(n) for n in one.fillers])
    return bars.with_columns(
        pl.when(is_filler).then(0.0).otherwise("volume").alias("volume"),
        pl.when(is_filler).then(0).otherwise("bar_count").alias("bar_count"),
        pl.col("ts").is_in([minute(n) for n in one.imputed]).alias("is_imputed_close"),
    )


def rejected_of(one, con_id):
    rows = stamps(one.rejected, con_id).with_columns(volume=pl.lit(500.0))
    off = rows.with_columns(pl.col("ts") + timedelta(seconds=30))
    return pl.concat([rows, off]) if one.twice else rows


def accounted(market, *, shuffled=None):
    """Account for a market, a list of instruments."""
    named = list(zip(CON_IDS, market, strict=False))
    members = universe(con_ids=[con_id for con_id, _ in named])
    grid = pl.concat([stamps(one.open, con_id) for con_id, one in named])
    usual = pl.DataFrame({"con_id": members["con_id"], "n_usual": [one.usual for one in market]})
    valid = pl.concat([bars_of(one, con_id) for con_id, one in named])
    rejected = pl.concat([rejected_of(one, con_id) for con_id, one in named])
    ledger = pl.DataFrame(
        [(con_id, one.outcome, one.proof, "") for con_id, one in named if one.outcome],
        schema={"con_id": pl.Int64, "outcome": pl.String, "proof": pl.String, "detail": pl.String},
        orient="row",
    )
    days = [
        (con_id, one.daily, *(map(day, one.listed) if one.listed else (None, None)), one.silent, one.is_steady)
        for con_id, one in named
    ]
    schema = {"con_id": pl.Int64, "daily_volume": pl.Float64, "first_day": pl.Date, "last_day": pl.Date}
    schema |= {"n_silent": pl.Int64, "is_steady": pl.Boolean}
    daily = pl.DataFrame(days, schema=schema, orient="row")
    frames = [grid, usual, valid, rejected, ledger, daily]
    if shuffled is not None:
        frames = [frame.sample(fraction=1.0, shuffle=True, seed=shuffled) for frame in frames]
    return account(SESSION, members, *frames), members


def day(number):
    return SESSION + timedelta(days=number)


def kinds(rows, con_id=CON_ID):
    """Return minutes by kind of one instrument."""
    found = dict(rows.filter(pl.col("con_id") == con_id).group_by("kind").agg(pl.col("minutes").sum()).iter_rows())
    return {kind: found.get(kind, 0) for kind in KINDS}


def guessed(rows, con_id):
    """Return the minutes of an instrument that were filled in although nothing explains that they are missing."""
    return rows.filter(pl.col("con_id") == con_id, pl.col("reason") == "imputed_unexplained")["minutes"].sum()


@settings(max_examples=150)
@given(markets)
def test_expected_is_present_imputed_explained_and_unexplained(market):
    rows, members = accounted(market)
    assert imbalance(rows, members).is_empty()
    assert validate(BAR_ACCOUNTING, BAR_ACCOUNTING.conform(rows)) == []
    for con_id, one in zip(CON_IDS, market, strict=False):
        mine = rows.filter(pl.col("con_id") == con_id)
        assert mine["expected"].unique().to_list() == [one.expected]
        assert mine["minutes"].sum() == one.expected
        assert mine["reason"].n_unique() == mine.height, "a reason has one entry"
        found = kinds(rows, con_id)
        assert found["present"] == len(one.traded)
        assert found["imputed"] == len(one.imputed)
        assert found["explained"] + found["unexplained"] == one.expected - len(one.traded | one.imputed)
        assert found["explained"] >= one.expected - len(one.open), "what was shut is explained"
        assert found["unexplained"] <= len(one.open - one.bars), "a minute with a bar is never in doubt"


@settings(max_examples=100)
@given(markets)
def test_the_summaries_are_sums_of_the_same_minutes(market):
    rows, _ = accounted(market)
    of = [kinds(rows, con_id) for con_id, _ in zip(CON_IDS, market, strict=False)]
    total = {kind: sum(found[kind] for found in of) for kind in KINDS}
    expected = sum(one.expected for one in market)
    assert equation(rows) == f"{expected} expected = " + " + ".join(f"{total[kind]} {kind}" for kind in KINDS)
    lost = [found["unexplained"] + guessed(rows, con_id) for con_id, found in zip(CON_IDS, of, strict=False)]
    assert unexplained_share(rows) == (sum(lost) / expected if expected else 0.0)
    told = {con_id: rest for con_id, *rest in coverage(rows).iter_rows()}
    for con_id, one, n_lost in zip(CON_IDS, market, lost, strict=False):
        if one.open and one.outcome != "closed":
            assert told[con_id] == [len(one.open), n_lost, len(one.bars) / len(one.open)]


@settings(max_examples=100)
@given(markets, st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(market, seed):
    key = ["con_id", "reason"]
    rows, shuffled = (accounted(market, shuffled=one)[0].sort(key) for one in (None, seed))
    assert rows.equals(shuffled)


@settings(max_examples=100)
@given(markets)
def test_an_instrument_is_accounted_for_by_its_own_minutes_alone(market):
    rows, _ = accounted(market)
    alone, _ = accounted(market[:1])
    mine = rows.filter(pl.col("con_id") == CON_ID)
    assert mine.sort("reason").equals(alone.sort("reason"))


@settings(max_examples=150)
@given(instruments(), st.data())
def test_taking_one_bar_away_moves_one_minute_and_no_other(one, data):
    """A minute that traded becomes one that is explained, or one that is not."""
    assume(one.traded)
    gone = data.draw(st.sampled_from(sorted(one.traded)))
    before, _ = accounted([one])
    after, members = accounted([replace(one, traded=one.traded - {gone})])
    assert imbalance(after, members).is_empty()
    old, new = kinds(before), kinds(after)
    assert new["present"] == old["present"] - 1
    assert new["imputed"] == old["imputed"]
    # what the other missing minutes are taken for may depend on the volume, but never how many there are
    assert new["explained"] + new["unexplained"] == old["explained"] + old["unexplained"] + 1


@settings(max_examples=150)
@given(instruments(), st.data())
def test_a_missing_minute_that_is_found_is_missing_no_more(one, data):
    """Whether it traded, was filled in, or is a filler: one minute goes to that place, from no other."""
    absent = one.open - one.bars
    assume(absent)
    came = data.draw(st.sampled_from(sorted(absent)))
    place = data.draw(st.sampled_from(["traded", "imputed", "fillers"]))
    before, _ = accounted([one])
    after, _ = accounted([replace(one, **{place: getattr(one, place) | {came}})])
    old, new = kinds(before), kinds(after)
    assert sum(new.values()) == sum(old.values())
    assert new["present"] - old["present"] == (place == "traded")
    assert new["imputed"] - old["imputed"] == (place == "imputed")
    rest = ("explained", "unexplained")
    assert sum(old[kind] for kind in rest) - sum(new[kind] for kind in rest) == (place != "fillers")
    assert new["unexplained"] <= len(absent) - 1


@settings(max_examples=100)
@given(instruments(), minutes)
def test_a_rejected_row_counts_once_and_only_where_nothing_stands(one, rejected):
    """However often it was rejected, and whatever else was rejected of a minute that TWS sent a bar of, or is not open.

    A value that was filled in over a rejected row says so.
    """
    rows, _ = accounted([replace(one, rejected=rejected, twice=False)])
    twice, _ = accounted([replace(one, rejected=rejected, twice=True)])
    harmless = one.traded | one.fillers | (frozenset(range(LONGEST)) - one.open)
    none, _ = accounted([replace(one, rejected=frozenset(), twice=False)])
    only_harmless, _ = accounted([replace(one, rejected=rejected & harmless, twice=False)])
    for left, right in ((rows, twice), (none, only_harmless)):
        assert left.sort("reason").equals(right.sort("reason"))


def test_nobody_expected_is_nothing_to_account_for():
    rows, members = accounted([Instrument(open=frozenset(), usual=0)])
    assert imbalance(rows, members).is_empty()
    assert rows["minutes"].sum() == 0
    assert unexplained_share(rows) == 0.0
