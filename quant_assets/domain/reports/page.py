"""A template rendered as one HTML file that refers to nothing outside itself; equal values give equal bytes."""

from collections.abc import Mapping
from typing import Any


def render_page(template: str, pictures: Mapping[str, str], **values: Any) -> str:
    """Render a template of this package.

    Args:
        template: file name below templates/.
        pictures: SVG text by name; the charts escape what they write.
        values: what the template shows.
    """
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
    environment.filters["percent"] = percent
    css, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    return environment.get_template(template).render(
        css=Markup(css),  # noqa: S704 - our own file
        pictures={name: Markup(svg) for name, svg in pictures.items()},  # noqa: S704 - charts escape their texts
        **values,
    )


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction in percent; a dash where there is none."""
    return "—" if value is None else f"{value:z.{digits}%}"


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
