"""Cutting both files of record at their ends hides no word that something was made with."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from quant_assets.cli import cli
from quant_assets.control.audit import verify
from quant_assets.errors import DataWrong
from quant_assets.flows import anchors
from quant_assets.flows.anchors import doubts
from quant_assets.flows.data_audit import audit_data
from quant_assets_tests.unit.flows.lab import Lab, after
from quant_assets_tests.unit.quality.spoiled import NEXT, SESSION, curated, rows, say


def records(lab: Lab) -> dict[Path, bytes]:
    """Return what both files of record hold; writing it back later cuts their tails."""
    return {
        path: path.read_bytes() if path.exists() else b"" for path in (lab.lake.layout.overrides, lab.lake.layout.audit)
    }


def cut(lab: Lab, before: dict[Path, bytes]) -> None:
    for path, text in before.items():
        assert path.read_bytes().startswith(text)
        assert len(path.read_bytes()) > len(text)
        path.write_bytes(text)
        assert verify(path) == [], "a cut tail leaves a whole chain"


def doubted(lab: Lab) -> list[tuple[str, bool]]:
    with lab.at(after(NEXT)) as work:
        assert work.words.doubts() == [], "the two files agree with each other"
        return [(one.detail, one.is_tampering) for one in doubts(work)]


@pytest.fixture
def row(lab: Lab) -> str:
    (found,) = rows(lab, rule="toxic_price")
    return str(found["id"])


LOST = f"[{SESSION}] was made with words on its rows that are not there any more"


def test_a_release_that_was_cut_off_both_records_is_told_by_what_was_made_with_it(lab, row, monkeypatch):
    before = records(lab)
    say(lab, "release", row)
    curated(lab)
    assert doubted(lab) == []
    cut(lab, before)
    assert doubted(lab) == [(f"curated_tws_1m_bars{LOST}", True)]
    with lab.at(after(NEXT)) as work:
        told = [one.what for one in audit_data(work) if one.severity == "error"]
    assert told == [f"overrides.jsonl: curated_tws_1m_bars{LOST}"]
    monkeypatch.setenv("QUANT_DATA", str(lab.root / "data"))
    monkeypatch.setenv("QUANT_CONFIGS", str(lab.root / "configs"))
    shown = CliRunner().invoke(cli, ["audit", "verify"])
    assert isinstance(shown.exception, DataWrong)
    assert "the chains hold" not in shown.stdout


def test_a_confirmation_that_was_cut_off_is_told_although_the_release_before_it_stands(lab, row):
    say(lab, "release", row)
    curated(lab)
    before = records(lab)
    say(lab, "confirm", row)
    curated(lab)
    cut(lab, before)
    assert doubted(lab) == [(f"curated_tws_1m_bars{LOST}", True)]


def test_a_session_that_was_curated_after_the_cut_still_tells_of_it(lab, row):
    before = records(lab)
    say(lab, "release", row)
    curated(lab)
    cut(lab, before)
    curated(lab)
    assert doubted(lab) == [(f"curated_tws_1m_bars{LOST}", True)]


def test_a_word_that_came_after_the_curation_is_no_doubt(lab, row):
    say(lab, "release", row)
    curated(lab)
    say(lab, "confirm", row)
    assert doubted(lab) == []
    curated(lab)
    assert doubted(lab) == []


def test_a_word_that_is_said_and_acted_on_while_the_records_are_read_is_no_doubt(lab, row, monkeypatch):
    """Between the reading of what was made and the reading of the words, whichever comes first."""
    happened = []

    def then_act(read):
        def reads(of):
            found = list(read(of))
            if not happened:
                happened.append(read)
                say(lab, "release", row)
                curated(lab)
            return found

        return reads

    for name in ("_footers", "numbered"):
        monkeypatch.setattr(anchors, name, then_act(getattr(anchors, name)))
    assert doubted(lab) == []
    assert happened
    assert doubted(lab) == []
