"""Random outages and random kills: in the end the lakehouse holds what the gateway serves, and no rule was broken.

Each seed makes a fault script for a gateway in a process of its own, and kills the ingesting process at random
requests, until one run gets through. What is left must equal, row for row, an ingestion without any trouble.

    python -m pytest quant_assets_tests/chaos/test_outages.py --chaos-seeds 200
    python -m pytest quant_assets_tests/chaos/test_outages.py --chaos-seed 123456      one seed again
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from quant_assets.gateway.faults import FaultScript
from quant_assets.gateway.faults.schedule import random_script
from quant_assets.gateway.ledger import breaches_in, read_ledger_file
from quant_assets_tests.builders import far_from_the_reset

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SYMBOLS = ("QMKT", "QTEB", "QHEA")
LISTED = ("ARCA:QMKT", "NASDAQ:QTEB", "NYSE:QHEA")
SESSIONS = [date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5)]
TIME_SCALE = 2000
MAX_KILLS = 3
MAX_RUNS = 15
UNSETTLED = ("timeout", "unavailable")
RUN_AGAIN = (75, 65)
"""Exit codes that ask for another run: the source was away, or something is not settled yet."""


@dataclass(frozen=True)
class Scene:
    """One data directory, its configuration, and the gateway that it is fed from."""

    root: Path
    listed: tuple[str, ...] = LISTED
    time_scale: int = TIME_SCALE
    group: int = 2
    """Requests per commit: small, so that kills find many."""
    request_timeout_s: float = 0.6

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    def configure(self, port: int) -> None:
        configs = self.root / "configs"
        (configs / "lists").mkdir(parents=True, exist_ok=True)
        (configs / "lists" / "three.yaml").write_text(yaml.safe_dump({"symbols": list(self.listed)}))
        manifest = {
            "default_profile": "p",
            "lakehouse": {"start_session": str(SESSIONS[0]), "lock_wait_s": 20, "fetch_throttle_hours": 0},
            "tws": {
                "max_minute_duration": "1 D",
                "request_timeout_s": self.request_timeout_s,
                "connect_timeout_s": 1.5,
                "outage_s": 10800,
                "reset_window": far_from_the_reset(),
            },
            "replay": {"time_scale": self.time_scale, "port": port},
            "profiles": {
                "p": {"data": {"lookback_sessions": 30, "min_sessions_floor": 20}, "discovery": {"lists": ["three"]}}
            },
        }
        (configs / "manifest.json").write_text(json.dumps(manifest))

    @contextmanager
    def gateway(self, script: FaultScript | None) -> Iterator[int]:
        """Run `quant gateway serve` and give its port."""
        extra = []
        if script:
            (self.root / "faults.yaml").write_text(script.to_yaml())
            extra = ["--faults", str(self.root / "faults.yaml")]
        command = [sys.executable, "-c", "from quant_assets.cli import main; main()", "gateway", "serve", "--port", "0"]
        command += ["--time-scale", str(self.time_scale), "--ledger", str(self.ledger), *extra]
        with (self.root / "gateway.log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ(), cwd=ROOT)
            try:
                assert process.stdout
                banner = process.stdout.readline()
                assert "replay gateway on" in banner, (self.root / "gateway.log").read_text()
                yield int(banner.split(":")[1])
            finally:
                process.terminate()
                process.communicate(timeout=10)

    def start(self) -> subprocess.Popen[str]:
        """Start an ingesting process."""
        with (self.root / "runs.log").open("a") as log:
            command = [sys.executable, "-W", "ignore", "-m", "quant_assets_tests.chaos.test_outages"]
            command += [str(self.root), str(self.group)]
            return subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environ(), cwd=ROOT)

    def n_asked(self) -> int:
        return self.ledger.read_bytes().count(b'"asked"') if self.ledger.exists() else 0

    def log(self) -> str:
        return (self.root / "runs.log").read_text()

    def table(self, zone: str, name: str) -> pl.DataFrame:
        files = sorted((self.data / "lakehouse" / zone / name).glob("**/[!.]*.parquet"))
        return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])

    def requests(self) -> pl.DataFrame:
        """The ledger of the ingestion, which may have no file yet."""
        from quant_assets.domain.tables import RAW_TWS_REQUESTS

        has_files = any((self.data / "lakehouse" / "bronze" / "raw_tws_requests").glob("**/[!.]*.parquet"))
        return self.table("bronze", "raw_tws_requests") if has_files else RAW_TWS_REQUESTS.empty()


def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUANT_")}
    return kept | {"POLARS_MAX_THREADS": "1"}


# ---------------------------------------------------------------- the ingesting process


def ingest(root: Path, group: int) -> int:
    """Everything that the data cycle asks of TWS, then the curation of it."""
    from quant_assets.errors import QuantAssetsError
    from quant_assets.flows.curate import Curator
    from quant_assets.flows.discover import Discovery
    from quant_assets.flows.gate import TwsGate
    from quant_assets.flows.ingest import daily, details, groups, minutes
    from quant_assets.flows.ingest.ledger import open_holes
    from quant_assets.flows.ingested import raw_daily, raw_minutes
    from quant_assets.flows.work import Work
    from quant_assets.settings import Settings

    groups.GROUP = group
    settings = Settings.from_env({}, data=root / "data", configs=root / "configs")
    with TwsGate(settings, run_id="chaos") as gate:
        work = Work(settings, gate, run_id="chaos", is_repair=True)
        try:
            discovery = Discovery(work)
            for session in SESSIONS:
                discovery.publish(session)
            details.ingest_details(work, SESSIONS)
            reports = (daily.ingest_daily(work, SESSIONS), minutes.ingest_minutes(work, SESSIONS))
            if unanswered := sum(report.outcomes[name] for report in reports for name in UNSETTLED):
                print(f"{unanswered} requests have no reliable answer")
                return 75
            curator = Curator(work)
            for session in SESSIONS:
                raw = (raw_daily(work, session, {}), raw_minutes(work, session, {}))
                if why := [one.reason for one in raw if not one.is_committed]:
                    print(f"not settled: {session}: {why}")
                    return 65
                curated = (*curator.minute_bars(session), curator.daily_bars(session))
                if why := [one.reason for one in curated if not one.is_committed]:
                    print(f"not published: {session}: {why}")
                    return 65
            if not (left := open_holes(work, SESSIONS)).is_empty():
                print(f"{left.height} sessions of instruments are in doubt: {left['symbol'].to_list()}")
                return 65
        except QuantAssetsError as error:
            print(f"{type(error).__name__}: {error}")
            return error.exit_code
    return 0


# ---------------------------------------------------------------- what is compared

BRONZE = {
    "raw_tws_bars": ["con_id", "session", "bar_size", "what_to_show"],
    "raw_tws_daily_bars": ["con_id", "vintage", "bar_size", "what_to_show"],
}
SILVER = ("curated_tws_1m_bars", "curated_tws_1d_bars", "quarantine_tws_bars")
PROVENANCE = ("batch_id", "request_id", "ingested_at", "known_at", "pipeline_version", "known_basis")


def newest(frame: pl.DataFrame, series: list[str]) -> pl.DataFrame:
    """The rows of the newest answer of each series, without what says when and how they came."""
    last = pl.col("ingested_at") == pl.col("ingested_at").max().over(series)
    kept = frame.filter(last, pl.col("request_id") == pl.col("request_id").max().over(series))
    return kept.drop(PROVENANCE, strict=False).sort([*dict.fromkeys([*series, "session", "answer_row"])])


def contents(scene: Scene) -> dict[str, pl.DataFrame]:
    bronze = {name: newest(scene.table("bronze", name), series) for name, series in BRONZE.items()}
    silver = {}
    for name in SILVER:
        frame = scene.table("silver", name).drop(PROVENANCE, strict=False)
        silver[name] = frame.sort(frame.columns)
    return bronze | silver


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """What one run without trouble leaves, which itself equals what the market holds."""
    scene = Scene(tmp_path_factory.mktemp("undisturbed"))
    with scene.gateway(None) as port:
        scene.configure(port)
        assert scene.start().wait(60) == 0, scene.log()
    found = contents(scene)
    assert_frame_equal(found["raw_tws_bars"].select(SERVED), served(), check_row_order=False)
    assert breaches_in(scene.ledger) == []
    return found


SERVED = ["con_id", "ts", "open", "high", "low", "close", "volume", "wap", "bar_count"]


def served() -> pl.DataFrame:
    """The market's own minutes of the scene."""
    from quant_assets.gateway.synthetic import SyntheticMarket

    market, now = SyntheticMarket(seed=7), datetime.now(UTC)
    frames = []
    for symbol in SYMBOLS:
        instrument = market.find(now, symbol=symbol)
        assert instrument
        first, last = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (SESSIONS[0], SESSIONS[-1]))
        bars = market.minute_bars(instrument, first, last.replace(hour=23), "TRADES", now)
        frames.append(bars.with_columns(pl.lit(instrument.con_id, pl.Int64).alias("con_id")))
    return pl.concat(frames).select(SERVED)


