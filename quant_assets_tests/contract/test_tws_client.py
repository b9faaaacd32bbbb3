"""The TWS client against the replay gateway on loopback: the product's own wire, its rules, and its faults."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.clock import Clock, ScaledClock, SystemClock
from quant_assets.connectors.base import BarRequest, Contract, ScanRequest
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
    plan_daily,
    plan_minutes,
)
from quant_assets.connectors.tws.failures import (
    ClientIdInUseError,
    LinkDownError,
    TooManyOpenError,
)
from quant_assets.errors import (
    BadRequestError,
    NoPermissionError,
    SourceTimeoutError,
    UnknownContractError,
)
from quant_assets.gateway.accounts import Portfolio
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.faults import NO_FAULTS, Fault, FaultPlan, ScriptedFaults, Strike
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.synthetic import SyntheticMarket

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
WEEK = [date(2024, 3, day) for day in (11, 12, 13, 14, 15)]
HOURS = {
    day: (datetime(2024, 3, day.day, 13, 30, tzinfo=UTC), datetime(2024, 3, day.day, 20, tzinfo=UTC)) for day in WEEK
}
QUICK = Timeouts(connect_s=2, history_s=0.4, lookup_s=2, probe_s=0.4)
PATIENT = Timeouts(connect_s=5, history_s=20, lookup_s=20, probe_s=5)
POLICY = RetryPolicy(attempts=5, base_s=0.01, cap_s=0.05, outage_s=5.0)


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(seed=7)


@pytest.fixture(scope="module")
def contracts(market: SyntheticMarket) -> list[Contract]:
    at_home = [found for found in market.instruments(NOW) if (found.sec_type, found.currency) == ("STK", "USD")]
    return [Contract(found.symbol, found.con_id) for found in at_home]


@contextmanager
def gateway(
    market: SyntheticMarket,
    rules: Rules | None = None,
    *,
    clock: Clock | None = None,
    faults: FaultPlan = NO_FAULTS,
    latency_s: float = 0.0,
) -> Iterator[EmbeddedGateway]:
    clock = clock or ScaledClock(1, NOW)
    with EmbeddedGateway(market, rules or Rules.off(), clock, faults=faults, latency_s=latency_s) as running:
        yield running


@asynccontextmanager
async def client_of(
    running: EmbeddedGateway, timeouts: Timeouts = PATIENT, clock: Clock | None = None
) -> AsyncIterator[TwsClient]:
    async with TwsClient(TwsAddress(port=running.port), clock or SystemClock(), timeouts) as client:
        yield client


def on(symbol: str, fault: Fault, *, times: int | None = 1, skip: int = 0) -> ScriptedFaults:
    return ScriptedFaults([Strike("history", fault, symbol=symbol, times=times, skip=skip)])


def a_day(contract: Contract, day: date = WEEK[3]) -> BarRequest:
    return BarRequest(contract, HOURS[day][1], "1 D")


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is on the gateway's thread
        await asyncio.sleep(0.005)


def served(market: SyntheticMarket, contract: Contract, days: Sequence[date], what: str = "TRADES") -> pl.DataFrame:
    """What the gateway's market holds for those sessions, with "not available" as null."""
    instrument = market.find(NOW, con_id=contract.con_id)
    assert instrument
    frame = market.minute_bars(instrument, HOURS[days[0]][0], HOURS[days[-1]][1], what, NOW)
    unmarked = [pl.when(pl.col(name) != -1).then(pl.col(name)).alias(name) for name in ("volume", "wap", "bar_count")]
    return frame.with_columns(unmarked)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("what", ["TRADES", "MIDPOINT"])
def test_minute_bars_arrive_as_they_are_served(market, contracts, what):
    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running) as client:
                request = BarRequest(contracts[0], HOURS[WEEK[3]][1], "3 D", what_to_show=what)
                answer = await client.bars(request)
        assert_frame_equal(answer.bars, served(market, contracts[0], WEEK[1:4], what))
        assert answer.bars.height == 3 * 390

    asyncio.run(scenario())


