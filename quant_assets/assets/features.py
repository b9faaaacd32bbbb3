"""Features and labels: gold tables, one asset per group of the registry."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import each, table_asset
from quant_assets.domain.features import GROUPS, LABELS, FeatureGroup
from quant_assets.flows.derive import CAUSAL, publish_group

_CAUSALITY = "No value changes when later bars are cut off or changed, nor when other instruments are left out"


def feature_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return the asset of every feature group, and those of the labels."""
    return [_group_asset(catalogue, group) for group in (*GROUPS.values(), *LABELS.values())]


def _group_asset(catalogue: Catalogue, group: FeatureGroup) -> dg.AssetsDefinition:
    table = group.table
    spec = catalogue.spec(table, deps=[group.inputs.table.name]).merge_attributes(metadata=_described(group))
    publish_one = each(lambda work, partition: publish_group(work, group, partition.session))
    return table_asset([table], [spec], checks(table.name, blocking={CAUSAL: _CAUSALITY}), publish_one)


def _described(group: FeatureGroup) -> dict[str, dg.MetadataValue]:
    """Return what the registry knows of a group, for the catalog in the UI."""
    head = ["| feature | unit | lookback | formula | source |", "|---|---|---|---|---|"]
    cells = [(f.name, group.unit(f.name), str(f.lookback), f.formula, f.source) for f in group.features]
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return {
        "feature_group": dg.MetadataValue.text(f"{group.name} {group.version}"),
        "lookback": dg.MetadataValue.text(f"{group.lookback.n} {group.lookback.of}"),
        "formulas": dg.MetadataValue.md("\n".join([*head, *rows])),
    }
