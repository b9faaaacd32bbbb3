"""Readers with a way into the past: the feature store and SQL, as of any instant."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl

from quant_assets.domain.tables import ALL
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.past import open_past
from quant_assets.flows.work import Work
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.query import run_sql
from quant_assets.lakehouse.reading import PastReading
from quant_assets.settings import Settings


@contextmanager
def open_store(data: Path | None = None, configs: Path | None = None) -> Iterator[FeatureStore]:
    """Open the readers of a lakehouse: in a notebook, a script, or a test.

    Args:
        data: the data directory; $QUANT_DATA, else `data`, when left out.
        configs: the configuration directory; $QUANT_CONFIGS, else `configs`, when left out.

    Raises:
        ConfigurationError: the manifest cannot be read; names file and key.
    """
    settings = Settings.from_env(data=data, configs=configs)
    with TwsGate(settings, run_id="reader") as gate:
        yield feature_store(Work(settings, gate, run_id="reader"))


def feature_store(work: Work) -> FeatureStore:
    """Return the feature store of a lakehouse; its `as_of` computes again what has been replaced since."""

    @contextmanager
    def past(as_of: datetime) -> Iterator[PastReading]:
        with open_past(work, as_of) as lake:
            yield PastReading(lake.curated, lake.origins)

    return FeatureStore(work.layout, work.calendar, work.settings.manifest.symbology.aliases, past, hours=work.hours_of)


def sql_as_of(work: Work, query: str, as_of: datetime) -> tuple[pl.DataFrame, dict[str, int]]:
    """Answer one SELECT over the lakehouse as it was known at an instant.

    Only the tables that the text names are made: a table that nothing was known of is empty.

    Returns:
        The rows, and how many partitions were stored, recomputed and unknown then.

    Raises:
        ConfigurationError, UnknownNameError: see `run_sql`.
    """
    with open_past(work, as_of) as lake:
        for table in ALL:
            if re.search(rf"\b{table.name}\b", query, re.IGNORECASE):
                store = lake.work.lake.raw if table.append_only else lake.curated
                store.partitions(table)
        return run_sql(lake.work.layout, query), lake.summary()
