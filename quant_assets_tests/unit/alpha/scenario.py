"""A small lakehouse in memory, in which every instrument has a fate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from quant_assets.clock import ManualClock
from quant_assets.domain.tables import CANDIDATES, CERTIFIED_SESSIONS, CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE, Table
from quant_assets.errors import NotPublishedError
from quant_assets.flows.screen import screen_session
from quant_assets.flows.snapshot import Snapshot, freeze
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.settings.manifest import DataConfig, Profile, RiskConfig, SelectionConfig

PROFILE = "default"
SECTORS = ("Energy", "Technology", "Financial", "Utilities")


def weekdays(n: int, end: date = date(2024, 6, 28)) -> list[date]:
    """Return the last n weekdays up to `end`: sessions of a market without holidays."""
    days, day = [], end
    while len(days) < n:
        if day.weekday() < 5:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


@dataclass
class MemoryStore:
    """The two methods of a store that the alpha side uses."""

    frames: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)

    def put(self, table: Table, partition: Partition, frame: pl.DataFrame) -> None:
        self.frames[table.name, partition.key] = table.conform(frame)

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        if (table.name, partition.key) not in self.frames:
            raise NotPublishedError(table.name, partition.key, "materialize it")
        frame = self.frames[table.name, partition.key]
        return frame if columns is None else frame.select(columns)

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        frame = self.frames.get((table.name, partition.key))
        if frame is None:
            return None
        said = content_id(frame, table.content_columns, table.key)
        return Footer(table.name, partition.key, said, frame.height)


def closes(n_sessions: int, n: int, seed: int = 3) -> np.ndarray:
    """Return seeded prices with a common factor; (n_sessions, n)."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0003, 0.008, (n_sessions, 1))
    own = rng.normal(0.0001, 0.004 + 0.002 * np.arange(n), (n_sessions, n))
    return 50.0 * np.exp(np.cumsum(market + own, axis=0))


def daily(sessions: list[date], prices: np.ndarray, first_id: int = 101, known_basis: str = "observed") -> pl.DataFrame:
    """Return CURATED_TWS_1D_BARS from a price matrix; NaN prices have no bar."""
    rows = []
    for j in range(prices.shape[1]):
        present = ~np.isnan(prices[:, j])
        for session, price in zip(np.array(sessions)[present], prices[present, j], strict=True):
            rows.append(
                {
                    "as_of_session": sessions[-1],
                    "session": session,
                    "con_id": first_id + j,
                    "symbol": f"S{first_id + j}",
                    "open": price,
                    "high": price,
                    "low": price,
                    "close": price,
                    "volume": 1e6,
                    "wap": price,
                    "bar_count": 100,
                    "adj_close": price,
                    "coverage": float(present.mean()),
                    "dq_status": "ok",
                    "vintage": sessions[-1],
                    "known_at": datetime(2024, 7, 1, tzinfo=UTC),
                    "known_basis": known_basis,
                    "transform_version": "v1",
                }
            )
    return CURATED_TWS_1D_BARS.conform(CURATED_TWS_1D_BARS.frame(rows))


def universe(session: date, ids: list[int], **changes: object) -> pl.DataFrame:
    base = {"exchange": "NYSE", "currency": "USD", "asset_class": "STK", "sources": "list:core", "profiles": PROFILE}
    base |= {"observed_at": datetime(2024, 6, 28, 20, tzinfo=UTC), "is_pit": True}
    rows = [{"session": session, "con_id": i, "symbol": f"S{i}", **base, **changes} for i in ids]
    return UNIVERSE.conform(UNIVERSE.frame(rows))


def instruments(session: date, ids: list[int], long_name: str = "Company {} (synthetic)") -> pl.DataFrame:
    base = {"exchange": "SMART", "primary_exchange": "NYSE", "currency": "USD", "asset_class": "STK", "min_tick": 0.01}
    base |= {
        "timezone": "US/Eastern",
        "category": "",
        "ids": "",
        "active": True,
        "valid_from": date(2020, 1, 2),
        "last_seen": session,
    }
    rows = [
        {
            **base,
            "session": session,
            "con_id": i,
            "symbol": f"S{i}",
            "long_name": long_name.format(i),
            "industry": SECTORS[k % len(SECTORS)],
        }
        for k, i in enumerate(ids)
    ]
    return INSTRUMENTS.conform(INSTRUMENTS.frame(rows))


def certificate(session: date, store: MemoryStore, tables: Sequence[Table]) -> pl.DataFrame:
    """Return the certificate of a session's tables."""
    rows = []
    for table in tables:
        footer = store.footer(table, Partition(session))
        if footer:
            rows.append({"table_name": table.name, "content_id": footer.content_id, "n_rows": footer.n_rows})
    base = {
        "session": session,
        "warnings": "",
        "balance": "1 raw = 1 valid",
        "degraded": "",
        "accepted": "",
        "certificate_id": "c" * 64,
    }
    base |= {"certified_at": datetime(2024, 6, 28, 21, tzinfo=UTC)}
    return CERTIFIED_SESSIONS.conform(CERTIFIED_SESSIONS.frame([{**base, **row} for row in rows]))


def profile(**risk: object) -> Profile:
    return Profile(
        description="a small test portfolio",
        data=DataConfig(lookback_sessions=120, min_sessions_floor=100),
        selection=SelectionConfig(top_n=20),
        risk=RiskConfig(**{"max_weight": 0.3, "sector_cap": 0.6, **risk}),
    )


@dataclass
class World:
    """A published session, ready to be frozen."""

    sessions: list[date]
    store: MemoryStore
    profile: Profile
    clock: ManualClock

    @property
    def session(self) -> date:
        return self.sessions[-1]

    def freeze(self, layout: Layout, *, certify: bool = True) -> Snapshot:
        """Freeze what stands; it is certified before, unless the test is about what is not."""
        if certify:
            self.certify()
        return freeze(self.store, layout, self.session, PROFILE, self.profile, self.sessions, self.clock)

    def certify(self) -> None:
        """Certify what stands of the session's tables, as the data cycle's last step does."""
        tables = (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)
        if any(self.store.footer(table, Partition(self.session)) for table in tables):
            self.store.put(CERTIFIED_SESSIONS, Partition(self.session), certificate(self.session, self.store, tables))

    def publish_candidates(self) -> None:
        screened = screen_session(self.store, self.session, PROFILE, self.profile)
        self.store.put(CANDIDATES, Partition(self.session, PROFILE), screened.frame)


def world(prices: np.ndarray | None = None, *, n: int = 8, known_basis: str = "observed", **risk: object) -> World:
    """Return a world with published universe, instruments, daily bars and candidates."""
    prices = closes(120, n) if prices is None else prices
    sessions = weekdays(len(prices))
    ids = list(range(101, 101 + prices.shape[1]))
    store = MemoryStore()
    at = Partition(sessions[-1])
    store.put(UNIVERSE, at, universe(sessions[-1], ids))
    store.put(INSTRUMENTS, at, instruments(sessions[-1], ids))
    store.put(CURATED_TWS_1D_BARS, at, daily(sessions, prices, known_basis=known_basis))
    result = World(sessions, store, profile(**risk), ManualClock(datetime(2024, 6, 28, 22, tzinfo=UTC)))
    result.certify()
    result.publish_candidates()
    return result
