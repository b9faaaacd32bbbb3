"""Certificates: the contract between the data cycle and the alpha cycle."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import each, table_asset
from quant_assets.domain.tables import CERTIFIED_SESSIONS
from quant_assets.flows.certify import CERTIFIED_TABLES, CHECKS, certify


def certificate_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `certified_sessions`, downstream of every table of the data cycle."""
    spec = catalogue.spec(CERTIFIED_SESSIONS, deps=[table.name for table in CERTIFIED_TABLES])
    publish_one = each(lambda work, partition: certify(work, partition.session))
    return [table_asset([CERTIFIED_SESSIONS], [spec], checks("certified_sessions", blocking=CHECKS), publish_one)]
