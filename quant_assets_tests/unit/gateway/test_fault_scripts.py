"""Fault scripts: what may be written, what is refused and how, and that equal scripts strike equally."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quant_assets.clock import ManualClock
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.faults import FaultEngine, FaultLine, FaultScript, Moment
from quant_assets.gateway.faults.moments import BAR_ACTIONS, KINDS
from quant_assets.gateway.faults.schedule import DATA_FAULTS, WIRE_FAULTS, random_script
from quant_assets.gateway.faults.spoiling import spoiled
from quant_assets.gateway.faults.vocabulary import EVENTS, FAULTS, NAMES
from quant_assets.gateway.messages import bars
from quant_assets.gateway.wire import fields_of

SHIPPED = sorted((Path(__file__).parents[3] / "configs" / "faults").glob("*.yaml"))
START = datetime(2024, 3, 15, 22, tzinfo=UTC)


class FakeStage:
    """A gateway that notes what is done to it."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.muted: list[Any] = []
        self.standing: list[Any] = []
        self.done: list[str] = []
        self.is_frozen = False

    def answers(self, kind: str) -> bool:
        return not (self.is_frozen or any(kind in kinds for kinds in self.muted))

    def broadcast(self, code: int, text: str) -> None:
        self.done.append(f"{code}" if text else "")

    def kick(self, *, abort: bool = False) -> None:
        self.done.append("reset" if abort else "kick")

    def freeze(self, *, frozen: bool = True) -> None:
        self.is_frozen = frozen
        self.done.append("freeze" if frozen else "thaw")

    def close_port(self) -> None:
        self.done.append("close")

    async def open_port(self) -> None:
        self.done.append("open")

    def note_strike(self, name: str, detail: str) -> None:
        self.done.append(f"{name} {detail}")

    def note_end(self, name: str) -> None:
        self.done.append(f"{name} is over")


def struck(*lines: dict[str, Any], moments: list[Moment], seed: int = 0) -> list[str]:
    """The faults of a series of moments; a dot is none."""

    async def play() -> list[str]:
        engine = FaultEngine(FaultScript(seed=seed, faults=tuple(FaultLine.model_validate(line) for line in lines)))
        engine.start(FakeStage())
        found = [engine.fault_at(moment) for moment in moments]
        engine.stop()
        return [fault.name if fault else "." for fault in found]

    return asyncio.run(play())


def histories(n: int, symbol: str = "A") -> list[Moment]:
    return [Moment("history", symbol=symbol, con_id=7, what="TRADES", bar_size="1 day")] * n


# ---------------------------------------------------------------- what ships


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_script_loads_and_says_what_it_is(path):
    script = FaultScript.load(path)
    assert script.description
    assert path.read_text().startswith("# "), "a header comment says what happens and what to expect"
    assert f"--faults configs/faults/{path.name}" in path.read_text()
    assert FaultEngine(script)


