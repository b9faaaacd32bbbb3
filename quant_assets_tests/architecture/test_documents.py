"""Documents tell the truth: what they print exists, and what is generated is current."""

import re
import subprocess
import sys

import pytest

from quant_assets_tests.architecture.repository import (
    ROOT,
    commands,
    documents,
    find_command,
    make_targets,
)
from quant_assets_tests.architecture.test_graph import GRAPH


def _commands_of(program: str) -> list:
    found = [(name, words) for name, words in commands() if words[0] == program]
    return [pytest.param(words, id=f"{name}: {' '.join(words)}"[:90]) for name, words in found]


def test_the_table_document_is_current():
    checked = subprocess.run(
        [sys.executable, "tools/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("target", make_targets())
def test_every_target_of_help_exists(target):
    tried = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_help_lists_every_target_that_people_call():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(target in shown for target in make_targets())
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {*phony} - {"setup-quietly"} == {*make_targets()}


@pytest.mark.parametrize("words", _commands_of("make"))
def test_printed_make_targets_exist(words):
    targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
    assert targets
    assert set(targets) <= set(make_targets())


@pytest.mark.parametrize("words", _commands_of("quant"))
def test_printed_quant_commands_exist(words):
    command = find_command([word for word in words[1:] if not word.startswith("-")])
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
    assert given <= known | {"--help", "--version"}


@pytest.mark.parametrize("words", _commands_of("dagster"))
def test_printed_selections_name_assets(words):
    assert words[1:3] in (["asset", "materialize"], ["definitions", "validate"], ["dev"]) or words[1:2] == ["dev"]
    if "--select" in words:
        names = re.split(r"[,\s]+", words[words.index("--select") + 1])
        assert {name.strip("+*\"'") for name in names} <= set(GRAPH)


@pytest.mark.parametrize("name", documents())
def test_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", documents()[name])
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not ((ROOT / name).parent / target).exists()]


def test_decisions_have_the_four_parts():
    for name, text in documents().items():
        if name.startswith("docs/adr/0"):
            parts = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
            assert parts == ["Context", "Decision", "Consequences", "Alternatives rejected"], name
