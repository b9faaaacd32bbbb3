"""The fifteen ways in which TWS loses data, by number: each is injected at the gateway and crosses a real socket.

The table is docs/failure-modes.md. Modes 2, 14 and 15, which are about stored data, go on in test_failure_modes_data.
"""

import asyncio
import json
import logging
import time as machine
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.connectors.base import BarRequest, Contract
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
from quant_assets.connectors.tws.failures import (
    ClientIdInUseError,
    LinkDownError,
    PortDroppedError,
    PortSilentError,
    RepeatedRefusalError,
    UntoldError,
)
from quant_assets.connectors.tws.journal import PacingJournal
from quant_assets.connectors.tws.pacing import Paced
from quant_assets.connectors.tws.patience import NEW_YORK, DailyWindow
from quant_assets.errors import (
    BadRequestError,
    NoPermissionError,
    PacingError,
    RetryLater,
    SourceTimeoutError,
    SourceUnavailableError,
    UnknownContractError,
)
from quant_assets.flows.gate import TwsGate
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.faults import FaultEngine, FaultLine, FaultScript, vocabulary
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.settings import Settings

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


# ---------------------------------------------------------------- 1 pacing


@pytest.mark.parametrize("fault", ["pacing", "pacing_localised"])
def test_mode_01_pacing_pauses_everything_longer_each_time(fault, tmp_path):
    """Seven refusals in a row: 15 s, doubled each time, 10 minutes at the most, and each is waited out and no more.

    From the fourth on the rate, halved four times to three requests in ten minutes, may ask for more than the pause.
    """
    pauses, longest = (15, 30, 60, 120, 240, 480, 600), (15, 30, 60, 600, 600, 600, 600)
    base_s = 0.1
    policy, waits = RetryPolicy(attempts=10, base_s=base_s, cap_s=base_s), WitnessedClock(SCALE, NOW)
    line = {"fault": fault, "request": "history", "times": 7}

    async def scenario() -> None:
        async with scene(line, policy=policy, in_flight=1, waits=waits, journal=tmp_path / "pacing.jsonl") as on:
            outcomes = await on.carry_out(CONTRACTS[:2])
            assert_whole(outcomes, CONTRACTS[:2])
            asked = list(pairwise(on.asked_at()))[:7]
            for (refused_at, again_at), least, most in zip(asked, pauses, longest, strict=True):
                assert again_at - refused_at >= least - 0.1, "nothing is asked in the pause, by the gateway's clock"
                assert waits.slept_between(refused_at, again_at) <= most + base_s, "the pause or the rate, not both"
            assert on.pacer.share < 0.1

    run(scenario())
    noted = [json.loads(line) for line in (tmp_path / "pacing.jsonl").read_text().splitlines() if "paused" in line]
    assert tuple(line["length"] for line in noted) == pauses


def test_mode_01_a_refusal_pauses_the_other_instruments_too():
    async def scenario() -> None:
        async with scene({"fault": "pacing", "request": "history", "nth": 3}, latency_s=5.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:12]), CONTRACTS[:12])
            refused_at = on.running.gateway.strikes[0].at
            in_pause = [at for at in on.asked_at() if refused_at < at < refused_at + 14]
            assert len(in_pause) <= 5, "only what was in flight when it began"
            assert 0.45 < on.pacer.share < 0.6

    run(scenario())


def test_mode_01_a_refusal_in_another_language_ends_with_the_advice_to_switch_to_english():
    async def scenario() -> None:
        line = {"fault": "pacing_localised", "request": "history", "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=3)) as on:
            (outcome,) = await on.carry_out(CONTRACTS[:1])
            assert isinstance(outcome.error, UntoldError)
            assert "Show API error messages in English" in str(outcome.error)
            assert "infracción" in str(outcome.error)

    run(scenario())


def test_mode_01_what_tws_says_in_english_is_no_pacing_unless_it_says_so():
    """No pause and no lower rate; refused on every attempt, it is told with TWS's words and without a wrong advice."""

    async def scenario() -> None:
        line = {"fault": "query_failed", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        unlisted = {**line, "text": f"{HMDS}Starting time must occur before ending time"}
        async with scene(unlisted, policy=RetryPolicy(attempts=3)) as on:
            outcomes = await on.carry_out(CONTRACTS[:4])
            (refused,) = [o for o in outcomes if o.error]
            assert isinstance(refused.error, RepeatedRefusalError)
            assert "Starting time must occur" in str(refused.error)
            assert "English" not in str(refused.error)
            assert on.strikes() == ["query_failed"] * 3
            assert on.pacer.share == 1.0
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:4])

    run(scenario())


