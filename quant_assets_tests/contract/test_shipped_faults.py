"""Every script that ships is ridden through by the whole ingestion: the same content, no rule broken, all of it played."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, UNIVERSE
from quant_assets.gateway.faults import FaultEngine, FaultScript
from quant_assets_tests.unit.flows.lab import Lab, after, flow, market, window

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "faults").glob("*.yaml"))
SESSIONS = window(date(2024, 3, 14), 3)
TABLES = {UNIVERSE.name, CURATED_TWS_1M_BARS.name, CURATED_TWS_1D_BARS.name}
PLAYED = {
    "flaky_day": {"pacing_localised", "too_long", "half", "reset", "restart", "connectivity_lost_1102", "garbage"},
    "half_open": {"freeze", "stall", "bad_length", "dribble"},
    "nightly_restart": {"connectivity_lost_1101", "restart", "unknown_contract"},
    "pacing_storm": {"pacing", "pacing_localised", "rate_exceeded"},
}


def symbols() -> list[str]:
    found = [one for one in market().instruments(after(SESSIONS[-1])) if one.sec_type == "STK"]
    return [f"{one.primary_exchange}:{one.symbol}" for one in found[:14]]


def lab_at(root: Path, **options: object) -> Lab:
    return Lab(root, symbols(), tws={"attempts": 8, "request_timeout_s": 20}, options=options, time_scale=600)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    lab = lab_at(tmp_path_factory.mktemp("undisturbed"))
    lab.run(SESSIONS)
    return content(lab)


def content(lab: Lab) -> dict[tuple[str, str], str]:
    return {key: content_id for key, content_id in lab.content().items() if key[0] in TABLES}


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_script_is_ridden_through(path, undisturbed, tmp_path):
    lab = lab_at(tmp_path, faults=FaultEngine(FaultScript.load(path)))
    with lab.at(after(SESSIONS[-1])) as work:
        done = flow(work, SESSIONS)
        embedded = work.gate._embedded
        assert embedded is not None
        struck = {strike.name for strike in embedded.gateway.strikes}
        breaches, rate_breaches = embedded.history_ledger.breaches(), embedded.gateway.rate_breaches
    assert all(one.is_committed for one in done), [one.reason for one in done if not one.is_committed]
    assert struck >= PLAYED[path.stem], "the script was played"
    assert (breaches, rate_breaches) == ([], 0)
    assert content(lab) == undisturbed
