"""What a run says of itself: the requests of every asset, each asset's once, and that somebody stopped it."""

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from quant_assets.registry import outcome_of, requests_of


def test_the_requests_of_all_assets_add_up_and_those_of_a_range_count_once():
    said = [
        dg.AssetMaterialization("raw_tws_bars", partition="2025-11-28", metadata={"tws_requests": 6}),
        dg.AssetMaterialization("raw_tws_bars", partition="2025-12-01", metadata={"tws_requests": 6}),
        dg.AssetMaterialization("raw_tws_daily_bars", partition="2025-12-01", metadata={"tws_requests": 12}),
        dg.AssetMaterialization("instruments", partition="2025-12-01"),
    ]
    assert requests_of(said) == 6 + 12


def test_a_run_that_somebody_stops_says_so_without_a_stack_trace():
    @dg.op
    def waits() -> None:
        raise DagsterExecutionInterruptedError

    @dg.job
    def stopped() -> None:
        waits()

    said = outcome_of(stopped.execute_in_process(raise_on_error=False))
    assert said.failures == ((130, "interrupted: what was committed stands; the same command goes on from there"),)
    assert said.exit_code == 130