def test_mode_01_too_many_messages_and_the_disconnection_after_them():
    async def scenario() -> None:
        async with scene({"fault": "rate_exceeded", "request": "history", "nth": 2}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:4]), CONTRACTS[:4])
            assert on.client.epoch == 2
            assert on.pacer.share < 1

    run(scenario())


def test_mode_01_what_tws_says_before_it_hangs_up_is_heard_when_a_write_meets_the_dead_line_first():
    """The busy client has not read the complaint yet when its next questions find the connection reset."""

    async def scenario() -> None:
        requests = [BarRequest(contract, HOURS[WEEK[0]][1], "1 D") for contract in CONTRACTS[:4]]
        async with scene({"fault": "rate_exceeded", "request": "history"}) as on:

            async def ask(request: BarRequest) -> None:
                async with on.pacer.slot(request):
                    await on.client.bars(request)

            first = asyncio.create_task(ask(requests[0]))
            await asyncio.sleep(0)
            while not on.strikes():
                machine.sleep(0.002)  # noqa: ASYNC251 - the loop is to be busy until TWS has hung up
            machine.sleep(0.05)  # noqa: ASYNC251 - until its words are here
            on.running.call(lambda gateway: gateway.kick(abort=True))
            rest = [asyncio.create_task(ask(request)) for request in requests[1:]]
            ended = await asyncio.gather(first, *rest, return_exceptions=True)
            assert isinstance(ended[0], PacingError), ended[0]
            assert all(isinstance(one, LinkDownError) for one in ended[1:]), ended
            assert on.pacer.share == 0.5

    run(scenario())


# ---------------------------------------------------------------- 2 no data


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "no_data"},
        {"fault": "no_items"},
        {"fault": "no_data", "text": f"{HMDS}No historical market data for X"},
    ],
    ids=" ".join,
)
def test_mode_02_no_data_is_told_apart_and_stops_nobody(line):
    async def scenario() -> None:
        async with scene({**line, "request": "history", "nth": 2}, in_flight=1) as on:
            outcomes = await on.carry_out(CONTRACTS[:3])
            empty = [o for o in outcomes if o.answer and o.answer.bars.is_empty()]
            assert [o.planned.request.contract for o in empty] == CONTRACTS[1:2]
            assert all(o.answer and o.answer.no_data_text for o in empty), "the source's own words are kept"
            assert_whole([o for o in outcomes if o not in empty], [CONTRACTS[0], CONTRACTS[2]])

    run(scenario())


# ---------------------------------------------------------------- 3 timeout


@pytest.mark.parametrize("fault", ["hang", "late"])
def test_mode_03_a_slow_request_is_cancelled_and_halved(fault):
    async def scenario() -> None:
        line = {"fault": fault, "request": "history"} | ({"delay": 3000} if fault == "late" else {})
        async with scene(line, timeouts=QUICK) as on:
            outcomes = await on.carry_out(CONTRACTS[:1])
            assert_whole(outcomes, CONTRACTS[:1])
            assert on.durations() == ["5 D", "3 D", "2 D"]
            assert on.running.history_ledger.entries[0].outcome == "cancelled"
            await asyncio.sleep(0.7)
            assert_whole(outcomes, CONTRACTS[:1])  # what comes late fills nothing
            assert on.client.epoch == 1, "the probe was answered, so the connection stands"

    run(scenario())