def test_daily_bars_of_both_series(market, contracts):
    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running) as client:
                trades, adjusted = [(await client.bars(p.request)).bars for p in plan_daily(contracts[:1], 5)]
        minutes = served(market, contracts[0], WEEK)
        by_session = minutes.group_by(pl.col("ts").dt.date().alias("session"), maintain_order=True).agg(
            pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
        )
        assert_frame_equal(trades.select("session", "open", "high", "low", "close"), by_session)
        assert adjusted["session"].to_list() == WEEK

    asyncio.run(scenario())


def test_details_schedule_head_scan_and_time(market, contracts):
    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running) as client:
                (details,) = await client.contract_details(Contract(contracts[0].symbol))
                schedule = await client.schedule(contracts[0], NOW, 5)
                head = await client.head_timestamp(contracts[0], "TRADES", use_rth=True)
                scanned = await client.scan(ScanRequest("MOST_ACTIVE", n_rows=7))
                now = await client.current_time()
            await until(lambda: not running.history_ledger.still_open())
            assert set(running.counts()) <= {
                "handshake",
                "start_api",
                "contract_details",
                "history",
                "head_timestamp",
                "scanner",
                "current_time",
                "cancel",
            }, "nothing about accounts, positions or orders is asked"
        assert (details.con_id, details.currency, details.timezone) == (contracts[0].con_id, "USD", "US/Eastern")
        assert details.ids.startswith("ISIN=")
        assert {hours.session: (hours.opens_at, hours.closes_at) for hours in schedule} == HOURS
        assert head < HOURS[WEEK[0]][0]
        assert [row.rank for row in scanned] == list(range(7))
        assert abs((now - NOW).total_seconds()) < 60

    asyncio.run(scenario())


# ---------------------------------------------------------------- refusals


ELSEWHERE = {
    ("IDEALPRO", "EUR.USD", "CASH", "USD"): ("MIDPOINT", "20240314-21:15:00", "US/Eastern"),
    ("PAXOS", "BTC.USD", "CRYPTO", "USD"): ("AGGTRADES", "20240314-00:00:00", "UTC"),
    ("LSE", "QLNA", "STK", "GBP"): ("TRADES", "20240315-08:00:00", "GB-Eire"),
    ("TSEJ", "QTKA", "STK", "JPY"): ("TRADES", "20240315-00:00:00", "Japan"),
}

PAUSES = {"TSEJ": (datetime(2024, 3, 15, 2, 30, tzinfo=UTC), datetime(2024, 3, 15, 3, 30, tzinfo=UTC))}
"""11:30 to 12:30 in Tokyo."""


def test_regular_hours_of_a_future_are_its_daytime_and_of_a_pair_its_whole_trade_date(market):
    """Winter in Chicago: 08:30 to 16:00 is 14:30 to 22:00 UTC. Only whole sessions are those of the bars."""
    now = datetime(2026, 11, 13, 23, 30, tzinfo=UTC)

    async def asked():
        with gateway(market, clock=ScaledClock(1, now)) as running:
            async with client_of(running) as client:
                found = []
                for terms in (("CME", "QESZ6", "FUT", "USD"), ("IDEALPRO", "EUR.USD", "CASH", "USD")):
                    (details,) = await client.contract_details(Contract.listed(*terms))
                    named = Contract.listed(*terms, con_id=details.con_id)
                    found.append(details.liquid_hours.split(";")[0])
                    for use_rth in (True, False):
                        (one,) = await client.schedule(named, now, 1, use_rth=use_rth)
                        found.append(f"{one.session} {one.opens_at:%m-%d %H:%M} {one.closes_at:%m-%d %H:%M}")
                return found

    assert asyncio.run(asked()) == [
        "20261116:0830-20261116:1600",
        "2026-11-13 11-13 14:30 11-13 22:00",
        "2026-11-13 11-12 23:00 11-13 22:00",
        "20261115:1715-20261116:1700",
        *["2026-11-13 11-12 22:15 11-13 22:00"] * 2,
    ]


