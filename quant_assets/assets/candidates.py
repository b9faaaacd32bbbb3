"""Candidates: every instrument of the universe, judged by a profile's screen."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import each, table_asset
from quant_assets.domain.features import FEATURE_TABLES
from quant_assets.domain.tables import CANDIDATES
from quant_assets.flows.indexed import candidates as publish_candidates

UPSTREAM = ["universe", "instruments", "curated_tws_1d_bars", *FEATURE_TABLES]
"""Features are read where a profile has screens; the edges also keep the alpha cycle behind the whole data cycle."""


def candidate_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `candidates`."""
    spec = catalogue.spec(CANDIDATES, deps=UPSTREAM)
    return [table_asset([CANDIDATES], [spec], checks("candidates"), each(publish_candidates))]
