"""What a run says of its requests to TWS: those of every asset, each asset's once."""

import dagster as dg

from quant_assets.registry import requests_of


def test_the_requests_of_all_assets_add_up_and_those_of_a_range_count_once():
    said = [
        dg.AssetMaterialization("raw_tws_bars", partition="2025-11-28", metadata={"tws_requests": 6}),
        dg.AssetMaterialization("raw_tws_bars", partition="2025-12-01", metadata={"tws_requests": 6}),
        dg.AssetMaterialization("raw_tws_daily_bars", partition="2025-12-01", metadata={"tws_requests": 12}),
        dg.AssetMaterialization("instruments", partition="2025-12-01"),
    ]
    assert requests_of(said) == 6 + 12
