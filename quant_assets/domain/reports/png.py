"""The weights as a PNG, for Dagster's metadata and the run's plots."""

import io

import polars as pl

from quant_assets.domain.reports.charts import ACCENT, INK, MUTED
from quant_assets.domain.reports.data import TRACE

_LIMIT = 30


def weights_png(weights: pl.DataFrame) -> bytes:
    """Draw rows of WEIGHTS as bars, the largest first; equal weights give equal bytes under one matplotlib.

    Args:
        weights: symbol and weight are used; at most the 30 largest are drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    held = (
        weights.filter(pl.col("weight").abs() >= TRACE).sort("weight", "con_id", descending=[True, False]).head(_LIMIT)
    )
    names = [symbol.partition(":")[2] or symbol for symbol in held["symbol"]]
    values = [100 * weight for weight in held["weight"]]
    figure = Figure(figsize=(8, 0.8 + 0.26 * max(len(names), 1)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(range(len(names)), values, color=ACCENT, height=0.62)
    axes.bar_label(drawn, fmt="%.2f %%", padding=4, fontsize=8, color=MUTED)
    axes.set_yticks(range(len(names)), names, fontsize=8, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(min([*values, 0.0]) * 1.12, max([*values, 1.0]) * 1.12)
    axes.set_xlabel("weight, % of capital", fontsize=8, color=MUTED)
    axes.tick_params(axis="both", length=0, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
