"""Faults of fifty kinds, planted into clean sessions: what is declared detectable is found, and nothing else accused."""

from pathlib import Path

import pytest

from quant_assets.domain.quality import RULES
from quant_assets_tests.architecture.repository import ROOT
from quant_assets_tests.mutations.clean import SESSIONS, recorded, synthetic
from quant_assets_tests.mutations.document import measured, render, replaced
from quant_assets_tests.mutations.plants import KINDS, Kind
from quant_assets_tests.mutations.scoring import Score, _curated, _flagged, detectable, score

LEAST = 0.99
RECORDING = ROOT.parent / "shared" / "data" / "us_etf_1m_2019.parquet"
NAMES = [kind.name for kind in KINDS]


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    return measured()


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_clean_sessions_are_clean(session) -> None:
    clean = synthetic(session)
    assert not _flagged(_curated(clean, clean.raw))
    assert clean.raw.height == 24 * (210 if session == SESSIONS[0] else 390)


def test_there_are_many_kinds_and_each_rule_that_looks_at_rows_has_one() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert len(detectable()) >= 40
    seen = {rule for kind in detectable() for rule in kind.seen_by}
    told_elsewhere = {"confirmed", "real_move", "rescaled", "other_basis", "filler", "outside_daily_range"}
    assert {rule.name for rule in RULES} - seen == told_elsewhere


@pytest.mark.parametrize("kind", detectable(), ids=lambda kind: kind.name)
def test_what_is_declared_detectable_is_found_and_nothing_else_is_accused(scores: dict[str, Score], kind: Kind) -> None:
    found = scores[kind.name]
    assert found.planted > 0
    assert found.recall >= LEAST, found
    assert found.precision >= LEAST, found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.why_not], ids=lambda kind: kind.name)
def test_what_cannot_be_found_is_said_to_be_and_accuses_nobody(scores: dict[str, Score], kind: Kind) -> None:
    """A kind that comes to be found belongs among the detectable ones."""
    assert scores[kind.name].recall < LEAST
    assert scores[kind.name].precision >= LEAST


def test_the_document_says_what_is_measured(scores: dict[str, Score]) -> None:
    path = ROOT / "docs" / "quality.md"
    text = path.read_text(encoding="utf-8")
    assert text == replaced(text, render(scores)), "run python tools/measure_quality.py"


@pytest.mark.skipif(not RECORDING.exists(), reason="the recorded funds are not beside the repository")
def test_the_same_in_real_minutes_of_funds() -> None:
    """Real bars have no number of trades here, so the kinds that need one are left out; so are thin minutes' gaps."""
    kinds = [kind for kind in detectable() if not kind.needs_trades and kind.unit == "minute"]
    found = score(kinds, recorded(Path(RECORDING)))
    low = {name: (one.recall, one.precision) for name, one in found.items() if min(one.recall, one.precision) < LEAST}
    assert low == {}
