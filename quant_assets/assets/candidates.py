"""Candidates: every instrument of the universe, judged by a profile's screen."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.discovery import SINGLE
from quant_assets.assets.publish import Build, Events, publish
from quant_assets.domain.tables import CANDIDATES
from quant_assets.flows.indexed import candidates as publish_candidates
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.work import WorkResource

UPSTREAM = [
    "universe",
    "instruments",
    "curated_tws_1d_bars",
    "features_price_1m_v1",
    "features_volume_1m_v1",
    "tv_technicals_1d",
]
"""Features are read where a profile has screens; the edges also keep the alpha cycle behind the whole data cycle."""


def candidate_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `candidates`."""

    @dg.multi_asset(
        name="candidates",
        specs=[catalogue.spec(CANDIDATES, deps=UPSTREAM)],
        check_specs=checks("candidates"),
        backfill_policy=SINGLE,
    )
    def candidates(context: dg.AssetExecutionContext, quant: WorkResource) -> Events:
        def build(work: Work, _: list[Partition]) -> Build:
            return lambda partition: [publish_candidates(work, partition)]

        yield from publish(context, quant.work, [CANDIDATES], build)

    return [candidates]
