"""Failure modes whose required behaviour is about stored data: through the ingestion, with the embedded gateway.

The faults come from a script that the manifest names (`replay.faults`), as a user would rehearse them.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_assets.domain.tables import RAW_INSTRUMENTS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import ConfigurationError, LockHeldError, SourceUnavailableError, WrongUnitError
from quant_assets.flows.care import repair_plan
from quant_assets.flows.curate import Curator
from quant_assets.flows.dimension import publish_dimension
from quant_assets.flows.discover import Discovery
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.ingest import ingest_daily, ingest_details, ingest_minutes
from quant_assets.flows.ingested import raw_daily, raw_details, raw_minutes
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.settings import Settings
from quant_assets_tests.builders import far_from_the_reset

SYMBOLS = ("ARCA:QMKT", "NASDAQ:QTEB", "NASDAQ:QFIA", "NYSE:QHEA")
SYMBOL_OF = [name.partition(":")[2] for name in SYMBOLS]
MONDAY, TUESDAY, WEDNESDAY = (date(2025, 3, day) for day in (3, 4, 5))
SESSIONS = [MONDAY, TUESDAY, WEDNESDAY]


def settings_in(root: Path, *lines: dict[str, Any], **tws: Any) -> Settings:
    configs = root / "configs"
    (configs / "lists").mkdir(parents=True, exist_ok=True)
    (configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": list(SYMBOLS)}))
    (configs / "faults.yaml").write_text(yaml.safe_dump({"faults": list(lines)}))
    manifest = {
        "default_profile": "p",
        "lakehouse": {"start_session": "2025-03-03", "lock_wait_s": 0.2},
        "tws": {
            "request_timeout_s": 0.4,
            "connect_timeout_s": 1,
            "attempts": 2,
            "reset_window": far_from_the_reset(),
            **tws,
        },
        "replay": {"time_scale": 2000, "faults": str(configs / "faults.yaml") if lines else ""},
        "profiles": {"p": {"discovery": {"lists": ["four"]}}},
    }
    (configs / "manifest.json").write_text(json.dumps(manifest))
    return Settings.from_env({}, data=root / "data", configs=configs)


@contextmanager
def opened(settings: Settings, sessions: Sequence[date] = SESSIONS):
    """A unit of work whose universe is published, and its gate."""
    with TwsGate(settings) as gate:
        work = Work(settings, gate)
        discovery = Discovery(work)
        for session in sessions:
            discovery.publish(session)
        yield work, gate


def outcomes(work: Work, session: date = MONDAY) -> dict[str, tuple[str, str]]:
    """The newest outcome of each symbol, with its words."""
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)).sort("asked_at")
    newest = ledger.unique("con_id", keep="last", maintain_order=True)
    return {row["symbol"]: (row["outcome"], row["detail"]) for row in newest.iter_rows(named=True)}


def minutes(work: Work, session: date = MONDAY) -> dict[str, int]:
    bars = work.lake.raw.read(RAW_TWS_BARS, Partition(session))
    return dict(bars.unique(["con_id", "ts"]).group_by("symbol").len().iter_rows())


def asked(gate: TwsGate) -> int:
    assert gate._embedded
    return gate._embedded.counts()["history"]


def on(symbol: str, fault: str, **more: Any) -> dict[str, Any]:
    return {"fault": fault, "request": "history", "symbol": symbol, "every": 1, **more}


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


WITHOUT_ODD_LOTS = ("NYSE:QHEC", "NASDAQ:QUTB")
"""They trade more than a hundred shares at a time: in lots, each of their days still has more shares than trades."""


def test_mode_14_nothing_in_lots_is_stored_and_the_same_command_mends_it(tmp_path):
    """TWS's setting is one for all: an answer that does not show it itself is in lots as the others are."""
    every = {"fault": "lots", "request": "history", "every": 1}

    def settings(*lines: dict[str, Any]) -> Settings:
        made = daily_settings(tmp_path, *lines)
        names = {"symbols": [*WITHOUT_ODD_LOTS, "NASDAQ:QTEB"]}
        (made.configs / "lists" / "four.yaml").write_text(yaml.safe_dump(names))
        return made

    with opened(settings(every), [MONDAY]) as (work, _):
        with pytest.raises(WrongUnitError, match="QHEC, QTEB, QUTB; they were refused"):
            ingest_daily(work, [MONDAY])
        with pytest.raises(WrongUnitError, match="QHEC, QTEB, QUTB; they were refused"):
            ingest_minutes(work, [MONDAY])
        assert not work.lake.raw.partitions(RAW_TWS_DAILY_BARS)
        assert not work.lake.raw.partitions(RAW_TWS_BARS)
    with opened(settings(), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        assert asked(gate) == 3 * 2 + 3
        assert set(minutes(work).values()) == {390}
        bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
        traded = work.lake.raw.read(RAW_TWS_BARS, Partition(MONDAY)).group_by("symbol").agg(pl.col("volume").sum())
        days_ = bars.filter((pl.col("session") == MONDAY) & (pl.col("what_to_show") == "TRADES"))
        assert dict(days_.select("symbol", "volume").iter_rows()) == dict(traded.iter_rows())


AT_NYSE = "QTEA QTEC QTEE QFIB QFID QHEA QHEC QENB QEND QINA QCOB QCOD"
AT_NASDAQ = "QTEB QTED QFIA QFIC QFIE QHEB QHED QENA QENC QCOA"
MANY = [*(f"NYSE:{symbol}" for symbol in AT_NYSE.split()), *(f"NASDAQ:{symbol}" for symbol in AT_NASDAQ.split())]
"""In lots, most show it by their minutes and by their days: fewer shares than trades, often enough for the judge."""
N_SHOW_IT = 9
"""Answers among which three instruments show it: of one instrument there are three, or two."""
ON_THEIR_WAY = 6 + 4 * 6
"""Requests that TWS has, and answers that the reader has not come to, when a run notices what one of them shows."""


def many(root: Path, *lines: dict[str, Any]) -> Settings:
    """As `daily_settings`, with 22 shares and a request for each of their sessions."""
    settings = daily_settings(root, *lines)
    manifest = json.loads((settings.configs / "manifest.json").read_text())
    manifest["tws"]["max_minute_duration"] = "1 D"
    (settings.configs / "manifest.json").write_text(json.dumps(manifest))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": MANY}))
    return Settings.from_env({}, data=settings.data, configs=settings.configs)


def history(gate: TwsGate) -> list[str]:
    """Symbols of the history requests that reached the gateway, in turn."""
    assert gate._embedded
    return [entry.request.contract.symbol for entry in gate._embedded.history_ledger.entries]


@pytest.mark.parametrize(("ingest", "planned"), [(ingest_minutes, 22 * 3), (ingest_daily, 22 * 2)])
def test_mode_14_a_run_stops_as_soon_as_three_instruments_show_lots(tmp_path, ingest, planned):
    """What is on its way is waited for, and has its row in the ledger; nothing is asked for again."""
    every = {"fault": "lots", "request": "history", "every": 1}
    with opened(many(tmp_path, every)) as (work, gate):
        with pytest.raises(
            WrongUnitError, match=r"lots of 100.* more requests were given up\. In TWS.*Send market data in lots"
        ) as told:
            ingest(work, SESSIONS)
        reached = history(gate)
        raw = work.lake.raw
        answered = pl.concat([raw.read(RAW_TWS_REQUESTS, one) for one in raw.partitions(RAW_TWS_REQUESTS)])
        assert len(told.value.names) >= 3
        assert set(told.value.names) == set(answered.filter(pl.col("outcome") == "wrong_unit")["symbol"])
        assert len(reached) <= N_SHOW_IT + ON_THEIR_WAY < planned
        assert answered.height == len(reached)
        assert told.value.n_left == planned - len(reached)
        assert not work.lake.raw.partitions(RAW_TWS_DAILY_BARS)
        assert not work.lake.raw.partitions(RAW_TWS_BARS)
        before = len(reached)
        with pytest.raises(WrongUnitError):
            ingest(work, SESSIONS)
        assert len(history(gate)) - before <= N_SHOW_IT + ON_THEIR_WAY, "the setting is still on"
        assert gate._embedded.history_ledger.still_open() == []


def test_mode_14_lots_from_some_request_on_stop_the_run_and_what_came_in_shares_stays(tmp_path, monkeypatch):
    """Those in lots are judged with their group, and the next ones as they come: of five, three show it themselves."""
    monkeypatch.setattr("quant_assets.flows.ingest.groups.GROUP", 12)
    n_sound, n_groups = 13, 2
    later = {"fault": "lots", "request": "history", "nth": n_sound + 1, "lasts": 1e9}
    with opened(many(tmp_path, later)) as (work, gate):
        with pytest.raises(WrongUnitError, match="more requests were given up"):
            ingest_minutes(work, SESSIONS)
        assert len(history(gate)) <= 12 * n_groups + 5 + ON_THEIR_WAY < 22 * 3
        bars = pl.concat([work.lake.raw.read(RAW_TWS_BARS, Partition(session)) for session in SESSIONS])
        kept = bars.group_by("session", "symbol").agg(
            pl.len(), (pl.col("volume") >= pl.col("bar_count")).all().alias("is_in_shares")
        )
        assert kept.height == n_sound
        assert kept["is_in_shares"].all()
        assert sorted(kept["symbol"]) == sorted(history(gate)[:n_sound])
        asked_ = pl.concat([work.lake.raw.read(RAW_TWS_REQUESTS, Partition(session)) for session in SESSIONS])
        assert sorted(asked_["symbol"]) == sorted(history(gate))


@pytest.mark.parametrize("ingest", [ingest_minutes, ingest_daily])
def test_mode_14_one_instrument_that_stays_in_lots_does_not_stop_the_others(tmp_path, ingest):
    with opened(many(tmp_path, on("QHEA", "lots"))) as (work, gate):
        with pytest.raises(WrongUnitError, match=r"shares for QHEA; they were refused\. In TWS"):
            ingest(work, SESSIONS)
        assert set(history(gate)) == {name.partition(":")[2] for name in MANY}
        table = RAW_TWS_BARS if ingest is ingest_minutes else RAW_TWS_DAILY_BARS
        rows = [work.lake.raw.read(table, one, ["symbol"]) for one in work.lake.raw.partitions(table)]
        assert set(pl.concat(rows)["symbol"]) == set(history(gate)) - {"QHEA"}


def test_mode_14_one_answer_in_lots_that_does_not_show_it_is_asked_for_again(tmp_path):
    """Nobody else is in lots, and it is complete: what is believed is the answer that shows that it is in shares."""
    settings = daily_settings(tmp_path, on("QHEC", "lots", times=1, bar_size="1 day"))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": list(WITHOUT_ODD_LOTS)}))
    with opened(settings, [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        assert asked(gate) == 4 + 1
        assert series_said(work, "TRADES", "QHEC") == [("unconfirmed", ""), ("bars", "complete")]
        bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
        assert bool((bars["volume"] >= 100 * bars["bar_count"]).mean() > 0.9)


# ---------------------------------------------------------------- a daily series that is said not to exist

NO_HEAD = {"text": "Historical Market Data Service error message:No head time stamp", "fault": "no_data"}
EVERY_NOTHING = pytest.mark.parametrize("fault", ["no_data", "no_items", "empty"])


def daily_settings(root: Path, *lines: dict[str, Any]) -> Settings:
    """One share and one fund, with windows of a month; no answer comes late, for each of them is counted."""
    settings = settings_in(root, *lines, request_timeout_s=30)
    manifest = json.loads((settings.configs / "manifest.json").read_text())
    manifest["profiles"]["p"]["data"] = {"lookback_sessions": 30, "min_sessions_floor": 20}
    (settings.configs / "manifest.json").write_text(json.dumps(manifest))
    (settings.configs / "lists" / "four.yaml").write_text(yaml.safe_dump({"symbols": ["ARCA:QMKT", "NASDAQ:QTEB"]}))
    return Settings.from_env({}, data=settings.data, configs=settings.configs)


def days(work: Work, symbol: str = "QTEB") -> dict[str, int]:
    """Rows of each daily series of a symbol."""
    bars = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(work.latest_session()))
    mine = bars.filter((pl.col("symbol") == symbol) & (pl.col("session") <= MONDAY))
    return dict(mine.group_by("what_to_show").agg(pl.col("session").n_unique()).iter_rows())


def series_said(work: Work, what: str, symbol: str = "QTEB") -> list[tuple[str, str]]:
    """Outcome and proof of all answers about a daily series, in turn."""
    ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(work.latest_session())).sort("asked_at")
    mine = ledger.filter((pl.col("symbol") == symbol) & (pl.col("what_to_show") == what), pl.col("bar_size") == "1 day")
    return mine.select("outcome", "proof").rows()


def warned(published: Any) -> dict[str, str]:
    return {finding.check: finding.message for finding in published.findings if not finding.passed}


def repaired(work: Work) -> Work:
    return Work(work.settings, work.gate, is_repair=True)


@EVERY_NOTHING
@pytest.mark.parametrize(("what", "other"), [("TRADES", "ADJUSTED_LAST"), ("ADJUSTED_LAST", "TRADES")])
def test_mode_02_a_daily_series_is_not_believed_to_be_empty_while_its_sibling_has_bars(tmp_path, fault, what, other):
    """Three nothings, each to another request on another connection; TWS even denies a first bar."""
    lies = on("QTEB", fault, what=what, bar_size="1 day", times=3)
    no_head = {**NO_HEAD, "request": "head_timestamp", "every": 1}
    with opened(daily_settings(tmp_path, lies, no_head), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        said = series_said(work, what)
        assert len(said) == 3
        assert {proof for _, proof in said} == {""}
        assert list(days(work)) == [other]
        assert raw_daily(work, MONDAY, {}).is_committed, "one instrument in doubt does not hold up the session"
        assert warned(raw_daily(work, MONDAY, {})) == {
            "history_proved": "nothing proves the answers about 1 instruments: QTEB"
        }
        check = "history_present" if what == "TRADES" else "history_adjusted"
        assert "QTEB" in warned(Curator(work).daily_bars(MONDAY))[check]
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert (hole["session"], hole["symbol"], hole["n_asked"], hole["is_known"]) == (MONDAY, "QTEB", 3, False)
        assert hole["detail"].startswith(f"daily {what}: ")
        assert "yet it traded on" in hole["detail"]

        before = asked(gate)
        ingest_daily(work, [MONDAY])
        assert asked(gate) == before, "the fetch throttle holds"
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == before + 1
        assert days(work) == days(work, "QMKT")
        assert series_said(work, what)[-1] == ("bars", "complete")
        assert warned(raw_daily(work, MONDAY, {})) == {}
        assert warned(Curator(work).daily_bars(MONDAY)) == {}
        assert repair_plan(work).holes.is_empty()


@EVERY_NOTHING
def test_mode_02_a_first_bar_speaks_against_a_nothing_of_all_series_until_it_is_a_known_hole(tmp_path, fault):
    """No daily series of the instrument comes, ever; its head timestamp says that there are bars."""
    with opened(daily_settings(tmp_path, on("QTEB", fault, bar_size="1 day")), [MONDAY]) as (work, gate):
        for n_run in (1, 2, 3):
            before = asked(gate)
            ingest_daily(repaired(work), [MONDAY])
            assert asked(gate) - before == (2 * 3 + 2 if n_run == 1 else 2 * 3)
            (hole,) = repair_plan(work).holes.iter_rows(named=True)
            assert (hole["n_asked"], hole["is_known"]) == (3 * n_run, n_run == 3)
        assert "yet its first bar is of" in hole["detail"]
        assert {proof for _, proof in series_said(work, "TRADES")} == {""}
        before = asked(gate)
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == before
        assert repair_plan(work).sessions == repair_plan(work).missing
        assert raw_daily(work, MONDAY, {}).is_committed
        assert warned(raw_daily(work, MONDAY, {})) == {
            "history_served": "none for 1 instruments: QTEB",
            "history_proved": "nothing proves the answers about 1 instruments: QTEB",
        }


@pytest.mark.parametrize(
    ("fault", "outcome"), [("no_data", "no_data"), ("no_items", "no_data"), ("empty", "no_trades")]
)
def test_mode_02_an_instrument_without_history_is_settled_by_two_nothings_and_no_first_bar(tmp_path, fault, outcome):
    head = {**NO_HEAD, "request": "head_timestamp", "symbol": "QTEB", "every": 1}
    with opened(daily_settings(tmp_path, on("QTEB", fault, bar_size="1 day"), head), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == ["", "head"]
            assert series_said(work, what)[-1][0] == outcome
        assert asked(gate) == 2 + 2 * 2
        assert gate._embedded.counts()["head_timestamp"] == 1, "one answer serves all series of an instrument"
        ingest_daily(repaired(work), [MONDAY])
        assert asked(gate) == 2 + 2 * 2
        assert repair_plan(work).holes.is_empty()
        assert warned(raw_daily(work, MONDAY, {})) == {"history_served": "none for 1 instruments: QTEB"}


@pytest.mark.parametrize("trouble", ["no_permission", "query_failed"])
def test_mode_02_a_first_bar_that_tws_does_not_tell_proves_nothing(tmp_path, trouble):
    lines = (on("QTEB", "no_data", bar_size="1 day"), {"fault": trouble, "request": "head_timestamp", "every": 1})
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        assert series_said(work, "TRADES") == [("no_data", "")] * 3


def test_mode_02_minutes_speak_against_a_daily_nothing(tmp_path):
    head = {**NO_HEAD, "request": "head_timestamp", "every": 1}
    lies = on("QTEB", "no_data", bar_size="1 day")
    with opened(daily_settings(tmp_path, lies, head), [MONDAY]) as (work, _):
        ingest_minutes(work, [MONDAY])
        ingest_daily(work, [MONDAY])
        assert series_said(work, "TRADES") == series_said(work, "ADJUSTED_LAST") == [("no_data", "")] * 3
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert f"yet it traded on 1 sessions: {MONDAY}" in hole["detail"]


@pytest.mark.parametrize("fault", ["no_data", "empty"])
def test_mode_02_minutes_are_not_explained_by_a_daily_series_that_is_in_doubt(tmp_path, fault):
    """Days and minutes are both denied three times; neither denial proves the other."""
    lines = (on("QTEB", fault, what="TRADES", bar_size="1 day", times=3), on("QTEB", fault, bar_size="1 min", times=3))
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        ingest_minutes(work, [MONDAY])
        assert "QTEB" not in minutes(work)
        ledger = work.lake.raw.read(RAW_TWS_REQUESTS, Partition(MONDAY)).filter(pl.col("symbol") == "QTEB")
        assert set(ledger["proof"]) == {""}
        ingest_daily(repaired(work), [MONDAY])
        ingest_minutes(repaired(work), [MONDAY])
        assert minutes(work)["QTEB"] == 390


# ---------------------------------------------------------------- daily series that end too early, and alike


def one_series(root: Path, *lines: dict[str, Any]) -> Settings:
    """A pair instead of the share: it has one daily series."""
    settings = daily_settings(root, *lines)
    listed = yaml.safe_dump({"symbols": ["ARCA:QMKT", "IDEALPRO:EUR.USD"]})
    (settings.configs / "lists" / "four.yaml").write_text(listed)
    return settings


def test_mode_02_14_two_answers_of_the_only_daily_series_that_end_alike_are_not_believed(tmp_path):
    """No minutes are stored, no other series speaks: TWS's newest minutes do, and the third answer is right."""
    lies = on("EUR", "shift", what="MIDPOINT", bar_size="1 day", times=2)
    with opened(one_series(tmp_path, lies), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        said = series_said(work, "MIDPOINT", "EUR.USD")
        assert [proof for _, proof in said] == ["", "", "complete"]
        assert (days(work, "QMKT")["TRADES"], days(work, "EUR.USD")["MIDPOINT"]) == (30, 32), "and two US holidays"
        assert asked(gate) == 2 + 3 + 1, "two series of the fund, three answers, and the newest minutes once"
        assert repair_plan(work).holes.is_empty()


def test_mode_02_14_all_series_dated_four_weeks_back_are_not_believed(tmp_path):
    lies = [on("QTEB", "shift", what=what, bar_size="1 day", times=2) for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *lies), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        assert days(work) == days(work, "QMKT")
        assert asked(gate) == 2 + 2 * 3 + 1, "one look at the minutes serves both series"
        assert repair_plan(work).holes.is_empty()


@pytest.mark.parametrize("fault", ["shift", "empty", "no_permission"])
def test_mode_02_14_minutes_that_tell_nothing_prove_no_end(tmp_path, fault):
    """Whatever is asked of the instrument is wrong: its days stay in doubt, and are repaired once TWS tells the truth."""
    days_back = [on("QTEB", "shift", what=what, bar_size="1 day", times=3) for what in ("TRADES", "ADJUSTED_LAST")]
    lines = (*days_back, on("QTEB", fault, bar_size="1 min"))
    with opened(daily_settings(tmp_path, *lines), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == [""] * 3
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert "nothing shows that it did not trade since" in hole["detail"]
        assert "QTEB" in warned(raw_daily(work, MONDAY, {}))["history_proved"]
        ingest_daily(repaired(work), [MONDAY])
        assert days(work) == days(work, "QMKT")
        assert repair_plan(work).holes.is_empty()


def test_mode_02_14_the_newest_minutes_speak_against_an_end_however_often_it_is_repeated(tmp_path):
    ends = [on("QTEB", "shift", what=what, bar_size="1 day") for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *ends), [MONDAY]) as (work, _):
        ingest_daily(work, [MONDAY])
        (hole,) = repair_plan(work).holes.iter_rows(named=True)
        assert "yet it traded on 5 sessions" in hole["detail"], "those of a week, the longest request for minutes"


def test_mode_02_14_an_end_is_believed_once_tws_has_no_minutes_after_it(tmp_path):
    ends = [on("QTEB", "shift", what=what, bar_size="1 day") for what in ("TRADES", "ADJUSTED_LAST")]
    with opened(daily_settings(tmp_path, *ends, on("QTEB", "no_data", bar_size="1 min")), [MONDAY]) as (work, gate):
        ingest_daily(work, [MONDAY])
        for what in ("TRADES", "ADJUSTED_LAST"):
            assert [proof for _, proof in series_said(work, what)] == ["", "agreement"]
        assert asked(gate) == 2 + 2 * 2 + 1