def test_mode_03_a_request_that_never_ends_is_a_timeout_and_not_an_empty_answer():
    async def scenario() -> None:
        line = {"fault": "hang", "request": "history", "every": 1, "symbol": CONTRACTS[0].symbol}
        async with scene(line, policy=RetryPolicy(attempts=2), timeouts=QUICK) as on:
            outcomes = await on.carry_out(CONTRACTS[:2], WEEK[:1])
            errors = {o.planned.request.contract: o.error for o in outcomes}
            assert isinstance(errors[CONTRACTS[0]], SourceTimeoutError)
            assert "tws.request_timeout_s" in str(errors[CONTRACTS[0]])
            assert errors[CONTRACTS[1]] is None

    run(scenario())


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "too_long"},
        {"fault": "invalid_step"},
        {"fault": "too_long", "text": f"{HMDS}Historical data request for greater than 365 days rejected."},
    ],
    ids=" ".join,
)
def test_mode_03_what_exceeds_the_maximum_is_halved_too(line):
    async def scenario() -> None:
        async with scene({**line, "request": "history"}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.durations() == ["5 D", "3 D", "2 D"]
            assert on.pacer.share == 1.0

    run(scenario())


def test_mode_03_one_session_that_is_always_too_long_is_refused_and_not_asked_for_ever():
    async def scenario() -> None:
        line = {"fault": "too_long", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=3)) as on:
            outcomes = await on.carry_out(CONTRACTS[:2], WEEK[:2])
            refused = [o for o in outcomes if o.error]
            assert [type(o.error) for o in refused] == [RepeatedRefusalError] * 2
            assert on.strikes() == ["too_long"] * (1 + 2 * 3), "once as a whole, and each half three times"
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:2], WEEK[:2])

    run(scenario())


# ---------------------------------------------------------------- 4 the socket drops


@pytest.mark.parametrize("fault", ["half", "reset", "drop"])
def test_mode_04_a_connection_that_breaks_in_the_middle_of_an_answer(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 2}, latency_s=40.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert on.client.epoch >= 2
            assert on.running.history_ledger.outcomes()["lost"] >= 1

    run(scenario())


def test_mode_04_an_answer_that_always_breaks_the_connection_is_asked_for_in_parts():
    async def scenario() -> None:
        policy = RetryPolicy(attempts=2)
        async with scene({"fault": "half", "request": "history", "times": 2}, policy=policy) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.durations() == ["5 D", "5 D", "3 D", "2 D"]

    run(scenario())


def test_mode_04_one_session_that_always_breaks_it_does_not_cost_the_others():
    async def scenario() -> None:
        line = {"fault": "reset", "request": "history", "symbol": CONTRACTS[0].symbol, "every": 1}
        async with scene(line, policy=RetryPolicy(attempts=2), in_flight=1) as on:
            outcomes = await on.carry_out(CONTRACTS[:3], WEEK[:1])
            (broken,) = [o for o in outcomes if o.error]
            assert broken.planned.request.contract == CONTRACTS[0]
            assert "broke on every attempt" in str(broken.error)
            assert not isinstance(broken.error, SourceUnavailableError), "the source is there"
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[1:3], WEEK[:1])

    run(scenario())


# ---------------------------------------------------------------- 5 half-open


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "freeze", "request": "history", "nth": 2, "lasts": 4000},
        {"fault": "stall", "request": "history", "nth": 2},
        {"fault": "bad_length", "request": "history", "nth": 2},
    ],
    ids=lambda line: line["fault"],
)
def test_mode_05_half_open_peer_is_found_out_by_its_silence(line):
    """No request has timed out yet, by far: silence, then a probe without answer, end the connection."""

    async def scenario() -> None:
        async with scene(line, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert on.client.epoch >= 2

    run(scenario())


def test_mode_05_a_slow_peer_is_not_a_dead_one():
    """Its answer arrives in twenty pieces over five times the silence that is allowed."""

    async def scenario() -> None:
        line = {"fault": "dribble", "request": "history", "delay": 5000}
        async with scene(line, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:3]), CONTRACTS[:3])
            assert on.client.epoch == 1

    run(scenario())


def test_mode_05_a_probe_is_answered_while_a_request_is_late():
    async def scenario() -> None:
        async with scene({"fault": "late", "request": "history", "delay": 4000}, timeouts=WATCHFUL) as on:
            assert_whole(await on.carry_out(CONTRACTS[:1]), CONTRACTS[:1])
            assert on.client.epoch == 1
            assert on.running.counts()["current_time"] >= 2

    run(scenario())


def test_mode_05_what_a_hung_peer_reads_only_when_it_wakes_counts_from_then():
    """Its old connection's bytes are read after ours has been given up; the same request waits 15 s from there."""

    async def scenario() -> None:
        impatient = Timeouts(connect_s=10, history_s=0.3, lookup_s=0.3, probe_s=0.1, idle_s=5.0)
        async with scene(timeouts=impatient, scale=100) as on:
            loop = on.running._loop
            assert loop
            loop.call_soon_threadsafe(machine.sleep, 1.0)
            assert_whole(await on.carry_out(CONTRACTS[:3], WEEK[:1]), CONTRACTS[:3], WEEK[:1])
            assert on.client.epoch >= 2
            assert len(on.asked_at()) > 3, "some were read twice: from the connection given up, and from the new one"

    run(scenario())


