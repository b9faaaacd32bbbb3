"""What flows ask of a store when they only read."""

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from quant_assets.domain.tables import Table
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition


class Reader(Protocol):
    """A store of published partitions."""

    def read(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return one published partition."""
        ...

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition, or None."""
        ...
