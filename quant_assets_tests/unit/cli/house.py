"""A user's own directory with nothing in it but a configuration, and the command line as a person uses it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.errors import QuantAssetsError


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory and a small configuration."""
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
    """Return what a command prints, or the sentence of its error.

    Its standard output where it succeeds, with the error stream where it does not.
    """
    done = CliRunner().invoke(cli, words)
    if isinstance(done.exception, QuantAssetsError):
        assert done.exception.exit_code == code
        return str(done.exception)
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout
