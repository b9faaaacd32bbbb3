"""The number of requests that a run tells is the number that the gateway counted, whatever went wrong between them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from quant_assets.assets.cycles import DATA
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.registry import Registry, RunOutcome, range_of
from quant_assets.settings import Settings
from quant_assets_tests.builders import far_from_the_reset

NAMES = ["ARCA:QMKT", "NASDAQ:QTEB", "NYSE:QEND"]
TROUBLE = [
    {"fault": "pacing", "request": "history", "nth": 2},
    {"fault": "no_data", "request": "history", "symbol": "QEND", "times": 3},
    {"fault": "hang", "request": "history", "symbol": "QTEB", "nth": 3},
    {"fault": "unknown_contract", "request": "contract_details", "nth": 2},
    {"fault": "half", "request": "history", "nth": 8},
]
"""Refused, denied, silent, cut: each is asked for again, and a firm no is asked about at TWS's schedule."""


@dataclass
class House:
    """A configuration, and what the gateways of its runs counted before they stopped."""

    root: Path
    counts: list[int] = field(default_factory=list)

    def run(self, *faults: dict[str, object], data: str = "data") -> tuple[RunOutcome, int]:
        """Run the data cycle of the newest session; returns what it tells, and what the gateway counted."""
        script = self.root / "trouble.yaml"
        script.write_text(yaml.safe_dump({"faults": list(faults)}))
        manifest = {
            "default_profile": "calm",
            "replay": {"time_scale": 100_000, "faults": str(script) if faults else ""},
            "tws": {"max_in_flight": 1, "request_timeout_s": 1, "reset_window": far_from_the_reset()},
            "defaults": {"data": {"lookback_sessions": 10, "min_sessions_floor": 5}},
            "profiles": {"calm": {"discovery": {"lists": ["short"], "scanners": ["busy"]}}},
        }
        (self.root / "configs" / "manifest.json").write_text(json.dumps(manifest))
        settings = Settings.from_env({}, data=self.root / data, configs=self.root / "configs")
        with TwsGate(settings) as gate:
            latest = Work(settings, gate).latest_session()
        self.counts.clear()
        outcome = Registry(settings).run(DATA, *range_of([latest]))
        return outcome, sum(self.counts)


@pytest.fixture
def house(tmp_path, monkeypatch):
    made, close = House(tmp_path), TwsGate.close

    def count_and_close(gate: TwsGate) -> None:
        made.counts.append(gate.requests_served())
        close(gate)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TwsGate, "close", count_and_close)
    (tmp_path / "configs" / "lists").mkdir(parents=True)
    (tmp_path / "configs" / "scanners").mkdir()
    (tmp_path / "configs" / "lists" / "short.yaml").write_text(yaml.safe_dump({"symbols": NAMES}))
    busy = {"source": "tws", "limit": 2, "tws": {"scan_code": "MOST_ACTIVE"}}
    (tmp_path / "configs" / "scanners" / "busy.yaml").write_text(yaml.safe_dump(busy))
    return made


def test_a_clean_run_and_the_same_again(house):
    outcome, counted = house.run()
    assert outcome.success, outcome.failures
    assert outcome.requests == counted
    n = 3 + 2  # listed, and found by the scanner
    fewest = 1 + n + 2 * n + n  # scan, details, two daily series, minutes
    assert fewest <= counted < fewest + n, "an answer may come late, but nobody's details are asked for twice"
    again, counted = house.run()
    assert (again.success, again.requests, counted) == (True, 0, 0)


def test_a_run_with_trouble_asks_more_often_and_says_so(house):
    clean, _ = house.run(data="clean")
    outcome, counted = house.run(*TROUBLE)
    assert outcome.success, outcome.failures
    assert outcome.requests == counted
    assert outcome.requests > clean.requests + 5


def test_a_run_that_fails_tells_what_it_asked(house):
    outcome, counted = house.run({"fault": "no_permission", "request": "history", "every": 1})
    assert not outcome.success
    assert outcome.requests == counted > 10
