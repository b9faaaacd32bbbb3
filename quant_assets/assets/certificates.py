"""Certificates: the contract between the data cycle and the alpha cycle."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.discovery import SINGLE
from quant_assets.assets.publish import Build, Events, publish
from quant_assets.domain.tables import CERTIFIED_SESSIONS
from quant_assets.flows.certify import CERTIFIED_TABLES, CHECKS, certify
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.work import WorkResource


def certificate_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `certified_sessions`, downstream of every table of the data cycle."""

    @dg.multi_asset(
        name="certified_sessions",
        specs=[catalogue.spec(CERTIFIED_SESSIONS, deps=[table.name for table in CERTIFIED_TABLES])],
        check_specs=checks("certified_sessions", blocking=CHECKS),
        backfill_policy=SINGLE,
    )
    def certified_sessions(context: dg.AssetExecutionContext, quant: WorkResource) -> Events:
        def build(work: Work, _: list[Partition]) -> Build:
            return lambda partition: [certify(work, partition.session)]

        yield from publish(context, quant.work, [CERTIFIED_SESSIONS], build)

    return [certified_sessions]
