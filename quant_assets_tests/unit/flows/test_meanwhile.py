"""Another process commits while this one works: what is published says what it was made from, and nothing is blamed."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain import venues
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    Table,
)
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.curate import Curator
from quant_assets.flows.publishing import Published
from quant_assets.flows.work import Work
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.hours import shorter, tell, without
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after, daily

BEFORE = CALENDAR.previous(SESSION)
AT = Partition(SESSION)
SYMBOLS = ("ARCA:QMKT", "NYSE:QFID")
EVENING = after(SESSION)
LATE = EVENING + timedelta(hours=3)
Make = Callable[[date], Published | tuple[Published, ...]]
MINUTES = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, DQ_METRICS)


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two-sessions")
    ran = Lab(root, SYMBOLS).run([BEFORE, SESSION])
    assert all(one.is_committed for one in ran.published)
    return root


@pytest.fixture
def lab(two_sessions: Path, tmp_path: Path) -> Lab:
    shutil.copytree(two_sessions, tmp_path / "lab")
    return Lab(tmp_path / "lab", SYMBOLS, n_opened=3)


def other(lab: Lab) -> Lakehouse:
    """The stores as another process has them."""
    return Lakehouse(Layout(lab.root / "data"))


def unpublish(lab: Lab, *tables: Table) -> None:
    for table in tables:
        for session in (BEFORE, SESSION):
            lab.lake.layout.file(table, Partition(session)).unlink()


# ------------------------------------------------------------ a run over a range


def fetch_daily_again(lab: Lab, *changed: pl.Expr) -> None:
    """Another process fetches the newest vintage once more, and TWS says something else."""
    raw = other(lab).raw
    again = raw.read(RAW_TWS_DAILY_BARS, AT).with_columns(
        *changed,
        pl.lit("b9").alias("batch_id"),
        ("b9-" + pl.col("request_id").str.slice(-3)).alias("request_id"),
        pl.lit(LATE).cast(RAW_TWS_DAILY_BARS.schema["ingested_at"]).alias("ingested_at"),
    )
    raw.append(RAW_TWS_DAILY_BARS, AT, again, "b9")


def prices_times(factor: float, on: date) -> list[pl.Expr]:
    prices = ("open", "high", "low", "close", "wap")
    return [pl.when(pl.col("session") == on).then(pl.col(name) * factor).otherwise(name).alias(name) for name in prices]


def made_of(published: Published | tuple[Published, ...]) -> dict[str, str]:
    made = published if isinstance(published, tuple) else (published,)
    return {one.table.name: one.report.content_id for one in made if one.report}


RANGES: dict[str, tuple[Callable[[Work], Make], tuple[Table, ...], list[pl.Expr]]] = {
    "daily": (lambda work: Curator(work).daily_bars, (CURATED_TWS_1D_BARS,), prices_times(1.02, BEFORE)),
    "factors": (lambda work: Adjuster(work).publish, (ADJUSTMENT_FACTORS,), prices_times(0.5, SESSION)),
    "minutes": (lambda work: Curator(work).minute_bars, MINUTES, [pl.col("volume") * 3]),
}


@pytest.mark.parametrize("what", RANGES)
def test_daily_history_that_arrives_during_a_range_is_in_what_is_made_next(lab, what):
    maker, tables, changed = RANGES[what]
    before = lab.content()
    unpublish(lab, *tables)
    with lab.at(EVENING + timedelta(hours=5)) as work:
        make = maker(work)
        make(BEFORE)
        fetch_daily_again(lab, *changed)
        during = made_of(make(SESSION))
    unpublish(lab, *tables)
    with lab.at(EVENING + timedelta(hours=6)) as work:
        afresh = made_of(maker(work)(SESSION))
    assert during == afresh
    assert during != {name: before[name, AT.key] for name in during}, "the answer matters"


def test_hours_that_are_told_during_a_range_are_in_what_the_next_run_makes(lab):
    """The range holds the hours that it began with; what it made says so, and does not pass for made with the new."""
    tell(other(lab), LATE, BEFORE, shorter(BEFORE, timedelta(hours=1)), "t1")
    with lab.at(EVENING + timedelta(hours=5)) as work:
        curator = Curator(work)
        curator.minute_bars(BEFORE)
        tell(other(lab), LATE, SESSION, shorter(SESSION, timedelta(hours=2)), "t2")
        unpublish(lab, *MINUTES)
        curator.minute_bars(SESSION)
    with lab.at(EVENING + timedelta(hours=6)) as work:
        Curator(work).minute_bars(SESSION)
    reasons = lab.lake.curated.read(BAR_ACCOUNTING, AT).group_by("reason").agg(pl.col("minutes").sum())
    assert dict(reasons.iter_rows()) == {"present": 2 * 270, "half_day": 2 * 120}


def test_hours_that_agree_with_the_calendar_make_nothing_anew(lab):
    tell(other(lab), LATE, SESSION, venues.calendar("XNYS").hours(SESSION), "t1")
    tell(other(lab), LATE, BEFORE, shorter(BEFORE, timedelta(hours=1)), "t2")
    with lab.at(EVENING + timedelta(hours=5)) as work:
        made = Curator(work).minute_bars(SESSION)
    assert {one.metadata.get("served_from") for one in made} == {"inputs unchanged"}


def test_a_day_that_tws_says_was_closed_is_not_expected_of_daily_windows_that_stand(tmp_path):
    lab = Lab(tmp_path, SYMBOLS, market=lambda seed=7: SyntheticMarket(seed, without(BEFORE)))
    lab.run([SESSION])
    assert daily(lab, SESSION)["coverage"].unique().to_list() == pytest.approx([29 / 30])
    tell(other(lab), LATE, BEFORE, None, "t1")
    with lab.at(EVENING + timedelta(hours=5)) as work:
        Curator(work).daily_bars(SESSION)
    assert daily(lab, SESSION)["coverage"].unique().to_list() == [1.0]


def test_the_factors_are_found_anew_from_the_minutes_of_the_hours_that_are_told_later(lab):
    with lab.at(EVENING + timedelta(hours=5)) as work:
        assert Adjuster(work).publish(SESSION).metadata.get("served_from")
    tell(other(lab), LATE, SESSION, shorter(SESSION, timedelta(hours=2)), "t1")
    with lab.at(EVENING + timedelta(hours=6)) as work:
        assert not Adjuster(work).publish(SESSION).metadata.get("served_from")
        assert Adjuster(work).publish(SESSION).metadata.get("served_from")
