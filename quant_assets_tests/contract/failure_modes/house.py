"""A data directory, a gateway whose faults its manifest scripts, and what was stored: for the failure modes of data.

The faults come from `replay.faults`, as a user would rehearse them.
"""

import json
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.flows.discover import Discovery
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings
from quant_assets_tests.builders import far_from_the_reset

SYMBOLS = ("ARCA:QMKT", "NASDAQ:QTEB", "NASDAQ:QFIA", "NYSE:QHEA")
SYMBOL_OF = [name.partition(":")[2] for name in SYMBOLS]
MONDAY, TUESDAY, WEDNESDAY = (date(2025, 3, day) for day in (3, 4, 5))
SESSIONS = [MONDAY, TUESDAY, WEDNESDAY]


def settings_in(root: Path, *lines: dict[str, Any], **tws: Any) -> Settings:
    configs = root / "configs"
    (configs / "lists").mkdir(parents=True, exist_ok=True)
    (configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": list(SYMBOLS)}))
    (configs / "faults.yaml").write_text(yaml.safe_dump({"faults": list(lines)}))
    manifest = {
        "default_profile": "p",
        "lakehouse": {"start_session": "2025-03-03", "lock_wait_s": 0.2},
        "tws": {
            "request_timeout_s": 0.4,
            "connect_timeout_s": 1,
            "attempts": 2,
            "reset_window": far_from_the_reset(),
            **tws,
        },
        "replay": {"time_scale": 2000, "faults": str(configs / "faults.yaml") if lines else ""},
        "profiles": {"p": {"discovery": {"lists": ["four"]}}},
    }
    (configs / "manifest.json").write_text(json.dumps(manifest))
    return Settings.from_env({}, data=root / "data", configs=configs)


@contextmanager
def opened(settings: Settings, sessions: Sequence[date] = SESSIONS):
    """A unit of work whose universe is published, and its gate."""
    with TwsGate(settings) as gate:
        work = Work(settings, gate)
        discovery = Discovery(work)
        for session in sessions:
            discovery.publish(session)
        yield work, gate


def outcomes(work: Work, session: date = MONDAY) -> dict[str, tuple[str, str]]:
    """The newest outcome of each symbol, with its words."""
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)).sort("asked_at")
    newest = ledger.unique("con_id", keep="last", maintain_order=True)
    return {row["symbol"]: (row["outcome"], row["detail"]) for row in newest.iter_rows(named=True)}


def minutes(work: Work, session: date = MONDAY) -> dict[str, int]:
    bars = work.lake.raw.read(RAW_TWS_BARS, Partition(session))
    return dict(bars.unique(["con_id", "ts"]).group_by("symbol").len().iter_rows())


def asked(gate: TwsGate) -> int:
    assert gate._embedded
    return gate._embedded.counts()["history"]


def on(symbol: str, fault: str, **more: Any) -> dict[str, Any]:
    return {"fault": fault, "request": "history", "symbol": symbol, "every": 1, **more}


NO_HEAD = {"text": "Historical Market Data Service error message:No head time stamp", "fault": "no_data"}
EVERY_NOTHING = pytest.mark.parametrize("fault", ["no_data", "no_items", "empty"])


def daily_settings(root: Path, *lines: dict[str, Any]) -> Settings:
    """One share and one fund, with windows of a month; no answer comes late, for each of them is counted."""
    settings = settings_in(root, *lines, request_timeout_s=30)
    manifest = json.loads((settings.configs / "manifest.json").read_text())
    manifest["profiles"]["p"]["data"] = {"lookback_sessions": 30, "min_sessions_floor": 20}
    (settings.configs / "manifest.json").write_text(json.dumps(manifest))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": ["ARCA:QMKT", "NASDAQ:QTEB"]}))
    return Settings.from_env({}, data=settings.data, configs=settings.configs)


def days(work: Work, symbol: str = "QTEB") -> dict[str, int]:
    """Rows of each daily series of a symbol."""
    bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
    mine = bars.filter((pl.col("symbol") == symbol) & (pl.col("session") <= MONDAY))
    return dict(mine.group_by("what_to_show").agg(pl.col("session").n_unique()).iter_rows())


def series_said(work: Work, what: str, symbol: str = "QTEB") -> list[tuple[str, str]]:
    """Outcome and proof of all answers about a daily series, in turn."""
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(work.latest_session())).sort("asked_at")
    mine = ledger.filter((pl.col("symbol") == symbol) & (pl.col("what_to_show") == what), pl.col("bar_size") == "1 day")
    return mine.select("outcome", "proof").rows()


def warned(published: Any) -> dict[str, str]:
    return {finding.check: finding.message for finding in published.findings if not finding.passed}


def repaired(work: Work) -> Work:
    return Work(work.settings, work.gate, is_repair=True)
