"""Pausing over the wire: nothing is asked while a pause stands, what was in flight is kept, and then it goes on."""

import asyncio
import json
import threading
import time
from datetime import date

import pytest
from click.testing import CliRunner

from quant_assets.cli.pause import state_of
from quant_assets.clock import ManualClock
from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws import (
    Need,
    Outcome,
    Pacer,
    PacingBudget,
    RetryPolicy,
    TwsAddress,
    TwsClient,
    fetch_all,
    plan_minutes,
)
from quant_assets.control.audit import verify
from quant_assets.control.pausing import Turnstile, control_path, read_control, write_control
from quant_assets.control.status import Status, read_status, status_path, write_status
from quant_assets.errors import CorruptFileError
from quant_assets.gateway.embedded import EmbeddedGateway
from quant_assets.gateway.rules import Rules
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import Lab, after, flow, market, window

SESSIONS = window(date(2024, 3, 14), 3)


def wait_for(condition):
    while not (found := condition()):
        time.sleep(0.02)
    return found


def test_an_ingestion_is_held_between_two_requests_and_goes_on(tmp_path):
    lab = Lab(tmp_path, tws={"max_in_flight": 1})
    lakehouse = lab.lake.layout.lakehouse
    write_control("ingestion", lakehouse, "pause", reason="the line is needed")
    results = []
    with lab.at(after(SESSIONS[-1])) as work:
        runs = threading.Thread(target=lambda: results.append(flow(work, SESSIONS)))
        runs.start()
        paused = wait_for(lambda: (s := read_status("ingestion", lakehouse)) and s.paused_since and s)
        asked = work.gate.requests_served()
        time.sleep(1.0)
        assert work.gate.requests_served() == asked == 0, "nothing is asked while the pause stands"
        assert not results
        assert (paused.phase, paused.can_resume) == ("ingestion", True)
        assert paused.candidate_count == len(lab.symbols), "the first that is asked is who all of them are"
        told = state_of(work, "ingestion")
        assert (told["is_running"], told["is_complete"]) == (True, False)
        assert told["candidate_count"] == len(lab.symbols)
        assert told["paused_since"] == paused.paused_since

        write_control("ingestion", lakehouse, "resume")
        wait_for(lambda: work.gate.requests_served() >= 2)
        write_control("ingestion", lakehouse, "pause")
        wait_for(lambda: (s := read_status("ingestion", lakehouse)) and s.paused_since)
        held_at = work.gate.requests_served()
        time.sleep(0.7)
        assert work.gate.requests_served() == held_at
        write_control("ingestion", lakehouse, "resume")
        runs.join(60)
    assert results
    assert all(one.is_committed for one in results[0])
    status = read_status("ingestion", lakehouse)
    assert status
    assert status.is_complete
    assert status.paused_since is None
    assert status.candidate_count == len(lab.symbols), "minutes are asked of every one"

    undisturbed = Lab(tmp_path / "undisturbed")
    undisturbed.run(SESSIONS)
    assert lab.content() == undisturbed.content()

    path = lab.lake.layout.audit
    events = [json.loads(line) for line in path.read_text().splitlines()]
    told = [(e["event"], e.get("detail")) for e in events if e["event"].startswith("ingestion_")]
    assert [event for event, _ in told] == ["ingestion_paused", "ingestion_resumed"] * 2
    assert told[0][1] == "the line is needed"
    assert verify(path) == []


def test_a_pause_leaves_what_the_status_says_of_the_run(tmp_path):
    async def paused_and_resumed() -> tuple[Status | None, Status | None]:
        turnstile = Turnstile("ingestion", tmp_path)
        turnstile.lock_id = "mine"
        write_control("ingestion", tmp_path, "pause")
        waiting = asyncio.create_task(turnstile())
        await asyncio.sleep(0.05)
        during = read_status("ingestion", tmp_path)
        write_control("ingestion", tmp_path, "resume")
        await asyncio.wait_for(waiting, 10)
        return during, read_status("ingestion", tmp_path)

    def said(status: Status | None) -> tuple[object, ...]:
        assert status
        return status.phase, status.health_check, status.candidate_count, status.lock_id, status.can_resume

    own = {"health_check": "warn", "candidate_count": 6, "can_resume": True}
    write_status("ingestion", tmp_path, "verification", lock_id="mine", **own)
    assert [said(one) for one in asyncio.run(paused_and_resumed())] == [("verification", "warn", 6, "mine", True)] * 2
    write_status("ingestion", tmp_path, "complete", lock_id="of a run before", **own)
    assert [said(one) for one in asyncio.run(paused_and_resumed())] == [("ingestion", "unknown", 0, "mine", True)] * 2
    status_path("ingestion", tmp_path).write_text("{")
    assert [said(one) for one in asyncio.run(paused_and_resumed())] == [("ingestion", "unknown", 0, "mine", True)] * 2


