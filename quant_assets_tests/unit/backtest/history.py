"""Small histories on real sessions, as a file and as a published lakehouse."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl

from quant_assets.connectors.files import DailyFile
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.flows.backtest import FileHistory
from quant_assets.settings.manifest import (
    CostsConfig,
    DataConfig,
    LakehouseConfig,
    Profile,
    RiskConfig,
    SelectionConfig,
)
from quant_assets_tests.unit.alpha import scenario

CALENDAR = TradingCalendar(("XNYS",))
LAST = date(2024, 6, 28)
NAME = "default"


def profile(**risk) -> Profile:
    return Profile(
        data=DataConfig(lookback_sessions=60, min_sessions_floor=50),
        selection=SelectionConfig(top_n=20, max_clusters=4, top_n_per_cluster=1, min_selected=2, vetoes={}),
        risk=RiskConfig(**{"method": "hrp", "max_weight": 0.5, "sector_cap": 1.0, "cluster_cap": 1.0, **risk}),
        costs=CostsConfig(slippage_bps=10.0),
    )


def bars(n_sessions: int = 140, n: int = 8, seed: int = 3, prices: np.ndarray | None = None) -> pl.DataFrame:
    prices = scenario.closes(n_sessions, n, seed) if prices is None else prices
    sessions = CALENDAR.window(LAST, len(prices))
    made = scenario.daily(sessions, prices)
    return made.select("session", "con_id", "symbol", "open", "high", "low", "close", "volume", "adj_close")


def file_of(frame: pl.DataFrame) -> DailyFile:
    members = frame.select("con_id", "symbol").unique().sort("con_id")
    described = members.with_columns(sector=pl.lit("s"), long_name=pl.col("symbol"))
    return DailyFile(frame.sort("con_id", "session"), described, frame.clear().with_columns(reason=pl.lit("")), {})


def history(frame: pl.DataFrame | None = None) -> FileHistory:
    return FileHistory(file_of(bars() if frame is None else frame), CALENDAR, NAME)


def lake(prices: np.ndarray, decisions: list[date], lookback: int = 60) -> SimpleNamespace:
    """Return what LakeHistory asks of a unit of work; each partition ends with its own session."""
    sessions = CALENDAR.window(LAST, len(prices))
    ids = list(range(101, 101 + prices.shape[1]))
    store = scenario.MemoryStore()
    from quant_assets.domain.tables import CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE
    from quant_assets.lakehouse.layout import Partition

    for day in decisions:
        end = sessions.index(day) + 1
        window = slice(max(0, end - lookback), end)
        at = Partition(day)
        store.put(UNIVERSE, at, scenario.universe(day, ids))
        store.put(INSTRUMENTS, at, scenario.instruments(day, ids))
        store.put(CURATED_TWS_1D_BARS, at, scenario.daily(sessions[window], prices[window]))
    partitions = lambda table: [Partition(date.fromisoformat(key)) for name, key in store.frames if name == table.name]  # noqa: E731
    curated = SimpleNamespace(read=store.read, footer=store.footer, partitions=partitions)
    house = SimpleNamespace(manifest=SimpleNamespace(lakehouse=LakehouseConfig()))
    return SimpleNamespace(
        lake=SimpleNamespace(curated=curated), calendar=CALENDAR, source_label="a test", settings=house
    )