@pytest.mark.parametrize("terms", ELSEWHERE, ids=lambda terms: terms[1])
def test_what_trades_elsewhere_is_found_and_served_in_its_own_session(market, terms):
    what, opens, zone = ELSEWHERE[terms]

    async def asked():
        with gateway(market) as running:
            async with client_of(running) as client:
                contract = Contract.listed(*terms)
                (details,) = await client.contract_details(contract)
                named = Contract.listed(*terms, con_id=details.con_id)
                until = NOW.replace(hour=0) if terms[2] == "CRYPTO" else NOW  # the coins' Friday is not over
                (hours,) = await client.schedule(named, until, 1, use_rth=False)
                answer = await client.bars(BarRequest(named, hours.closes_at, "1 D", what_to_show=what, use_rth=False))
                return details, hours, answer.bars

    details, hours, bars = asyncio.run(asked())
    assert (details.symbol, details.asset_class, details.timezone) == (terms[1], terms[2], zone)
    day = date(2024, 3, 14 if terms[2] == "CRYPTO" else 15)
    assert (hours.session, f"{hours.opens_at:%Y%m%d-%H:%M:%S}") == (day, opens)
    assert (bars["ts"][0], bars.height) == (hours.opens_at, hours.hours.n_minutes)
    assert bars["ts"][-1] == hours.closes_at - timedelta(minutes=1)
    assert (hours.pauses_at, hours.resumes_at) == PAUSES.get(terms[0], (None, None))
    assert bars["volume"].null_count() == (bars.height if what == "MIDPOINT" else 0)


def test_series_that_tws_does_not_have_bring_its_own_words(market):
    async def asked():
        with gateway(market) as running:
            async with client_of(running) as client:
                found = []
                for terms in ELSEWHERE:
                    (details,) = await client.contract_details(Contract.listed(*terms))
                    contract = Contract.listed(*terms, con_id=details.con_id)
                    wrong = "AGGTRADES" if details.asset_class == "STK" else "TRADES"
                    request = BarRequest(contract, NOW, "1 D", what_to_show=wrong)
                    if details.asset_class == "CRYPTO":
                        with pytest.raises(BadRequestError) as refused:
                            await client.bars(request)
                        found.append(str(refused.value))
                    else:
                        answer = await client.bars(request)
                        assert answer.bars.is_empty()
                        found.append(answer.no_data_text)
                return found

    pair, coin, stock, abroad = asyncio.run(asked())
    assert "No historical market data for EUR/CASH@IDEALPRO Trades" in pair
    assert "Expected what to show is AGGTRADES" in coin
    assert "No historical market data for QLNA/STK@SMART Aggtrades" in stock
    assert "No historical market data for QTKA/STK@SMART Aggtrades" in abroad


def test_what_accounts_hold_goes_by_an_alias(market):
    async def asked(portfolio):
        with (
            EmbeddedGateway(
                market, Rules.off(), ScaledClock(1, NOW), portfolio=portfolio, accounts="DU1111111,DU2222222"
            ) as running,
        ):
            async with client_of(running) as client:
                first = await client.holdings(lambda account: f"alias-{account[-1]}")
                again = await client.holdings(lambda account: f"alias-{account[-1]}")
                return first, again

    held = {"DU2222222": {"NYSE:QFID": 10.0, "LSE:QLNA": -5.0}, "DU1111111": {"EUR.USD": 1000.0}}
    first, again = asyncio.run(asked(Portfolio(held)))
    assert first == again
    assert [(one.account, one.contract.symbol, one.quantity, one.contract.currency) for one in first.positions] == [
        ("alias-1", "EUR.USD", 1000.0, "USD"),
        ("alias-2", "QFID", 10.0, "USD"),
        ("alias-2", "QLNA", -5.0, "GBP"),
    ]
    cash = 100_000
    worth = {"alias-1": cash, "alias-2": cash}
    for one in first.positions:
        worth[one.account] += one.market_value
    assert {one.alias: round(one.net_liquidation, 2) for one in first.accounts} == {
        alias: round(value, 2) for alias, value in worth.items()
    }
    assert {one.currency for one in first.accounts} == {"USD"}

    nothing, _ = asyncio.run(asked(Portfolio({"DU1111111": {}, "DU2222222": {}})))
    assert (len(nothing.accounts), nothing.positions) == (2, [])


def test_no_data_is_an_answer_and_an_unknown_contract_is_not(market, contracts):
    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running) as client:
                long_ago = BarRequest(contracts[0], datetime(1975, 1, 2, tzinfo=UTC), "1 D")
                answer = await client.bars(long_ago)
                with pytest.raises(UnknownContractError):
                    await client.contract_details(Contract("NOPE"))
                with pytest.raises(UnknownContractError):
                    await client.bars(a_day(Contract("NOPE")))
        assert answer.bars.is_empty()
        assert "no data" in answer.no_data_text

    asyncio.run(scenario())


