"""Faults of seventy kinds, planted into clean sessions: what is declared detectable is found, and nothing else accused."""

from pathlib import Path

import pytest

from quant_assets.domain.quality import RULES
from quant_assets_tests.architecture.repository import ROOT
from quant_assets_tests.mutations.clean import SESSIONS, recorded, recorded_tws, synthetic
from quant_assets_tests.mutations.document import Measured, measured, render, replaced
from quant_assets_tests.mutations.plants import KINDS, Kind
from quant_assets_tests.mutations.scoring import Score, _curated, _flagged, detectable, score, without_daily

LEAST = 0.99
NAMES = [kind.name for kind in KINDS]
METRICS = {"volume_vs_daily"}
DECLARED = sorted({kind.seen_by[0] for kind in detectable() if kind.seen_by})


@pytest.fixture(scope="module")
def found() -> Measured:
    return measured()


@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_clean_sessions_are_clean(session) -> None:
    clean = synthetic(session)
    assert not _flagged(_curated(clean, clean.raw))
    assert not _flagged(_curated(without_daily(clean), clean.raw))
    assert clean.raw.height == 24 * (210 if session == SESSIONS[0] else 390)


def test_there_are_many_kinds_and_every_rule_is_declared_to_find_one() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert len(detectable()) >= 60
    assert set(DECLARED) == {rule.name for rule in RULES} | METRICS


@pytest.mark.parametrize("kind", detectable(), ids=lambda kind: kind.name)
def test_what_is_declared_detectable_is_found_and_nothing_else_is_accused(found: Measured, kind: Kind) -> None:
    known = found.known[kind.name]
    assert known.planted > 0
    assert known.recall >= LEAST, known
    assert known.precision >= LEAST, known


@pytest.mark.parametrize("kind", detectable(), ids=lambda kind: kind.name)
def test_what_needs_no_daily_history_is_found_without_it_and_the_rest_is_said_to_need_it(
    found: Measured, kind: Kind
) -> None:
    alone = found.alone[kind.name]
    assert (alone.recall >= LEAST) != kind.needs_daily, alone
    assert alone.precision >= LEAST, alone


@pytest.mark.parametrize("rule", DECLARED)
def test_each_rule_finds_what_it_is_declared_to_find_and_accuses_nobody_else(found: Measured, rule: str) -> None:
    """Its own recall, whatever the other rules say of the same minutes."""
    one = found.rules[rule]
    assert one.planted > 0
    assert one.recall >= LEAST, one
    assert one.precision >= LEAST, one
    assert found.rules_alone[rule].precision >= LEAST, one


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.why_not], ids=lambda kind: kind.name)
def test_what_cannot_be_found_is_said_to_be_and_accuses_nobody(found: Measured, kind: Kind) -> None:
    """A kind that comes to be found belongs among the detectable ones."""
    assert found.known[kind.name].recall < LEAST
    assert found.known[kind.name].precision >= LEAST
    assert found.alone[kind.name].precision >= LEAST


def test_the_document_says_what_is_measured(found: Measured) -> None:
    path = ROOT / "docs" / "quality.md"
    text = path.read_text(encoding="utf-8")
    assert text == replaced(text, render(found)), "run python tools/measure_quality.py"


def low(scores: dict[str, Score]) -> dict[str, tuple[float, float]]:
    return {name: (one.recall, one.precision) for name, one in scores.items() if min(one.recall, one.precision) < LEAST}


def test_the_same_in_real_minutes_of_funds(shared_data: Path) -> None:
    """Real bars have no number of trades here, so the kinds that need one are left out; so are thin minutes' gaps."""
    kinds = [kind for kind in detectable() if not kind.needs_trades and kind.unit == "minute"]
    assert low(score(kinds, recorded(shared_data / "us_etf_1m_2019.parquet"))) == {}


def test_the_same_in_real_minutes_with_trades_and_average_prices(shared_data: Path) -> None:
    clean = recorded_tws(shared_data / "ib" / "AAPL_1min.csv")
    assert not _flagged(_curated(clean, clean.raw))
    assert low(score(detectable(), [clean])) == {}
    assert low(score([kind for kind in detectable() if not kind.needs_daily], [without_daily(clean)])) == {}
