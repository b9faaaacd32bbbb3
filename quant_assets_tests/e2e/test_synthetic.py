"""The synthetic market through the whole graph: what was planted is found, and named; what was not is left alone."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from quant_assets.assets.cycles import DATA
from quant_assets.clock import SystemClock
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.registry import Registry, range_of
from quant_assets.settings import Settings

N_SESSIONS = 20


@pytest.fixture(scope="module")
def sessions() -> list[date]:
    calendar = TradingCalendar()
    return calendar.window(calendar.latest(SystemClock().now()), N_SESSIONS)


@pytest.fixture(scope="module")
def planted(sessions: list[date]) -> pl.DataFrame:
    return SyntheticMarket(seed=7).planted_events(sessions[0], sessions[-1])


@pytest.fixture(scope="module")
def data(sessions: list[date], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("synthetic")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.chdir(root)
        symbols = yaml.safe_load((Path(__file__).parents[2] / "configs" / "lists" / "synthetic.yaml").read_text())
        (root / "configs" / "lists").mkdir(parents=True)
        (root / "configs" / "lists" / "all.yaml").write_text(yaml.safe_dump(symbols))
        manifest = {
            "default_profile": "all",
            "lakehouse": {"start_session": str(sessions[0])},
            "replay": {"seed": 7, "time_scale": 100000},
            "profiles": {
                "all": {
                    "data": {"lookback_sessions": 30, "min_sessions_floor": 20},
                    "discovery": {"lists": ["all"]},
                }
            },
        }
        (root / "configs" / "manifest.json").write_text(json.dumps(manifest))
        registry = Registry(Settings.from_env({}, data=root / "data", configs=root / "configs"))
        outcome = registry.run(DATA, *range_of(sessions))
        assert (outcome.success, outcome.failures) == (True, ())
        yield root / "data" / "lakehouse"


def table(data: Path, zone: str, name: str) -> pl.DataFrame:
    files = sorted((data / zone / name).glob("**/part.parquet"))
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])


def of_kind(planted: pl.DataFrame, kind: str) -> pl.DataFrame:
    found = planted.filter(pl.col("kind") == kind)
    assert not found.is_empty(), f"no {kind} is planted in the window"
    return found


def test_quarantine_holds_exactly_the_planted_bad_prints(data: Path, planted: pl.DataFrame) -> None:
    expected = of_kind(planted, "bad_print").select("con_id", "first_ts").rename({"first_ts": "ts"})
    rejected = table(data, "silver", "quarantine_tws_bars")
    assert rejected["rule"].unique().to_list() == ["toxic_price"]
    assert rejected["verdict"].unique().to_list() == ["bad_print"]
    found = rejected.select("con_id", "ts").sort("con_id", "ts")
    assert found.rows() == expected.sort("con_id", "ts").rows()


@pytest.mark.parametrize("kind", ["halt", "gap"])
def test_planted_silences_have_no_bar_and_are_counted_as_missing(data: Path, planted: pl.DataFrame, kind: str) -> None:
    """Of the first bar after a silence, the 20 minutes that end with it are counted here; the silence is among them."""
    bars = table(data, "silver", "curated_tws_1m_bars")
    features = table(data, "gold", "features_price_1m_v1")
    minute, n_counted = timedelta(minutes=1), 0
    for event in of_kind(planted, kind).iter_rows(named=True):
        mine = bars.filter((pl.col("con_id") == event["con_id"]) & (pl.col("session") == event["session"]))
        assert not mine.is_empty(), "a silence of some minutes must not cost the session"
        inside = mine.filter(pl.col("ts").is_between(event["first_ts"], event["last_ts"]))
        assert inside.is_empty(), event
        hours = TradingCalendar().hours(event["session"])
        first = mine.filter(pl.col("ts") > event["last_ts"])["ts"].min()
        if first is None:
            assert event["last_ts"] == hours.closes_at - minute, "only the close ends a silence without a bar"
            continue
        begin = first - 19 * minute
        missing = 20 - mine.filter(pl.col("ts").is_between(begin, first)).height
        silent = (event["last_ts"] - max(event["first_ts"], begin)) // minute + 1
        counted = features.filter((pl.col("con_id") == event["con_id"]) & (pl.col("ts") == first))
        assert missing >= silent, event
        if begin >= hours.opens_at:
            assert counted["n_missing_in_window_20"].to_list() == [missing], event
            n_counted += silent > 0
        else:
            assert counted["n_missing_in_window_20"].to_list() == [None], "the window is not full"
    assert n_counted, "a silence was counted"


def test_an_instrument_without_trades_is_an_outcome_and_not_an_error(data: Path) -> None:
    universe = table(data, "discovery", "universe")
    ledger = pl.concat(
        [
            pl.read_parquet(file, hive_partitioning=False)
            for file in (data / "bronze" / "raw_tws_requests").glob("*/*.parquet")
        ]
    ).filter(pl.col("bar_size") == "1 min")
    in_turn = ledger.sort("asked_at", "request_id")
    outcomes = universe.join(in_turn, on=["session", "con_id"], how="left").group_by("session", "con_id").agg("outcome")
    assert {tuple(outcome) for outcome in outcomes["outcome"].to_list()} == {
        ("bars",),
        ("no_data",),
        ("truncated", "bars"),
    }
    bars = table(data, "silver", "curated_tws_1m_bars").select("session", "con_id").unique()
    silent = ledger.filter(pl.col("outcome") == "no_data").select("session", "con_id")
    assert silent.join(bars, on=["session", "con_id"], how="semi").is_empty()


def test_names_say_that_nothing_of_it_exists(data: Path) -> None:
    names = table(data, "silver", "instruments")["long_name"]
    assert names.str.contains("(synthetic)", literal=True).all()
