"""SQL over the lakehouse inside Dagster: a DuckDB connection with one view per table."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from dagster_duckdb import DuckDBResource

from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.query import install_views


class LakehouseSql(DuckDBResource):  # type: ignore[misc]
    """An in-memory database whose views are the tables; it holds no state, so it can neither lock nor go stale."""

    data: str

    @classmethod
    def over(cls, data: Path) -> Self:
        """Return the resource for one data directory."""
        return cls(database=":memory:", data=str(data))

    @contextlib.contextmanager
    def get_connection(self) -> Iterator[Any]:
        """Open a connection and install the views."""
        with super().get_connection() as connection:
            install_views(connection, Layout(Path(self.data)))
            yield connection
