"""A gateway whose faults are scripted, and a client at its wire: what the tests of the failure modes have in common."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.clock import ScaledClock
from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws import (
    Need,
    Outcome,
    Pacer,
    PacingBudget,
    RetryPolicy,
    Timeouts,
    TwsAddress,
    TwsClient,
    fetch_all,
    plan_minutes,
)
from quant_assets.connectors.tws.patience import DailyWindow
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.faults import FaultEngine, FaultLine, FaultScript, vocabulary
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway
from quant_assets.gateway.synthetic import SyntheticMarket

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
MIDNIGHT = datetime(2024, 3, 16, 4, 30, tzinfo=UTC)
"""Half past midnight in New York: inside the nightly reset."""
WEEK = [date(2024, 3, day) for day in (11, 12, 13, 14, 15)]
HOURS = {
    day: (datetime(2024, 3, day.day, 13, 30, tzinfo=UTC), datetime(2024, 3, day.day, 20, tzinfo=UTC)) for day in WEEK
}
SCALE = 2000
"""Two seconds of pacing pass in a millisecond, so only what takes long on this clock may be told apart by its time."""
PATIENT = Timeouts(connect_s=10, history_s=30, lookup_s=30, probe_s=5.0, idle_s=15.0)
QUICK = Timeouts(connect_s=1.5, history_s=1.0, lookup_s=1.0, probe_s=3.0, idle_s=15.0)
"""For requests that never get an answer; long enough for a busy machine to give the others theirs."""
WATCHFUL = Timeouts(connect_s=1.5, history_s=3600, lookup_s=3600, probe_s=1.0, idle_s=0.5)
"""Requests outlast every test, so that only silence can end one."""
POLICY = RetryPolicy(attempts=5, reset=DailyWindow(time(23, 40), time(1, 50)))
WITHOUT_END = 1e9
"""Seconds of trouble that ends when the test says so."""
MARKET = SyntheticMarket(seed=7)
CONTRACTS = [Contract(found.symbol, found.con_id) for found in MARKET.instruments(NOW)]
STRANGER = Contract("NOPE", 999)
HMDS = "Historical Market Data Service error message:"


class WitnessedClock(ScaledClock):
    """The gateway's clock, for a pacer whose waits are noted as they are decided: when, and how many seconds.

    A busy machine makes a wait late and shortens what is left of it, but never lengthens what is asked for.
    """

    def __init__(self, scale: float, start: datetime) -> None:
        super().__init__(scale, start)
        self.slept: list[tuple[float, float]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append((self.monotonic(), seconds))
        await super().sleep(seconds)

    def slept_between(self, earlier: float, later: float) -> float:
        return sum(seconds for at, seconds in self.slept if earlier < at < later)


@dataclass
class Scene:
    """A gateway with a script, a client and a pacer on the gateway's clock."""

    running: EmbeddedGateway
    client: TwsClient
    pacer: Pacer
    policy: RetryPolicy

    async def carry_out(
        self, contracts: Sequence[Contract], days: Sequence[date] = WEEK, span: Any = "1 W"
    ) -> list[Outcome]:
        plan = plan_minutes([Need(contract, day) for contract in contracts for day in days], HOURS, span)
        return [outcome async for outcome in fetch_all(self.client, self.pacer, plan, self.policy)]

    async def broken_at(self) -> None:
        while not self.strikes():  # noqa: ASYNC110 - it is on the gateway's thread
            await asyncio.sleep(0.002)

    def mend_farm(self, broken: str) -> None:
        """End the trouble of a farm, as TWS tells it."""
        event = vocabulary.EVENTS[broken]

        def mend(gateway: Gateway) -> None:
            gateway.muted.remove(event.mutes)
            gateway.standing.clear()
            for notice in event.then_says:
                gateway.broadcast(*notice)

        self.running.call(mend)

    def asked_at(self) -> list[float]:
        return [entry.at for entry in self.running.history_ledger.entries]

    def durations(self) -> list[str]:
        return [entry.request.duration for entry in self.running.history_ledger.entries]

    def strikes(self) -> list[str]:
        return [strike.name for strike in self.running.gateway.strikes]


def script(*lines: dict[str, Any], seed: int = 0) -> FaultEngine:
    return FaultEngine(FaultScript(seed=seed, faults=tuple(FaultLine.model_validate(line) for line in lines)))


@asynccontextmanager
async def scene(
    *lines: dict[str, Any],
    timeouts: Timeouts = PATIENT,
    start: datetime = NOW,
    scale: float = SCALE,
    policy: RetryPolicy = POLICY,
    in_flight: int = 6,
    latency_s: float = 0.0,
    waits: WitnessedClock | None = None,
    journal: Path | None = None,
) -> AsyncIterator[Scene]:
    """Afterwards no rule has been broken, and nothing is open at the gateway any more."""
    clock = ScaledClock(scale, start)
    with EmbeddedGateway(MARKET, Rules(), clock, faults=script(*lines), latency_s=latency_s) as running:
        pacer = Pacer(PacingBudget(in_flight=in_flight), waits or clock, journal)
        address = TwsAddress(port=running.port)
        async with TwsClient(address, clock, timeouts, pacer=pacer, patience=policy) as client:
            yield Scene(running, client, pacer, policy)
        while running.history_ledger.still_open():  # noqa: ASYNC110 - it is on the gateway's thread
            await asyncio.sleep(0.005)
        assert running.history_ledger.breaches() == []
        assert running.gateway.rate_breaches == 0


def assert_whole(outcomes: Sequence[Outcome], contracts: Sequence[Contract], days: Sequence[date] = WEEK) -> None:
    """Every bar that the market holds has arrived, once."""
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    for contract in contracts:
        frames = [o.answer.bars for o in outcomes if o.answer and o.planned.request.contract == contract]
        instrument = MARKET.find(NOW, con_id=contract.con_id)
        assert instrument
        held = MARKET.minute_bars(instrument, HOURS[days[0]][0], HOURS[days[-1]][1], "TRADES", NOW)
        assert_frame_equal(pl.concat(frames).sort("ts"), held)


def run(coroutine: Any) -> None:
    """Run a scenario. One that hangs is ended by the bound of the whole suite, which no scenario comes near."""
    asyncio.run(coroutine)
