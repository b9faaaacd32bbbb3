"""The asset graph is the one that the README draws, and every asset says what it is."""

import re

import dagster as dg
import pytest

from quant_assets.assets.cycles import ALPHA, DATA
from quant_assets.definitions import defs
from quant_assets.domain.tables import ALL
from quant_assets_tests.architecture.repository import ROOT

GRAPH = {
    "universe": ("discovery", ()),
    "raw_instruments": ("bronze", ("universe",)),
    "raw_tws_bars": ("bronze", ("universe",)),
    "raw_tws_daily_bars": ("bronze", ("universe",)),
    "instruments": ("silver", ("raw_instruments",)),
    "execution": ("silver", ("raw_instruments",)),
    "exchanges": ("silver", ("raw_instruments",)),
    "adjustment_factors": ("silver", ("raw_tws_bars", "raw_tws_daily_bars", "universe")),
    "curated_tws_1m_bars": ("silver", ("adjustment_factors", "raw_tws_bars", "raw_tws_daily_bars")),
    "quarantine_tws_bars": ("silver", ("adjustment_factors", "raw_tws_bars", "raw_tws_daily_bars")),
    "bar_accounting": ("silver", ("adjustment_factors", "raw_tws_bars", "raw_tws_daily_bars")),
    "dq_metrics": ("silver", ("adjustment_factors", "raw_tws_bars", "raw_tws_daily_bars")),
    "curated_tws_1d_bars": ("silver", ("raw_tws_daily_bars", "universe")),
    "features_price_1m_v1": ("gold", ("curated_tws_1m_bars",)),
    "features_volume_1m_v1": ("gold", ("curated_tws_1m_bars",)),
    "tv_technicals_1d": ("gold", ("curated_tws_1d_bars",)),
    "labels_tws_returns": ("gold", ("curated_tws_1m_bars",)),
    "certified_sessions": (
        "gold",
        (
            "adjustment_factors",
            "bar_accounting",
            "curated_tws_1d_bars",
            "curated_tws_1m_bars",
            "dq_metrics",
            "exchanges",
            "execution",
            "features_price_1m_v1",
            "features_volume_1m_v1",
            "instruments",
            "labels_tws_returns",
            "quarantine_tws_bars",
            "tv_technicals_1d",
            "universe",
        ),
    ),
    "candidates": (
        "gold",
        (
            "curated_tws_1d_bars",
            "features_price_1m_v1",
            "features_volume_1m_v1",
            "instruments",
            "tv_technicals_1d",
            "universe",
        ),
    ),
    "snapshots": ("alpha", ("candidates", "certified_sessions", "curated_tws_1d_bars", "instruments")),
    "returns_matrix": ("alpha", ("snapshots",)),
    "selection": ("alpha", ("returns_matrix", "snapshots")),
    "synthetic_returns": ("alpha", ("selection", "snapshots")),
    "weights": ("alpha", ("selection", "snapshots", "synthetic_returns")),
    "report": ("alpha", ("snapshots", "weights")),
    "month_copies": (
        "ops",
        ("curated_tws_1m_bars", "features_price_1m_v1", "features_volume_1m_v1", "labels_tws_returns"),
    ),
    "catalog": (
        "ops",
        (
            "curated_tws_1d_bars",
            "curated_tws_1m_bars",
            "features_price_1m_v1",
            "features_volume_1m_v1",
            "labels_tws_returns",
            "tv_technicals_1d",
        ),
    ),
    "data_audit": ("ops", ("bar_accounting", "certified_sessions", "quarantine_tws_bars")),
}


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}


def test_the_graph_is_the_expected_one(specs):
    found = {
        name: (spec.group_name, tuple(sorted(dep.asset_key.to_user_string() for dep in spec.deps)))
        for name, spec in specs.items()
    }
    assert found == GRAPH


def test_the_readme_draws_the_graph():
    drawing = re.search(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert drawing is not None
    groups: dict[str, str] = {}
    edges: set[tuple[str, str]] = set()
    group = ""
    for line in drawing.group(1).splitlines():
        words = line.split()
        if words[:1] == ["subgraph"]:
            group = words[1].partition("[")[0]
        elif words == ["end"]:
            group = ""
        elif len(words) == 1 and group:
            groups[words[0]] = group
        elif "-->" in words:
            left, right = line.split("-->")
            edges |= {(a.strip(), b.strip()) for a in left.split("&") for b in right.split("&")}
    assert groups == {name: group for name, (group, _) in GRAPH.items()}
    assert edges == {(dep, name) for name, (_, deps) in GRAPH.items() for dep in deps}


def test_every_asset_says_what_it_is(specs):
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert (spec.automation_condition is None) == (name == "data_audit"), (
            f"{name}: the audit has a schedule of its own"
        )


def test_every_table_of_the_graph_shows_its_columns_and_its_freshness(specs):
    """Catalog and audit are documents, and the copies are extra files: they have neither columns nor sessions."""
    for name, spec in specs.items():
        if name in ("catalog", "month_copies", "data_audit"):
            continue
        assert spec.partitions_def is not None, name
        assert spec.freshness_policy is not None, name
        columns = spec.metadata["dagster/column_schema"].columns
        assert columns, name
        assert all(column.description for column in columns), name


def test_the_cycles_name_assets_of_the_graph(specs):
    assert {*DATA, *ALPHA, "candidates", "catalog", "month_copies", "data_audit"} == set(specs)


def test_every_declared_table_has_a_producer_in_the_graph(specs):
    assert {table.producer for table in ALL} <= set(specs)
