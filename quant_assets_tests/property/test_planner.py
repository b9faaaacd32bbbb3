"""Plans over arbitrary calendars and needs, against answers that are computed in another way."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws.pacing import PacingBudget
from quant_assets.connectors.tws.planner import (
    SESSIONS_IN,
    Need,
    PlannedRequest,
    daily_duration,
    halve,
    plan_daily,
    plan_minutes,
    reaching,
    summary,
)
from quant_assets.errors import ConfigurationError, DefectError

FIRST = date(2024, 1, 2)


def hours_of(days: list[date]) -> dict[date, tuple[datetime, datetime]]:
    at = {day: datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days}
    return {day: (at[day] + timedelta(hours=14, minutes=30), at[day] + timedelta(hours=21)) for day in days}


@st.composite
def calendars(draw):
    """Sessions with weekends and holidays of random length between them."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 3, 4]), min_size=1, max_size=60))
    days = [FIRST]
    for step in steps:
        days.append(days[-1] + timedelta(days=step))
    return days


@st.composite
def problems(draw):
    days = draw(calendars())
    contracts = [Contract(f"S{i}", i + 1) for i in range(draw(st.integers(1, 4)))]
    needs = [
        Need(contract, day) for contract in contracts for day in draw(st.lists(st.sampled_from(days), max_size=40))
    ]
    return days, needs, draw(st.sampled_from(list(SESSIONS_IN)))


def fewest(days: list[date], wanted: set[date], limit: int) -> int:
    """The optimum by dynamic programming from the right: every request may start at any session."""
    best = [0] * (len(days) + limit + 1)
    for place in range(len(days) - 1, -1, -1):
        take = 1 + best[place + limit]
        best[place] = take if days[place] in wanted else best[place + 1]
        best[place] = min(best[place], take)
    return best[0]


@given(problems())
def test_every_need_is_covered_once_by_the_fewest_legal_requests(problem):
    days, needs, rung = problem
    plan = plan_minutes(needs, hours_of(days), rung)
    covered = [Need(p.request.contract, s) for p in plan for s in p.sessions]
    assert set(needs) <= set(covered)
    assert len(covered) == len(set(covered)), "no session twice"
    assert {Need(p.request.contract, s) for p in plan for s in p.needed} == set(needs)
    for contract in {need.contract for need in needs}:
        wanted = {need.session for need in needs if need.contract == contract}
        mine = [p for p in plan if p.request.contract == contract]
        assert len(mine) == fewest(days, wanted, SESSIONS_IN[rung])


@given(problems())
def test_each_request_says_what_it_covers(problem):
    days, needs, rung = problem
    hours = hours_of(days)
    for planned in plan_minutes(needs, hours, rung):
        n_days, unit = planned.request.duration.split()
        last = days.index(planned.sessions[-1])
        assert unit == "D"
        assert 1 <= int(n_days) <= SESSIONS_IN[rung]
        assert list(planned.sessions) == days[last + 1 - int(n_days) : last + 1], "N trading days back from the end"
        assert planned.request.end == hours[planned.sessions[-1]][1]
        assert {planned.sessions[0], planned.sessions[-1]} <= planned.needed, "nothing unneeded at the ends"
        assert set(planned.extra) == set(planned.sessions) - planned.needed


@given(problems())
def test_instruments_take_turns_and_keep_their_order(problem):
    days, needs, rung = problem
    plan = plan_minutes(needs, hours_of(days), rung)
    seen: dict[Contract, list[date]] = {}
    for planned in plan:
        seen.setdefault(planned.request.contract, []).append(planned.sessions[0])
    assert all(starts == sorted(starts) for starts in seen.values())
    served = dict.fromkeys(seen, 0)
    for planned in plan:
        turn = served[planned.request.contract]
        assert all(served[other] >= min(turn, len(seen[other])) for other in seen), "nobody is a turn ahead"
        served[planned.request.contract] += 1


@given(st.integers(1, 60), st.sampled_from(list(SESSIONS_IN)))
def test_contiguous_needs_cost_the_lower_bound(n_sessions, rung):
    days = [FIRST + timedelta(days=i) for i in range(n_sessions)]
    plan = plan_minutes([Need(Contract("S", 1), day) for day in days], hours_of(days), rung)
    assert len(plan) == ceil(n_sessions / SESSIONS_IN[rung])
    assert not any(planned.extra for planned in plan)