def test_the_promised_scripts_ship():
    assert [path.stem for path in SHIPPED] == ["flaky_day", "half_open", "nightly_restart", "pacing_storm"]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("faults: [{fault: pasing, request: history}]", r"faults.0.fault'.*Did you mean 'pacing'\? Legal: pacing,"),
        ("faults: [{fault: pacing}]", r"give either `request` .*any, handshake, .* or `at`"),
        ("faults: [{fault: pacing, request: history, at: 3}]", "give either `request`"),
        ("faults: [{fault: pacing, at: 3}]", "`at` goes with events .*freeze"),
        ("faults: [{fault: pacing, request: bars}]", r"faults.0.request.0'.*'handshake', 'start_api'"),
        ("faults: [{fault: pacing, request: history, nth: 2, every: 2}]", "at most one of"),
        ("faults: [{fault: pacing, request: history, nth: 0}]", r"faults.0.nth'.*greater than or equal to 1"),
        ("faults: [{fault: lots, request: contract_details}]", "changes bars"),
        ("faults: [{fault: freeze, at: 1, code: 3}]", "go with faults of answers"),
        ("faults: [{fault: hang, request: history, tmies: 3}]", r"faults.0.tmies'.*Extra inputs"),
        ("seed: 3", "key 'faults'.*Field required"),
        ("faults: {", "not valid YAML"),
        ("- 1", "valid dictionary"),
    ],
)
def test_an_error_names_file_key_and_what_is_legal(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        FaultScript.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_which_one_would_do(tmp_path):
    with pytest.raises(ConfigurationError, match=r"configs/faults/flaky_day\.yaml"):
        FaultScript.load(tmp_path / "none.yaml")


# ---------------------------------------------------------------- when it strikes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({}, "x......"),
        ({"nth": 3}, "..x...."),
        ({"nth": 3, "times": 2}, "..xx..."),
        ({"every": 3}, "..x..x."),
        ({"every": 3, "times": 1}, "..x...."),
        ({"every": 1}, "xxxxxxx"),
        ({"symbol": "B"}, "......."),
        ({"con_id": 7, "nth": 2}, ".x....."),
        ({"con_id": 8}, "......."),
        ({"what": "TRADES", "bar_size": "1 day", "nth": 2}, ".x....."),
        ({"what": "ADJUSTED_LAST"}, "......."),
        ({"bar_size": "1 min"}, "......."),
        ({"since": 5.0}, "......."),
        ({"lasts": 5.0}, "xxxxxxx"),
    ],
    ids=str,
)
def test_a_line_strikes_when_it_says(line, expected):
    found = struck({"fault": "hang", "request": "history", **line}, moments=histories(7))
    assert "".join("x" if name == "hang" else "." for name in found) == expected


