"""The CSV per instrument: its numbers by hand, and no file written without need."""

import shutil

import polars as pl
import pytest

from quant_assets.domain import tables
from quant_assets.flows.daily_reports import N_SESSIONS, write_daily_reports
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.orphans import orphans
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.settings import Settings
from quant_assets_tests import builders
from quant_assets_tests.conftest import ROOT
from quant_assets_tests.unit.alpha import scenario


@pytest.fixture
def work(tmp_path):
    return Work(Settings.from_env({}, data=tmp_path, configs=ROOT / "configs"), gate=None)  # type: ignore[arg-type]


def publish(lake: Lakehouse, world: scenario.World, symbols: dict[int, str]) -> None:
    bars = world.store.read(tables.CURATED_TWS_1D_BARS, Partition(world.session))
    there = bars.filter(pl.col("con_id").is_in(list(symbols)))
    named = there.with_columns(symbol=pl.col("con_id").replace_strict(symbols))
    lake.curated.write(tables.CURATED_TWS_1D_BARS, Partition(world.session), named)


def test_a_report_says_what_the_tables_say(work):
    world = scenario.world(n=2)
    publish(work.lake, world, {101: "BRK B", 102: "XYZ"})
    last = world.sessions[-1]
    minutes = builders.curated_bars([10.0] * 7, session=last)
    work.lake.curated.write(tables.CURATED_TWS_1M_BARS, Partition(last), minutes)
    row = {
        "session": last,
        "profile": "hrp",
        "con_id": 101,
        "symbol": "NYSE:BRK B",
        "run_id": "r",
        "method": "hrp",
        "weight": 0.25,
        "sector": "x",
    }
    work.lake.curated.write(tables.WEIGHTS, Partition(last, "hrp"), tables.WEIGHTS.frame([row]))
    assert write_daily_reports(work) == {"reports": 2, "written": 2, "removed": 0}
    path = work.layout.lakehouse / "gold" / "reports" / "BRK-B_daily_report.csv"
    said = pl.read_csv(path, try_parse_dates=True)
    calendar = work.calendar.window(last, N_SESSIONS)
    assert said["session"].to_list() == [session for session in calendar if session in set(world.sessions)]
    closes = scenario.closes(120, 2)[:, 0]
    assert said["return"][-1] == pytest.approx(closes[-1] / closes[-2] - 1, abs=1e-6)
    assert (said["minutes"][-1], said["minutes"][-2], said["quarantined"][-1]) == (7, 0, 0)
    assert (said["weight_hrp"][-1], said["weight_hrp"][-2]) == (0.25, None)


def test_a_second_time_writes_nothing_and_a_change_writes_one(work):
    world = scenario.world(n=3)
    publish(work.lake, world, {101: "A", 102: "B", 103: "C"})
    write_daily_reports(work)
    assert write_daily_reports(work) == {"reports": 3, "written": 0, "removed": 0}
    at = Partition(world.session)
    bars = work.lake.curated.read(tables.CURATED_TWS_1D_BARS, at)
    is_hit = (pl.col("con_id") == 102) & (pl.col("session") == world.session)
    work.lake.curated.write(
        tables.CURATED_TWS_1D_BARS, at, bars.with_columns(volume=pl.when(is_hit).then(2e6).otherwise("volume"))
    )
    assert write_daily_reports(work) == {"reports": 3, "written": 1, "removed": 0}


def test_two_instruments_of_one_name_get_two_files(work):
    publish(work.lake, scenario.world(n=3), {101: "X Y", 102: "X-Y", 103: "Z"})
    write_daily_reports(work)
    names = sorted(path.name for path in (work.layout.lakehouse / "gold" / "reports").glob("*.csv"))
    assert names == ["X-Y_101_daily_report.csv", "X-Y_102_daily_report.csv", "Z_daily_report.csv"]


def test_a_report_goes_when_its_instrument_has_another_name_or_is_not_there_any_more(work):
    world = scenario.world(n=3)
    publish(work.lake, world, {101: "A", 102: "B", 103: "C"})
    write_daily_reports(work)
    directory = work.layout.lakehouse / "gold" / "reports"
    others = [directory / "notes.csv", directory / "A_daily_report.csv.bak", directory / ".staged-1-A_daily_report.csv"]
    for path in others:
        path.write_text("of somebody else")
    publish(work.lake, world, {101: "A", 102: "BB"})
    assert write_daily_reports(work) == {"reports": 2, "written": 1, "removed": 2}
    ours = {directory / "A_daily_report.csv", directory / "BB_daily_report.csv"}
    assert set(directory.iterdir()) == ours | set(others)
    assert list(orphans(work.lake, tables.ALL)) == sorted(others[:2]), "nobody owns what is no report"


def test_reports_stay_while_no_daily_bars_are_published(work):
    """After a wipe nobody knows who is there: that nothing is curated yet is no reason to take a report away."""
    publish(work.lake, scenario.world(n=1), {101: "A"})
    write_daily_reports(work)
    shutil.rmtree(work.layout.table(tables.CURATED_TWS_1D_BARS))
    assert write_daily_reports(work) == {"reports": 0, "written": 0, "removed": 0}
    assert work.layout.daily_report("A").is_file()


def test_without_data_there_is_nothing_to_write(work):
    assert write_daily_reports(work) == {"reports": 0, "written": 0, "removed": 0}
