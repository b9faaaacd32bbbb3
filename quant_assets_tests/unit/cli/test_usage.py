"""What a person mistypes is told as that, with exit code 2 and the way out, and never as a traceback."""

import json
import os
import pty
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from quant_assets.cli.common import parse_instant, span_from
from quant_assets.domain.tables import ALL
from quant_assets.errors import ConfigurationError
from quant_assets.errors.base import number_of
from quant_assets_tests.builders import instant
from quant_assets_tests.unit.cli.house import house as house  # noqa: PLC0414 - a fixture
from quant_assets_tests.unit.cli.house import quant

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("n", ["0", "-3"])
def test_a_demo_of_no_session_is_refused(house, n):
    assert "Invalid value for '--sessions'" in quant("demo", "--sessions", n, code=2)


def test_a_demo_of_more_sessions_than_there_are_says_how_many_there_are(house):
    told = quant("--set", "lakehouse.start_session=2026-01-02", "demo", "--sessions", "99999", code=2)
    assert "Invalid value for '--sessions': 99999 sessions are more than the" in told
    assert "since lakehouse.start_session 2026-01-02" in told


@pytest.mark.parametrize("text", ["2026-11-27T09:30", "2026-11-27 09:30:00"])
def test_an_instant_without_a_time_zone_is_refused(house, text):
    for words in (("sql", "--as-of", text, "SELECT 1"), ("lake", "revisions", "--since", text)):
        told = quant(*words, code=2)
        assert f"instant: {text!r} has no time zone." in told
        assert "2026-03-14T21:00Z" in told


def test_an_instant_has_a_time_zone_or_is_the_end_of_a_day():
    assert parse_instant("2026-11-27T09:30Z") == instant("2026-11-27 09:30")
    assert parse_instant("2026-11-27T09:30-05:00") == instant("2026-11-27 14:30")
    assert parse_instant(" 2026-11-27 ") == instant("2026-11-27 23:59:59.999999")
    with pytest.raises(ConfigurationError, match="'yesterday' is none"):
        parse_instant("yesterday")


def test_the_list_of_tables_is_json_where_json_is_asked_for(house):
    assert [one["table"] for one in json.loads(quant("sql", "--json", "--tables"))] == [one.name for one in ALL]
    assert quant("sql", "--csv", "--tables").splitlines()[0] == "table,zone,a row is"


@pytest.mark.parametrize("words", [("sql", "SELECT 1"), ("run", "targets", "2026-01-05-p-0000000000")])
def test_two_forms_at_once_are_refused(house, words):
    assert "give --json or --csv, not both" in quant(*words, "--json", "--csv", code=2)


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("2026-01-09", "2026-01-05", "the range is reversed"),
        ("2026-01-10", "2026-01-11", "Nearest sessions: 2026-01-09, 2026-01-12"),
        ("1980-01-02", "1980-12-31", "Nearest sessions: 1990-01-02"),
    ],
)
def test_planted_events_of_no_session_are_refused(first, last, why):
    assert why in quant("gateway", "events", "--first", first, "--last", last, code=2)


def test_sessions_without_planted_events_are_said_to_have_none():
    assert quant("gateway", "events", "--first", "2021-10-05", "--last", "2021-10-05").startswith("nothing is planted")


@pytest.mark.parametrize("words", [("repair",), ("lake", "rebuild"), ("breaks", "list")])
def test_a_session_or_a_range_narrows_and_both_are_refused(house, words):
    span = "2026-01-05..2026-01-06"
    assert "not both" in quant(*words, "--session", "2026-01-05", "--sessions", span, code=2)
    assert "'2026-13-01' is no session" in quant(*words, "--session", "2026-13-01", code=2)
    assert "--session YYYY-MM-DD" in quant(*words, "--help")


def test_a_session_is_the_range_of_that_day():
    assert span_from("2026-01-05", None) == span_from(None, "2026-01-05") == (date(2026, 1, 5), date(2026, 1, 5))
    assert span_from(None, "2026-01-05..2026-01-09") == (date(2026, 1, 5), date(2026, 1, 9))
    assert span_from(None, None) == (None, None)


def test_an_answer_that_never_comes_is_a_no(house):
    """Ctrl-D at the question of a terminal: nothing was removed, and nothing else is said."""
    master, terminal = pty.openpty()
    start = "from quant_assets.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, "lake", "wipe"], cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal
    )
    os.close(terminal)
    os.write(master, b"\x04")
    told, _ = process.communicate(timeout=120)
    os.close(master)
    assert process.returncode == 0
    assert told.decode().splitlines()[-1] == "nothing was removed"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions"), (1500, "1500 sessions")]
)
def test_one_is_no_plural(number, text):
    assert number_of(number, "session") == text


def test_the_audit_of_one_profile_speaks_of_one(house):
    assert quant("manifest", "audit").startswith("1 active profile (p): 0 errors, ")
