"""Where tables live: append-only batches in bronze, one atomic file per partition in silver and gold."""

from dataclasses import dataclass
from functools import cached_property

from quant_assets.clock import Clock
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.store.base import StorageReport
from quant_assets.lakehouse.store.curated import CuratedStore
from quant_assets.lakehouse.store.raw import OnGone, RawStore

__all__ = ["CuratedStore", "Lakehouse", "RawStore", "StorageReport"]


@dataclass(frozen=True)
class Lakehouse:
    """The stores of one data directory, as one value to hand around."""

    layout: Layout
    run_id: str = ""
    clock: Clock | None = None
    on_gone: OnGone | None = None

    @cached_property
    def raw(self) -> RawStore:
        """Bronze."""
        return RawStore(self.layout, run_id=self.run_id, clock=self.clock, on_gone=self.on_gone)

    @cached_property
    def curated(self) -> CuratedStore:
        """Silver, gold and discovery."""
        return CuratedStore(self.layout, run_id=self.run_id, clock=self.clock)
