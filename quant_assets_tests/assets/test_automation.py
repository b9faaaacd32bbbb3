"""Days in a life without a daemon: what the automation conditions ask for, tick by tick, and what is run of it.

The clock that Dagster sees is set; the assets run for real. 2025-11-27 is Thanksgiving; 11-29 and 11-30 are a weekend.
Windows are UTC days, so the session of Monday 12-01 may be asked for from 12-02 00:00 on.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import freeze_time

from quant_assets.domain.tables import RAW_TWS_BARS
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.assets.house import ALPHA, DATA, House

START = {"lakehouse": {"start_session": "2025-11-25"}, "profiles": {"plain": {"risk": {"method": "equal_weight"}}}}


class Days:
    """Ticks of the automation sensor, each followed by the runs that it asked for.

    Like the daemon, it puts sessions for which the same assets are asked for into one run.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self._cursor: Any = None
        self.failed: list[str] = []

    def tick(self, at: str) -> dict[str, list[str]]:
        """Return asset → partitions asked for at an instant, after they were run."""
        with freeze_time(dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)):
            result = dg.evaluate_automation_conditions(
                self.house.definitions,
                instance=self.house.instance,
                cursor=self._cursor,
                asset_selection=dg.AssetSelection.all(),
            )
            self._cursor = result.cursor
            asked = {
                name: sorted(result.get_requested_partitions(dg.AssetKey(name)), key=str) for name in [*DATA, *ALPHA]
            }
            self._run({name: keys for name, keys in asked.items() if keys})
        return {name: keys for name, keys in asked.items() if keys}

    def settle(self, at: str) -> None:
        """Tick four times within as many minutes, which is enough for both cycles."""
        start = dt.datetime.fromisoformat(at)
        for minute in range(4):
            self.tick((start + dt.timedelta(minutes=minute)).isoformat())

    def again(self, at: str, asset: str, session: str) -> None:
        """Materialize by hand, at an instant."""
        with freeze_time(dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)):
            assert self.house.run([asset], session).success

    def _run(self, asked: dict[str, list[str]]) -> None:
        keys = sorted({key for asked_for in asked.values() for key in asked_for})
        for names, together in groupby(keys, key=lambda key: [name for name in asked if key in asked[name]]):
            same = list(together)
            if not self.house.run(names, same[0], same[-1]).success:
                self.failed += same


@pytest.fixture
def days(tmp_path: Path) -> Iterator[Days]:
    manifest = START | {"default_profile": "plain", "production_profile": "plain"}
    with House(tmp_path, manifest, ["ARCA:QMKT", "NASDAQ:QTEB"]) as house:
        yield Days(house)


def test_a_cold_start_asks_for_every_session_once_and_then_for_nothing(days: Days):
    sessions = ["2025-11-25", "2025-11-26"]
    assert days.tick("2025-11-27T00:05") == dict.fromkeys(DATA, sessions)
    assert days.tick("2025-11-27T00:06") == dict.fromkeys(ALPHA, pairs(sessions)), "the alpha cycle waits for its data"
    assert days.failed == []
    assert days.house.published("weights") == pairs(sessions)
    for quiet in ("2025-11-27T00:07", "2025-11-27T00:08", "2025-11-27T03:01", "2025-11-27T21:01"):
        assert days.tick(quiet) == {}, quiet


def test_holidays_and_weekends_ask_for_nothing_and_the_session_between_is_asked_for_once(days: Days):
    days.settle("2025-11-27T00:05")
    on_thanksgiving = [days.tick("2025-11-27T12:00"), days.tick("2025-11-28T00:05"), days.tick("2025-11-28T15:05")]
    assert on_thanksgiving == [{}, {}, {}]
    assert days.tick("2025-11-29T00:05") == {key: ["2025-11-28"] for key in DATA}
    assert days.tick("2025-11-29T00:06") == {key: ["plain|2025-11-28"] for key in ALPHA}
    weekend = ("2025-11-29T12:05", "2025-11-30T00:05", "2025-11-30T15:05", "2025-12-01T00:05", "2025-12-01T23:55")
    assert [days.tick(at) for at in weekend] == [{}] * 5
    assert days.failed == []


def test_sessions_that_were_missed_are_caught_up_with(days: Days):
    """The machine was off from Wednesday to Wednesday of the next week."""
    days.settle("2025-11-26T00:05")
    assert days.house.published("features_price_1m_v1") == ["2025-11-25"]
    missed = ["2025-11-26", "2025-11-28", "2025-12-01", "2025-12-02"]
    assert days.tick("2025-12-03T00:05") == dict.fromkeys(DATA, missed)
    assert days.tick("2025-12-03T00:06") == dict.fromkeys(ALPHA, pairs(missed))
    assert days.tick("2025-12-03T00:07") == {}
    assert days.failed == []


