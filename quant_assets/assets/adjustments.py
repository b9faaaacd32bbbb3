"""Adjustment factors: splits and dividends, as the answers of two days prove them."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import table_asset
from quant_assets.assets.publish import Build
from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.flows.adjust import EXPLAINED, Adjuster
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_AND_THE_SESSION_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1)


def adjustment_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `adjustment_factors`."""
    spec = catalogue.spec(
        ADJUSTMENT_FACTORS,
        deps=[
            "universe",
            dg.AssetDep("raw_tws_bars", partition_mapping=_AND_THE_SESSION_BEFORE),
            dg.AssetDep("raw_tws_daily_bars", partition_mapping=_AND_THE_SESSION_BEFORE),
        ],
        has_lookback=True,
    )
    explained = {EXPLAINED: "Where the answers of two days differ, a split or a dividend explains it"}
    return [table_asset([ADJUSTMENT_FACTORS], [spec], checks("adjustment_factors", warning=explained), _factors)]


def _factors(work: Work, _: list[Partition]) -> Build:
    adjuster = Adjuster(work)
    return lambda partition: [adjuster.publish(partition.session)]
