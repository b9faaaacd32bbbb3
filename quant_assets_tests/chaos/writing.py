"""A process that writes one partition, and appends batches, without end; it is there to be killed."""

import sys
from pathlib import Path

from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import SESSION, small_rows, small_table

CURATED = small_table(name="curated_of_chaos")
RAW = small_table(name="raw_of_chaos", zone="bronze", key=("session", "con_id", "batch_id"), append_only=True)
AT = Partition(SESSION)
N_ROWS = 3000


def rows(value: int) -> object:
    """Return many rows that all say the same, so that a mixture of two writes would show."""
    return small_rows(dict.fromkeys(range(1, N_ROWS + 1), float(value)), batch=f"b{value}")


if __name__ == "__main__":
    lake, value = Lakehouse(Layout(Path(sys.argv[1]))), int(sys.argv[2])
    print("started", flush=True)
    while True:
        value += 1
        lake.curated.write(CURATED, AT, rows(value), inputs={"n": str(value)})  # type: ignore[arg-type]
        lake.raw.append(RAW, AT, small_rows({1: float(value)}, batch=f"b{value}"), f"b{value:08d}")