# ---------------------------------------------------------------- the proof


def test_whatever_happens_the_store_equals_the_source(
    chaos_seed: int, chaos_data: bool, tmp_path: Path, undisturbed: dict[str, pl.DataFrame]
) -> None:
    scene, script = Scene(tmp_path), random_script(chaos_seed, SYMBOLS, data_faults=chaos_data)
    again = f"python -m pytest {Path(__file__).relative_to(ROOT)} --chaos-seed {chaos_seed}{'' if chaos_data else ' --no-chaos-data'}"
    print(f"seed {chaos_seed}; again: {again}\n{script.to_yaml()}")
    with scene.gateway(script) as port:
        scene.configure(port)
        n_runs, kills = run_and_kill(scene, random.Random(f"kills:{chaos_seed}"))
        settle(scene)
    print(f"{n_runs} runs, {scene.n_asked()} requests\n{scene.log()}")
    assert breaches_in(scene.ledger) == []
    assert [repeated(scene, kill) for kill in kills] == [set() for _ in kills], "asked again though it was safe"
    found = contents(scene)
    for name, expected in undisturbed.items():
        print(f"comparing {name}")
        assert_frame_equal(found[name], expected)


def test_what_killed_processes_asked_counts_against_the_limits_of_the_next(tmp_path: Path) -> None:
    """Nothing they asked is committed, so each asks for it again: only the journal keeps them below IBKR's limits."""
    from quant_assets.gateway.synthetic import SyntheticMarket

    everyone = SyntheticMarket(seed=7).instruments(datetime.now(UTC))
    listed = tuple(f"{one.primary_exchange}:{one.symbol}" for one in everyone[:14])
    scene = Scene(tmp_path, listed, time_scale=40, group=1000)
    with scene.gateway(None) as port:
        scene.configure(port)
        for n_requests in (25, 50):
            process = scene.start()
            kill_at(scene, process, n_requests, 0.0)
            assert process.wait(20) == -signal.SIGKILL, scene.log()
        process = scene.start()
        while process.poll() is None and scene.n_asked() < 85:
            time.sleep(0.02)
        process.kill()
        process.wait(20)
    asked = [event["at"] for event in read_ledger_file(scene.ledger) if event["event"] == "asked"]
    assert breaches_in(scene.ledger) == []
    assert len(asked) >= 85, scene.log()
    assert all(later - earlier > 600 for earlier, later in zip(asked, asked[60:], strict=False))


