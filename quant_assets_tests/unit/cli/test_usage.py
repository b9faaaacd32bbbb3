"""What a person mistypes is told as that, with exit code 2 and the way out, and never as a traceback."""

import json

import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.cli.common import parse_instant
from quant_assets.errors import ConfigurationError, QuantAssetsError
from quant_assets_tests.builders import instant


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty data directory and a small configuration of a user's own."""
    monkeypatch.setenv("QUANT_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("QUANT_DATA", str(tmp_path / "data"))
    (tmp_path / "configs" / "lists").mkdir(parents=True)
    (tmp_path / "configs" / "lists" / "a.yaml").write_text("symbols: [NYSE:QEND]\n")
    manifest = {
        "default_profile": "p",
        "profiles": {"p": {"discovery": {"lists": ["a"]}}},
        "lakehouse": {"start_session": "2026-01-02"},
    }
    (tmp_path / "configs" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def quant(*words: str, code: int = 0) -> str:
    """Return what a command says on both streams, or the sentence of its error."""
    done = CliRunner().invoke(cli, words)
    if isinstance(done.exception, QuantAssetsError):
        assert done.exception.exit_code == code
        return str(done.exception)
    assert done.exit_code == code, done.output
    return done.output


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
