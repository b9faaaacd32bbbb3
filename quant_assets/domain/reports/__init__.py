"""The report of a run: one offline HTML file, its Markdown twin, and the weights as a picture."""

from quant_assets.domain.reports.data import (
    Choice,
    Correlation,
    Excluded,
    Position,
    Quality,
    ReportData,
    Scored,
    Track,
)
from quant_assets.domain.reports.html import render_html
from quant_assets.domain.reports.markdown import index_markdown, render_markdown
from quant_assets.domain.reports.png import weights_png
from quant_assets.domain.reports.statistics import correlation, track

__all__ = [
    "Choice",
    "Correlation",
    "Excluded",
    "Position",
    "Quality",
    "ReportData",
    "Scored",
    "Track",
    "correlation",
    "index_markdown",
    "render_html",
    "render_markdown",
    "track",
    "weights_png",
]