# ---------------------------------------------------------------- 6 TWS loses its own link


@pytest.mark.parametrize("restored", ["connectivity_lost_1101", "connectivity_lost_1102"])
def test_mode_06_nothing_is_asked_until_the_link_is_back(restored):
    """1101 (data lost) and 1102 (data kept): what was in flight is sent anew in either case."""

    async def scenario() -> None:
        line = {"fault": restored, "request": "history", "nth": 4, "lasts": 4000}
        async with scene(line, latency_s=400.0) as on:
            assert_whole(await on.carry_out(CONTRACTS[:10]), CONTRACTS[:10])
            lost_at = on.running.gateway.strikes[0].at
            assert [at for at in on.asked_at() if lost_at + 2000 < at < lost_at + 4000] == []
            assert on.running.history_ledger.outcomes()["cancelled"] >= 3, "what was in flight failed at once"
            assert on.client.epoch == 2, "one socket, but a new connection to the market"

    run(scenario())


def test_mode_06_an_outage_beyond_the_budget_ends_the_plan_and_says_that_it_resumes():
    async def scenario() -> None:
        line = {"fault": "connectivity_lost_1101", "request": "history", "lasts": 1e6}
        async with scene(line, policy=RetryPolicy(outage_s=600)) as on:
            outcomes = await on.carry_out(CONTRACTS[:20])
            assert all(isinstance(outcome.error, SourceUnavailableError) for outcome in outcomes)
            assert "the same command resumes where it stopped" in str(outcomes[0].error)
            assert "1100" in str(outcomes[0].error)
            assert len(on.asked_at()) <= 6, "the rest is not even asked"

    run(scenario())


# ---------------------------------------------------------------- 7 one farm is broken


def test_mode_07_a_broken_history_farm_pauses_history_only():
    async def scenario() -> None:
        line = {"fault": "history_farm_broken", "request": "history", "nth": 3, "lasts": WITHOUT_END}
        async with scene(line, in_flight=2, policy=RetryPolicy(outage_s=WITHOUT_END)) as on:
            work = asyncio.create_task(on.carry_out(CONTRACTS[:6]))
            await on.broken_at()
            await on.client.current_time()  # the notice came before this answer, so the client has read it
            assert await on.client.contract_details(CONTRACTS[0]), "contracts are looked up meanwhile"
            n_asked = len(on.asked_at())
            assert n_asked <= 4, "the third, and what was in flight beside it"
            on.mend_farm("history_farm_broken")
            assert_whole(await work, CONTRACTS[:6])
            assert len(on.asked_at()) - n_asked >= 3

    run(scenario())


def test_mode_07_nothing_of_history_is_asked_while_its_farm_is_broken():
    async def scenario() -> None:
        line = {"fault": "history_farm_broken", "request": "history", "nth": 3, "lasts": 8000}
        async with scene(line, in_flight=2) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            broken_at = on.running.gateway.strikes[0].at
            assert len([at for at in on.asked_at() if broken_at + 8000 <= at]) >= 3

    run(scenario())


def test_mode_07_a_broken_contract_farm_pauses_lookups_only():
    async def scenario() -> None:
        line = {"fault": "secdef_farm_broken", "request": "history", "lasts": WITHOUT_END}
        async with scene(line, policy=RetryPolicy(cap_s=30, outage_s=WITHOUT_END)) as on:
            await on.carry_out(CONTRACTS[:1])
            lookup = asyncio.create_task(on.client.contract_details(CONTRACTS[0]))
            assert_whole(await on.carry_out(CONTRACTS[1:6]), CONTRACTS[1:6])  # history does not wait
            assert on.running.counts()["contract_details"] == 0, "nothing was asked in vain"
            on.mend_farm("secdef_farm_broken")
            assert (await lookup)[0].con_id == CONTRACTS[0].con_id

    run(scenario())


@pytest.mark.parametrize("fault", ["farm_asleep", "no_time_zone"])
def test_mode_07_notices_that_mean_nothing_change_nothing(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "every": 1}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])
            assert len(on.asked_at()) == 6

    run(scenario())


def test_mode_07_quotes_are_not_asked_for_so_their_farm_may_break():
    async def scenario() -> None:
        async with scene({"fault": "market_farm_broken", "request": "history", "lasts": 1e5}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())


