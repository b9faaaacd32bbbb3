"""Every script that ships is ridden through by the whole ingestion: the same content, no rule broken, all of it played."""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, UNIVERSE
from quant_assets.gateway.faults import FaultEngine, FaultScript
from quant_assets.gateway.faults.vocabulary import EVENTS
from quant_assets.gateway.ledger import HistoryEntry
from quant_assets.gateway.server import Gateway
from quant_assets_tests.builders import far_from_the_reset
from quant_assets_tests.unit.flows.lab import Lab, after, flow, market, window

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "faults").glob("*.yaml"))
SESSIONS = window(date(2024, 3, 14), 3)
TABLES = {UNIVERSE.name, CURATED_TWS_1M_BARS.name, CURATED_TWS_1D_BARS.name}


def symbols() -> list[str]:
    found = [one for one in market().instruments(after(SESSIONS[-1])) if one.sec_type == "STK"]
    return [f"{one.primary_exchange}:{one.symbol}" for one in found[:14]]


def lab_at(root: Path, **options: object) -> Lab:
    tws = {"attempts": 8, "request_timeout_s": 20, "reset_window": far_from_the_reset()}
    return Lab(root, symbols(), tws=tws, options=options, time_scale=600)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    lab = lab_at(tmp_path_factory.mktemp("undisturbed"))
    lab.run(SESSIONS)
    return content(lab)


def content(lab: Lab) -> dict[tuple[str, str], str]:
    return {key: content_id for key, content_id in lab.content().items() if key[0] in TABLES}


@dataclass(frozen=True)
class Log:
    """What the gateway saw and did; all times are seconds of its clock."""

    gateway: Gateway

    def struck(self, fault: str) -> list[float]:
        return [strike.at for strike in self.gateway.strikes if strike.name == fault]

    def over(self, fault: str) -> list[float]:
        return [ending.at for ending in self.gateway.endings if ending.name == fault]

    def told(self, code: int) -> list[float]:
        """When somebody heard a notice."""
        return [notice.at for notice in self.gateway.notices if notice.code == code and notice.n_clients]

    @property
    def history(self) -> list[HistoryEntry]:
        return self.gateway.history_ledger.entries

    def taken_until(self, at: float) -> list[HistoryEntry]:
        """Requests for history until then, without those that were sent into an outage."""
        outages = list(zip(self.struck(LOST), self.over(LOST), strict=True))
        return [one for one in self.history if one.at <= at and not any(a < one.at < b for a, b in outages)]


LOST = "connectivity_lost_1101"


def check_every_line(script: FaultScript, log: Log) -> None:
    """Each line struck as often as it says; each event was told to somebody, and lasted as long as it says."""
    struck = Counter(strike.name for strike in log.gateway.strikes)
    by_chance = {line.fault for line in script.faults if line.probability}
    least: Counter[str] = Counter()
    for line in script.faults:
        least[line.fault] += 1 if line.probability else line.limit
    assert {name: n for name, n in struck.items() if name not in by_chance} == {
        name: n for name, n in least.items() if name not in by_chance
    }
    assert all(struck[name] >= least[name] for name in by_chance)
    for line in script.faults:
        if event := EVENTS.get(line.fault):
            (began,), (ended,) = log.struck(line.fault), log.over(line.fault)
            assert ended - began >= line.lasts
            assert all(any(began <= at < ended for at in log.told(code)) for code, _ in event.says)
            assert all(any(at >= began + line.lasts for at in log.told(code)) for code, _ in event.then_says)


def check_nightly_restart(log: Log) -> None:
    """The link goes with the 4th request for 90 s; the port closes with the 9th for 240 s; then the false denials."""
    (lost,), (back,), (restart,), (open_again,) = (
        log.struck(LOST),
        log.told(1101),
        log.struck("restart"),
        log.over("restart"),
    )
    assert lost + 90 <= back < restart
    assert len(log.taken_until(lost)) == 4
    assert len(log.taken_until(restart)) == 9
    assert {one.outcome for one in log.history if lost <= one.at < back} <= {"cancelled", "lost"}
    assert open_again >= restart + 240
    assert [one for one in log.history if restart < one.at < open_again] == []
    denied = [strike.detail.split()[1] for strike in log.gateway.strikes if strike.name == "unknown_contract"]
    assert Counter(denied) == {"history": 1, "contract_details": 2}
    (denial,) = [one for one in log.history if one.code == 200]
    assert denial.at > open_again


def check_half_open(log: Log) -> None:
    """Nothing is answered for 180 s from the 5th request on; one connection is never greeted."""
    (frozen,), (thawed,) = log.struck("freeze"), log.over("freeze")
    assert sum(one.at <= frozen for one in log.history) == 5
    assert thawed >= frozen + 180
    assert [one for one in log.history if frozen <= one.at < thawed and one.outcome in ("answered", "no_data")] == []
    later = [log.struck(name)[0] for name in ("stall", "bad_length", "dribble")]
    assert thawed < later[0] < later[1] < later[2]
    counts = log.gateway.requests.snapshot()
    assert counts["handshake"] > counts["start_api"]


def check_pacing_storm(log: Log) -> None:
    """The 4th, 5th and 6th request are refused; five refusals are in Spanish; one connection ends with 100."""
    assert [one.code for one in log.history[3:6]] == [162] * 3
    assert len(log.struck("pacing")) > 3
    assert len(log.struck("pacing_localised")) == 5
    (ended,) = [one for one in log.history if one.code == 100]
    assert ended.outcome == "fault"


def check_flaky_day(log: Log) -> None:
    """The link is lost twice, and comes back once with its data and once without; the restart is between them."""
    (kept,), (lost,), (restart,) = log.struck("connectivity_lost_1102"), log.struck(LOST), log.struck("restart")
    assert kept < log.told(1102)[0] < restart < log.over("restart")[0] < lost < log.told(1101)[0]
    assert [one for one in log.history if restart < one.at < log.over("restart")[0]] == []
    for broken, whole in ((2105, 2106), (2157, 2158)):
        assert log.told(broken)[0] < log.told(whole)[0]


PROMISES = {
    "flaky_day": check_flaky_day,
    "half_open": check_half_open,
    "nightly_restart": check_nightly_restart,
    "pacing_storm": check_pacing_storm,
}


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_script_plays_what_it_promises_and_is_ridden_through(path, undisturbed, tmp_path):
    script = FaultScript.load(path)
    lab = lab_at(tmp_path, faults=FaultEngine(script))
    with lab.at(after(SESSIONS[-1])) as work:
        done = flow(work, SESSIONS)
        embedded = work.gate._embedded
        assert embedded is not None
        log = Log(embedded.gateway)
        breaches, rate_breaches = embedded.history_ledger.breaches(), embedded.gateway.rate_breaches
    assert all(one.is_committed for one in done), [one.reason for one in done if not one.is_committed]
    check_every_line(script, log)
    PROMISES[path.stem](log)
    assert (breaches, rate_breaches) == ([], 0)
    assert content(lab) == undisturbed
