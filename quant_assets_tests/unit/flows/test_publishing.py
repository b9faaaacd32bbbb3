"""What stands is served again only when inputs and rules are the same, and it warns again of what it warned of."""

from dataclasses import replace
from datetime import date

import pytest

from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.flows.publishing import Finding, publish_frame, unchanged
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import curated_bars
from quant_assets_tests.unit.flows.lab import Lab, after

SESSION = date(2024, 3, 14)
HERE = Partition(SESSION)
INPUTS = {"raw": "abc"}


@pytest.fixture
def work(tmp_path):
    with Lab(tmp_path).at(after(SESSION)) as opened:
        yield opened


def test_a_run_that_rewrites_nothing_warns_again(work):
    warned = Finding("history_present", passed=False, message="none for QEND", blocking=False)
    publish_frame(work, BARS, HERE, curated_bars([10.0, 11.0], session=SESSION), inputs=INPUTS, findings=[warned])
    standing = unchanged(work, BARS, HERE, INPUTS)
    assert standing
    told = [(one.check, one.passed, one.message, one.blocking) for one in standing.findings if not one.passed]
    assert told == [("history_present", False, "none for QEND", False)]

    mended = replace(warned, passed=True, message="")
    publish_frame(work, BARS, HERE, curated_bars([10.0, 11.0], session=SESSION), inputs=INPUTS, findings=[mended])
    standing = unchanged(work, BARS, HERE, INPUTS)
    assert standing
    assert all(one.passed for one in standing.findings)


def test_what_a_killed_writer_put_in_place_is_described_by_the_manifest_once_it_stands_again(work, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    frame = curated_bars([10.0, 11.0], session=SESSION)
    with monkeypatch.context() as patch:
        patch.setattr("quant_assets.lakehouse.manifest.Manifest.append", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_frame(work, BARS, HERE, frame, inputs=INPUTS)
    manifest = work.lake.curated.manifest(BARS)
    assert not manifest.entries()
    assert unchanged(work, BARS, HERE, INPUTS)
    assert [entry.footer.n_rows for entry in manifest.entries()] == [2]
    assert unchanged(work, BARS, HERE, INPUTS)
    assert len(manifest.entries()) == 1


def test_a_new_rule_judges_what_stands(work):
    frame = curated_bars([10.0, 11.0], session=SESSION)
    publish_frame(work, BARS, HERE, frame, inputs=INPUTS)
    stricter = replace(BARS, row_rules={**BARS.row_rules, "never_dear": "close < 0.01"})
    assert unchanged(work, BARS, HERE, INPUTS)
    assert unchanged(work, stricter, HERE, INPUTS) is None
    judged = publish_frame(work, stricter, HERE, frame, inputs=INPUTS)
    assert not judged.is_committed
    assert "never_dear" in judged.reason


def test_words_about_a_column_are_no_rule():
    renamed = tuple(replace(column, description="Said otherwise") for column in BARS.columns)
    assert replace(BARS, columns=renamed, description="Said otherwise").rules_id == BARS.rules_id
    looser = tuple(replace(column, gt=None) for column in BARS.columns)
    assert replace(BARS, columns=looser).rules_id != BARS.rules_id
