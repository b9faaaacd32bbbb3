"""Dagster's instance, whose history belongs to a data directory."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from quant_assets.lakehouse.layout import Layout
from quant_assets.settings import data_directory


class DataDirectoryInstance(dg.DagsterInstance):
    """The `instance_class` of dagster.yaml: what the file does not place is placed in the data directory.

    Automation decides from the history, so two lakehouses that shared one would be told of each other's sessions. A
    value of dagster.yaml can name a variable of the environment, but has no default for one that is not set.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Return the keys of dagster.yaml that are this class's own: none."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:  # noqa: ARG003 - Dagster's
        """Return where each part keeps its files unless dagster.yaml says so."""
        history = Layout(data_directory()).history
        logs = yaml.safe_dump({"base_dir": str(history / "compute_logs")})
        manager = "dagster._core.storage.local_compute_log_manager"
        return {
            **InstanceRef.config_defaults(str(history)),
            "compute_logs": ConfigurableClassData(manager, "LocalComputeLogManager", logs),
        }
