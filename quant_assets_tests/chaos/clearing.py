"""A process that replaces sessions, makes month copies and clears garbage away without end; it is there to be killed."""

import sys
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1M_BARS as BARS
from quant_assets.lakehouse.compaction import compact, months
from quant_assets.lakehouse.garbage import Garbage
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.runs import StageCache
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import curated_bars

SESSIONS = [Partition(date(2024, 1, day)) for day in (2, 3, 4, 5)]
FAR_AHEAD = 4e9
"""Seconds since 1970 at which everything is old."""


def bars(session: date, value: int) -> pl.DataFrame:
    """Return two instruments' minutes that all say the same, so that a mixture of two writes would show."""
    return pl.concat([curated_bars([float(value)] * 390, session=session, con_id=con_id) for con_id in (101, 102)])


def garbage(lake: Lakehouse) -> Garbage:
    """Return a survey to which nothing is young."""
    return Garbage(lake, (BARS,), FAR_AHEAD, 0.0)


if __name__ == "__main__":
    lake, value = Lakehouse(Layout(Path(sys.argv[1]))), int(sys.argv[2])
    for one in SESSIONS:
        lake.curated.write(BARS, one, bars(one.session, value), inputs={"n": str(value)})
    print("started", flush=True)
    while True:
        value += 1
        one = SESSIONS[value % len(SESSIONS)]
        lake.curated.write(BARS, one, bars(one.session, value), inputs={"n": str(value)})
        StageCache(lake.layout.cache).put("returns", {"n": value}, {"a": b"%d" % value, "b": b"shared"})
        if value % 2:
            for due in months(lake.curated, BARS):
                compact(lake.curated, BARS, due.month)
        garbage(lake).collect()
