"""What reading the session before once more costs: the plan says it, and the gateway receives no more than that."""

from datetime import date

from quant_assets.flows.plan import plan_cycle
from quant_assets_tests.unit.flows.lab import Lab, after, window

FIRST, SECOND = window(date(2024, 3, 14), 2)


def test_a_session_that_is_read_once_more_is_planned_and_rides_on_the_requests_of_the_next(tmp_path):
    lab = Lab(tmp_path, symbols=("ARCA:QMKT", "NASDAQ:QTEB"), tws={"max_minute_duration": "1 W"})
    lab.run([FIRST])
    with lab.at(after(SECOND)) as work:
        plan = plan_cycle(work, [SECOND])
    assert plan.n_rereads == 2
    assert plan.as_dict()["rereads"] == {"history_1_min": 2}
    assert plan.minutes.n_requests == 2, "one request for two sessions of an instrument"
    assert plan.minutes.n_bars == 2 * 2 * 390, "and its bytes are counted"
    assert any("2 instrument sessions are read once more" in note for note in plan.notes())
    assert lab.run([SECOND]).requests == plan.n_requests
    with lab.at(after(SECOND)) as work:
        assert plan_cycle(work, [SECOND]).n_requests == 0
