"""The report of a run: one offline HTML file, its Markdown twin, and the weights as a picture."""

from quant_assets.domain.reports.data import (
    Choice,
    Correlation,
    Excluded,
    Held,
    Position,
    Quality,
    Reason,
    ReportData,
    Scored,
    Track,
    Tree,
)
from quant_assets.domain.reports.html import render_html
from quant_assets.domain.reports.markdown import index_markdown, render_markdown
from quant_assets.domain.reports.png import weights_png
from quant_assets.domain.reports.statistics import correlation, track, tree

__all__ = [
    "Choice",
    "Correlation",
    "Excluded",
    "Held",
    "Position",
    "Quality",
    "Reason",
    "ReportData",
    "Scored",
    "Track",
    "Tree",
    "correlation",
    "index_markdown",
    "render_html",
    "render_markdown",
    "track",
    "tree",
    "weights_png",
]
