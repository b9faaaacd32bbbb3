"""SQL inside Dagster: an asset of one's own asks the lakehouse through the resource `sql` of the definitions."""

import dagster as dg
import duckdb
import pytest

from quant_assets.domain.tables import UNIVERSE
from quant_assets.lakehouse.layout import Partition
from quant_assets.resources.sql import LakehouseSql
from quant_assets_tests.assets.house import House
from quant_assets_tests.builders import SESSION, universe


def test_an_asset_of_ones_own_reads_tables_as_views_and_keeps_nothing(house: House):
    house.work().lake.curated.write(UNIVERSE, Partition(SESSION), universe(con_ids=[101, 102]))
    asked: list[object] = []

    @dg.asset
    def counted(sql: LakehouseSql) -> None:
        with sql.get_connection() as connection:
            asked.append(connection.execute("SELECT symbol FROM universe ORDER BY symbol").fetchall())
            connection.execute("CREATE TABLE mine AS SELECT 1")
        with sql.get_connection() as connection, pytest.raises(duckdb.CatalogException, match="mine"):
            connection.execute("SELECT * FROM mine")

    assert dg.materialize([counted], resources=house.definitions.resources).success
    assert asked == [[("S101",), ("S102",)]]
