"""Real minute bars of 62 US ETFs, served over the TWS protocol and taken through the whole graph.

Every expected number is computed from the recording by the plain code in this file and in recorded.py.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
import pytest

from quant_assets.assets.cycles import ALPHA, DATA
from quant_assets.assets.partitions import Partitions
from quant_assets.cli.keeping import rebuild_sessions
from quant_assets.domain.tables import ALL
from quant_assets.flows.slate import DERIVED, content_ids, wipe
from quant_assets.flows.work import Work
from quant_assets.gateway.recording import RecordedMarket
from quant_assets.lakehouse.layout import Layout
from quant_assets.registry import Registry, RunOutcome, range_of
from quant_assets.settings import Settings
from quant_assets_tests.e2e.recorded import (
    FIRST,
    HALF_DAY,
    HOLIDAYS,
    LAST,
    PRICES,
    SESSIONS,
    Recording,
    make_settings,
)

pytestmark = pytest.mark.timeout(420)

OPEN, CLOSE, EARLY_CLOSE = "09:30", "16:00", "13:00"


@dataclass(frozen=True)
class Lake:
    """The lakehouse that the run made, read as plain Parquet."""

    settings: Settings
    outcomes: dict[str, RunOutcome]

    def table(self, zone: str, name: str) -> pl.DataFrame:
        """All rows of a table."""
        files = sorted((self.settings.data / "lakehouse" / zone / name).glob("**/[!.]*.parquet"))
        return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and modification time of every file of record."""
        found = [path for path in self.settings.data.rglob("*") if path.is_file()]
        kept = [path for path in found if ".lock" not in path.name]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in kept}


@pytest.fixture(scope="module")
def recording() -> Recording:
    path = Path(__file__).parents[2].parent / "shared" / "data" / "us_etf_1m_2019.parquet"
    if not path.is_file():
        pytest.skip("the recorded ETF bars (shared/data/us_etf_1m_2019.parquet) are not on this machine")
    return Recording(path)


