"""Discovery: what is ingested for a session, and who asked for it."""

from quant_assets.flows.discover.discovery import Discovery, standing_universe
from quant_assets.flows.discover.given import Given, read_candidates
from quant_assets.flows.discover.members import by_name
from quant_assets.flows.discover.sources import Asked, Named, Sources, load_sources

__all__ = [
    "Asked",
    "Discovery",
    "Given",
    "Named",
    "Sources",
    "by_name",
    "load_sources",
    "read_candidates",
    "standing_universe",
]
