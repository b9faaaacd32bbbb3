"""Features: gold tables per minute bar."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.discovery import SINGLE
from quant_assets.assets.publish import Build, Events, publish
from quant_assets.domain.tables import FEATURES_PRICE_1M_V1
from quant_assets.flows.derive import price_features
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.work import WorkResource


def feature_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `features_price_1m_v1`."""

    @dg.multi_asset(
        name="features_price_1m_v1",
        specs=[catalogue.spec(FEATURES_PRICE_1M_V1, deps=["curated_tws_1m_bars"])],
        check_specs=checks("features_price_1m_v1"),
        backfill_policy=SINGLE,
    )
    def features_price_1m_v1(context: dg.AssetExecutionContext, quant: WorkResource) -> Events:
        def build(work: Work, _: list[Partition]) -> Build:
            return lambda partition: [price_features(work, partition.session)]

        yield from publish(context, quant.work, [FEATURES_PRICE_1M_V1], build)

    return [features_price_1m_v1]
