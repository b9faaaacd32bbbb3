"""Pictures for asset metadata: plots as inline PNG, and previews of rows."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.domain.hours import n_open_minutes
from quant_assets.domain.reports import weights_png
from quant_assets.domain.reports.coverage import accounting_png, coverage_png
from quant_assets.domain.tables import BAR_ACCOUNTING, CURATED_TWS_1M_BARS, UNIVERSE, WEIGHTS
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_SESSIONS = 20
_ROWS = 8


def coverage_pictures(work: Work, partitions: Sequence[Partition]) -> Mapping[str, Any]:
    """Return the heat maps of coverage and accounting up to the last of `partitions`, and a preview of it."""
    last = partitions[-1].session
    window = [Partition(session) for session in work.calendar.window(last, _SESSIONS)]
    bars = work.lake.curated.read_many(CURATED_TWS_1M_BARS, window, ["session", "con_id", "symbol"])
    universe = work.lake.curated.read_many(UNIVERSE, window, ["session", "con_id", "asset_class", "exchange"])
    minutes = n_open_minutes().alias("expected")
    hours = [
        work.hours_of(day, members).select("con_id", pl.lit(day).alias("session"), minutes)
        for (day,), members in universe.partition_by("session", as_dict=True).items()
    ]
    counts = bars.group_by("session", "con_id", "symbol").len().join(pl.concat(hours), on=["session", "con_id"])
    coverage = counts.with_columns((pl.col("len") / pl.col("expected")).alias("coverage"))
    preview = work.lake.curated.read(CURATED_TWS_1M_BARS, partitions[-1]).head(_ROWS)
    needed = ["session", "con_id", "symbol", "kind", "reason", "minutes", "expected"]
    accounted = work.lake.curated.read_many(BAR_ACCOUNTING, window, needed)
    return {
        "coverage_heat_map": picture("coverage", coverage_png(coverage)),
        "accounting_heat_map": picture("accounting", accounting_png(accounted)),
        "preview": table(preview),
    }


def weight_pictures(work: Work, partitions: Sequence[Partition]) -> Mapping[str, Any]:
    """Return the chart and the table of the newest weights of `partitions`."""
    weights = work.lake.curated.read(WEIGHTS, partitions[-1])
    shown = weights.sort("weight", descending=True).select("symbol", "sector", "weight", "risk_contribution")
    return {"weights_chart": picture("weights", weights_png(weights)), "preview": table(shown.head(3 * _ROWS))}


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG as Markdown that shows it inline."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """Return a few rows as a Markdown table."""
    header = "| " + " | ".join(frame.columns) + " |"
    rule = "|" + "---|" * frame.width
    rows = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.iter_rows()]
    return dg.MetadataValue.md("\n".join([header, rule, *rows]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else " ".join(str(value).replace("|", r"\|").splitlines())
