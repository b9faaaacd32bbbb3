"""Operations: what the lakehouse holds, on one page."""

import dagster as dg

from quant_assets.assets.describe import OWNER, Catalogue
from quant_assets.assets.pictures import table
from quant_assets.domain.tables import ALL
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.resources.sql import LakehouseSql
from quant_assets.resources.work import WorkResource


def ops_assets(_: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `catalog`."""

    @dg.asset(
        group_name="ops",
        kinds={"json", "duckdb"},
        owners=[OWNER],
        deps=[
            "curated_tws_1m_bars",
            "curated_tws_1d_bars",
            "features_price_1m_v1",
            "features_volume_1m_v1",
            "tv_technicals_1d",
            "labels_tws_returns",
        ],
        description="data/lakehouse/_metadata/catalog.json: partitions, rows, freshness and coverage of every table.",
        automation_condition=dg.AutomationCondition.eager(),
    )
    def catalog(quant: WorkResource, sql: LakehouseSql) -> dg.MaterializeResult:  # type: ignore[type-arg]
        summary = refresh_catalog(quant.work)
        counts = " UNION ALL ".join(
            f"SELECT '{one.name}' AS \"table\", count(*) AS rows FROM {one.name}"  # noqa: S608 - names are declared
            for one in ALL
        )
        with sql.get_connection() as connection:
            rows = connection.sql(f'SELECT * FROM ({counts}) ORDER BY "table"').pl()  # noqa: S608
        return dg.MaterializeResult(
            metadata={"rows_by_table": table(rows), "latest_expected_session": str(summary["latest_expected_session"])}
        )

    return [catalog]
