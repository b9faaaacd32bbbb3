"""The registry and the tables say the same, and the registry says all that a feature needs."""

import pytest

from quant_assets.assets.cycles import DATA
from quant_assets.domain.features import GROUPS, LABELS, PRICE_1M_VERSION, feature_group, label_group
from quant_assets.errors import UnknownNameError

ALL = [*GROUPS.values(), *LABELS.values()]
MARKS = {"symbol", "feature_group", "feature_version", "producer", "price_basis", "matures_ts"}
"""Columns that tell about a row and are no feature."""


@pytest.mark.parametrize("group", ALL, ids=lambda group: group.table.name)
def test_features_are_the_columns_of_the_table(group):
    declared = [column.name for column in group.table.columns]
    features = [feature.name for feature in group.features]
    assert [name for name in declared if name not in {*group.table.key, *MARKS}] == features
    assert all(group.table.column(name).nullable for name in features), "a window is not full at once"


@pytest.mark.parametrize("group", ALL, ids=lambda group: group.table.name)
def test_every_feature_says_where_it_comes_from(group):
    for feature in group.features:
        assert group.unit(feature.name)
        assert feature.formula
        assert feature.source
        assert 1 <= feature.lookback <= group.lookback.n
    assert max(feature.lookback for feature in group.features) == group.lookback.n


@pytest.mark.parametrize("group", ALL, ids=lambda group: group.table.name)
def test_inputs_are_columns_that_exist(group):
    assert set(group.inputs.columns) <= set(group.inputs.table.schema)
    assert group.time in group.inputs.columns
    assert group.known in group.table.schema
    assert group.table.zone == "gold"
    assert {group.table.name, group.inputs.table.name} <= set(DATA)


@pytest.mark.parametrize("group", ALL, ids=lambda group: group.table.name)
def test_versions_in_rows_are_those_of_the_registry(group):
    column = next(c for c in group.table.columns if c.name in ("feature_version", "label_version"))
    assert column.isin == (group.version,)
    named = [c for c in group.table.columns if c.name == "feature_group"]
    assert all(c.isin == (group.name,) for c in named)


def test_feature_names_are_unique_so_that_groups_can_stand_beside_each_other():
    names = [feature.name for group in GROUPS.values() for feature in group.features]
    assert len(names) == len(set(names))


def test_published_price_features_stay_published():
    """Their revision is written in the files that stand; another one would compute all of history again."""
    assert feature_group("price_1m", "v1").revision == PRICE_1M_VERSION == "1"


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"feature group 'price_1'.*Did you mean 'price_1m'"):
        feature_group("price_1", "v1")
    with pytest.raises(UnknownNameError, match=r"version of feature group 'price_1m' 'v2'.*v1"):
        feature_group("price_1m", "v2")
    with pytest.raises(UnknownNameError, match="label version 'v9'"):
        label_group("v9")
