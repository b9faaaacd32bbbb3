"""The report as one HTML file that refers to nothing outside itself."""

from quant_assets.domain.reports import charts
from quant_assets.domain.reports.backtest import NAMES, measures_of, parts_of, short_walk
from quant_assets.domain.reports.data import ReportData
from quant_assets.domain.reports.page import render_page

_MAX_ROWS = 200
"""Rows of the longest tables; the run's files hold all of them."""


def render_html(data: ReportData) -> str:
    """Return the report; equal data gives equal bytes."""
    weights = {one.symbol: one.weight for one in data.positions}
    pictures = {
        "weights": charts.bars(data.held),
        "correlation": charts.heat_map(data.correlation),
        "growth": charts.growth(data.track),
        **({"tree": charts.dendrogram(data.tree, weights)} if data.tree else {}),
    }
    walked = data.walked["record"] if data.walked else None
    return render_page(
        "report.html.j2",
        pictures,
        data=data,
        excluded=data.excluded[:_MAX_ROWS],
        scored=data.choice.scored[:_MAX_ROWS],
        portfolios=NAMES.values(),
        measures=measures_of(walked) if walked else [],
        parts=parts_of(walked) if walked else [],
        short=short_walk(walked) if walked else "",
    )
