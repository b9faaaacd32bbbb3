"""The plan of a data cycle says exactly what the gateway then receives, and the fewest requests that are legal."""

import json
from collections import Counter
from datetime import date
from math import ceil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from quant_assets.cli.plan import plan as plan_command
from quant_assets.connectors.base import Contract
from quant_assets.connectors.tws import Need, PacingBudget, plan_minutes
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.errors import ConfigurationError, EmptyUniverseError, NotASessionError, UnknownNameError
from quant_assets.flows.discover import Discovery
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_details, ingest_minutes
from quant_assets.flows.plan import plan_cycle
from quant_assets.flows.work import Work
from quant_assets.settings import Settings

NAMES = ["ARCA:QMKT", "NASDAQ:QTEB", "NASDAQ:QFIA", "NYSE:QHEA", "NYSE:QEND", "NYSE:QUTA"]
SESSIONS = TradingCalendar().between(date(2025, 11, 17), date(2025, 12, 1))


def write_configs(root: Path, names: list[str], scanners: tuple[str, ...] = ()) -> None:
    (root / "lists").mkdir(parents=True, exist_ok=True)
    (root / "scanners").mkdir(exist_ok=True)
    (root / "lists" / "short.yaml").write_text(yaml.safe_dump({"symbols": names}))
    busy = {"source": "tws", "limit": 5, "tws": {"scan_code": "MOST_ACTIVE"}}
    (root / "scanners" / "busy.yaml").write_text(yaml.safe_dump(busy))
    manifest = {
        "default_profile": "calm",
        "lakehouse": {"start_session": "2025-03-03", "lock_wait_s": 5},
        "replay": {"time_scale": 1_000_000},
        "defaults": {"data": {"lookback_sessions": 30, "min_sessions_floor": 20}},
        "profiles": {"calm": {"discovery": {"lists": ["short"], "scanners": list(scanners)}}},
    }
    (root / "manifest.json").write_text(json.dumps(manifest))


def work_of(root: Path, gate: TwsGate | None = None) -> Work:
    settings = Settings.from_env({}, data=root / "data", configs=root / "configs")
    return Work(settings, gate or TwsGate(settings), run_id="test")


@pytest.fixture
def house(tmp_path):
    write_configs(tmp_path / "configs", NAMES)
    return tmp_path


def run_cycle(root: Path, sessions: list[date]) -> Counter[str]:
    """Ask for everything as the assets do; returns what the gateway received, by kind."""
    settings = Settings.from_env({}, data=root / "data", configs=root / "configs")
    with TwsGate(settings) as gate:
        work = work_of(root, gate)
        discovery = Discovery(work)
        for session in sessions:
            assert discovery.publish(session).is_committed
        ingest_details(work, sessions)
        ingest_minutes(work, sessions)
        ingest_daily(work, sessions)
        return gate._embedded.counts() if gate._embedded else Counter()


def asked(counts: Counter[str]) -> dict[str, int]:
    return {
        "contract_details": counts["contract_details"],
        "scanner": counts["scanner"],
        "history": counts["history"],
    }


def planned(root: Path, sessions: list[date]) -> dict[str, int]:
    requests = plan_cycle(work_of(root), sessions).as_dict()["requests"]
    return {
        "contract_details": requests["contract_details"],
        "scanner": requests["scanner"],
        "history": requests["history_1_min"] + requests["history_1_day"],
    }


def test_the_gateway_receives_what_was_planned_and_the_second_plan_is_empty(house):
    before = planned(house, SESSIONS)
    assert before == {"contract_details": 6, "scanner": 0, "history": 6 * 2 + 6 * 2}
    assert not (house / "data").exists(), "a plan writes nothing"

    assert asked(run_cycle(house, SESSIONS)) == before

    after = plan_cycle(work_of(house), SESSIONS)
    assert after.n_requests == 0
    assert after.pacing_s == 0.0
    assert after.notes() == []
    assert (after.minutes.n_settled, after.daily.n_settled, after.details.n_settled) == (6 * len(SESSIONS), 12, 6)


