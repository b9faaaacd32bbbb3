"""docs/tws.md says of every code what the code table says, and names nothing that does not exist."""

import re
from pathlib import Path

import pytest

from quant_assets.connectors.tws import codes
from quant_assets.settings.manifest import LakehouseConfig, TwsConfig

TEXT = (Path(__file__).parents[3] / "docs" / "tws.md").read_text()


def rows(header: str) -> list[list[str]]:
    """The body of the table whose header begins with some words."""
    lines = TEXT[TEXT.index(header) :].splitlines()
    body = lines[2 : next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


def test_every_code_is_in_the_table_with_its_verdict():
    told = {int(row[0]): row[2] for row in rows("| code | about | verdict |")}
    assert told.pop(162) == "by its text"
    assert told == {code: verdict.value for code, verdict in codes._BY_CODE.items()}


def test_every_text_of_162_is_in_the_table_with_its_verdict():
    *told, rest = [row[:2] for row in rows("| text of 162 contains |")]
    assert [tuple(row) for row in told] == [(part, verdict.value) for part, verdict in codes._BY_TEXT_OF_162]
    assert rest == ["anything else", codes.classify(162, "otra cosa").value]


@pytest.mark.parametrize(("section", "model"), [("tws", TwsConfig), ("lakehouse", LakehouseConfig)])
def test_every_key_exists(section, model):
    named = set(re.findall(rf"`{section}\.([a-z_0-9]+)", TEXT))
    assert named
    assert named <= set(model.model_fields)


def test_the_numbers_are_those_of_the_configuration():
    tws = TwsConfig()
    assert f"`tws.max_requests_per_10_min`: {tws.max_requests_per_10_min} " in TEXT
    assert f"`tws.max_in_flight`: {tws.max_in_flight} " in TEXT
    assert f"`tws.max_minute_duration` is `{tws.max_minute_duration}`" in TEXT
    assert f'"client_id": {tws.client_id}, "client_id_range": {tws.client_id_range}' in TEXT


def test_every_command_and_file_exists():
    from quant_assets.cli import _COMMANDS

    commands = set(re.findall(r"quant ([a-z]+)\b", re.sub(r"quant_assets", "", TEXT)))
    assert commands <= set(_COMMANDS)
    for path in re.findall(r"`((?:quant_assets_tests|connectors)/[\w/]+\.py)`", TEXT):
        root = Path(__file__).parents[3]
        assert (root / path).is_file() or (root / "quant_assets" / path).is_file()
