"""Files in the zones of the lakehouse that no partition of any table owns: nobody reads them, nobody mends them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from quant_assets.control.files import STAGED, below
from quant_assets.domain.tables import Table
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.store import Lakehouse

_ZONES = ("discovery", "bronze", "silver", "gold")


def orphans(lake: Lakehouse, tables: Iterable[Table]) -> Iterator[Path]:
    """Yield them by path; what a killed writer left (`.staged-…`) is named elsewhere."""
    layout, declared = lake.layout, tuple(tables)
    owned = {path for table in declared for path in _owned(lake, table)}
    owned |= set(daily_reports(layout))
    for zone in _ZONES:
        for path in sorted(below(layout.lakehouse / zone)):
            if path.is_file() and path not in owned and not path.name.startswith(STAGED):
                yield path


def daily_reports(layout: Layout) -> list[Path]:
    """Return the reports of instruments that there are, of whom they may be; any other file beside them is none."""
    like = layout.daily_report("x")
    return sorted(path for path in like.parent.glob(f"[!.]{like.name.replace('x', '*', 1)}") if path.is_file())


def _owned(lake: Lakehouse, table: Table) -> Iterator[Path]:
    layout: Layout = lake.layout
    if table.append_only:
        for partition in lake.raw.partitions(table):
            yield from lake.raw.batches(table, partition)
    else:
        for partition in lake.curated.partitions(table):
            yield layout.file(table, partition)