def test_what_was_answered_before_the_pacer_waits_survives_a_kill(tmp_path: Path) -> None:
    """The window is full after 55 requests, and nothing comes for half a minute: all 55 answers are safe by then."""
    from quant_assets.gateway.synthetic import SyntheticMarket

    everyone = SyntheticMarket(seed=7).instruments(datetime.now(UTC))
    listed = tuple(f"{one.primary_exchange}:{one.symbol}" for one in everyone if one.sec_type == "STK")[:30]
    scene = Scene(tmp_path, listed, time_scale=20, group=1000, request_timeout_s=30)
    with scene.gateway(None) as port:
        scene.configure(port)
        process = scene.start()
        while process.poll() is None and scene.n_asked() < 55:
            time.sleep(0.02)
        while process.poll() is None and scene.n_asked() == 55 and scene.requests().height < 55:
            time.sleep(0.1)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL, scene.log()
        kill = Kill(scene.n_asked(), safe(scene))
        assert (kill.n_asked, scene.requests().height) == (55, 55), scene.log()
        assert len(kill.safe) > 50, "but for what was delisted, and needs another answer"
        process = scene.start()
        while process.poll() is None and scene.n_asked() < 60:
            time.sleep(0.02)
        process.kill()
        process.wait(20)
    assert scene.n_asked() >= 60, scene.log()
    assert repeated(scene, kill) == set()
    assert breaches_in(scene.ledger) == []


