"""Features as assets: what the UI shows of a group, and that the certificate of causality blocks."""

from dataclasses import replace

import dagster as dg
import polars as pl
import pytest

from quant_assets.assets import features as features_module
from quant_assets.domain.features import GROUPS, LABELS
from quant_assets.flows.derive import CAUSAL
from quant_assets_tests.assets.house import House, sentences

ALL = [*GROUPS.values(), *LABELS.values()]
SESSION = "2025-11-26"


@pytest.mark.parametrize("group", ALL, ids=lambda group: group.table.name)
def test_every_group_shows_its_formulas_and_its_certificate(lived_in: House, group):
    asset = lived_in.definitions.resolve_assets_def(group.table.name)
    shown = asset.specs_by_key[dg.AssetKey(group.table.name)].metadata
    assert all(f"| {feature.name} |" in shown["formulas"].value for feature in group.features)
    assert shown["lookback"].value == f"{group.lookback.n} {group.lookback.of}"
    (check,) = [spec for spec in asset.check_specs if spec.name == CAUSAL]
    assert check.blocking
    told = lived_in.runs[0].get_asset_check_evaluations()
    (evaluation,) = [e for e in told if e.check_name == CAUSAL and e.asset_key == dg.AssetKey(group.table.name)]
    assert evaluation.passed
    assert evaluation.metadata["values_recomputed"].value > 500


def test_a_group_that_looks_ahead_fails_its_check_and_is_not_published(house: House, monkeypatch):
    house.run_data(SESSION)
    before = house.files()
    honest = features_module.publish_group

    def peeking(work, group, session):
        later = pl.col("vol_ma_20").shift(-1).over("con_id").alias("vol_ma_20")
        leak = replace(group, revision="leak", compute=lambda *a: group.compute(*a).with_columns(later))
        return honest(work, leak, session)

    monkeypatch.setattr(features_module, "publish_group", peeking)
    run = house.run(["features_volume_1m_v1"], SESSION)
    assert not run.success
    assert f"features_volume_1m_v1 were not published: {SESSION} (vol_ma_20 at session={SESSION}" in sentences(run)
    failed = [e for e in run.get_asset_check_evaluations() if not e.passed and e.blocking]
    assert [e.check_name for e in failed] == [CAUSAL]
    assert house.files() == before, "what stood still stands"