def test_a_malformed_request_is_refused_at_once(market, contracts):
    """One of the two libraries takes 321 for a warning and waits out its timeout, which would be told as one."""

    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running) as client:
                with pytest.raises(BadRequestError, match="Legal durations"):
                    await client.bars(BarRequest(contracts[0], NOW, "400 D"))
                with pytest.raises(BadRequestError, match="ADJUSTED_LAST takes no end"):
                    await client.bars(BarRequest(contracts[0], NOW, "1 D", "1 day", "ADJUSTED_LAST"))

    asyncio.run(scenario())


def test_the_51st_open_request_is_refused_and_the_fifty_are_answered(market, contracts):
    async def scenario() -> None:
        with gateway(
            market, Rules(burst=None, identical_s=None, window=None, messages_a_second=None), latency_s=0.3
        ) as running:
            async with client_of(running) as client:
                requests = [a_day(contract, day) for day in WEEK[:2] for contract in contracts][:51]
                results = await asyncio.gather(*map(client.bars, requests), return_exceptions=True)
        assert [type(r) for r in results if isinstance(r, Exception)] == [TooManyOpenError]

    asyncio.run(scenario())


def test_entitlements_are_permanent_and_say_what_to_subscribe(market, contracts):
    async def scenario() -> None:
        fault = Fault(
            "error", 162, "Historical Market Data Service error message:No market data permissions for NYSE STK"
        )
        with gateway(market, faults=on(contracts[0].symbol, fault, times=None)) as running:
            async with client_of(running) as client:
                with pytest.raises(NoPermissionError, match="Subscribe to streaming level-1 data"):
                    await client.bars(a_day(contracts[0]))
                assert (await client.bars(a_day(contracts[1]))).bars.height == 390

    asyncio.run(scenario())


# ---------------------------------------------------------------- silence and loss


def test_a_timeout_frees_the_servers_slot(market, contracts):
    async def scenario() -> None:
        with gateway(market, faults=on(contracts[0].symbol, Fault("hang"))) as running:
            async with client_of(running, QUICK) as client:
                with pytest.raises(SourceTimeoutError):
                    await client.bars(a_day(contracts[0]))
                assert client.is_connected
                await until(lambda: not running.history_ledger.still_open())
                assert running.history_ledger.outcomes() == {"cancelled": 1}
                assert (await client.bars(a_day(contracts[0]))).bars.height == 390

    asyncio.run(scenario())


def test_a_frozen_gateway_is_dropped_and_reached_again(market, contracts):
    async def scenario() -> None:
        with gateway(market) as running:
            async with client_of(running, QUICK) as client:
                running.call(lambda g: g.freeze())
                with pytest.raises(SourceTimeoutError):
                    await client.bars(a_day(contracts[0]))
                assert not client.is_connected
                running.call(lambda g: g.freeze(frozen=False))
                await client.ensure_ready()
                assert (await client.bars(a_day(contracts[0]))).bars.height == 390
                assert client.epoch == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["kick", "reset", "1100"])
def test_a_loss_in_flight_is_told_at_once(market, contracts, how):
    break_it = {
        "kick": lambda g: g.kick(),
        "reset": lambda g: g.kick(abort=True),
        "1100": lambda g: g.broadcast(1100, "Connectivity between IB and TWS has been lost."),
    }

    async def scenario() -> None:
        with gateway(market, faults=on(contracts[0].symbol, Fault("hang"))) as running:
            async with client_of(running) as client:
                task = asyncio.create_task(client.bars(a_day(contracts[0])))
                await until(lambda: running.counts()["history"])
                running.call(break_it[how])
                with pytest.raises(LinkDownError):
                    await task
            await until(lambda: not running.history_ledger.still_open())

    asyncio.run(scenario())


