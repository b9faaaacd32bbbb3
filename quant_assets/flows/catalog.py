"""Refreshing catalog.json."""

from typing import Any

from quant_assets.domain import tables
from quant_assets.errors import CorruptFileError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.aside import make_way
from quant_assets.lakehouse.catalog import build_catalog, read_catalog, write_catalog
from quant_assets.lakehouse.catalog_state import CatalogState
from quant_assets.lakehouse.layout import Layout

_STAMP = "generated_at"


def refresh_catalog(work: Work, *, full: bool = False) -> dict[str, Any]:
    """Summarize the lakehouse, and write catalog.json when it says anything new.

    Args:
        work: stores and calendar.
        full: look at every file; else only at what was committed since the last summary, however long history is.
    """
    layout: Layout = work.layout
    start, latest = work.settings.manifest.lakehouse.start_session, work.latest_session()
    expected = work.calendar.between(start, latest)
    state = CatalogState() if full else CatalogState.load(layout)
    before = dict(state.tables)  # a table that is looked at gets a new entry, however little changed
    catalog = build_catalog(layout, tables.ALL, expected, work.clock.now(), hours=work.hours_of, state=state)
    if state.tables != before:
        make_way(layout, layout.catalog_state, work.clock.now())
        state.save(layout)
    if _standing(layout) != _said(catalog):
        make_way(layout, layout.catalog, work.clock.now())
        write_catalog(layout, catalog)
    return catalog


def _standing(layout: Layout) -> dict[str, Any]:
    """Return what the catalog says that stands; nothing where it is damaged, because it is replaced next."""
    try:
        return _said(read_catalog(layout) or {})
    except CorruptFileError:
        return {}


def _said(catalog: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in catalog.items() if key != _STAMP}
