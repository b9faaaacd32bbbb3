"""Tables in a terminal: whatever its width, names and numbers stay whole."""

import re
import sys

import pytest

from quant_assets.cli.tabular import print_table

RUNS = [
    {
        "run_id": "2026-11-25-default-c2f24c1fe1",
        "session": "2026-11-25",
        "value": 14964.6,
        "why": "too few returns " * 4,
    },
    {"run_id": "2026-11-25-hrp-fba1421e4a", "session": "2026-11-25", "value": 7.48229, "why": ""},
]
WHOLE = {"2026-11-25-default-c2f24c1fe1", "2026-11-25-hrp-fba1421e4a", "2026-11-25", "14,964.6", "7.48229"}


@pytest.fixture
def shown(capsys, monkeypatch):
    """Print rows on a terminal of a width, and return the lines without colours."""

    def of(width, rows, **told):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        print_table(rows, **told)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return of


@pytest.mark.parametrize("width", [20, 40, 60, 70, 80, 100, 120, 200])
def test_no_name_and_no_number_is_broken(shown, width):
    lines = shown(width, RUNS)
    words = {word for line in lines for word in re.split(r"[\s│]+", line)}
    assert words >= WHOLE
    assert sum(line.count("returns") for line in lines) == 4
    if width >= 80:
        assert max(map(len, lines)) <= width


def test_there_are_lines_around_cells_where_there_is_room(shown):
    assert any("│" in line for line in shown(120, RUNS))
    assert not any("│" in line for line in shown(80, RUNS))


def test_a_row_that_cannot_fit_is_shown_column_by_column(shown):
    rows = [{f"column_{number}": f"value-{number:02}" for number in range(19)} for _ in range(2)]
    lines = shown(80, rows, title="Wide")
    assert lines[:3] == ["Wide", "row 1 of 2", "  column_0   value-00"]
    assert lines.count("  column_18  value-18") == 2
    assert len(lines) == 1 + 2 * 20


def test_spare_columns_go_before_that_and_it_is_said(shown):
    rows = [{"name": "weight_of_it", "con_id": 970000041, "detail": "x" * 30, "value": 1.5}]
    assert "no room for" not in "".join(shown(80, rows, spare=["detail", "con_id"]))
    *table, said = shown(40, rows, spare=["detail", "con_id"])
    assert said == "no room for: detail"
    assert any("970000041" in line for line in table)
    assert shown(25, rows, spare=["detail", "con_id"])[-1] == "no room for: detail, con_id"


def test_what_looks_like_markup_is_shown_as_it_is(shown):
    assert any("[bold]QMKT[/bold]" in line for line in shown(80, [{"symbol": "[bold]QMKT[/bold]"}]))


@pytest.mark.parametrize("width", [20, 80])
def test_nothing_is_a_table_too(shown, width):
    assert shown(width, []) == [""]