def test_sessions_older_than_the_catch_up_window_are_left_to_a_backfill(days: Days):
    assert days.tick("2025-12-09T00:05")["universe"] == [
        "2025-12-02",
        "2025-12-03",
        "2025-12-04",
        "2025-12-05",
        "2025-12-08",
    ]


def test_a_bad_session_is_retried_every_six_hours_and_mended(days: Days):
    days.settle("2025-11-26T00:05")
    days.house.name_symbols(["ARCA:QMKT", "ARCA:NOPE"])
    assert days.tick("2025-11-27T00:05") == {key: ["2025-11-26"] for key in DATA}
    assert days.failed == ["2025-11-26"]
    between = [days.tick(at) for at in ("2025-11-27T00:06", "2025-11-27T01:00", "2025-11-27T02:59")]
    assert between == [{}, {}, {}], "no tick between two attempts asks again, and nobody downstream asks in vain"

    assert days.tick("2025-11-27T03:01") == {key: ["2025-11-26"] for key in DATA}
    assert days.failed == ["2025-11-26"] * 2

    days.house.name_symbols(days.house.symbols)
    assert days.tick("2025-11-27T08:59") == {}
    assert days.tick("2025-11-27T09:01") == {key: ["2025-11-26"] for key in DATA}
    assert days.tick("2025-11-27T09:02") == {key: ["plain|2025-11-26"] for key in ALPHA}
    assert days.failed == ["2025-11-26"] * 2, "the third attempt was good"
    assert days.house.published("weights") == pairs(["2025-11-25", "2025-11-26"])
    assert days.tick("2025-11-27T15:01") == {}


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Days]:
    """QENE lists on Monday 2025-03-17, so Friday 03-14 is bad and stays so."""
    manifest = START | {"lakehouse": {"start_session": "2025-03-14"}, "default_profile": "plain"}
    with House(tmp_path, manifest | {"production_profile": "plain"}, ["NASDAQ:QENE"]) as house:
        yield Days(house)


def test_a_bad_old_session_does_not_hold_back_the_latest_one(late: Days):
    late.tick("2025-03-15T00:05")
    late.tick("2025-03-17T21:05")
    assert late.failed == ["2025-03-14"] * 2
    assert late.tick("2025-03-18T00:05")["features_price_1m_v1"] == ["2025-03-17"]
    assert late.failed == ["2025-03-14"] * 2, "the new session was asked for alone"
    assert late.house.published("features_price_1m_v1") == ["2025-03-17"]
    assert late.tick("2025-03-18T03:01")["raw_tws_bars"] == ["2025-03-14"]


def test_a_session_that_was_asked_for_together_with_a_bad_one_goes_on_at_the_next_retry(late: Days):
    assert late.tick("2025-03-18T00:05") == {key: ["2025-03-14", "2025-03-17"] for key in DATA}
    assert late.house.published("raw_tws_bars") == ["2025-03-17"]
    assert late.house.published("features_price_1m_v1") == []
    late.tick("2025-03-18T03:01")
    assert late.house.published("features_price_1m_v1") == ["2025-03-17"]


def test_revised_content_of_an_older_session_runs_what_stands_on_it_and_equal_content_does_not(days: Days):
    days.settle("2025-11-26T00:05")
    days.settle("2025-11-27T00:05")
    days.again("2025-11-27T02:00", "raw_tws_bars", "2025-11-25")
    assert days.tick("2025-11-27T02:01") == {}, "the same content again is no revision"

    revise(days.house, "2025-11-25")
    days.again("2025-11-27T03:00", "raw_tws_bars", "2025-11-25")
    asked = [days.tick(f"2025-11-27T03:0{minute}") for minute in range(1, 8)]

    assert asked[0]["curated_tws_1m_bars"] == ["2025-11-25"]
    assert {"universe", "raw_tws_bars", "curated_tws_1d_bars"}.isdisjoint(set().union(*asked))
    assert any("features_price_1m_v1" in one for one in asked)
    later = {name for one in asked for name, keys in one.items() if any("2025-11-26" in key for key in keys)}
    assert later <= {"adjustment_factors"}, "the next session's factors look at it; equal content ends there"
    assert asked[-1] == {}
    assert days.failed == []


def pairs(sessions: list[str]) -> list[str]:
    return [f"plain|{session}" for session in sessions]


def revise(house: House, session: str) -> None:
    """Add a batch in which one minute closes a cent higher, an hour after the others arrived."""
    work, partition = house.work(), Partition.from_key(session)
    bars = work.lake.raw.read(RAW_TWS_BARS, partition)
    batch = work.new_batch_id()
    later = (
        bars.sort("con_id", "ts")
        .slice(100, 1)
        .with_columns(
            (pl.col("high") + 0.01).alias("high"),
            (pl.col("high") + 0.01).alias("close"),
            (pl.col("ingested_at") + dt.timedelta(hours=1)).alias("ingested_at"),
            pl.lit(batch).alias("batch_id"),
        )
    )
    work.lake.raw.append(RAW_TWS_BARS, partition, later, batch)
