"""Breaks of a price basis that nothing explains: by which bounds they are looked for, and who has one."""

import contextlib
from collections.abc import Iterator
from datetime import date

import polars as pl

from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.errors import CorruptFileError
from quant_assets.flows.reader import Reader
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

MEND = (
    "quant breaks list --session {session} says by how much; nothing is computed across, so read one side of it, or "
    'adjust="as_served"; quant flow data fetches the history anew once TWS serves it on one basis; where the price '
    "did move so far, quant breaks confirm puts it on record"
)


def with_max_jump(work: Work, members: pl.DataFrame) -> pl.DataFrame:
    """Add the bound of each member's asset class; who has no class is judged as a stock.

    Args:
        work: with the configuration.
        members: asset_class, and what else is known of them.
    """
    config = work.settings.manifest.quality
    bounds = {name: config.thresholds(name).max_jump for name in members["asset_class"].drop_nulls().unique()}
    found = pl.col("asset_class").replace_strict(bounds, default=config.thresholds("STK").max_jump)
    return members.with_columns(found.cast(pl.Float64).alias("max_jump"))


def jumps_id(work: Work) -> str:
    """Return what identifies the configured bounds: other ones find other breaks."""
    classes = work.settings.manifest.quality.asset_classes
    return ";".join(f"{name}:{thresholds.max_jump:g}" for name, thresholds in sorted(classes.items()))


def broken_at(store: Reader, session: date, kind: str = UNEXPLAINED_BREAK) -> dict[str, str]:
    """Return symbol → by how many times prices changed, of the instruments that have a break of a kind in a session.

    Args:
        store: where the factors are.
        session: the first one beyond the break.
        kind: `unexplained_break` or `real_move`.
    """
    rows = store.read(ADJUSTMENT_FACTORS, Partition(session)).filter(pl.col("kind") == kind)
    ordered = rows.sort("symbol", "session").unique("symbol", keep="first", maintain_order=True)
    times = pl.format("{} times", pl.col("observed_ratio").round(4))
    return dict(ordered.select("symbol", times.alias("times")).iter_rows())


def every_break(work: Work) -> Iterator[tuple[date, str, str]]:
    """Yield (session, symbol, times) of every break; what cannot be read is named with the other such files."""
    for partition in work.lake.curated.partitions(ADJUSTMENT_FACTORS):
        with contextlib.suppress(CorruptFileError):
            for symbol, times in broken_at(work.lake.curated, partition.session).items():
                yield partition.session, symbol, times