def test_a_second_client_takes_the_next_id(market):
    async def scenario() -> None:
        with gateway(market) as running:
            address = TwsAddress(port=running.port, client_id=7, n_client_ids=2)
            async with TwsClient(address, SystemClock(), PATIENT), TwsClient(address, SystemClock(), PATIENT):
                assert running.call(lambda g: g.client_ids()) == {7, 8}
                with pytest.raises(ClientIdInUseError, match="7 to 8"):
                    await TwsClient(address, SystemClock(), PATIENT).connect()

    asyncio.run(scenario())


# ---------------------------------------------------------------- whole plans


async def carried_out(running: EmbeddedGateway, plan, clock: Clock, timeouts: Timeouts) -> list[Outcome]:
    pacer = Pacer(PacingBudget(), clock)
    async with TwsClient(TwsAddress(port=running.port), clock, timeouts, pacer=pacer) as client:
        return [outcome async for outcome in fetch_all(client, pacer, plan, POLICY)]


def test_a_plan_of_three_windows_breaks_no_rule(market, contracts):
    """Twenty minutes of pacing on a clock that runs 1200 times as fast; the gateway's ledger is the judge."""
    needs = [Need(contract, day) for contract in contracts[:28] for day in WEEK]

    async def scenario() -> None:
        clock = ScaledClock(1200, NOW)
        with gateway(market, Rules(), clock=clock, latency_s=0.5) as running:
            plan = plan_minutes(needs, HOURS, "1 D")
            outcomes = await carried_out(running, plan, clock, PATIENT)
            assert running.history_ledger.breaches() == []
            assert running.history_ledger.outcomes() == {"answered": 140}
        assert {Need(o.planned.request.contract, s) for o in outcomes if o.answer for s in o.planned.sessions} == set(
            needs
        )
        held = sum(served(market, contract, WEEK).height for contract in contracts[:28])
        assert sum(outcome.answer.bars.height for outcome in outcomes if outcome.answer) == held

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", 162, "Historical Market Data Service error message:Query failed"),
        Fault("error", 162, "Historical Market Data Service error message:Time length exceed max."),
        Fault("error", 322, "Error processing request.-'bS' : cause - Duplicate ticker id"),
        Fault("error", 366, "No historical data query found for ticker id"),
        Fault("hang"),
        Fault("drop"),
        Fault("half"),
        Fault("notice", 2174, "You submitted request with date-time attributes without explicit time zone."),
    ],
    ids=lambda fault: f"{fault.action} {fault.code or ''}",
)
def test_a_plan_survives_what_passes(market, contracts, fault):
    """Whatever strikes the second request, in the end every bar that the market holds has arrived, once."""
    needs = [Need(contract, day) for contract in contracts[:3] for day in WEEK]

    async def scenario() -> None:
        clock = ScaledClock(200, NOW)
        faults = ScriptedFaults([Strike("history", fault, skip=1, times=1)])
        with gateway(market, clock=clock, faults=faults) as running:
            outcomes = await carried_out(running, plan_minutes(needs, HOURS), clock, QUICK)
            await until(lambda: not running.history_ledger.still_open())
        assert len(faults.fired) == 1
        for contract in contracts[:3]:
            frames = [o.answer.bars for o in outcomes if o.answer and o.planned.request.contract == contract]
            assert_frame_equal(pl.concat(frames).sort("ts"), served(market, contract, WEEK))

    asyncio.run(scenario())


def test_an_outage_in_the_middle_of_a_plan_is_waited_out(market, contracts):
    needs = [Need(contract, day) for contract in contracts[:10] for day in WEEK]

    async def scenario() -> None:
        clock = ScaledClock(100, NOW)
        with gateway(market, clock=clock, latency_s=1.0) as running:

            async def outage() -> None:
                await until(lambda: running.counts()["history"] >= 3)
                running.call(lambda g: g.broadcast(1100, "Connectivity between IB and TWS has been lost."))
                await asyncio.sleep(0.02)
                running.call(lambda g: g.broadcast(1102, "Connectivity between IB and TWS has been restored."))

            outcomes, _ = await asyncio.gather(
                carried_out(running, plan_minutes(needs, HOURS), clock, PATIENT), outage()
            )
            got = {o.planned.request.contract: o.answer.bars.height for o in outcomes if o.answer}
            assert got == {contract: served(market, contract, WEEK).height for contract in contracts[:10]}
            assert running.history_ledger.outcomes()["cancelled"] >= 1

    asyncio.run(scenario())
