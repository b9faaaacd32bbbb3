"""Selection of a run, computed from its frozen files; nothing is written here."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from quant_assets.domain.returns import con_ids
from quant_assets.domain.selection import Selection, select, selection_rows
from quant_assets.flows.alpha.compute import label, profile_of
from quant_assets.flows.alpha.panel import panel
from quant_assets.lakehouse.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Selected:
    """Rows of SELECTION, and what data/selection.json says about how they came about."""

    rows: pl.DataFrame
    record: dict[str, Any]
    selection: Selection


def compute_selection(run: RunDirectory, matrix: pl.DataFrame, certificate: pl.DataFrame) -> Selected:
    """Return the verdict on every frozen instrument.

    Raises:
        NoCandidatesError: every instrument is vetoed.
    """
    config, told = profile_of(run).selection, label(run)
    who = {"session": told["session"], "profile": told["profile"]}
    selection = select(panel(run, matrix), con_ids(matrix), config, **who)
    rows = selection_rows(selection, certificate, **told)
    record = {
        "weights": {name: round(value, 9) for name, value in selection.scores.weights.items()},
        "vetoes": {name: bounds.model_dump(exclude_none=True) for name, bounds in sorted(config.vetoes.items())},
        "ladder": [asdict(rung) for rung in selection.ladder],
        "needed": selection.needed,
        "n_selected": len(selection.selected),
        "n_clusters": len(set(selection.clusters.tolist())),
        "unknown_metrics": sorted(
            name for name, weight in config.score_weights.items() if weight > 0 and name not in selection.scores.weights
        ),
    }
    return Selected(rows, record, selection)