# ---------------------------------------------------------------- 8 the nightly restart


def test_mode_08_the_nightly_restart_is_waited_out_and_says_until_when(caplog):
    async def scenario() -> None:
        line = {"fault": "restart", "request": "history", "nth": 3, "lasts": 1000}
        policy = RetryPolicy(reset=POLICY.reset, outage_s=1800, attempts=20)
        async with scene(line, start=MIDNIGHT, latency_s=200.0, policy=policy) as on:
            with caplog.at_level(logging.WARNING, "quant_assets.connectors"):
                assert_whole(await on.carry_out(CONTRACTS[:8]), CONTRACTS[:8])
            assert on.client.epoch >= 2

    run(scenario())
    assert caplog.text.count("TWS restarting, retry until 02:00 New York") == 1, "once, though six wait"
    assert caplog.text.count("TWS answers again") == 1


def test_mode_08_a_run_that_starts_during_the_restart_waits_too():
    async def scenario() -> None:
        clock = ScaledClock(SCALE, MIDNIGHT)
        with EmbeddedGateway(MARKET, Rules(), clock) as running:
            running.call(lambda gateway: gateway.close_port())
            client = TwsClient(TwsAddress(port=running.gateway.port), clock, PATIENT, patience=POLICY)
            entering = asyncio.create_task(client.__aenter__())
            await asyncio.sleep(0.2)
            assert not entering.done()
            loop = running._loop
            assert loop
            asyncio.run_coroutine_threadsafe(running.gateway.open_port(), loop).result(2)
            await entering
            assert client.is_connected
            await client.__aexit__()

    run(scenario())


def test_mode_08_outside_the_window_a_missing_tws_is_told_at_once():
    async def scenario() -> None:
        with EmbeddedGateway(MARKET, Rules()) as running:
            port = running.port
        with pytest.raises(SourceUnavailableError, match="Start TWS or IB Gateway"):
            await TwsClient(TwsAddress(port=port), ScaledClock(1, NOW), QUICK, patience=POLICY).__aenter__()

    run(scenario())


def test_mode_08_a_restart_that_ends_the_very_first_greeting_is_waited_out(caplog):
    """Outside the window, too: somebody was there a moment ago."""

    async def scenario() -> None:
        line = {"fault": "restart", "request": "handshake", "lasts": 1000}
        async with scene(line) as on:
            assert on.strikes() == ["restart"]
            assert on.client.is_connected

    with caplog.at_level(logging.WARNING, "quant_assets.connectors"):
        run(scenario())
    assert "is not available" in caplog.text
    assert "retry until" in caplog.text


def test_mode_08_a_tws_that_ends_every_greeting_is_told_with_its_mend():
    async def scenario() -> None:
        with pytest.raises(PortDroppedError, match=r"restart TWS or IB Gateway"):
            async with scene({"fault": "drop", "request": "handshake", "every": 1}):
                pass

    run(scenario())


@pytest.mark.parametrize(("start", "end"), [("23:40", "01:50"), ("00:15", "01:45")])
def test_mode_08_the_window_may_pass_midnight(start, end):
    window = DailyWindow(time.fromisoformat(start), time.fromisoformat(end))
    assert window.contains(MIDNIGHT)
    assert f"{window.next_end(MIDNIGHT).astimezone(UTC):%Y-%m-%d}" == "2024-03-16"
    assert not window.contains(NOW)
    assert not window.contains(datetime(2024, 3, 16, 6, 0, tzinfo=UTC))


NIGHT = date(2024, 3, 15)


def new_york(hour: int, minute: int) -> datetime:
    return datetime.combine(NIGHT, time(hour, minute), NEW_YORK).astimezone(UTC)


QUIET = RetryPolicy(quiet=DailyWindow(time(23, 0), time(23, 50)))


@asynccontextmanager
async def at_night(hour: int, minute: int, budget: PacingBudget) -> AsyncIterator[Scene]:
    """The quiet hours are 23:00 to 23:50; time passes only while the client waits."""
    clock = ManualClock(new_york(hour, minute))
    with EmbeddedGateway(MARKET, Rules(), clock) as running:
        pacer, address = Pacer(budget, clock), TwsAddress(port=running.port)
        async with TwsClient(address, clock, PATIENT, pacer=pacer, patience=QUIET) as client:
            yield Scene(running, client, pacer, QUIET)


