"""What a run says of itself: the requests of every asset, each asset's once, and that somebody stopped it."""

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from quant_assets.registry import outcome_of, requests_of


def test_the_requests_of_all_steps_add_up_and_those_of_a_range_count_once():
    six, twelve, seven = ({"tws_requests": dg.MetadataValue.int(n)} for n in (6, 12, 7))
    of_a_range = [("raw_tws_bars", six), ("raw_tws_bars", six)]
    partly_failed = [("raw_instruments", seven), ("raw_instruments", seven | {"exit_code": dg.MetadataValue.int(65)})]
    assert requests_of([*of_a_range, ("raw_tws_daily_bars", twelve), ("instruments", {}), *partly_failed]) == 25


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
