"""The whole graph on one screen: from the TWS socket to the weights."""

import dagster as dg

from quant_assets.assets.adjustments import adjustment_assets
from quant_assets.assets.alpha import alpha_assets
from quant_assets.assets.automation import automation_sensor
from quant_assets.assets.bars import bar_assets
from quant_assets.assets.candidates import candidate_assets
from quant_assets.assets.certificates import certificate_assets
from quant_assets.assets.describe import Catalogue
from quant_assets.assets.discovery import discovery_assets
from quant_assets.assets.features import feature_assets
from quant_assets.assets.ops import ops_assets
from quant_assets.assets.schedules import jobs_and_triggers
from quant_assets.resources.sql import LakehouseSql
from quant_assets.resources.work import WorkResource
from quant_assets.settings import Settings

STAGES = [
    discovery_assets,
    bar_assets,
    adjustment_assets,
    feature_assets,
    certificate_assets,
    candidate_assets,
    alpha_assets,
    ops_assets,
]
"""Top to bottom is left to right in the UI."""


def build_definitions(settings: Settings, *, is_watched: bool = False) -> dg.Definitions:
    """Return the definitions for one configuration; `is_watched` runs draw a bar on the terminal, if there is one."""
    catalogue = Catalogue(settings)
    jobs, schedules, sensors = jobs_and_triggers(catalogue)
    return dg.Definitions(
        assets=[asset for stage in STAGES for asset in stage(catalogue)],
        jobs=jobs,
        schedules=schedules,
        sensors=[automation_sensor(), *sensors],
        resources={
            "quant": WorkResource(
                data=str(settings.data),
                configs=str(settings.configs),
                assignments=list(settings.assignments),
                is_watched=is_watched,
            ),
            "sql": LakehouseSql.over(settings.data),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the configuration in the environment; read when Dagster loads, not at import."""
    return build_definitions(Settings.from_env())