Asked = tuple[int, str, str]
"""con_id, series, and the session of 1-minute bars, or nothing."""


@dataclass(frozen=True)
class Kill:
    """How many requests had been asked when a process was killed, and what the ledger held as proved."""

    n_asked: int
    safe: set[Asked]


def safe(scene: Scene) -> set[Asked]:
    """What is proved, by the request ledger, and what it speaks of is there."""
    rows = scene.requests().filter(pl.col("proof") != "")
    minute = pl.col("bar_size") == "1 min"
    day = pl.when(minute).then(pl.col("session").dt.strftime("%Y%m%d")).otherwise(pl.lit(""))
    return set(rows.select("con_id", "what_to_show", day.alias("day")).iter_rows())


def repeated(scene: Scene, kill: Kill) -> set[Asked]:
    """What was asked for after a kill, in requests for one day or one daily series, although it was safe."""
    events = [event for event in read_ledger_file(scene.ledger) if event["event"] == "asked"]
    later = [event for event in events[kill.n_asked :] if event["what"] in ("TRADES", "ADJUSTED_LAST")]
    days = {(e["con_id"], e["what"], "") for e in later if e["bar_size"] == "1 day"}
    minutes = {
        (e["con_id"], e["what"], e["end"][:8]) for e in later if (e["bar_size"], e["duration"]) == ("1 min", "1 D")
    }
    return kill.safe & (days | minutes)


def run_and_kill(scene: Scene, dice: random.Random) -> tuple[int, list[Kill]]:
    """Run until complete, killing the first runs at random requests; returns the number of runs, and the kills."""
    kills, killed = dice.randint(0, MAX_KILLS), list[Kill]()
    for n_run in range(1, MAX_RUNS + 1):
        process = scene.start()
        if n_run <= kills:
            kill_at(scene, process, scene.n_asked() + dice.randint(0, 9), dice.choice([0.0, 0.0, dice.random() / 5]))
        code = process.wait(100)
        if code == 0:
            return n_run, killed
        if code == -signal.SIGKILL:
            killed.append(Kill(scene.n_asked(), safe(scene)))
        assert code in (*RUN_AGAIN, -signal.SIGKILL), f"run {n_run} ended with {code}\n{scene.log()}"
    raise AssertionError(f"not complete after {MAX_RUNS} runs\n{scene.log()}")


def kill_at(scene: Scene, process: subprocess.Popen[str], n_requests: int, after_s: float) -> None:
    """Kill -9 once the gateway has seen so many requests, and a little later."""
    while process.poll() is None and scene.n_asked() < n_requests:
        time.sleep(0.003)
    time.sleep(after_s)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)


def settle(scene: Scene) -> None:
    """Nothing stays open at the gateway once everybody has left."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        events = list(read_ledger_file(scene.ledger))
        open_ = {e["number"] for e in events if e["event"] == "asked"}
        open_ -= {e["number"] for e in events if e["event"] == "ended"}
        if not open_:
            return
        time.sleep(0.02)
    raise AssertionError(f"requests {sorted(open_)} are still open at the gateway")


if __name__ == "__main__":
    sys.exit(ingest(Path(sys.argv[1]), int(sys.argv[2])))