def test_mode_08_quiet_hours_that_begin_while_a_request_waits_for_pacing_are_kept_too():
    async def scenario() -> None:
        async with at_night(22, 55, PacingBudget(requests_per_window=1, in_flight=1)) as on:
            assert_whole(await on.carry_out(CONTRACTS[:2]), CONTRACTS[:2])
            asked = [entry.asked_at for entry in on.running.history_ledger.entries]
            assert asked == [new_york(22, 55), new_york(23, 50)]

    run(scenario())


@pytest.mark.parametrize("question", ["bars", "schedule", "head_timestamp", "contract_details"])
def test_mode_08_nothing_is_asked_in_quiet_hours(question):
    async def scenario() -> None:
        async with at_night(23, 20, PacingBudget()) as on:
            (contract,) = CONTRACTS[:1]
            if question == "bars":
                assert_whole(await on.carry_out([contract]), [contract])
            elif question == "schedule":
                assert await on.client.schedule(contract, NOW, 2)
            elif question == "head_timestamp":
                assert await on.client.head_timestamp(contract, "TRADES", use_rth=True)
            else:
                assert await on.client.contract_details(contract)
            assert on.pacer.clock.now() == new_york(23, 50)
            assert {entry.asked_at for entry in on.running.history_ledger.entries} <= {new_york(23, 50)}

    run(scenario())


