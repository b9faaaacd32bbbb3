"""Selection: a score per instrument, vetoes, clusters, and a verdict with its reason for everybody."""

from quant_assets.domain.selection.clusters import correlation_distances, ward_clusters
from quant_assets.domain.selection.engine import Rung, Selection, select, selection_rows
from quant_assets.domain.selection.metrics import METRICS, Metric, Panel, measure, panel_of
from quant_assets.domain.selection.scoring import Scores, probabilities, scores

__all__ = [
    "METRICS",
    "Metric",
    "Panel",
    "Rung",
    "Scores",
    "Selection",
    "correlation_distances",
    "measure",
    "panel_of",
    "probabilities",
    "scores",
    "select",
    "selection_rows",
    "ward_clusters",
]
