"""The report as one HTML file that refers to nothing outside itself."""

from typing import Any

from quant_assets.domain.reports import charts
from quant_assets.domain.reports.data import ReportData

_MAX_ROWS = 200
"""Rows of the longest tables; the run's files hold all of them."""


def render_html(data: ReportData) -> str:
    """Return the report; equal data gives equal bytes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("quant_assets.domain.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = _percent
    css, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    pictures: dict[str, Any] = {
        "weights": charts.bars(data.held),
        "correlation": charts.heat_map(data.correlation),
        "growth": charts.growth(data.track),
    }
    return environment.get_template(
        "report.html.j2"
    ).render(
        data=data,
        css=Markup(css),  # noqa: S704 - our own file
        pictures={name: Markup(svg) for name, svg in pictures.items()},  # noqa: S704 - charts escape their texts
        excluded=data.excluded[:_MAX_ROWS],
        scored=data.choice.scored[:_MAX_ROWS],
    )


def _percent(value: float | None, digits: int = 2) -> str:
    return "—" if value is None else f"{value:.{digits}%}"
