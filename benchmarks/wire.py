"""The product's client against the bare client library, on one gateway in a process of its own."""

import asyncio
import contextlib
import logging
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import ib_insync
from measure import Line, seconds

from quant_assets.clock import SystemClock
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws import (
    Pacer,
    PacingBudget,
    PlannedRequest,
    RetryPolicy,
    TwsAddress,
    TwsClient,
    fetch_all,
)
from quant_assets.gateway.synthetic import SyntheticMarket

logging.getLogger("ib_insync").setLevel(logging.CRITICAL)  # it prints that a delisted instrument has no bars
END = datetime(2025, 11, 14, 21, tzinfo=UTC)
IN_FLIGHT = 6


@contextlib.contextmanager
def gateway(root: Path) -> Iterator[int]:
    """Serve the synthetic market without pacing; yields the port."""
    command = [Path(sys.executable).with_name("quant"), "gateway", "serve", "--port", "0", "--no-pacing"]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert served.stdout is not None
        found = re.search(r":(\d+):", served.stdout.readline())
        assert found is not None, "the gateway did not start"
        yield int(found.group(1))
    finally:
        served.terminate()
        served.wait()


def listed(n: int) -> list[Contract]:
    """Return the first shares of the synthetic market, of one exchange's hours."""
    found = [one for one in SyntheticMarket(seed=7).instruments(END) if (one.sec_type, one.currency) == ("STK", "USD")]
    if len(found) < n:
        raise ValueError(f"the synthetic market lists {len(found)} shares, not {n}")
    return [Contract(one.symbol, one.con_id, primary_exchange=one.primary_exchange) for one in found[:n]]


def bare_rate(port: int, contracts: Sequence[Contract], repeats: int) -> tuple[float, int]:
    """Return the seconds that the client library takes to decode a week of each contract, and how many bars it got."""
    best, bars = float("inf"), 0
    asyncio.run(_bare(port, contracts))
    for _ in range(repeats):
        took, bars = _timed(lambda: _bare(port, contracts))
        best = min(best, took)
    return best, bars


def decoding(root: Path, *, n_requests: int, repeats: int) -> list[Line]:
    """Bars per second over the wire, both with the same number of requests in flight."""
    contracts = listed(n_requests)
    bare_s, ours_s, bars = float("inf"), float("inf"), 0
    with gateway(root) as port:
        for _ in range(repeats):
            took, bars = bare_rate(port, contracts, 1)
            bare_s = min(bare_s, took)
            took, ours = _timed(lambda: _ours(port, contracts))
            ours_s = min(ours_s, took)
            assert ours == bars, f"{ours} bars instead of {bars}"
    return [
        Line(
            f"ingest path, {len(contracts)} requests, {bars:,} bars, pacing off",
            "≥ 0.8 of the client library's rate",
            f"{bars / ours_s:,.0f} bars/s (ib_insync {bars / bare_s:,.0f})",
            bare_s / ours_s,
            bare_s / ours_s >= 0.8,
        )
    ]


def _timed(ask: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    found: list[int] = []
    took = seconds(lambda: found.append(asyncio.run(ask())))
    return took, found[0]


async def _bare(port: int, contracts: Sequence[Contract]) -> int:
    ib, turns, n_bars = ib_insync.IB(), asyncio.Semaphore(IN_FLIGHT), 0
    ib.client.MaxRequests = 0  # its own throttle of 45 messages per second would be all that is measured
    await ib.connectAsync("127.0.0.1", port, clientId=91, readonly=True)

    async def ask(contract: Contract) -> int:
        async with turns:
            wanted = ib_insync.Stock(contract.symbol, "SMART", "USD", conId=contract.con_id)
            bars = await ib.reqHistoricalDataAsync(wanted, END, "1 W", "1 min", "TRADES", useRTH=True, formatDate=2)
        return len(bars)

    try:
        n_bars = sum(await asyncio.gather(*map(ask, contracts)))
    finally:
        ib.disconnect()
    return n_bars


async def _ours(port: int, contracts: Sequence[Contract]) -> int:
    clock = SystemClock()
    pacer = Pacer(PacingBudget(in_flight=IN_FLIGHT, enforced=False), clock)
    plan = [PlannedRequest(BarRequest(contract, END, "1 W"), ()) for contract in contracts]
    n_bars = 0
    async with TwsClient(TwsAddress(port=port, client_id=92), clock) as client:
        async for outcome in fetch_all(client, pacer, plan, RetryPolicy()):
            assert outcome.error is None, outcome.error
            n_bars += outcome.answer.bars.height
    return n_bars
