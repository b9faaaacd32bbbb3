"""An empty lakehouse is not a sound one: every look at it says how it is filled."""

import json

import pytest

from quant_assets_tests.unit.cli.house import house as house  # noqa: PLC0414 - a fixture
from quant_assets_tests.unit.cli.house import quant

NOTHING_YET = "nothing is published yet: `quant flow data`"


@pytest.mark.parametrize(
    "words",
    [
        ("repair", "--dry-run"),
        ("repair",),
        ("audit", "data"),
        ("status",),
        ("status", "--missing"),
        ("lake", "health"),
        ("breaks", "list"),
        ("quarantine", "list"),
    ],
)
def test_it_says_that_nothing_is_published(house, words):
    told = quant(*words)
    assert NOTHING_YET in told
    assert "nothing to re" not in told
    assert "no session is missing" not in told


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("repair", "--dry-run"), {"missing": [], "outdated": [], "holes": []}),
        (("audit", "data"), []),
        (("breaks", "list"), []),
        (("quarantine", "list"), []),
    ],
)
def test_programs_get_what_they_always_get(house, words, answer):
    assert json.loads(quant(*words, "--json")) == answer


def test_candidates_come_from_the_data_cycle(house):
    told = quant("candidates", "show", "--session", "2026-01-05", code=65)
    assert "`quant flow data`" in told
    assert "quant flow alpha" not in told


def test_candidates_of_a_holiday_are_refused_as_such(house):
    assert "the exchange is closed that day" in quant("candidates", "show", "--session", "2026-01-01", code=2)
