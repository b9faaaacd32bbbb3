"""What no file of the repository may say."""

import re

import pytest

from quant_assets_tests.architecture.repository import texts

HERE = "quant_assets_tests/architecture/test_text.py"

FORBIDDEN = {
    "the host of a package registry": r"(?:pypi|pythonhosted|anaconda|conda|npmjs|crates)\.(?:org|io|com)\b",
    "a path of somebody's machine": r"(?<![\w.$})])/(?:home|root|work|opt|Users|mnt)/\w",
    "work in progress": r"\b(?:TODO|FIXME|XXX|HACK)\b",
    "who wrote it instead of what it is": r"(?i)\b(?:the lead|sub-?agents?|AI agents?|language model|chat session)\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_says(what):
    pattern = re.compile(FORBIDDEN[what])
    found = {
        name: match.group(0)
        for name, text in texts().items()
        if name != HERE and (match := pattern.search(text)) is not None
    }
    assert not found


def test_constraints_are_names_and_versions_only():
    lines = texts()["constraints.txt"].split("\n")
    assert not [line for line in lines if line and not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.+!]+( ; .+)?", line)]
    pinned = {line.partition("==")[0].lower() for line in lines if line}
    assert {"dagster", "polars", "ib-insync", "pytest"} <= pinned
