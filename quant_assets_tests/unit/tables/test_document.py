"""docs/tables.md: complete, deterministic and not stale."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from quant_assets.domain.tables import ALL, UNIVERSE, Column, Table
from quant_assets.domain.tables.document import render

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools" / "generate_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_in_the_repository_is_not_stale():
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == render(ALL), "python tools/generate_docs.py"


def test_every_table_and_column_is_there():
    text = render(ALL)
    for table in ALL:
        section = text.split(f"\n### {table.name}\n")[1].split("\n### ")[0]
        assert table.description in section
        for column in table.columns:
            assert f"`{column.name}`" in section, (table.name, column.name)


def test_a_table_by_hand():
    table = Table(
        name="things",
        zone="gold",
        key=("con_id",),
        columns=(
            Column("con_id", pl.Int64, "id", "Who | what", gt=0),
            Column("side", pl.String, "enum", "Side", nullable=True, isin=("L", "S"), provenance=True),
        ),
        grain="(con_id)",
        description="Things.",
        producer="maker",
        row_rules={"positive": "con_id > 0"},
    )
    assert render([table]).split("## gold\n")[1] == (
        "\n"
        "Derived, joined, ready. One file per partition, replaced atomically.\n"
        "\n"
        "### things\n"
        "\n"
        "Things.\n"
        "\n"
        "- **Grain**: (con_id)\n"
        "- **Key**: `con_id`\n"
        "- **Partition**: one per exchange session\n"
        "- **Sorted by**: `con_id`\n"
        "- **Producer**: `maker`\n"
        "- **Empty partition**: an error\n"
        "- **Rule** `positive`: `con_id > 0`\n"
        "\n"
        "| column | type | unit | null | rules | description |\n"
        "|---|---|---|---|---|---|\n"
        "| **`con_id`** | Int64 | id |  | > 0 | Who \\| what |\n"
        "| `side` | String | enum | yes | `L` · `S` | Side *(provenance)* |\n"
    )


def test_a_changed_declaration_makes_it_stale(tool, tmp_path, capsys, monkeypatch):
    path = tmp_path / "tables.md"
    assert tool.main(["--check", "--path", str(path)]) == 1
    assert tool.main(["--path", str(path)]) == 0
    assert tool.main(["--check", "--path", str(path)]) == 0
    monkeypatch.setattr(tool, "ALL", [replace(UNIVERSE, description="Something else."), *ALL[1:]])
    capsys.readouterr()
    assert tool.main(["--check", "--path", str(path)]) == 1
    assert "+Something else." in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == render(ALL), "--check writes nothing"