class StandingClock(ManualClock):
    """Time passes when it is told to, and not by waiting for it."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.01)


def test_a_pause_is_obeyed_and_acknowledged_by_requests_that_wait_for_pacing(tmp_path):
    """The budget is three requests, and six are to be sent; the pause is asked for when three wait for the budget."""
    contracts = [Contract(one.symbol, one.con_id) for one in market().instruments(after(SESSIONS[-1]))[:6]]
    hours = {day: CALENDAR.hours(day).row for day in SESSIONS}
    plan = plan_minutes([Need(contract, SESSIONS[-1]) for contract in contracts], hours)
    clock = StandingClock(after(SESSIONS[-1]))

    async def until(condition) -> None:
        while not condition():  # noqa: ASYNC110 - it is on other threads, and in files
            await asyncio.sleep(0.01)

    def is_paused() -> bool:
        status = read_status("ingestion", tmp_path)
        return status is not None and status.paused_since == clock.now()

    async def scenario(running: EmbeddedGateway) -> None:
        pacer = Pacer(PacingBudget(requests_per_window=3), clock, turnstile=Turnstile("ingestion", tmp_path, clock))
        outcomes: list[Outcome] = []

        async def ask(client: TwsClient) -> None:
            async for outcome in fetch_all(client, pacer, plan, RetryPolicy()):
                outcomes.append(outcome)  # noqa: PERF401 - the others look at it meanwhile

        async with asyncio.timeout(60), TwsClient(TwsAddress(port=running.port), clock, pacer=pacer) as client:
            asking = asyncio.create_task(ask(client))
            await until(lambda: len(outcomes) == 3)
            write_control("ingestion", tmp_path, "pause", clock=clock)
            await until(is_paused)
            clock.advance(3600)
            await asyncio.sleep(0.7)
            assert running.data_requests() == 3, "the budget is free again, and the pause stands"
            write_control("ingestion", tmp_path, "resume", clock=clock)
            await asking
        assert [outcome.error for outcome in outcomes] == [None] * 6
        status = read_status("ingestion", tmp_path)
        assert status
        assert status.paused_since is None

    with EmbeddedGateway(market, Rules(), clock) as running:
        asyncio.run(scenario(running))
        assert running.data_requests() == 6
        assert running.history_ledger.breaches() == []


def test_the_commands_write_the_request_and_say_what_runs(tmp_path, monkeypatch):
    from quant_assets.cli.pause import pause, resume
    from quant_assets.cli.status import status

    lab = Lab(tmp_path)
    settings = lab.settings()
    monkeypatch.setenv("QUANT_DATA", str(settings.data))
    monkeypatch.setenv("QUANT_CONFIGS", str(settings.configs))
    result = CliRunner().invoke(pause, ["--reason", "quiet please"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "the next run waits before its first request" in result.output
    wish = read_control("ingestion", lab.lake.layout.lakehouse)
    assert wish
    assert (wish.request, wish.reason) == ("pause", "quiet please")
    standing = f"a pause of the ingestion stands since {wish.requested_at:%Y-%m-%d %H:%M} UTC (quiet please); the next run waits"
    assert standing in CliRunner().invoke(status, catch_exceptions=False).output
    asked = json.loads(CliRunner().invoke(status, ["--json"], catch_exceptions=False).stdout)["ingestion"]
    assert (asked["paused_since"], asked["asked_at"], asked["reason"]) == (None, str(wish.requested_at), "quiet please")
    result = CliRunner().invoke(resume, ["--json"], catch_exceptions=False)
    told = json.loads(result.output)
    assert (told["is_running"], told["asked"]) == (False, "resume")
    assert "a pause" not in CliRunner().invoke(status, catch_exceptions=False).output
    assert "the next run does not wait" in CliRunner().invoke(resume, catch_exceptions=False).output
    assert read_control("ingestion", lab.lake.layout.lakehouse).request == "resume"  # type: ignore[union-attr]
    assert CliRunner().invoke(pause, ["nonsense"]).exit_code == 2


@pytest.mark.parametrize("text", ["", "{}", '{"request": "stop", "requested_at": "2026-01-01T00:00:00Z"}', "[1]"])
def test_a_broken_control_file_is_named_and_not_guessed_at(tmp_path, text):
    control_path("ingestion", tmp_path).write_text(text)
    with pytest.raises(CorruptFileError, match="quant resume ingestion"):
        asyncio.run(Turnstile("ingestion", tmp_path)())
