"""A split that happens between two evenings, through the real client and the gateway: one basis for every reader."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.connectors.base import BarRequest, SessionHours
from quant_assets.connectors.tws.planner import Need, PlannedRequest
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    CURATED_TWS_1M_BARS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
)
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.curate import Curator
from quant_assets.flows.ingest.needs import contract_of
from quant_assets.flows.ingest.rows import MinuteRows
from quant_assets.flows.readers import feature_store
from quant_assets.lakehouse.adjusting import total_return
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import Lab, after, market

SPLIT = date(2023, 8, 10)
"""QCOC splits two for one; QCOA pays nothing and splits not."""
BEFORE, LATER = CALENDAR.previous(SPLIT), CALENDAR.following(SPLIT)


@dataclass(frozen=True)
class Lived:
    lab: Lab
    store: FeatureStore
    symbol: str
    con_id: int

    def bars(self, adjust: str, first: date = BEFORE, last: date = LATER, **options: object) -> pl.DataFrame:
        return self.store.get_curated_bars([self.symbol], first, last, adjust=adjust, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Lived:
    """Three evenings, each ingested when it came; the split lies between the first and the second."""
    planted = market().planted_events(SPLIT, SPLIT).filter(pl.col("kind") == "split").row(0, named=True)
    one = next(x.instrument for x in market().listings if x.instrument.con_id == planted["con_id"])
    assert planted["detail"] == "2"
    lab = Lab(tmp_path_factory.mktemp("split"), symbols=(f"{one.primary_exchange}:{one.symbol}", "ARCA:QMKT"))
    for day in (BEFORE, SPLIT, LATER):
        assert all(published.is_committed for published in lab.run([day]).published)
    return Lived(lab, FeatureStore(lab.lake.layout, CALENDAR), one.symbol, one.con_id)


def test_as_served_the_split_stands_in_the_bars(lived):
    closes = lived.bars("as_served").group_by("session").agg(pl.col("close").last()).sort("session")["close"]
    assert 1.8 < closes[0] / closes[1] < 2.2


def test_adjusted_minutes_end_where_the_days_do_to_the_last_cent(lived):
    """The daily window as of the last session was served by TWS on its basis; the minutes have to meet it."""
    minutes = lived.bars("splits").group_by("session").agg(pl.col("close").last(), pl.col("volume").sum())
    days = lived.bars("as_served", frequency="1d").select("session", "close", "volume").sort("session")
    assert minutes.sort("session")["close"].to_list() == pytest.approx(days["close"].to_list(), rel=1e-12)
    served = lived.bars("as_served").group_by("session").agg(pl.col("volume").sum()).sort("session")["volume"]
    adjusted = minutes.sort("session")["volume"]
    assert (adjusted / served).to_list() == [2.0, 1.0, 1.0]


def test_the_last_session_sets_the_basis(lived):
    before = lived.bars("splits", BEFORE, BEFORE)
    assert before.equals(lived.bars("as_served", BEFORE, BEFORE))
    assert lived.bars("splits", SPLIT, LATER).equals(lived.bars("as_served", SPLIT, LATER))


def test_no_bar_of_the_split_is_toxic(lived):
    rejected = lived.lab.lake.curated.read(QUARANTINE_TWS_BARS, Partition(SPLIT))
    assert rejected.filter(pl.col("con_id") == lived.con_id).is_empty()


def test_an_instrument_without_a_split_is_left_alone(lived):
    served = lived.store.get_curated_bars(["QMKT"], BEFORE, LATER)
    assert lived.store.get_curated_bars(["QMKT"], BEFORE, LATER, adjust="splits").equals(served)


def test_features_in_prices_and_in_shares_move_with_the_split_and_returns_do_not(lived):
    groups = (["price_1m", "volume_1m"], ["v1", "v1"], [lived.symbol], BEFORE, SPLIT)
    served = lived.store.get_features_for_training(*groups)
    adjusted = lived.store.get_features_for_training(*groups, adjust="splits")
    assert adjusted["metadata"]["adjust"] == "splits"
    first = pl.col("session") == BEFORE
    for name, factor in {"ma_5": 0.5, "ma_20": 0.5, "vol_ma_20": 2.0, "ret_5": 1.0, "vol_20": 1.0}.items():
        mine, theirs = (frame["features"].filter(first)[name] for frame in (adjusted, served))
        assert mine.drop_nulls().to_list() == pytest.approx((theirs.drop_nulls() * factor).to_list(), rel=1e-12)
    assert adjusted["features"].filter(~first).equals(served["features"].filter(~first))
    at = adjusted["features"].filter(~first)["ts"][30]
    row = lived.store.get_features_for_inference(*groups[:3], at, adjust="splits")["features"]
    assert row.equals(adjusted["features"].filter(pl.col("ts") == at))


def test_days_lose_the_dividends_up_to_the_last_of_them_and_none_that_came_later():
    """One of 1.00 goes ex on the second day, and one of 4 % after it, before TWS was asked."""
    window = pl.DataFrame(
        {
            "con_id": [101, 101, 102],
            "session": [BEFORE, SPLIT, BEFORE],
            "open": [101.0, 98.0, 10.0],
            "high": [102.0, 99.5, 10.0],
            "low": [100.0, 98.0, 10.0],
            "close": [100.0, 99.0, 10.0],
            "wap": [100.5, None, 10.0],
            "adj_close": [100.0 * 0.99 * 0.96, 99.0 * 0.96, 9.5],
        }
    )
    found = total_return(window)
    assert found["close"].to_list() == pytest.approx([99.0, 99.0, 10.0])
    assert found["open"].to_list() == pytest.approx([101.0 * 0.99, 98.0, 10.0])
    assert found["wap"].to_list() == [pytest.approx(100.5 * 0.99), None, 10.0]
    assert total_return(window.reverse()).reverse().equals(found), "in whatever order the rows come"


@dataclass(frozen=True)
class Left:
    lab: Lab
    symbol: str
    con_id: int
    ex: date
    before: date

    def closes(self, adjust: str, as_of: datetime | None = None) -> tuple[list[float], list[float]]:
        """Return close and volume of the session before, once by the minutes and once by the day."""
        with self.lab.at(after(CALENDAR.following(self.ex))) as work:
            store = feature_store(work)
            minutes = store.get_curated_bars(self.symbol, self.before, self.ex, adjust=adjust, as_of=as_of)
            days = store.get_curated_bars(self.symbol, self.before, self.ex, "1d", as_of, adjust)
        assert minutes["session"].unique().to_list() == days["session"].to_list() == [self.before]
        assert days["as_of_session"].to_list() == [self.before]
        last = minutes.select(pl.col("close").sort_by("ts").last(), pl.col("volume").sum())
        return list(last.row(0)), list(days.select("close", "volume").row(0))


def left_before(root: Path, ex: date, kind: str) -> Left:
    """Who splits or pays on a session leaves the universe with it and is back after it: then the factor is known."""
    planted = market().planted_events(ex, ex).filter(pl.col("kind") == kind).row(0, named=True)
    one = next(x.instrument for x in market().listings if x.instrument.con_id == planted["con_id"])
    mine, other = f"{one.primary_exchange}:{one.symbol}", "ARCA:QMKT"
    lab = Lab(root, symbols=(mine, other))
    before, later = CALENDAR.previous(ex), CALENDAR.following(ex)
    for day, symbols in ((before, (mine, other)), (ex, (other,)), (later, (mine, other))):
        lab.symbols = symbols
        lab.run([day])
    return Left(lab, mine, one.con_id, ex, before)


@pytest.mark.parametrize(
    ("ex", "kind", "splits", "total"), [(SPLIT, "split", 0.5, 0.5), (date(2024, 2, 27), "dividend", 1.0, 0.9939526)]
)
def test_days_of_who_left_before_a_split_or_a_dividend_are_on_the_basis_of_the_minutes(
    tmp_path, ex, kind, splits, total
):
    """The dividend is 10.14 at a close of 1676.76."""
    left = left_before(tmp_path, ex, kind)
    minutes, days = served = left.closes("as_served")
    assert minutes == days
    assert left.closes("splits") == left.closes("total") == served, "the factors of the day know of nothing"
    with left.lab.at(after(CALENDAR.following(ex))) as work:
        assert Adjuster(work).publish(ex).is_committed
    for adjust, factor in (("as_served", 1.0), ("splits", splits), ("total", total)):
        shares = splits if adjust != "as_served" else 1.0
        expected = pytest.approx([days[0] * factor, days[1] / shares], rel=1e-7)
        found = left.closes(adjust)
        assert found[0] == expected
        assert found[1] == pytest.approx(found[0], rel=1e-12)
        assert left.closes(adjust, as_of=after(ex) + timedelta(hours=2)) == served, "nobody could know of it then"


def test_a_factor_names_the_vintages_that_it_rests_on(lived):
    rows = lived.lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(SPLIT))
    row = rows.filter((pl.col("con_id") == lived.con_id) & (pl.col("session") == BEFORE)).row(0, named=True)
    assert (row["split_factor"], row["kind"]) == (0.5, "split")
    assert (row["vintage_before"], row["vintage_after"]) == (BEFORE, SPLIT)
    assert rows.filter(pl.col("kind") != "none").height == 1


def test_a_second_run_asks_nothing_and_writes_nothing(lived):
    again = lived.lab.run([BEFORE, SPLIT, LATER], after(LATER))
    assert (again.requests, again.n_written) == (0, 0)


def ask_for_one_hour(lab: Lab, session: date, con_id: int, now) -> None:
    """Fetch the second hour of a session again, and commit it as an ingestion would."""
    with lab.at(now) as work:
        member = work.lake.curated.read(UNIVERSE, Partition(session)).filter(pl.col("con_id") == con_id)
        need = Need(contract_of(member.row(0, named=True)), session)
        until = work.calendar.hours(session).opens_at + timedelta(hours=2)
        request = BarRequest(need.contract, until, "3600 S")

        async def job(opened):
            return await opened.source.bars(request)

        hours = work.calendar.hours(session)
        covers = (SessionHours(session, hours.opens_at, hours.closes_at),)
        planned = PlannedRequest(request, covers, needed=frozenset({session}))
        batch = work.new_batch_id()
        outcome = Outcome(planned, work.gate.run(job))
        rows = MinuteRows.of([outcome], batch, work.calendar_for, work.clock.now())
        assert rows.bars.height == 60
        work.lake.raw.append(RAW_TWS_BARS, Partition(session), rows.bars, batch)
        work.lake.raw.append(RAW_TWS_REQUESTS, Partition(session), rows.ledger, batch)


def test_an_hour_repaired_after_the_split_never_leaves_two_bases_in_a_session(tmp_path):
    """The hour comes at half the price; all 390 minutes of the session follow it, and readers still meet the days."""
    one = next(x.instrument for x in market().listings if x.instrument.con_id == 970000028)
    lab = Lab(Path(tmp_path), symbols=(f"{one.primary_exchange}:{one.symbol}",))
    lab.run([BEFORE])
    served = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(BEFORE))
    lab.run([SPLIT])
    ask_for_one_hour(lab, BEFORE, one.con_id, after(SPLIT))
    with lab.at(after(SPLIT)) as work:
        factors = Adjuster(work).publish(BEFORE)
        bars, *others = Curator(work).minute_bars(BEFORE)
    assert all(published.is_committed for published in (factors, bars, *others))
    assert bars.metadata["rescaled_rows"] == served.height - 60
    repaired = lab.lake.curated.read(CURATED_TWS_1M_BARS, Partition(BEFORE))
    assert repaired["ts"].equals(served["ts"])
    for price in ("open", "high", "low", "close"):
        assert repaired[price].to_list() == pytest.approx((served[price] / 2).to_list(), abs=1e-6)
    assert repaired["volume"].to_list() == (served["volume"] * 2).to_list()
    own = lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(BEFORE)).filter(pl.col("session") == BEFORE)
    assert (own["split_factor"][0], own["kind"][0]) == (2.0, "basis")
    store = FeatureStore(lab.lake.layout, CALENDAR)
    both = store.get_curated_bars([one.symbol], BEFORE, SPLIT, adjust="splits")
    assert both.filter(pl.col("session") == BEFORE)["close"].to_list() == pytest.approx(repaired["close"].to_list())
    alone = store.get_curated_bars([one.symbol], BEFORE, BEFORE, adjust="splits")
    assert alone["close"].to_list() == pytest.approx(served["close"].to_list(), abs=2e-6)
