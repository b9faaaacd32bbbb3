"""A small lakehouse, written by the real stores."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS, RAW_TWS_BARS, UNIVERSE, WEIGHTS
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse

DAYS = (date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 5))
"""The 4th is missing."""

AT = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)

FILLERS = {pl.String: "x", pl.Float64: 1.0, pl.Int64: 1, pl.Boolean: True, pl.Date: DAYS[0]}


def row(table, **values):
    """A legal row: anything not given is filled by its dtype, or by the first legal value."""
    filled = {column.name: column.isin[0] if column.isin else FILLERS.get(column.dtype, AT) for column in table.columns}
    return {**filled, **values}


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "data")


@pytest.fixture
def filled(lakehouse):
    """The layout of a lakehouse that holds something."""
    return lakehouse.layout


@pytest.fixture
def lakehouse(layout):
    lake = Lakehouse(layout)
    for number, day in enumerate(DAYS):
        universe = [row(UNIVERSE, session=day, con_id=1, symbol="A"), row(UNIVERSE, session=day, con_id=2, symbol="B")]
        lake.curated.write(UNIVERSE, Partition(day), UNIVERSE.frame(universe))
        minutes = [
            row(CURATED_TWS_1M_BARS, session=day, con_id=1, ts=AT + timedelta(days=number, minutes=minute))
            for minute in range(3)
        ]
        lake.curated.write(CURATED_TWS_1M_BARS, Partition(day), CURATED_TWS_1M_BARS.frame(minutes))
    window = [
        row(CURATED_TWS_1D_BARS, as_of_session=DAYS[2], session=day, con_id=con_id, symbol=symbol, coverage=coverage)
        for con_id, symbol, coverage, days in ((1, "A", 1.0, DAYS), (2, "B", 0.5, DAYS[:2]))
        for day in days
    ]
    lake.curated.write(CURATED_TWS_1D_BARS, Partition(DAYS[2]), CURATED_TWS_1D_BARS.frame(window))
    for batch in ("b1", "b2"):
        bars = RAW_TWS_BARS.frame([row(RAW_TWS_BARS, session=DAYS[0], con_id=1, batch_id=batch, close=2.5)])
        lake.raw.append(RAW_TWS_BARS, Partition(DAYS[0]), bars, batch)
    for profile in ("default", "hrp"):
        weights = WEIGHTS.frame([row(WEIGHTS, session=DAYS[2], profile=profile, con_id=1, weight=0.25)])
        lake.curated.write(WEIGHTS, Partition(DAYS[2], profile), weights)
    return lake