def test_chance_is_the_seed_s_and_replayable():
    line = {"fault": "hang", "request": "any", "probability": 0.5}
    first, again, other = (struck(line, moments=histories(200), seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 60 < first.count("hang") < 140


def test_the_first_due_line_wins_and_the_next_waits_for_its_turn():
    lines = ({"fault": "hang", "request": "history"}, {"fault": "drop", "request": "history"})
    assert struck(*lines, moments=histories(3)) == ["hang", "drop", "."]


def test_an_event_begins_at_its_time_ends_after_its_length_and_repeats():
    async def play() -> list[str]:
        stage = FakeStage()
        line = FaultLine(fault="restart", at=100, lasts=30, repeat=1000, times=2)
        engine = FaultEngine(FaultScript(faults=(line,)))
        engine.start(stage)
        stage.clock.advance(500)
        for kind in ("handshake", "start_api"):
            engine.fault_at(Moment(kind))
        for _ in range(20):
            await asyncio.sleep(0)
        assert stage.done == [], "nobody has asked for anything"
        engine.fault_at(Moment("contract_details"))
        for _ in range(20):
            await asyncio.sleep(0)
        engine.stop()
        assert stage.clock.monotonic() >= 500 + 1100 + 30
        return stage.done

    done = asyncio.run(play())
    assert done[:4] == ["restart at 100 s, for 30 s", "1100", "close", "reset"]
    assert done.count("open") == 2
    assert "restart at 1100 s, for 30 s" in done


def test_a_span_is_counted_from_the_first_request_for_data():
    async def play() -> list[bool]:
        stage = FakeStage()
        line = FaultLine(fault="hang", request=("history",), since=10, until=20, every=1)
        engine = FaultEngine(FaultScript(faults=(line,)))
        engine.start(stage)
        found = []
        for seconds in (15, 5, 5, 5, 5):
            stage.clock.advance(seconds)
            found.append(engine.fault_at(Moment("history")) is not None)
        engine.stop()
        return found

    assert asyncio.run(play()) == [False, False, True, True, False]


def test_an_event_may_be_set_off_by_a_request():
    async def play() -> tuple[list[str], Any]:
        stage = FakeStage()
        line = FaultLine(fault="history_farm_broken", request=("history",), lasts=30)
        engine = FaultEngine(FaultScript(faults=(line,)))
        engine.start(stage)
        fault = engine.fault_at(Moment("history", symbol="A"))
        assert stage.standing == [EVENTS["history_farm_broken"].says[0]]
        for _ in range(5):
            await asyncio.sleep(0)
        assert stage.muted == stage.standing == []
        return stage.done, fault

    done, fault = asyncio.run(play())
    assert fault is None
    assert done == ["history_farm_broken set off by history A, for 30 s", "2105", "2106", "history_farm_broken is over"]


# ---------------------------------------------------------------- vocabulary and schedules


@pytest.mark.parametrize("event", ["connectivity_lost_1101", "history_farm_broken", "freeze"])
def test_what_is_sent_into_an_outage_is_not_counted(event):
    """The 3rd request sets it off, the next four are lost in it, and the 5th that counts comes after it."""

    async def play() -> list[str]:
        stage = FakeStage()
        lines = ({"fault": event, "nth": 3, "lasts": 60}, {"fault": "pacing", "nth": 5}, {"fault": "no_data", "nth": 5})
        engine = FaultEngine(
            FaultScript(faults=tuple(FaultLine.model_validate({**line, "request": "history"}) for line in lines))
        )
        engine.start(stage)
        lost = [engine.fault_at(one) for one in histories(7)]
        while stage.done[-1] != f"{event} is over":  # noqa: ASYNC110 - its clock moves when others sleep on it
            await asyncio.sleep(0)
        after = [engine.fault_at(one) for one in histories(4)]
        engine.stop()
        return [fault.name if fault else "." for fault in (*lost, *after)]

    assert asyncio.run(play()) == ["."] * 7 + [".", "pacing", "no_data", "."]


def test_a_script_survives_its_own_text():
    script = random_script(11, ["A", "B"])
    path_text = script.to_yaml()
    assert "request" in path_text


@pytest.mark.parametrize("seed", range(60))
def test_random_scripts_are_legal_bounded_and_replayable(seed, tmp_path):
    script = random_script(seed, ["A", "B"])
    assert script == random_script(seed, ["A", "B"])
    path = tmp_path / "s.yaml"
    path.write_text(script.to_yaml())
    assert FaultScript.load(path) == script
    assert all(line.limit is not None and line.limit <= 3 for line in script.faults)
    assert all(line.trouble().lasts_s <= 900 for line in script.faults if line.fault in EVENTS)


def test_random_scripts_come_to_use_the_whole_vocabulary():
    used = {line.fault for seed in range(400) for line in random_script(seed).faults}
    assert {*WIRE_FAULTS, *DATA_FAULTS, *EVENTS} <= used
    told = {line.fault for seed in range(400) for line in random_script(seed, data_faults=False).faults}
    assert not told & set(DATA_FAULTS)


def test_every_name_is_one_thing():
    assert len(NAMES) == len(set(NAMES)) == len(FAULTS) + len(EVENTS)
    assert all(fault.name == name for name, fault in FAULTS.items())
    assert set(KINDS) >= {kind for event in EVENTS.values() for kind in event.mutes}


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.action in BAR_ACTIONS])
def test_wrong_bars_are_well_formed_and_wrong(name):
    row = ["1710509400", "10.0", "10.5", "9.5", "10.25", "1200", "10.1", "34"]
    answer = bars(3, "a", "b", 10, "".join(f"{field}\0" for field in row * 10).encode())
    fields = fields_of(spoiled(answer, FAULTS[name])[4:])
    n_bars, rows = int(fields[4]), fields[5:]
    assert len(rows) == 8 * n_bars or fields[-1] == ""
    assert n_bars == {"empty": 0, "truncate": 6}.get(name, 10)
    if name == "lots":
        assert rows[5] == "12.00"
    if name == "shift":
        assert rows[0] == str(1710509400 - 28 * 86400)
    assert spoiled(b"\0\0\0\x0610\0abc\0", FAULTS[name]) == b"\0\0\0\x0610\0abc\0", (
        "an answer of another kind is left alone"
    )
