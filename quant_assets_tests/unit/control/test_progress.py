import io
import logging
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from quant_assets.clock import ManualClock
from quant_assets.control.progress import ConsoleProgress, NullProgress
from quant_assets.control.wording import eta_text, rate_text


def plain(clock, every_s=10.0):
    return ConsoleProgress(clock=clock, every_s=every_s)


@pytest.fixture
def clock():
    return ManualClock(datetime(2024, 1, 2, tzinfo=UTC))


def test_lines_are_rate_limited_but_start_and_end_are_always_said(clock, caplog):
    with caplog.at_level(logging.INFO), plain(clock).task("ingest", total=100) as task:
        for number in range(100):
            clock.advance(0.25)
            task.advance(1, note=f"S{number}", eta_s=60.0)
    assert [record.getMessage() for record in caplog.records] == [
        "ingest: start, 100 to do",
        "ingest: at 40/100 (40%), S39, 1 min 00 s left",
        "ingest: at 80/100 (80%), S79, 1 min 00 s left",
        "ingest: done 100/100 (100%)",
    ]


def test_a_task_that_fails_says_where_it_stopped(clock, caplog):
    def fail_after_the_first():
        with plain(clock).task("ingest", total=3) as task:
            task.advance(1, note="AAPL")
            _ = 1 / 0

    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        fail_after_the_first()
    assert caplog.records[-1].getMessage() == "ingest: stopped 1/3 (33%), AAPL"


def test_an_unknown_total_and_nothing_to_do(clock, caplog):
    with caplog.at_level(logging.INFO):
        with plain(clock).task("scan") as task:
            task.advance(7)
        with plain(clock).task("ingest", total=0):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "scan: start",
        "scan: done 7",
        "ingest: start, 0 to do",
        "ingest: done 0",
    ]


class Screen(io.StringIO):
    """What a terminal got, with a clock that moves when told."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.console = Console(file=self, force_terminal=True, width=160, get_time=lambda: self.now)

    def last_line(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()).rstrip().rpartition("\n")[2].rpartition("\r")[2]


def test_a_terminal_gets_a_bar_and_no_lines(caplog):
    screen = Screen()
    with caplog.at_level(logging.INFO), ConsoleProgress(screen.console).task("ingest [1m]", total=110) as task:
        screen.now = 120.0
        task.advance(55, note="BRK [B]", eta_s=665)
        screen.now = 720.0
    shown = screen.last_line()
    assert "ingest [1m]" in shown
    assert "55/110" in shown
    assert "4.6/min" in shown, "55 in 12 minutes"
    assert "0:12:00" in shown
    assert "1 min 05 s left" in shown, "it counts down while nothing advances"
    assert "BRK [B]" in shown
    assert caplog.records == []


def test_what_is_logged_goes_above_the_bar_and_to_where_it_went_before(monkeypatch):
    screen, stderr = Screen(), io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    handler = logging.StreamHandler(stderr)
    logging.getLogger().addHandler(handler)
    try:
        with ConsoleProgress(screen.console).task("ingest", total=2) as task:
            logging.getLogger("quant_assets.somebody").warning("TWS restarting")
            task.advance(2)
        logging.getLogger("quant_assets.somebody").warning("afterwards")
    finally:
        logging.getLogger().removeHandler(handler)
    above, _, bar = screen.getvalue().rpartition("TWS restarting\n")
    assert above
    assert "2/2" in bar
    assert stderr.getvalue() == "afterwards\n"


def test_null_shows_nothing(caplog, capsys):
    with caplog.at_level(logging.INFO), NullProgress().task("ingest", total=1) as task:
        task.advance(1, note="AAPL", eta_s=1)
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (65, "1 min 05 s"), (7800, "2 h 10 min"), (-3, "0 s")],
)
def test_durations_as_people_say_them(seconds, text):
    assert eta_text(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(12.345, "12.3/s"), (1.0, "1.0/s"), (55 / 600, "5.5/min"), (0.999, "59.9/min")]
)
def test_rates_as_people_say_them(per_s, text):
    assert rate_text(per_s) == text
