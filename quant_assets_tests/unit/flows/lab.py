"""A small house for ingestion tests: real flows, the real client, the embedded gateway on the synthetic market."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.domain.features import GROUPS, LABELS
from quant_assets.domain.tables import (
    ALL,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    RAW_INSTRUMENTS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    RAW_TWS_SCHEDULES,
)
from quant_assets.flows.adjust import Adjuster
from quant_assets.flows.curate import Curator
from quant_assets.flows.derive import publish_group
from quant_assets.flows.dimension import publish_dimension
from quant_assets.flows.discover import Discovery
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_details, ingest_minutes
from quant_assets.flows.publishing import Published
from quant_assets.flows.work import Work
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets.settings import Settings
from quant_assets_tests.builders import CALENDAR, far_from_the_reset, instant

SYMBOLS = ("ARCA:QMKT", "NYSE:QFID", "NASDAQ:QUTB", "NYSE:QEND")
SESSION = date(2024, 3, 14)
BRONZE = (RAW_INSTRUMENTS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS, RAW_TWS_SCHEDULES)


@lru_cache(maxsize=2)
def market(seed: int = 7) -> SyntheticMarket:
    return SyntheticMarket(seed)


def after(session: date) -> datetime:
    """Return an instant at which the session is the latest one."""
    return instant(f"{session + timedelta(days=1)} 02:00")


class _Gate(TwsGate):
    """The real gate, with a market that tests share and faults that they choose."""

    options: dict[str, Any]
    market: Callable[[], SyntheticMarket]

    def _address(self) -> Any:
        if self.is_replay and self._embedded is None:
            self._embedded = EmbeddedGateway(self.market, Rules(), self.clock, **self.options)
        return super()._address()


@dataclass
class Lab:
    """Configuration and data in one directory; each `at` opens a unit of work as a new process would."""

    root: Path
    symbols: Sequence[str] = SYMBOLS
    lookback: int = 30
    tws: dict[str, Any] = field(default_factory=dict)
    scanners: Sequence[str] = ()
    lakehouse: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    market: Callable[[], SyntheticMarket] = market
    time_scale: float = 20000

    n_opened: int = 0
    evening: datetime | None = None
    """By the clock of the unit of work that was opened last."""

    @cached_property
    def lake(self) -> Lakehouse:
        return Lakehouse(Layout(self.root / "data"))

    def settings(self) -> Settings:
        configs = self.root / "configs"
        (configs / "lists").mkdir(parents=True, exist_ok=True)
        (configs / "lists" / "core.yaml").write_text("symbols:\n" + "".join(f"  - {name}\n" for name in self.symbols))
        manifest = {
            "default_profile": "default",
            "production_profile": "default",
            "lakehouse": {"start_session": "2019-01-02", "lock_wait_s": 5, **self.lakehouse},
            "tws": {
                "max_minute_duration": "1 D",
                "attempts": 2,
                "reset_window": far_from_the_reset(self.evening),
                **self.tws,
            },
            "replay": {"market": "synthetic", "seed": 7, "time_scale": self.time_scale},
            "quality": self.quality,
            "profiles": {
                "default": {
                    "data": {"lookback_sessions": self.lookback, "min_sessions_floor": 2},
                    "discovery": {"lists": ["core"], "scanners": list(self.scanners)},
                }
            },
        }
        (configs / "manifest.json").write_text(json.dumps(manifest))
        return Settings.from_env({}, data=self.root / "data", configs=configs)

    @contextmanager
    def at(self, now: datetime) -> Iterator[Work]:
        self.evening = now
        self.n_opened += 1  # of two runs on one evening the second is later, although a test takes no time
        settings, clock = self.settings(), ScaledClock(self.time_scale, now + timedelta(minutes=self.n_opened))
        with _Gate(settings, clock=clock) as gate:
            gate.options, gate.market = self.options, self.market
            yield Work(settings, gate, clock=clock)

    def run(self, sessions: Sequence[date], now: datetime | None = None) -> "Ran":
        """Run the data flow over sessions, as of the evening of the last one unless `now` says otherwise."""
        with self.at(now or after(sessions[-1])) as work:
            published = flow(work, sessions)
            return Ran(work.gate.requests_served(), published)  # type: ignore[attr-defined]

    def content(self) -> dict[tuple[str, str], str]:
        """Return the content id of every table and partition."""
        return content(self.lake)


@contextmanager
def standing_at(lab: Lab, now: datetime) -> Iterator[Work]:
    """A unit of work in which no time passes."""
    with lab.at(now) as work:
        yield replace(work, clock=ManualClock(now))


@dataclass(frozen=True)
class Ran:
    """What a run of the data flow did."""

    requests: int
    published: list[Published]

    @property
    def n_written(self) -> int:
        return sum(one.report.inserted + one.report.updated for one in self.published if one.report)


PER_MINUTE = [group for group in (*GROUPS.values(), *LABELS.values()) if group.inputs.table is CURATED_TWS_1M_BARS]


def flow(work: Work, sessions: Sequence[date]) -> list[Published]:
    """Discover, ingest, curate and derive, as the data cycle does."""
    discovery, adjuster, curator = Discovery(work), Adjuster(work), Curator(work)
    done = [discovery.publish(session) for session in sessions]
    ingest_details(work, sessions)
    ingest_daily(work, sessions)
    ingest_minutes(work, sessions)
    for session in sessions:
        done += [adjuster.publish(session)]
        done += [*publish_dimension(work, session), *curator.minute_bars(session), curator.daily_bars(session)]
        done += [publish_group(work, group, session) for group in PER_MINUTE]
    return done


def content(lake: Lakehouse) -> dict[tuple[str, str], str]:
    found = {}
    for table in ALL:
        for partition in (lake.raw if table in BRONZE else lake.curated).partitions(table):
            if table in BRONZE:
                found[table.name, partition.key] = lake.raw.content_id(table, partition)
            elif footer := lake.curated.footer(table, partition):
                found[table.name, partition.key] = footer.content_id
    return found


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of every Parquet file."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*.parquet"))
    }


def window(session: date, n: int) -> list[date]:
    return CALENDAR.window(session, n)


def daily(lab: Lab, session: date) -> Any:
    return lab.lake.curated.read(CURATED_TWS_1D_BARS, Partition(session)).sort("con_id", "session")
