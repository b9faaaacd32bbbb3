"""Failure modes whose required behaviour is about stored data: through the ingestion, with the embedded gateway."""

import json
import subprocess
import sys
from collections.abc import Callable

import polars as pl
import pytest

from quant_assets.domain.tables import RAW_INSTRUMENTS, RAW_TWS_BARS
from quant_assets.errors import ConfigurationError, LockHeldError, SourceUnavailableError
from quant_assets.flows.care import repair_plan
from quant_assets.flows.dimension import publish_dimension
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_details, ingest_minutes
from quant_assets.flows.ingested import raw_details, raw_minutes
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets_tests.contract.failure_modes.house import (
    MONDAY,
    SESSIONS,
    SYMBOL_OF,
    SYMBOLS,
    asked,
    minutes,
    on,
    opened,
    outcomes,
    repaired,
    settings_in,
    warned,
)


def test_mode_02_13_empty_no_data_no_permission_and_timeout_are_told_apart(tmp_path):
    """Four instruments, four troubles: each has its own outcome, with the reason in TWS's or our words."""
    lines = (on("QTEB", "no_permission"), on("QFIA", "hang"), on("QHEA", "no_data"))
    with opened(settings_in(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        found = outcomes(work)
    assert {symbol: outcome for symbol, (outcome, _) in found.items()} == {
        "QMKT": "bars",
        "QTEB": "no_permission",
        "QFIA": "timeout",
        "QHEA": "no_data",
    }
    assert "Subscribe to streaming level-1 data" in found["QTEB"][1]
    assert "tws.request_timeout_s" in found["QFIA"][1]
    assert "HMDS query returned no data" in found["QHEA"][1]
    assert minutes(work) == {"QMKT": 390}


UNLISTED = "Historical Market Data Service error message:Starting time must occur before ending time"


def n_asked(gate: TwsGate, symbol: str, bar_size: str) -> int:
    assert gate._embedded
    requests = [entry.request for entry in gate._embedded.history_ledger.entries]
    return sum(one.contract.symbol == symbol and one.bar_size == bar_size for one in requests)


def test_mode_01_03_a_refusal_that_stays_is_settled_with_its_reason_and_costs_the_others_nothing(tmp_path):
    """Asked `tws.attempts` times by a run, not at all within the throttle, and by a repair at once."""
    unlisted, too_long = on("QTEB", "query_failed", bar_size="1 min", text=UNLISTED), on("QFIA", "too_long")
    settings = settings_in(tmp_path, unlisted, too_long, request_timeout_s=30)
    with opened(settings, [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        assert n_asked(gate, "QFIA", "1 day") == 2 * 2, "two series, two attempts each"
        ingest_minutes(work, [MONDAY])
        found = outcomes(work)
        assert {symbol: outcome for symbol, (outcome, _) in found.items()} == {
            "QMKT": "bars",
            "QTEB": "refused",
            "QFIA": "refused",
            "QHEA": "bars",
        }
        assert "Starting time must occur before ending time" in found["QTEB"][1]
        assert "Time length exceed max" in found["QFIA"][1]
        assert gate.pacer.share == 1.0
        assert [n_asked(gate, symbol, "1 min") for symbol in SYMBOL_OF] == [1, 2, 2, 1]
        told = raw_minutes(work, MONDAY, {})
        assert told.is_committed
        said = warned(told)
        assert said.keys() == {"every_request_accepted"}
        assert "QTEB: refused" in said["every_request_accepted"]
        assert "Starting time must occur before ending time" in said["every_request_accepted"]
        before = asked(gate)
        ingest_daily(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        assert asked(gate) == before, "the throttle holds"
        assert set(repair_plan(work).holes["symbol"]) == {"QTEB", "QFIA"}
        ingest_minutes(repaired(work), [MONDAY])
        assert asked(gate) == before + 2 * 2, "a repair asks for what was refused"


def test_mode_03_a_timeout_is_asked_again_by_the_next_run_and_nothing_else_is(tmp_path):
    with opened(settings_in(tmp_path, on("QFIA", "hang", times=2)), [MONDAY]) as (work, gate):
        ingest_minutes(work, [MONDAY])
        assert outcomes(work)["QFIA"][0] == "timeout"
        before = asked(gate)
        ingest_minutes(work, [MONDAY])
        assert asked(gate) - before == 1
        assert minutes(work) == dict.fromkeys(("QMKT", "QTEB", "QFIA", "QHEA"), 390)


def test_mode_10_a_true_200_sets_its_instrument_aside_and_the_others_go_on(tmp_path):
    with opened(settings_in(tmp_path, on("QTEB", "unknown_contract")), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        assert outcomes(work)["QTEB"][0] == "unknown_contract"
        assert sorted(minutes(work)) == ["QFIA", "QHEA", "QMKT"]


def test_what_discovery_heard_is_what_asking_again_would_bring(tmp_path):
    """Contract details are asked for once a run; a run that finds the universe made asks by con_id, and stores the same."""
    with opened(settings_in(tmp_path / "once"), [MONDAY]) as (work, gate):
        ingest_details(work, [MONDAY])
        assert gate._embedded
        assert gate._embedded.counts()["contract_details"] == len(SYMBOLS)
        heard = work.lake.raw.read(RAW_INSTRUMENTS, Partition(MONDAY))
    settings = settings_in(tmp_path / "twice")
    with opened(settings, [MONDAY]):
        pass
    with TwsGate(settings) as gate:
        work = Work(settings, gate)
        ingest_details(work, [MONDAY])
        asked_anew = work.lake.raw.read(RAW_INSTRUMENTS, Partition(MONDAY))
    provenance = ["batch_id", "ingested_at"]
    assert heard.drop(provenance).sort("con_id").equals(asked_anew.drop(provenance).sort("con_id"))
    assert heard.height == len(SYMBOLS)


def test_mode_10_a_member_that_tws_describes_no_longer_is_given_up_and_the_others_go_on(tmp_path):
    with opened(settings_in(tmp_path), [MONDAY]):
        pass
    denial = {"fault": "unknown_contract", "request": "contract_details", "symbol": "QTEB", "every": 1}
    settings = settings_in(tmp_path, denial)
    with TwsGate(settings) as gate:
        work = Work(settings, gate)
        ingest_details(work, [MONDAY])
        judged = raw_details(work, MONDAY, {})
        described = [one.report.rows for one in publish_dimension(work, MONDAY)[:1] if one.report]
    assert judged.is_committed
    (found,) = [finding for finding in judged.findings if not finding.passed]
    assert (found.check, found.blocking) == ("every_member_known", False)
    (row,) = found.metadata["given_up"]
    assert (row["symbol"], row["outcome"], row["session"]) == ("QTEB", "unknown_contract", "2025-03-03")
    assert "NASDAQ:QTEB no longer (error 200" in row["detail"]
    assert described == [3]


def test_mode_10_a_false_200_sets_nothing_aside(tmp_path):
    lines = (
        on("QTEB", "unknown_contract", times=1),
        {"fault": "unknown_contract", "request": "contract_details", "nth": 2},
    )
    with opened(settings_in(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        assert minutes(work) == dict.fromkeys(("QMKT", "QTEB", "QFIA", "QHEA"), 390)


def test_mode_14_15_an_outage_in_the_middle_commits_what_arrived_and_the_rerun_asks_for_the_rest(tmp_path):
    """Resume: the second run asks for exactly what the first did not commit, and what is stored is the same."""
    lost = {"fault": "connectivity_lost_1101", "request": "history", "nth": 3, "lasts": 10**7}
    settings = settings_in(tmp_path, lost, max_minute_duration="1 D", max_in_flight=1, outage_s=600)
    with opened(settings) as (work, _), pytest.raises(SourceUnavailableError, match="resumes where it stopped"):
        ingest_minutes(work, SESSIONS)
    settings = settings_in(tmp_path, max_minute_duration="1 D")
    with opened(settings) as (work, gate):
        done = sum(len(minutes(work, session)) for session in SESSIONS)
        assert done == 2
        ingest_minutes(work, SESSIONS)
        assert asked(gate) == 12 - done
        assert [sum(minutes(work, session).values()) for session in SESSIONS] == [4 * 390] * 3
        before = asked(gate)
        ingest_minutes(work, SESSIONS)
        assert asked(gate) == before, "a run with nothing to do asks for nothing"


_HOLDER = """
import sys, time
from pathlib import Path
from quant_assets.control.locks import hold
with hold("tws", Path(sys.argv[1]), wait_s=0, owner={"run": "the first"}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_mode_15_two_ingestors_take_turns_and_the_second_names_the_first(tmp_path):
    """The lock dies with its process: once the first is killed, the second gets through."""
    settings = settings_in(tmp_path)
    command = [sys.executable, "-c", _HOLDER, str(Layout(settings.data).locks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        with pytest.raises(LockHeldError, match="the first"), opened(settings, [MONDAY]):
            pass
        first.kill()
    with opened(settings, [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        assert len(minutes(work)) == 4


def test_mode_15_each_run_knows_what_was_asked_before_it(tmp_path):
    for session in SESSIONS:
        with opened(settings_in(tmp_path), [session]) as (work, _):
            ingest_minutes(work, [session])
    journal = Layout(tmp_path / "data").metadata / "pacing.replay.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line]
    asked_, ended = ({line[key] for line in lines if key in line} for key in ("asked", "ended"))
    assert len(asked_) == 12
    assert asked_ == ended


def test_a_script_that_is_wrong_is_told_before_anything_runs(tmp_path):
    with (
        pytest.raises(ConfigurationError, match=r"faults.yaml, key 'faults.0.fault': there is no such fault"),
        opened(settings_in(tmp_path, {"fault": "typo", "request": "history"})),
    ):
        pass


# ---------------------------------------------------------------- well-formed and wrong


@pytest.mark.parametrize(
    ("fault", "is_right"),
    [
        ("truncate", lambda frame: frame.height == 390),
        ("empty", lambda frame: frame.height == 390),
        ("no_data", lambda frame: frame.height == 390),
        ("shift", lambda frame: frame.height == 390),
        ("lots", lambda frame: bool((frame["volume"] >= frame["bar_count"]).all())),
    ],
)
def test_mode_02_14_one_wrong_answer_is_not_the_last_word(
    tmp_path, fault: str, is_right: Callable[[pl.DataFrame], bool]
):
    """The source was wrong once and is right when asked again: two runs later the session is what it should be."""
    with opened(settings_in(tmp_path, on("QTEB", fault, times=1)), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        bars = work.lake.raw.read(RAW_TWS_BARS, Partition(MONDAY)).filter(pl.col("symbol") == "QTEB")
        newest = bars.filter(pl.col("ingested_at") == pl.col("ingested_at").max())
        assert is_right(newest)
