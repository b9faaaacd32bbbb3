"""From the socket to committed Parquet, against the bare client library; and how memory grows with history.

python benchmarks/ingest.py            one week of 40 instruments; four years of one
python benchmarks/ingest.py --small    a quick look
python benchmarks/ingest.py --rss N    used by the benchmark itself: ingest N sessions, print the memory as JSON

No faults, no latency, pacing off. Both sides ask the same gateway, which is a process of its own. As in the data cycle,
the daily history is there before the minutes are asked for: it proves answers whose quiet minutes hold no trade.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from measure import Line, markdown, seconds
from wire import bare_rate, decoding, gateway, listed

from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws import PacingBudget
from quant_assets.domain.tables import RAW_TWS_BARS, UNIVERSE
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_minutes
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
LAST = date(2025, 11, 14)


class _UnpacedGate(TwsGate):
    """The product's way to TWS, but for the pacing, which would be all that is measured."""

    @property
    def budget(self) -> PacingBudget:
        return PacingBudget(in_flight=6, enforced=False)


@contextlib.contextmanager
def working(data: Path, port: int) -> Iterator[Work]:
    """Open a unit of work on a gateway that listens at `port`."""
    overrides = {"replay": {"port": port, "time_scale": 1.0}}
    settings = Settings(data=data, configs=ROOT / "configs", overrides=overrides)
    with _UnpacedGate(settings) as gate:
        yield Work(settings, gate)


def know(work: Work, contracts: list[Contract], sessions: list[date]) -> None:
    """Publish the universes that the ingestion of minutes starts from, and fetch the daily history."""
    for session in sessions:
        rows = [
            {
                "session": session,
                "con_id": contract.con_id,
                "symbol": contract.symbol,
                "exchange": contract.primary_exchange,
                "currency": "USD",
                "asset_class": "STK",
                "sources": "list:bench",
                "profiles": "default",
                "observed_at": datetime(2025, 11, 15, tzinfo=UTC),
                "is_pit": True,
            }
            for contract in contracts
        ]
        work.lake.curated.write(UNIVERSE, Partition(session), UNIVERSE.frame(rows))
    ingest_daily(work, sessions)


def into_parquet(n_instruments: int, repeats: int) -> list[Line]:
    """Bars per second from the first request to the last committed file."""
    contracts = listed(n_instruments)
    ours_s, bars = float("inf"), 0
    with gateway(ROOT) as port:
        bare_s, bare_bars = bare_rate(port, contracts, repeats)
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="quant-bench-") as scratch, working(Path(scratch), port) as work:
                sessions = work.calendar.window(LAST, 5)
                know(work, contracts, sessions)
                ours_s = min(ours_s, seconds(lambda: ingest_minutes(work, sessions)))  # noqa: B023 - called at once
                bars = sum(work.lake.raw.n_rows(RAW_TWS_BARS, Partition(session)) for session in sessions)
    ours, bare = bars / ours_s, bare_bars / bare_s
    return [
        Line(
            f"socket → committed Parquet, {n_instruments} instruments × 5 sessions, {bars:,} bars",
            "≥ 0.5 of the client library's rate",
            f"{ours:,.0f} bars/s (ib_insync decodes {bare:,.0f})",
            ours / bare,
            ours >= 0.5 * bare,
        )
    ]


def memory(n_small: int, n_large: int) -> list[Line]:
    """Peak memory of a process that ingests few sessions of one instrument, and of one that ingests many."""
    with gateway(ROOT) as port:
        small, large = (_peak(port, n_sessions) for n_sessions in (n_small, n_large))
    return [
        Line(
            f"peak memory, 1 instrument × {n_large} sessions against {n_small}",
            "flat: ≤ 1.25",
            f"{large / 2**20:.0f} MiB against {small / 2**20:.0f} MiB",
            large / small,
            large <= 1.25 * small,
        )
    ]


def _peak(port: int, n_sessions: int) -> int:
    command = [sys.executable, __file__, "--rss", str(n_sessions), "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(f"ingesting {n_sessions} sessions failed:\n{done.stderr}")
    return int(json.loads(done.stdout)["peak"])


def ingest_and_tell(port: int, n_sessions: int) -> None:
    """Ingest one instrument in this process and print its peak memory."""
    with tempfile.TemporaryDirectory(prefix="quant-bench-") as scratch, working(Path(scratch), port) as work:
        sessions = work.calendar.window(LAST, n_sessions)
        know(work, listed(1), sessions)
        ingest_minutes(work, sessions)
        n_bars = sum(work.lake.raw.n_rows(RAW_TWS_BARS, Partition(session)) for session in sessions)
        assert n_bars > 380 * n_sessions, n_bars
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"peak": int(peak[1]) * 1024, "bars": n_bars}))


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller inputs, fewer repetitions")
    parser.add_argument("--rss", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rss:
        ingest_and_tell(given.port, given.rss)
        return
    print(f"Polars {pl.__version__}, {os.cpu_count()} cores\n")
    print(markdown(ingesting(small=given.small)))


def ingesting(*, small: bool) -> list[Line]:
    """Return all lines of the ingestion."""
    return [
        *decoding(ROOT, n_requests=12 if small else 40, repeats=2 if small else 4),
        *into_parquet(12 if small else 40, repeats=2 if small else 3),
        *(memory(21, 252) if Path("/proc/self/status").exists() else []),
    ]


if __name__ == "__main__":
    asyncio.set_event_loop(None)
    main()