@given(problems())
def test_halving_down_to_single_sessions_keeps_every_need(problem):
    days, needs, rung = problem
    waiting, single = plan_minutes(needs, hours_of(days), rung), []
    for _ in range(200):
        if not waiting:
            break
        planned = waiting.pop()
        parts = halve(planned)
        if parts == [planned]:
            single.append(planned)
            continue
        assert all(len(part.sessions) <= ceil(len(planned.sessions) / 2) for part in parts)
        assert frozenset().union(*(part.needed for part in parts)) == planned.needed
        waiting.extend(parts)
    else:
        waiting.clear()
        return
    assert all(len(planned.sessions) == 1 for planned in single)
    assert {Need(p.request.contract, s) for p in single for s in p.sessions} == set(needs)


def test_a_hole_is_covered_only_where_it_saves_a_request():
    days = [FIRST + timedelta(days=i) for i in range(7)]
    near, far = [days[0], days[4]], [days[0], days[6]]
    (one,) = plan_minutes([Need(Contract("S", 1), day) for day in near], hours_of(days), "1 W")
    assert (one.request.duration, one.extra) == ("5 D", tuple(days[1:4]))
    two = plan_minutes([Need(Contract("S", 1), day) for day in far], hours_of(days), "1 W")
    assert [planned.request.duration for planned in two] == ["1 D", "1 D"]


def test_a_day_that_is_no_session_is_our_defect():
    with pytest.raises(DefectError, match="2024-02-01"):
        plan_minutes([Need(Contract("S", 1), date(2024, 2, 1))], hours_of([FIRST]))


def test_an_unknown_rung_names_the_legal_ones():
    with pytest.raises(ConfigurationError, match="1 D, 2 D, 1 W, 2 W, 1 M"):
        plan_minutes([], {}, "3 W")


@pytest.mark.parametrize(
    ("sessions", "duration"), [(1, "1 D"), (365, "365 D"), (366, "2 Y"), (496, "2 Y"), (500, "3 Y"), (745, "4 Y")]
)
def test_the_smallest_legal_duration_of_a_daily_window(sessions, duration):
    assert daily_duration(sessions) == duration


@pytest.mark.parametrize(
    ("asked", "years_back", "expected"),
    [
        ("21 D", 3, "3 Y"),
        ("365 D", 1.5, "2 Y"),
        ("21 D", 36, "20 Y"),
        ("4 Y", 3, "5 Y"),
        ("20 Y", 36, "21 Y"),
    ],
)
def test_a_series_is_asked_for_back_to_its_first_bar_and_never_as_before(asked, years_back, expected):
    planned = PlannedRequest(BarRequest(Contract("A"), None, asked, "1 day"))
    again = reaching(planned, timedelta(days=365 * years_back))
    assert again.request.duration == expected
    assert replace(again.request, duration=asked) == planned.request


@pytest.mark.filterwarnings("ignore:Series.values returning:DeprecationWarning")  # exchange_calendars with pandas 3.1
def test_years_hold_the_sessions_they_are_asked_for():
    """Independent answer: the real XNYS calendar, counted back by whole years from the end of every month."""
    exchange_calendars = pytest.importorskip("exchange_calendars")
    sessions = exchange_calendars.get_calendar("XNYS", start="1990-01-01", end="2024-12-31").sessions
    for years in (2, 3, 5, 10):
        n_sessions = max(n for n in range(366, 2600) if daily_duration(n) == f"{years} Y")
        for today in sessions[years * 260 :: 21]:
            start = today.replace(year=today.year - years, day=min(today.day, 28))
            assert ((sessions > start) & (sessions <= today)).sum() >= n_sessions


def test_one_daily_request_per_series_up_to_now():
    plan = plan_daily([Contract("A", 1), Contract("B", 2), Contract("A", 1)], 250)
    assert [(p.request.contract.symbol, p.request.what_to_show) for p in plan] == [
        ("A", "TRADES"),
        ("B", "TRADES"),
        ("A", "ADJUSTED_LAST"),
        ("B", "ADJUSTED_LAST"),
    ]
    assert {(p.request.end, p.request.duration, p.request.bar_size) for p in plan} == {(None, "250 D", "1 day")}
    assert halve(plan[0]) == [plan[0]]


def test_the_summary_of_a_symbol_year():
    days = [FIRST + timedelta(days=i) for i in range(250)]
    plan = plan_minutes([Need(Contract(f"S{i}", i + 1), day) for i in range(4) for day in days], hours_of(days), "1 W")
    total = summary(plan, PacingBudget())
    assert (total.n_requests, total.n_instruments, total.n_needed, total.n_extra) == (200, 4, 1000, 0)
    assert total.n_bars == 1000 * 390
    assert total.pacing_s == pytest.approx(1801.0, abs=1), "55 a window: the 200th is in the fourth"
    assert "200 requests for 4 instruments" in str(total)
