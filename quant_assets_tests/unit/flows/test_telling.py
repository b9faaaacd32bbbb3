"""What anyone who tails the audit log learns of an ingestion: how far it is, and how long the rest takes."""

import asyncio
from datetime import UTC, date, datetime

import pytest

from quant_assets.clock import ManualClock, ScaledClock
from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws import PlannedRequest
from quant_assets.connectors.tws.pacing import Pacer, PacingBudget
from quant_assets.control.audit import read, verify
from quant_assets.flows.ingest.telling import Teller
from quant_assets.flows.work import Work
from quant_assets_tests.unit.flows.lab import Lab, after, flow, window

START = datetime(2024, 3, 15, 2, tzinfo=UTC)
SESSIONS = window(date(2024, 3, 14), 2)


def planned(con_id: int) -> PlannedRequest:
    request = BarRequest(Contract(f"S{con_id}", con_id), START, "1 D")
    return PlannedRequest(request, (date(2024, 3, 14),))


def told(work: Work, event: str = "ingest_minutes") -> list[tuple[object, ...]]:
    lines = [line for line in read(work.layout.audit) if line["event"] == event]
    return [(one["status"], *one["progress"].values()) for one in lines]


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def work(tmp_path, clock):
    with Lab(tmp_path).at(START) as opened:
        yield Work(opened.settings, opened.gate, run_id="r1", clock=clock)


def carry_out(teller: Teller, pacer: Pacer, plan: list[PlannedRequest]) -> None:
    async def ask() -> None:
        with teller.round(plan) as agenda:
            for one in agenda:
                async with pacer.slot(one.request):
                    pass
                teller.answered(one.request.contract.symbol)

    asyncio.run(ask())


def test_there_is_a_line_at_the_start_and_the_end_and_every_few_seconds_between(work, clock):
    """Four fit into a window of 100 s. The fifth waits 100 s, the ninth 200 s; ten take 200 s in all."""
    pacer = Pacer(PacingBudget(requests_per_window=4, window_s=100, messages_per_s=1000), clock)
    teller = Teller(work, "ingest_minutes", "raw_tws_bars", 10)
    teller.start(pacer)
    carry_out(teller, pacer, [planned(con_id) for con_id in range(10)])
    teller.done(3900)
    assert told(work) == [
        ("started", 0, 10, 0.0, 200.0),
        ("running", 5, 10, 50.0, 100.0),
        ("running", 9, 10, 90.0, 0.0),
        ("done", 10, 10, 100.0, 0.0),
    ]
    assert verify(work.layout.audit) == []


def test_the_rate_is_bounded_however_fast_the_answers_come(work, clock):
    pacer = Pacer(PacingBudget(enforced=False), clock)
    teller = Teller(work, "ingest_minutes", "raw_tws_bars", 1000)
    teller.start(pacer)
    with teller.round([planned(con_id) for con_id in range(1000)]) as agenda:
        for _ in agenda:
            clock.advance(0.25)
            teller.answered("")
    teller.done(0)
    assert len(told(work)) == 1 + 250 // 5 + 1


def test_a_later_round_is_counted_from_the_start_and_doubts_come_on_top(work, clock):
    """Two overlaps, then three windows; one of them has to be asked again. One request in 100 s."""
    pacer = Pacer(PacingBudget(requests_per_window=1, window_s=100), clock)
    teller = Teller(work, "ingest_daily", "raw_tws_daily_bars", 5)
    teller.start(pacer)
    for plan in ([1, 2], [3, 4, 5], [6]):
        carry_out(teller, pacer, [planned(con_id) for con_id in plan])
    teller.done(0)
    assert told(work, "ingest_daily") == [
        ("started", 0, 5, 0.0, 400.0),
        ("running", 2, 5, 40.0, 300.0),
        ("running", 3, 5, 60.0, 200.0),
        ("running", 4, 5, 80.0, 100.0),
        ("running", 5, 5, 100.0, 0.0),
        ("running", 6, 6, 100.0, 0.0),
        ("done", 6, 6, 100.0, 0.0),
    ]


def test_what_is_given_up_is_neither_taken_nor_waited_for(work, clock):
    """Six requests, one in 100 s; after the second the even ones are given up, of which two are left."""
    pacer = Pacer(PacingBudget(requests_per_window=1, window_s=100), clock)
    teller = Teller(work, "ingest_minutes", "raw_tws_bars", 6)
    teller.start(pacer)
    asked = []
    with teller.round([planned(con_id) for con_id in range(1, 7)]) as agenda:
        for one in agenda:
            asked.append(one.request.contract.con_id)
            teller.answered("")
            if len(asked) == 2:
                assert teller.left_s == pytest.approx(500)
                teller.give_up(lambda planned: planned.request.contract.con_id % 2 == 0)
                assert len(agenda) == 4
                assert teller.left_s == pytest.approx(100), "the third and the fifth are left"
    assert asked == [1, 2, 3, 5]
    assert teller.n_given_up == 2
    teller.done(0)
    assert told(work)[-1] == ("done", 4, 4, 100.0, 0.0)


def test_a_pacing_clock_that_runs_faster_is_told_in_real_seconds(work):
    pacer = Pacer(PacingBudget(), ScaledClock(600))
    teller = Teller(work, "ingest_minutes", "raw_tws_bars", 56)
    teller.start(pacer)
    assert teller.left_s == pytest.approx(1.0), "600 s at 600 times the pace"


def test_minutes_and_daily_history_tell_how_far_they_are(tmp_path):
    lab = Lab(tmp_path, tws={"max_requests_per_10_min": 5})
    with lab.at(after(SESSIONS[-1])) as work:
        flow(work, SESSIONS)
        lines = {event: told(work, event) for event in ("ingest_daily", "ingest_minutes")}
    for event, n_requests in {"ingest_daily": 8, "ingest_minutes": 8}.items():
        started, *running, done = lines[event]
        assert started[:4] == ("started", 0, n_requests, 0.0)
        assert started[4] > 500, "eight requests do not fit into a budget of five"
        assert {one[0] for one in running} == {"running"}
        assert [one[1] for one in running] == sorted({one[1] for one in running}), "it only goes up"
        assert all(one[4] is not None for one in running)
        assert done == ("done", n_requests, n_requests, 100.0, 0.0)
