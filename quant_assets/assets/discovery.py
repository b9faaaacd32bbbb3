"""Discovery: which instruments are ingested for a session, and what TWS says they are."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import table_asset
from quant_assets.assets.publish import Build
from quant_assets.domain.tables import ACCOUNTS, EXCHANGES, EXECUTION, INSTRUMENTS, POSITIONS, RAW_INSTRUMENTS, UNIVERSE
from quant_assets.flows.dimension import DESCRIBED, publish_dimension
from quant_assets.flows.discover import Discovery
from quant_assets.flows.discover.set_aside import LISTED
from quant_assets.flows.ingest import ingest_details
from quant_assets.flows.ingested import KNOWN, raw_details
from quant_assets.flows.positions import publish_positions
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_DIMENSION = (INSTRUMENTS, EXECUTION, EXCHANGES)


def discovery_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `universe`, `raw_instruments` and `instruments`."""
    held = [POSITIONS, ACCOUNTS] if catalogue.settings.manifest.positions.enabled else []
    return [
        table_asset(
            [UNIVERSE, *held],
            [catalogue.spec(UNIVERSE, kinds=["tws"]), *(catalogue.companion(table, kinds=["tws"]) for table in held)],
            checks("universe", warning={LISTED: "TWS knows every listed symbol that it knew before"}),
            _universe,
            can_subset=bool(held),  # so that one can be named alone; one question to TWS answers for all of them
        ),
        table_asset(
            [RAW_INSTRUMENTS],
            [catalogue.spec(RAW_INSTRUMENTS, deps=["universe"], kinds=["tws"])],
            checks(
                "raw_instruments",
                warning={KNOWN: "TWS describes every member of the universe"},
                is_bronze=True,
            ),
            _raw_instruments,
        ),
        table_asset(
            _DIMENSION,
            [catalogue.spec(table, deps=["raw_instruments"]) for table in _DIMENSION],
            [
                *checks(
                    "instruments", warning={DESCRIBED: "TWS tells name, currency, zone, tick and industry of 95 %"}
                ),
                *(check for table in _DIMENSION[1:] for check in checks(table.name)),
            ],
            _dimension,
            can_subset=True,  # so that one can be named alone; one pass over the details makes all three
        ),
    ]


def _universe(work: Work, _: list[Partition]) -> Build:
    discovery = Discovery(work)
    return lambda partition: [*publish_positions(work, partition.session), discovery.publish(partition.session)]


def _raw_instruments(work: Work, partitions: list[Partition]) -> Build:
    added = ingest_details(work, [partition.session for partition in partitions]).metadata()
    return lambda partition: [raw_details(work, partition.session, added)]


def _dimension(work: Work, _: list[Partition]) -> Build:
    return lambda partition: publish_dimension(work, partition.session)
