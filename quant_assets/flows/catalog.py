"""Refreshing catalog.json."""

from typing import Any

from quant_assets.domain import tables
from quant_assets.flows.work import Work
from quant_assets.lakehouse.catalog import build_catalog, read_catalog, write_catalog
from quant_assets.lakehouse.layout import Layout

_STAMP = "generated_at"


def refresh_catalog(work: Work) -> dict[str, Any]:
    """Summarize the lakehouse, and write catalog.json when it says anything new."""
    layout: Layout = work.layout
    start, latest = work.settings.manifest.lakehouse.start_session, work.latest_session()
    expected = work.calendar.between(start, latest)
    catalog = build_catalog(layout, tables.ALL, expected, work.clock.now())
    standing = read_catalog(layout)
    if standing is None or _said(standing) != _said(catalog):
        write_catalog(layout, catalog)
    return catalog


def _said(catalog: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in catalog.items() if key != _STAMP}
