"""What the metrics of selection and the logics of synthesis look at, from a run's frozen files."""

from datetime import date

import polars as pl

from quant_assets.domain.returns import con_ids
from quant_assets.domain.selection.metrics import Panel, panel_of
from quant_assets.lakehouse.runs.directory import RunDirectory


def panel(run: RunDirectory, matrix: pl.DataFrame) -> Panel:
    """Return the prices and volumes of the instruments of a returns matrix, as the metrics want them."""
    wanted = set(con_ids(matrix))
    frames = [
        run.read_frame(one["file"]).select(
            pl.from_epoch("timestamp", "s").cast(pl.Date).alias("session"),
            pl.lit(one["con_id"], dtype=pl.Int64).alias("con_id"),
            "adj_close",
            "close",
            "high",
            "low",
            "volume",
        )
        for one in run.inputs["instruments"]
        if one["con_id"] in wanted
    ]
    return panel_of(matrix, pl.concat(frames), [date.fromisoformat(text) for text in run.inputs["window"]])