@pytest.mark.parametrize(("mode", "is_kept"), [("live", True), ("replay", False)])
def test_mode_08_a_replay_says_that_it_keeps_no_quiet_hours(tmp_path, caplog, mode, is_kept):
    tws = {"mode": mode, "quiet_hours": {"start": "23:00", "end": "02:00"}}
    manifest = {"default_profile": "calm", "production_profile": "calm", "tws": tws, "profiles": {"calm": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    gate = TwsGate(Settings.from_env({}, data=tmp_path / "data", configs=tmp_path))
    with caplog.at_level(logging.WARNING):
        assert (gate.policy.quiet is not None) == is_kept
        assert gate.policy.attempts == 5
    said = [one.getMessage() for one in caplog.records]
    told = ["tws.quiet_hours (23:00 to 02:00 New York) are kept in live mode only: a replay disturbs nobody"]
    assert said == ([] if is_kept else told)


# ---------------------------------------------------------------- 9 nobody answers the door


def test_mode_09_a_client_id_in_use_gives_way_to_the_next():
    async def scenario() -> None:
        async with scene({"fault": "client_id_taken", "request": "start_api", "times": 3}) as on:
            assert on.running.call(lambda gateway: gateway.client_ids()) == {43}

    run(scenario())


def test_mode_09_a_whole_range_in_use_is_told_with_its_mend():
    async def scenario() -> None:
        with pytest.raises(ClientIdInUseError, match=r"40 to 47 in use .*Set another tws.client_id"):
            async with scene({"fault": "client_id_taken", "request": "start_api", "every": 1}):
                pass

    run(scenario())


@pytest.mark.parametrize("moment", ["handshake", "start_api"])
def test_mode_09_an_open_port_that_says_nothing_is_told_with_its_mend(moment):
    async def scenario() -> None:
        with pytest.raises(PortSilentError, match=r"restart TWS or IB Gateway.*Sundays, 01:00 New York"):
            async with scene({"fault": "hang", "request": moment, "every": 1}, timeouts=QUICK):
                pass

    run(scenario())


# ---------------------------------------------------------------- 10 an unknown contract, true or false


def test_mode_10_a_false_200_is_not_believed_on_one_connection():
    async def scenario() -> None:
        line = {"fault": "unknown_contract", "request": "history", "symbol": CONTRACTS[1].symbol}
        async with scene(line) as on:
            assert_whole(await on.carry_out(CONTRACTS[:5]), CONTRACTS[:5])
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_a_true_200_is_confirmed_and_the_others_go_on():
    async def scenario() -> None:
        async with scene() as on:
            outcomes = await on.carry_out([STRANGER, *CONTRACTS[:5]])
            denied = [o for o in outcomes if o.error]
            assert [o.planned.request.contract for o in denied] == [STRANGER]
            assert isinstance(denied[0].error, UnknownContractError)
            assert_whole([o for o in outcomes if o.answer], CONTRACTS[:5])
            asked = [e for e in on.running.history_ledger.entries if e.request.contract.symbol == "NOPE"]
            assert len(asked) == 2
            assert on.client.epoch == 2

    run(scenario())


STRANGERS = [Contract(f"NOPE{n}", 900 + n) for n in range(12)]


def test_mode_10_one_other_connection_confirms_all_that_was_denied():
    async def scenario() -> None:
        async with scene() as on:
            told: list[Contract] = []
            found = await on.client.details_of([*STRANGERS, *CONTRACTS[:3]], told.append)
            assert [[one.con_id for one in each] for each in found] == [
                *([] for _ in STRANGERS),
                *([one.con_id] for one in CONTRACTS[:3]),
            ]
            assert sorted(map(str, told)) == sorted(map(str, [*STRANGERS, *CONTRACTS[:3]]))
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_unknown_contracts_of_a_plan_cost_one_reconnection_together():
    async def scenario() -> None:
        async with scene() as on:
            outcomes = await on.carry_out([*STRANGERS, *CONTRACTS[:5]])
            denied = {outcome.planned.request.contract for outcome in outcomes if outcome.error}
            assert denied == set(STRANGERS)
            assert all(isinstance(one.error, UnknownContractError) for one in outcomes if one.error)
            assert_whole([one for one in outcomes if one.answer], CONTRACTS[:5])
            assert on.client.epoch == 2

    run(scenario())


def test_mode_10_around_the_reset_a_200_is_never_believed():
    async def scenario() -> None:
        async with scene(start=MIDNIGHT) as on:
            (outcome,) = await on.carry_out([STRANGER])
            assert isinstance(outcome.error, RetryLater)
            assert not isinstance(outcome.error, UnknownContractError)
            assert "nightly reset" in str(outcome.error)

    run(scenario())


def test_mode_10_lookups_ask_for_a_second_opinion_as_well():
    async def scenario() -> None:
        line = {"fault": "unknown_contract", "request": "contract_details"}
        async with scene(line) as on:
            assert (await on.client.contract_details(CONTRACTS[0]))[0].con_id == CONTRACTS[0].con_id
            with pytest.raises(UnknownContractError, match="Check symbol, exchange and currency"):
                await on.client.contract_details(STRANGER)

    run(scenario())


# ---------------------------------------------------------------- 11 our own mistake


@pytest.mark.parametrize("fault", ["malformed", "bad_request", "bad_end"])
def test_mode_11_a_bad_request_is_final_at_once_and_names_what_is_legal(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history"}) as on:
            (outcome,) = await on.carry_out(CONTRACTS[:1])
            assert isinstance(outcome.error, BadRequestError)
            assert "Legal durations" in str(outcome.error)
            assert len(on.asked_at()) == 1

    run(scenario())


# ---------------------------------------------------------------- 12 slots


@pytest.mark.parametrize("fault", ["too_many_open", "duplicate_id", "no_query"])
def test_mode_12_a_refused_slot_is_asked_for_again(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 2}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())


def test_mode_12_no_more_than_six_are_open_and_each_exit_frees_its_slot():
    async def scenario() -> None:
        async with scene(latency_s=100.0) as on:
            work = asyncio.create_task(on.carry_out(CONTRACTS[:40]))
            most = 0
            while on.running.history_ledger.outcomes()["answered"] < 12 or not on.running.history_ledger.still_open():
                most = max(most, len(on.running.history_ledger.still_open()))
                await asyncio.sleep(0.001)
            assert 2 <= most <= 6
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            while on.running.history_ledger.still_open():  # noqa: ASYNC110 - it is on the gateway's thread
                await asyncio.sleep(0.002)
            assert on.running.history_ledger.outcomes()["cancelled"] >= 1

    run(scenario())


# ---------------------------------------------------------------- 13 entitlements


@pytest.mark.parametrize(
    "line",
    [
        {"fault": "no_permission"},
        {"fault": "other_session"},
        {"fault": "not_subscribed"},
        {"fault": "needs_subscription"},
        {"fault": "competing_session"},
        {"fault": "no_permission", "text": f"{HMDS}Requested market data is not subscribed."},
        {"fault": "not_subscribed", "code": 10090, "text": "Part of requested market data is not subscribed."},
    ],
    ids=lambda line: " ".join(map(str, line.values()))[:30],
)
def test_mode_13_a_missing_permission_is_final_for_its_symbol_only(line):
    async def scenario() -> None:
        everywhere = {"request": "history", "symbol": CONTRACTS[2].symbol, "every": 1}
        async with scene({**line, **everywhere}) as on:
            outcomes = await on.carry_out(CONTRACTS[:6])
            (denied,) = [o for o in outcomes if o.error]
            assert isinstance(denied.error, NoPermissionError)
            assert "Subscribe to streaming level-1 data" in str(denied.error)
            assert denied.planned.request.contract == CONTRACTS[2]
            assert_whole([o for o in outcomes if o.answer], [c for c in CONTRACTS[:6] if c != CONTRACTS[2]])
            assert len(on.asked_at()) == 6, "it is not asked again"

    run(scenario())


# ---------------------------------------------------------------- 14 wrong bytes


@pytest.mark.parametrize("fault", ["bad_bar", "duplicate", "garbage"])
def test_mode_14_bytes_that_are_wrong_never_become_bars(fault):
    async def scenario() -> None:
        async with scene({"fault": fault, "request": "history", "nth": 2, "times": 3}) as on:
            assert_whole(await on.carry_out(CONTRACTS[:6]), CONTRACTS[:6])

    run(scenario())


# ---------------------------------------------------------------- 15 killed, and run again


def test_mode_15_what_a_killed_process_asked_counts_for_the_next(tmp_path: Path):
    """Three pacers, as three processes would have them, on one gateway: together they keep to 60 in ten minutes."""

    async def scenario() -> None:
        clock, journal = ScaledClock(SCALE, NOW), tmp_path / "pacing.jsonl"
        with EmbeddedGateway(MARKET, Rules(), clock) as running:
            for n_contracts, day in ((30, WEEK[0]), (30, WEEK[0]), (20, WEEK[1])):
                pacer = Pacer(PacingBudget(), clock, journal)
                plan = plan_minutes([Need(contract, day) for contract in CONTRACTS[:n_contracts]], HOURS)
                async with TwsClient(TwsAddress(port=running.port), clock, PATIENT, pacer=pacer) as client:
                    outcomes = [o async for o in fetch_all(client, pacer, plan, POLICY)]
                assert all(outcome.answer for outcome in outcomes)
                with journal.open("a") as torn:
                    torn.write('{"asked": "torn by a cra')
            assert running.history_ledger.breaches() == []
            asked = [entry.at for entry in running.history_ledger.entries]
            assert len(asked) == 80
            assert asked[-1] - asked[0] >= 590, "the eightieth had to wait for the window"

    run(scenario())


def test_mode_15_the_journal_forgets_what_is_over(tmp_path: Path):
    """It is rewritten once it has grown, also under a process that has it open, and nothing recent is lost."""
    clock, path = ScaledClock(100, NOW), tmp_path / "pacing.jsonl"
    old = PacingJournal(path, ManualClock(NOW - timedelta(days=1)), 600)
    for number in range(2000):
        old.ended(old.asked(f"old {number}", "group", 1))
    first, second = PacingJournal(path, clock, 600), PacingJournal(path, clock, 600)
    first.ended(first.asked("one", "group", 1))
    assert [past.identity for past in second.news()[0]] == ["one"]
    assert path.stat().st_size < 1000
    first.news()
    first.ended(first.asked("two", "group", 1))
    assert [past.identity for past in second.news()[0]] == ["two"]


def test_mode_15_a_pause_outlives_the_process_that_was_refused(tmp_path: Path):
    clock, journal = ManualClock(NOW), tmp_path / "pacing.jsonl"
    refused = Pacer(PacingBudget(), clock, journal)
    assert refused.refused() == 15
    clock.advance(4)
    heir = Pacer(PacingBudget(), clock, journal)

    async def wait() -> None:
        async with heir.slot(Paced("this", "group")):
            pass

    asyncio.run(wait())
    assert clock.slept == [11]
    assert heir.share < 0.6


def test_mode_15_a_request_without_an_end_counts_too(tmp_path: Path):
    clock, journal = ManualClock(NOW), tmp_path / "pacing.jsonl"
    request = plan_minutes([Need(CONTRACTS[0], WEEK[0])], HOURS)[0].request

    async def scenario() -> None:
        killed = Pacer(PacingBudget(), clock, journal).slot(request)
        await killed.__aenter__()
        clock.advance(4)
        async with Pacer(PacingBudget(), clock, journal).slot(request):
            assert clock.slept == [15], "TWS may have seen it as late as this very moment"

    run(scenario())


def test_a_link_error_names_address_and_mend():
    assert "the same command resumes" in str(LinkDownError("127.0.0.1:7497", "gone"))