def test_other_exchanges_and_kinds_of_instruments_are_planned_before_any_of_them_is_resolved(house):
    """Two series of a share's days, one of a pair and of a coin; each keeps its own hours."""
    names = ["ARCA:QMKT", "LSE:QLNA", "IDEALPRO:EUR.USD", "PAXOS:BTC.USD"]
    write_configs(house / "configs", names)
    file = house / "configs" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["lakehouse"]["calendars"] = ["XNYS", "XLON", "FX", "24/7"]
    file.write_text(json.dumps(manifest))
    before = planned(house, SESSIONS[:1])
    assert before == {"contract_details": 4, "scanner": 0, "history": 4 + 2 + 2 + 1 + 1}
    assert asked(run_cycle(house, SESSIONS[:1])) == before


def test_what_is_settled_is_not_planned_again(house):
    run_cycle(house, SESSIONS[:4])
    longer = plan_cycle(work_of(house), SESSIONS)
    assert longer.universe.to_publish == tuple(SESSIONS[4:])
    assert longer.minutes.n_settled == 6 * 4
    assert asked(run_cycle(house, SESSIONS)) == {
        "contract_details": longer.n_details,
        "scanner": 0,
        "history": longer.minutes.n_requests + longer.daily.n_requests,
    }


def test_a_new_name_in_a_list_is_planned_for_although_the_universe_stands(house):
    run_cycle(house, SESSIONS)
    write_configs(house / "configs", [*NAMES, "NYSE:QTEA"])
    more = plan_cycle(work_of(house), SESSIONS)
    assert more.n_instruments == 7
    assert more.universe.is_estimated
    assert more.minutes.n_needed == len(SESSIONS)
    assert asked(run_cycle(house, SESSIONS)) == {
        "contract_details": more.n_details,
        "scanner": 0,
        "history": more.minutes.n_requests + more.daily.n_requests,
    }


def test_a_scanner_is_an_upper_bound_and_the_output_says_so(house):
    write_configs(house / "configs", NAMES, scanners=("busy",))
    latest = work_of(house).latest_session()
    bound = planned(house, [latest])
    plan = plan_cycle(work_of(house), [latest])
    assert any("scanner" in note for note in plan.notes())
    got = asked(run_cycle(house, [latest]))
    assert got["scanner"] == bound["scanner"] == 1
    assert bound["contract_details"] == 6 + 5, "each name, and each that the scanner may find"
    assert all(got[kind] <= bound[kind] for kind in got)
    assert plan_cycle(work_of(house), [latest]).n_requests == 0


def test_bytes_are_of_the_right_size(house):
    plan = plan_cycle(work_of(house), SESSIONS)
    run_cycle(house, SESSIONS)
    bronze = sum(f.stat().st_size for f in (house / "data" / "lakehouse" / "bronze").rglob("*.parquet"))
    assert bronze / 3 < plan.disk_bytes < bronze * 12, "bronze is a part of what a cycle stores"
    n_bars = plan.minutes.n_bars + plan.daily.n_bars
    assert plan.wire_bytes == n_bars * 52 + plan.n_details * 640


# ---------------------------------------------------------------- numbers to hold


def test_a_year_of_fifty_instruments_is_within_five_percent_of_the_fewest_requests():
    calendar = TradingCalendar()
    year = calendar.between(date(2024, 1, 2), date(2024, 12, 31))
    hours = {day: (calendar.hours(day).opens_at, calendar.hours(day).closes_at) for day in year}
    needs = [Need(Contract(f"S{n}", n), day) for n in range(1, 51) for day in year]
    for duration, longest in (("1 D", 1), ("1 W", 5), ("2 W", 10), ("1 M", 21)):
        fewest = 50 * ceil(len(year) / longest)
        assert len(plan_minutes(needs, hours, duration)) <= 1.05 * fewest


def test_daily_vintages_of_a_backfill_take_two_requests_an_instrument(tmp_path):
    write_configs(tmp_path / "configs", [f"NYSE:S{n}" for n in range(50)])
    sessions = TradingCalendar().between(date(2025, 3, 3), date(2026, 3, 2))[:250]
    assert len(sessions) == 250
    plan = plan_cycle(work_of(tmp_path), sessions)
    assert plan.daily.n_requests == 100
    assert plan.minutes.n_requests == 50 * 50
    assert plan.minutes.n_needed == 50 * 250
    windows = (plan.minutes.n_requests + plan.daily.n_requests - 1) // PacingBudget().requests_per_window
    assert plan.pacing_s == pytest.approx(600 * windows, abs=5)


