"""What a person sees while a cycle runs: a bar on a real terminal, plain lines elsewhere; Dagster redirects stderr."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAMES = ["ARCA:QMKT", "NASDAQ:QTEB", "NASDAQ:QFIA"]


@pytest.fixture
def house(tmp_path):
    """A project directory with Dagster's own configuration, compute logs included."""
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    (tmp_path / "configs" / "lists").mkdir(parents=True)
    (tmp_path / "configs" / "lists" / "short.yaml").write_text(yaml.safe_dump({"symbols": NAMES}))
    manifest = {
        "default_profile": "calm",
        "replay": {"time_scale": 200},
        "tws": {"max_requests_per_10_min": 4},
        "defaults": {"data": {"lookback_sessions": 10, "min_sessions_floor": 5}, "discovery": {"lists": ["short"]}},
        "profiles": {"calm": {}},
    }
    (tmp_path / "configs" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def flow_data(root: Path, **streams: int) -> subprocess.Popen[bytes]:
    ours = {"QUANT_DATA": str(root / "data"), "QUANT_CONFIGS": str(root / "configs"), "PYTHONPATH": str(ROOT)}
    start = "from quant_assets.cli import main; main()"
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TTY_COMPATIBLE")}
    return subprocess.Popen(
        [sys.executable, "-c", start, "flow", "data"],
        cwd=root,
        env=env | ours | {"TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        **streams,
    )


def read_terminal(master: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the last process that held the other end is gone
            return b"".join(parts).decode()
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


@pytest.mark.slow
def test_a_terminal_shows_a_bar_with_count_rate_and_time_left(house):
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (50, 200))
    process = flow_data(house, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = read_terminal(master)
    os.close(master)
    assert process.wait() == 0, shown
    assert "\x1b[2K" in shown, "a line that was drawn is drawn anew"
    assert "━" in shown
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", drawn) if "raw_tws_daily_bars" in line]
    waits = [found[1] for line in lines if (found := re.search(r" 4/6 .* (\d s) left", line))]
    assert {"2 s", "1 s"} <= set(waits), "four fit into ten minutes, which take 3 s here and are counted down"
    assert re.search(r"6/6 \d+\.\d/(s|min) 0:\d\d:\d\d 0 s left", lines[-1]), lines
    assert any("raw_tws_bars" in line and "3/3" in line for line in re.split(r"[\r\n]+", drawn))
    assert "INFO" not in drawn, "the bar says it"
    assert len(list((house / "data" / ".dagster" / "compute_logs").rglob("*.err"))) > 0, "the UI loses nothing"


@pytest.mark.slow
def test_a_pipe_gets_plain_lines(house):
    process = flow_data(house, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told, said = (stream.decode() for stream in process.communicate())
    assert process.returncode == 0, said
    assert re.search(r"^ok: \d+ TWS requests, \d+ rows written$", told, re.MULTILINE)
    progress = [line for line in said.splitlines() if "control.progress" in line]
    assert "INFO quant_assets.control.progress: raw_tws_daily_bars: start, 6 to do" in progress
    assert "INFO quant_assets.control.progress: raw_tws_bars: done 3/3 (100%)" in progress
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", told + said), "no control character but the line break"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_cycle_with_words_and_a_code(house, number):
    process = flow_data(house, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not list((house / "data" / "lakehouse" / "bronze").rglob("*.parquet")):
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate()[1].decode()
    assert process.returncode == 130, said
    assert said.endswith("interrupted: what was committed stands; the same command goes on from there\n")