@pytest.fixture(scope="module")
def lake(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    directory = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.chdir(directory)
        settings = make_settings(directory, recording)
        registry = Registry(settings)
        outcomes = {
            "data": registry.run(DATA, *range_of(SESSIONS)),
            "candidates": registry.run(["candidates"], *range_of(SESSIONS[-3:], "recorded")),
            "alpha": registry.run(ALPHA, *range_of(SESSIONS[-3:], "recorded")),
        }
        yield Lake(settings, outcomes)


def is_regular(session: str = "session", clock: str = "clock") -> pl.Expr:
    """Whether a wall-clock minute lies in New York's regular hours of its session."""
    close = pl.when(pl.col(session) == HALF_DAY).then(pl.lit(EARLY_CLOSE)).otherwise(pl.lit(CLOSE))
    return (pl.col(clock) >= OPEN) & (pl.col(clock) < close)


def test_every_run_succeeds(lake: Lake) -> None:
    assert [(outcome.success, outcome.failures) for outcome in lake.outcomes.values()] == [(True, ())] * 3


def test_the_scenario_is_the_one_described(recording: Recording) -> None:
    assert len(SESSIONS) == 18
    assert len(recording.symbols) == 62


def test_holidays_are_no_partitions(lake: Lake) -> None:
    keys = Partitions(lake.settings.manifest).sessions.get_partition_keys()
    inside = [key for key in keys if str(FIRST) <= key <= str(LAST)]
    assert inside == [str(session) for session in SESSIONS]
    assert not {str(day) for day in HOLIDAYS} & set(keys)


def test_bronze_holds_every_row_that_can_cross_the_wire(lake: Lake, recording: Recording) -> None:
    expected = recording.served.group_by("session", "symbol").len().sort("session", "symbol")
    bronze = lake.table("bronze", "raw_tws_bars")
    assert bronze.group_by("session", "symbol").len().sort("session", "symbol").equals(expected)
    columns = ["symbol", "ts", *PRICES, "volume"]
    assert bronze.select(columns).sort(columns).equals(recording.served.select(columns).sort(columns))


def test_rows_without_prices_are_counted_and_reported(recording: Recording) -> None:
    null_rows = recording.rows.filter(pl.any_horizontal(pl.col(PRICES).is_null()))
    report = RecordedMarket.open(recording.path, symbols=recording.symbols).report
    assert null_rows.height > 0
    assert sum(report.null_rows.values()) == null_rows.height
    assert dict(report.null_rows) == dict(null_rows.group_by("symbol").len().iter_rows())


def test_silver_holds_each_regular_minute_once(lake: Lake, recording: Recording) -> None:
    minutes = recording.served.filter(is_regular()).select("session", "symbol", "ts").unique()
    expected = minutes.filter(
        ~((pl.col("symbol") == "UGAZ") & (pl.col("session") == date(2019, 12, 23)) & _at("09:30"))
    )
    curated = lake.table("silver", "curated_tws_1m_bars").select("session", "symbol", "ts")
    assert curated.sort(curated.columns).equals(expected.sort(expected.columns))


def _at(clock: str) -> pl.Expr:
    return pl.col("ts").dt.convert_time_zone("America/New_York").dt.strftime("%H:%M") == clock


def test_the_half_day_has_210_minutes_and_its_bar_after_the_close_is_in_quarantine(
    lake: Lake, recording: Recording
) -> None:
    labelled = recording.served.filter((pl.col("session") == HALF_DAY) & (pl.col("clock") == EARLY_CLOSE))
    curated = lake.table("silver", "curated_tws_1m_bars").filter(pl.col("session") == HALF_DAY)
    quarantine = lake.table("silver", "quarantine_tws_bars").filter(pl.col("session") == HALF_DAY)
    late = quarantine.filter(pl.col("rule") == "outside_session")
    assert labelled.height > 0
    assert sorted(late["symbol"]) == sorted(labelled["symbol"])
    assert late["ts"].unique().to_list() == labelled["ts"].unique().to_list()
    assert curated.group_by("symbol").len()["len"].max() <= 210
    assert Partitions(lake.settings.manifest).calendar.hours(HALF_DAY).n_minutes == 210


def test_of_several_rows_of_a_minute_one_stays_and_the_others_are_in_quarantine(
    lake: Lake, recording: Recording
) -> None:
    regular = recording.served.filter(is_regular())
    groups = regular.filter(pl.struct("symbol", "ts").is_duplicated()).partition_by("symbol", "ts")
    conflicting = [group for group in groups if group.select(*PRICES, "volume").n_unique() > 1]
    assert conflicting
    curated = lake.table("silver", "curated_tws_1m_bars")
    quarantine = lake.table("silver", "quarantine_tws_bars").filter(pl.col("verdict") == "repeated_minute")
    for group in groups:
        same_minute = (pl.col("symbol") == group["symbol"][0]) & (pl.col("ts") == group["ts"][0])
        kept, rejected = curated.filter(same_minute), quarantine.filter(same_minute)
        assert kept.height == 1
        assert kept["volume"][0] == group["volume"].max()
        both = sorted([*kept["volume"], *rejected["volume"]])
        assert both == sorted(group["volume"])
    assert quarantine.height == sum(group.height - 1 for group in groups)


def test_rows_out_of_order_are_put_in_place_and_marked(lake: Lake, recording: Recording) -> None:
    late = recording.served.filter(
        is_regular() & (pl.col("ts") < pl.col("ts").cum_max().shift(1).over("session", "symbol"))
    )
    curated = lake.table("silver", "curated_tws_1m_bars")
    marked = curated.join(late.select("symbol", "ts").unique(), on=["symbol", "ts"], how="semi")
    assert set(marked["dq_status"].unique()) <= {"warn"}
    in_order = curated.group_by("session", "con_id", maintain_order=True).agg(
        pl.col("ts").diff().drop_nulls().min().alias("step")
    )
    assert in_order["step"].drop_nulls().min().total_seconds() >= 60


def test_the_wrongly_adjusted_bar_is_held_back_with_its_evidence(lake: Lake) -> None:
    toxic = lake.table("silver", "quarantine_tws_bars").filter(pl.col("rule") == "toxic_price")
    assert toxic.select("symbol", "session", "close", "verdict").rows() == [
        ("UGAZ", date(2019, 12, 23), 77.97, "missed_split")
    ]
    assert "0.88" in toxic["evidence"][0]
    later = lake.table("silver", "curated_tws_1m_bars").filter(
        (pl.col("symbol") == "UGAZ") & (pl.col("session") >= date(2019, 12, 23))
    )
    assert later.height > 300, "one bad bar must not cost the instrument its history"
    assert later["close"].min() > 50, "the vendor stays on the other basis"


def test_the_break_that_the_wrong_adjustment_leaves_is_named_and_never_computed_across(lake: Lake) -> None:
    day, mine = date(2019, 12, 23), pl.col("symbol") == "UGAZ"
    minutes = lake.table("silver", "curated_tws_1m_bars").filter(mine)
    on_the_day = minutes.filter(pl.col("session") == day)
    assert on_the_day.height == 383
    assert on_the_day["dq_status"].unique().to_list() == ["warn"]
    assert on_the_day["dq_rules"].str.contains("unexplained_break").all()
    others = lake.table("silver", "curated_tws_1m_bars").join(on_the_day, on=["session", "con_id", "ts"], how="anti")
    assert not others["dq_rules"].str.contains("unexplained_break").any()
    factors = lake.table("silver", "adjustment_factors").filter(pl.col("kind") == "unexplained_break")
    assert factors.select("as_of_session", "session", "symbol", "split_factor", "total_return_factor").rows() == [
        (day, date(2019, 12, 20), "UGAZ", 1.0, 1.0)
    ]
    assert factors["observed_ratio"][0] == pytest.approx(77.70 / 0.88, abs=1e-9)
    technicals = lake.table("gold", "tv_technicals_1d").filter(mine & (pl.col("session") >= day))
    assert technicals["perf_w"].to_list() == [None] * technicals.height, "a week ago is on the other basis"
    assert technicals.height >= 2
    named = lake.table("gold", "certified_sessions").filter(pl.col("degraded").str.contains("UGAZ on another"))
    assert named["session"].unique().to_list() == [day]


def test_no_row_is_silently_gone(lake: Lake, recording: Recording) -> None:
    curated, quarantine = lake.table("silver", "curated_tws_1m_bars"), lake.table("silver", "quarantine_tws_bars")
    assert curated.height + quarantine.height == recording.served.height
    columns = ["symbol", "ts", *PRICES, "volume"]
    together = pl.concat([curated.select(columns), quarantine.select(columns)])
    assert together.sort(columns).equals(recording.served.select(columns).sort(columns))


def test_few_symbols_trade_every_minute_and_that_is_no_error(lake: Lake) -> None:
    counts = lake.table("silver", "curated_tws_1m_bars").group_by("session", "symbol").len()
    full_days = counts.filter(pl.col("session") != HALF_DAY)
    assert (full_days["len"] < 390).mean() > 0.5
    assert counts["len"].max() <= 390


def test_features_equal_a_plain_recomputation(lake: Lake) -> None:
    features = lake.table("gold", "features_price_1m_v1")
    curated = lake.table("silver", "curated_tws_1m_bars")
    names = ["ret_1", "ret_5", "ret_20", "ma_5", "ma_20", "vol_20", "n_missing_in_window_5", "n_missing_in_window_20"]
    stored = {
        (row[0], row[1], row[2]): row[3:] for row in features.select("symbol", "session", "ts", *names).iter_rows()
    }
    assert len(stored) == curated.height
    for (symbol, session), bars in curated.partition_by("symbol", "session", as_dict=True).items():
        for ts, expected in plain_features(session, bars).items():
            for name, left, right in zip(names, stored[symbol, session, ts], expected, strict=True):
                assert (left is None) == (right is None), (symbol, ts, name, left, right)
                assert left is None or abs(left - right) <= 1e-9 * max(1.0, abs(right)), (symbol, ts, name)


def plain_features(session: date, bars: pl.DataFrame) -> dict[object, list[float | None]]:
    """The definitions of the feature group, minute by minute, in plain Python."""
    n_minutes = 210 if session == HALF_DAY else 390
    local = bars["ts"].dt.convert_time_zone("America/New_York")
    minutes = ((local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute()) - (9 * 60 + 30)).to_list()
    closes: list[float | None] = [None] * n_minutes
    for minute, close in zip(minutes, bars["close"].to_list(), strict=True):
        closes[minute] = close

    def change(m: int, k: int) -> float | None:
        before, now = (closes[m - k] if m >= k else None), closes[m]
        return now / before - 1 if before is not None and now is not None else None

    def window(m: int, k: int) -> list[float]:
        return [c for c in closes[m - k + 1 : m + 1] if c is not None]

    def mean(m: int, k: int) -> float | None:
        return math.fsum(window(m, k)) / len(window(m, k)) if m >= k - 1 else None

    def deviation(m: int) -> float | None:
        found = [r for i in range(m - 19, m + 1) if (r := change(i, 1)) is not None] if m >= 20 else []
        if len(found) < 2:
            return None
        center = math.fsum(found) / len(found)
        return math.sqrt(math.fsum((r - center) ** 2 for r in found) / (len(found) - 1))

    def missing(m: int, k: int) -> int | None:
        return k - len(window(m, k)) if m >= k - 1 else None

    return {
        ts: [
            change(m, 1),
            change(m, 5),
            change(m, 20),
            mean(m, 5),
            mean(m, 20),
            deviation(m),
            missing(m, 5),
            missing(m, 20),
        ]
        for ts, m in zip(bars["ts"].to_list(), minutes, strict=True)
    }


def test_volume_features_and_labels_equal_a_plain_recomputation(lake: Lake) -> None:
    curated = lake.table("silver", "curated_tws_1m_bars").filter(pl.col("symbol").is_in(["SPY", "UGAZ", "FUTS"]))
    volumes = lake.table("gold", "features_volume_1m_v1")
    labels = lake.table("gold", "labels_tws_returns")
    stored = {row[:2]: row[2:] for row in volumes.select("con_id", "ts", "vol_ma_20", "vol_percentile_20").iter_rows()}
    ahead = {row[:3]: row[3] for row in labels.select("con_id", "ts", "horizon", "forward_return").iter_rows()}
    assert len(ahead) == 3 * lake.table("silver", "curated_tws_1m_bars").height
    for (con_id, _), bars in curated.partition_by("con_id", "session", as_dict=True).items():
        close_at = dict(bars.select("ts", "close").iter_rows())
        volume_at = dict(bars.select("ts", "volume").iter_rows())
        opened = bars["ts"].dt.truncate("1d")[0] + timedelta(hours=14, minutes=30)
        for ts, close in close_at.items():
            window = [v for i in range(20) if (v := volume_at.get(ts - timedelta(minutes=i))) is not None]
            mean, share = stored[con_id, ts]
            if ts < opened + timedelta(minutes=19):
                assert (mean, share) == (None, None)
            else:
                assert abs(mean - math.fsum(window) / len(window)) <= 1e-9 * max(1.0, mean)
                assert share == sum(v <= volume_at[ts] for v in window) / len(window)
            for horizon in (5, 20, 60):
                later = close_at.get(ts + timedelta(minutes=horizon))
                found = ahead[con_id, ts, horizon]
                assert (found is None) == (later is None), (con_id, ts, horizon)
                assert found is None or abs(found - (later / close - 1)) <= 1e-12


def test_technicals_stand_on_the_daily_window_of_their_session(lake: Lake) -> None:
    technicals = lake.table("gold", "tv_technicals_1d").filter(pl.col("session") == LAST)
    window = lake.table("silver", "curated_tws_1d_bars").filter(pl.col("as_of_session") == LAST).sort("session")
    last = window.filter(pl.col("session") == LAST)
    assert sorted(technicals["con_id"]) == sorted(last["con_id"])
    for con_id, found, week in technicals.select("con_id", "volatility_d", "perf_w").iter_rows():
        bars = window.filter(pl.col("con_id") == con_id)
        old = bars.filter(pl.col("session") <= date(2020, 1, 3))
        assert (week is None) == old.is_empty()
        if week is not None:
            assert abs(week - 100 * (bars["close"][-1] / old["open"][-1] - 1)) < 1e-9
        high, low, before = bars["high"][-1], bars["low"][-1], bars["close"][-2] if bars.height > 1 else None
        reach = max([high - low, *([abs(high - before), abs(low - before)] if before else [])])
        assert abs(found - 100 * reach / low) < 1e-9


def test_weights_and_cash_add_up_to_the_capital(lake: Lake) -> None:
    weights = lake.table("gold", "weights")
    totals = weights.group_by("session").agg(pl.col("weight").abs().sum().alias("gross"))
    runs = lake.table("gold", "snapshots")
    assert totals.height == runs.height == 3
    for (run_id,) in runs.select("run_id").iter_rows():
        record = pl.read_json(Layout(lake.settings.data).run(run_id) / "data" / "weights.json")
        gross = weights.filter(pl.col("run_id") == run_id)["weight"].abs().sum()
        assert abs(gross + record["cash"][0] - 1) <= 1e-6
    assert weights.filter(pl.col("symbol").str.ends_with(":UGAZ")).is_empty()


def test_what_is_rejected_says_why(lake: Lake) -> None:
    candidates = lake.table("gold", "candidates").filter(pl.col("session") == LAST)
    assert candidates.height == 62
    futs = candidates.filter(pl.col("symbol").str.ends_with(":FUTS"))
    assert futs["verdict"].to_list() == ["rejected"]
    assert "too_short: 3 of 10 sessions" in futs["reasons"][0]


def test_a_second_run_asks_nothing_and_rewrites_nothing(lake: Lake) -> None:
    before = lake.files()
    registry = Registry(lake.settings)
    again = [
        registry.run(DATA, *range_of(SESSIONS)),
        registry.run(["candidates"], *range_of(SESSIONS[-3:], "recorded")),
        registry.run(ALPHA, *range_of(SESSIONS[-3:], "recorded")),
    ]
    assert [(outcome.success, outcome.requests, outcome.rewritten) for outcome in again] == [(True, 0, 0)] * 3
    assert lake.files() == before


def test_silver_and_gold_are_rebuilt_from_bronze_with_equal_content_ids(
    lake: Lake, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = make_settings(tmp_path, recording)
    shutil.copytree(lake.settings.data / "lakehouse", settings.data / "lakehouse")
    work = Work(settings, mock.Mock(run=mock.Mock(side_effect=AssertionError("a rebuild asks TWS nothing"))))
    before = content_ids(work, [table for table in ALL if table.partition_by != "session_profile"])
    wipe(work, DERIVED)
    sessions = SESSIONS[-4:]
    outcome = rebuild_sessions(Registry(settings), [sessions])
    assert (outcome.success, outcome.requests) == (True, 0), outcome.failures
    expected = {name: one for name, one in before.items() if any(str(day) in name for day in sessions)}
    after = content_ids(Work(settings, mock.Mock()))
    assert len(expected) > 10 * len(sessions)
    assert {name: after.get(name) for name in expected} == expected