# ---------------------------------------------------------------- the command


@pytest.fixture
def quant(house, monkeypatch):
    monkeypatch.setenv("QUANT_DATA", str(house / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(house / "configs"))

    def run(*arguments: str):
        return CliRunner().invoke(plan_command, arguments, catch_exceptions=True)

    return run


def test_the_command_prints_a_table_and_exact_json(quant):
    span = f"{SESSIONS[0]}..{SESSIONS[-1]}"
    shown = quant("--sessions", span)
    assert shown.exit_code == 0, shown.output
    assert "30 requests" in shown.output
    assert "history, 1 min" in shown.output
    assert "estimated from the newest universe and the lists" in shown.output

    exact = json.loads(quant("--sessions", span, "--json").output)
    assert exact["requests"] == {
        "contract_details": 6,
        "scanner": 0,
        "history_1_min": 12,
        "history_1_day": 12,
        "total": 30,
    }
    assert exact["is_estimated"] is True
    assert exact["pacing_seconds"] == pytest.approx(0.0, abs=1.0)


def test_a_profile_narrows_the_plan(quant, house):
    manifest = json.loads((house / "configs" / "manifest.json").read_text())
    (house / "configs" / "lists" / "two.yaml").write_text(yaml.safe_dump({"symbols": NAMES[:2]}))
    manifest["profiles"]["small"] = {"discovery": {"lists": ["two"]}}
    (house / "configs" / "manifest.json").write_text(json.dumps(manifest))

    def instruments(*profile: str) -> int:
        return json.loads(quant("--session", str(SESSIONS[0]), "--json", *profile).output)["instruments"]

    assert (instruments(), instruments("--profile", "small")) == (6, 2)
    run_cycle(house, SESSIONS[:1])
    assert (instruments(), instruments("--profile", "small")) == (6, 2)


def write_profiles(root: Path, profiles: dict[str, object]) -> None:
    file = root / "configs" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["profiles"] |= profiles
    file.write_text(json.dumps(manifest))


def test_a_meta_portfolio_needs_the_instruments_of_its_sleeves(quant, house):
    for name, symbols in {"two": NAMES[:2], "three": NAMES[1:4]}.items():
        (house / "configs" / "lists" / f"{name}.yaml").write_text(yaml.safe_dump({"symbols": symbols}))
    two, three = ({"discovery": {"lists": [name]}} for name in ("two", "three"))
    blend = {"sleeves": {"small": {}, "other": {"profile": "alias"}}}
    write_profiles(house, {"small": two, "wider": three, "alias": "wider", "blend": blend})

    def instruments() -> int:
        shown = quant("--session", str(SESSIONS[0]), "--json", "--profile", "blend")
        assert shown.exit_code == 0, shown.exception
        return json.loads(shown.output)["instruments"]

    assert instruments() == 4, "two and three instruments, one of them in both"
    run_cycle(house, SESSIONS[:1])
    assert instruments() == 4, "of the six of the published universe"


def test_a_profile_without_instruments_is_told_with_its_mend(quant, house):
    (house / "configs" / "lists" / "none.yaml").write_text(yaml.safe_dump({"symbols": []}))
    idle = {"active": False, "discovery": {"lists": ["short"]}}
    empty = {"discovery": {"lists": ["none"]}}
    write_profiles(house, {"empty": empty, "idle": idle, "blend": {"sleeves": {"idle": {}}}})

    found = quant("--session", str(SESSIONS[0]), "--profile", "empty").exception
    assert isinstance(found, EmptyUniverseError)
    assert f"universe of {SESSIONS[0]} for profile 'empty' is empty" in str(found)
    assert "Add symbols to a list" in str(found)
    for profile, words in {"idle": "it is not active", "blend": "none of its sleeves is active: idle"}.items():
        refused = quant("--session", str(SESSIONS[0]), "--profile", profile).exception
        assert isinstance(refused, ConfigurationError)
        assert f"profile {profile}" in str(refused)
        assert words in str(refused)


def test_mistakes_are_named(quant):
    assert isinstance(quant("--session", "2025-11-27").exception, NotASessionError)
    assert isinstance(quant("--profile", "nobody").exception, UnknownNameError)
    early = quant("--session", "2025-02-28").exception
    assert isinstance(early, ConfigurationError)
    assert "before the first partition" in str(early)
