"""An instrument leaves the universe, and what happened to it while it was away is found when it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS
from quant_assets.errors import UnprovedBasisError
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.certify import stale_tables
from quant_assets.flows.curate import Curator
from quant_assets.flows.outdated import left_behind, outdated_sessions
from quant_assets.flows.past import open_past
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import Lab, after, market

STAYS = "ARCA:QMKT"
SPLIT, DIVIDEND = date(2023, 8, 10), date(2024, 2, 27)
"""QCOC splits two for one; QFIA goes ex."""


def name(con_id: int) -> str:
    one = next(one.instrument for one in market().listings if one.instrument.con_id == con_id)
    return f"{one.primary_exchange}:{one.symbol}"


QCOC, QFIA = 970000028, 970000006


@dataclass
class Left:
    """A lab in which an instrument is in the universe of the first and of the last session, and of none between."""

    lab: Lab
    con_id: int
    sessions: Sequence[date]

    @classmethod
    def of(cls, root: Path, con_id: int, sessions: Sequence[date], lookback: int = 30) -> "Left":
        """Run each session on its evening."""
        lab = Lab(root, (name(con_id), STAYS), lookback)
        for day in sessions:
            lab.symbols = (name(con_id), STAYS) if day in (sessions[0], sessions[-1]) else (STAYS,)
            lab.run([day])
        return cls(lab, con_id, sessions)

    @property
    def last(self) -> date:
        return self.sessions[-1]

    def closes(self, adjust: str, frequency: str = "1min") -> list[float]:
        store = FeatureStore(self.lab.lake.layout, CALENDAR)
        bars = store.get_curated_bars(
            [name(self.con_id)], self.sessions[0], self.last, frequency, adjust=adjust, missing="ignore"
        )
        ends = bars.filter(pl.col("session").is_in([self.sessions[0], self.last]))
        return ends.group_by("session", maintain_order=True).agg(pl.col("close").last())["close"].to_list()

    def outdated(self) -> dict[date, list[str]]:
        with self.lab.at(after(self.last)) as work:
            return {day: list(one.lacks) for day, one in outdated_sessions(work, self.sessions[0]).items()}

    def bring_up_to_date(self) -> list[date]:
        with self.lab.at(after(self.last)) as work:
            due = list(left_behind(work, self.last))
            adjuster, curator = Adjuster(work), Curator(work)
            for day in due:
                assert adjuster.publish(day).is_committed
                assert all(one.is_committed for one in (*curator.minute_bars(day), curator.daily_bars(day)))
            return due

    def ids(self) -> dict[date, str]:
        return {
            day: footer.content_id
            for day in self.sessions
            if (footer := self.lab.lake.curated.footer(ADJUSTMENT_FACTORS, Partition(day)))
        }

    def rebuilt(self, order: Sequence[date]) -> dict[date, str]:
        """Compute the factors of all sessions from what is stored, in some order, and return their ids."""
        for day in self.sessions:
            self.lab.lake.layout.file(ADJUSTMENT_FACTORS, Partition(day)).unlink()
        for day in order:
            with self.lab.at(after(self.last)) as work:
                assert Adjuster(work).publish(day).is_committed
        return self.ids()


def away(n_sessions: int, since: date) -> list[date]:
    """Return a session, those away, and the one of the return."""
    return CALENDAR.window(since, 1) + CALENDAR.between(since, date(2025, 12, 31))[1 : n_sessions + 2]


@pytest.mark.parametrize(("con_id", "ex"), [(QCOC, SPLIT), (QFIA, DIVIDEND)])
def test_what_happened_on_the_evening_away_is_found_when_the_next_answer_comes(tmp_path, con_id, ex):
    """In on the evening before, out on the ex-date, in on the evening after: minutes meet the days again."""
    left = Left.of(tmp_path, con_id, away(1, CALENDAR.previous(ex)))
    assert left.outdated() == {ex: [ADJUSTMENT_FACTORS.name]}
    with left.lab.at(after(left.last)) as work:
        assert (ADJUSTMENT_FACTORS.name, "raw_tws_daily_bars") in stale_tables(work, ex)
    assert left.closes("total") != pytest.approx(left.closes("total", "1d"), rel=1e-3)
    assert left.bring_up_to_date() == [ex]
    assert left.outdated() == {}
    with left.lab.at(after(left.last)) as work:
        assert stale_tables(work, ex) == []
    for adjust in ("splits", "total"):
        assert left.closes(adjust) == pytest.approx(left.closes(adjust, "1d"), rel=1e-9)
    before, at_last = left.closes("as_served")
    expected = before * 0.5 if con_id == QCOC else before
    assert left.closes("splits") == pytest.approx([expected, at_last])
    assert left.ids() == left.rebuilt(left.sessions)


def test_an_evening_on_which_nobody_returns_finds_nothing_and_looks_at_the_newest_answers_alone(tmp_path, monkeypatch):
    left = Left.of(tmp_path, QCOC, away(1, CALENDAR.previous(SPLIT)))
    left.bring_up_to_date()
    left.sessions = [*left.sessions, *CALENDAR.between(left.last, date(2023, 8, 30))[1:4]]
    left.lab.symbols = (name(QCOC), STAYS)
    for day in left.sessions[3:]:
        left.lab.run([day])
    with left.lab.at(after(left.last)) as work:
        read: list[date] = []
        honest = work.lake.raw.read
        monkeypatch.setattr(
            work.lake.raw,
            "read",
            lambda table, at, columns=None: (read.append(at.session), honest(table, at, columns))[1],
        )
        assert left_behind(work, left.last) == {}
    assert set(read) <= set(left.sessions[-2:])
    assert left.outdated() == {}


def test_a_dividend_in_the_middle_of_the_time_away_stands_on_its_ex_date(tmp_path):
    """Three evenings away; QFIA goes ex on the second of them. The first one away is compared, too."""
    first = CALENDAR.window(DIVIDEND, 3)[0]
    left = Left.of(tmp_path, QFIA, away(3, first))
    assert left.bring_up_to_date() == [left.sessions[1], DIVIDEND]
    assert left.closes("total") == pytest.approx(left.closes("total", "1d"), rel=1e-9)
    factors = left.lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(DIVIDEND))
    assert factors.filter((pl.col("con_id") == QFIA) & (pl.col("kind") == "dividend")).height == 1
    ids = left.ids()
    assert left.rebuilt(left.sessions) == ids
    assert left.rebuilt(left.sessions[::-1]) == ids


def test_minutes_of_evenings_without_daily_history_are_held_against_the_next_answer(tmp_path, monkeypatch):
    """A member all along, but on the two evenings before the split TWS had no daily history; then it is asked anew."""
    first, *silent, last = CALENDAR.window(SPLIT, 4)
    left = Left(Lab(tmp_path, (name(QCOC), STAYS)), QCOC, [first, *silent, last])
    for day in left.sessions:
        with monkeypatch.context() as patched:
            if day in silent:
                patched.setattr("quant_assets_tests.unit.flows.lab.ingest_daily", lambda *_: None)
            left.lab.run([day])
    assert left.outdated() == {day: [ADJUSTMENT_FACTORS.name] for day in silent}
    assert left.bring_up_to_date() == silent
    store = FeatureStore(left.lab.lake.layout, CALENDAR)
    minutes = store.get_curated_bars([name(QCOC)], first, last, adjust="splits")
    days = store.get_curated_bars([name(QCOC)], first, last, "1d").sort("session")
    met = minutes.group_by("session", maintain_order=True).agg(pl.col("close").last())
    assert met["close"].to_list() == pytest.approx(days["close"].to_list(), rel=1e-9)
    assert left.outdated() == {}
    ids = left.ids()
    assert left.rebuilt(left.sessions[::-1]) == ids


def test_after_more_evenings_than_are_near_the_next_answer_is_looked_for_further(tmp_path):
    """Twenty-five evenings away, each with answers of others; the windows of thirty sessions still overlap."""
    left = Left.of(tmp_path, QCOC, away(25, CALENDAR.previous(SPLIT)))
    assert left.outdated() == {SPLIT: [ADJUSTMENT_FACTORS.name]}
    assert left.bring_up_to_date() == [SPLIT]
    assert left.closes("splits") == pytest.approx(left.closes("splits", "1d"), rel=1e-9)
    ids = left.ids()
    assert left.rebuilt(left.sessions[::-1]) == ids


def test_a_time_away_that_no_history_reaches_across_is_refused_and_not_taken_for_unchanged(tmp_path):
    """Away for twelve evenings; the history of twelve sessions as of the return begins on the second of them."""
    sessions = away(12, CALENDAR.previous(SPLIT))
    left = Left.of(tmp_path, QCOC, sessions, lookback=12)
    begins = sessions[2]
    assert left.outdated() == {}
    store = FeatureStore(left.lab.lake.layout, CALENDAR)
    symbol, first = name(QCOC), sessions[0]
    for adjust in ("splits", "total"):
        with pytest.raises(UnprovedBasisError, match=f"as of {left.last} begins on {begins}") as refused:
            store.get_curated_bars([symbol], first, left.last, adjust=adjust)
        with pytest.raises(UnprovedBasisError):
            store.get_features_for_training("price_1m", "v1", symbol, first, left.last, adjust=adjust)
    assert (refused.value.symbol, refused.value.last, refused.value.first) == ("QCOC", first, left.last)
    served = store.get_curated_bars([symbol], first, left.last)
    assert store.get_curated_bars([symbol], first, left.last, adjust="splits", missing="ignore").equals(served)
    for one_side in ((first, sessions[-2]), (sessions[1], left.last)):
        alone = store.get_curated_bars([symbol], *one_side, adjust="splits")
        assert alone.equals(store.get_curated_bars([symbol], *one_side))
        assert alone["session"].n_unique() == 1
    assert store.get_curated_bars([STAYS], first, left.last, adjust="splits").height > 390
    left.lab.lake.layout.file(CURATED_TWS_1D_BARS, Partition(left.last)).unlink()
    with pytest.raises(UnprovedBasisError, match=f"as of {left.last} is not there"):
        FeatureStore(store.layout, CALENDAR).get_curated_bars([symbol], first, left.last, adjust="splits")


def test_as_of_an_evening_before_the_return_nothing_is_known_of_it(tmp_path):
    left = Left.of(tmp_path, QCOC, away(1, CALENDAR.previous(SPLIT)))
    at_the_time = left.lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(SPLIT))
    with left.lab.at(after(left.last)) as work, open_past(work, after(left.last).replace(hour=12)) as past:
        now = past.curated.read(ADJUSTMENT_FACTORS, Partition(SPLIT))
        assert past.origins[ADJUSTMENT_FACTORS.name, str(SPLIT)] == "recomputed"
    left.bring_up_to_date()
    assert now.equals(left.lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(SPLIT)))
    with left.lab.at(after(left.last)) as work, open_past(work, after(SPLIT).replace(hour=6)) as past:
        assert past.curated.read(ADJUSTMENT_FACTORS, Partition(SPLIT)).equals(at_the_time)
