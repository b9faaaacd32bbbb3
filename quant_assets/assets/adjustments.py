"""Adjustment factors: splits and dividends, as the answers of two days prove them."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.discovery import SINGLE
from quant_assets.assets.publish import Build, Events, publish
from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.flows.adjust import EXPLAINED, Adjuster
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.work import WorkResource

_AND_THE_SESSION_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1)


def adjustment_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `adjustment_factors`."""

    @dg.multi_asset(
        name="adjustment_factors",
        specs=[
            catalogue.spec(
                ADJUSTMENT_FACTORS,
                deps=[
                    "universe",
                    dg.AssetDep("raw_tws_bars", partition_mapping=_AND_THE_SESSION_BEFORE),
                    dg.AssetDep("raw_tws_daily_bars", partition_mapping=_AND_THE_SESSION_BEFORE),
                ],
                has_lookback=True,
            )
        ],
        check_specs=checks(
            "adjustment_factors",
            warning={EXPLAINED: "Where the answers of two days differ, a split or a dividend explains it"},
        ),
        backfill_policy=SINGLE,
    )
    def adjustment_factors(context: dg.AssetExecutionContext, quant: WorkResource) -> Events:
        def build(work: Work, _: list[Partition]) -> Build:
            adjuster = Adjuster(work)
            return lambda partition: [adjuster.publish(partition.session)]

        yield from publish(context, quant.work, [ADJUSTMENT_FACTORS], build)

    return [adjustment_factors]
