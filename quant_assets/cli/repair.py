"""`quant repair`: fetch what is missing, whole sessions and holes inside them, and build what stands on it."""

import click
import polars as pl

from quant_assets.cli.common import open_work, parse_day, print_json, print_table
from quant_assets.cli.flow import finish, run_data
from quant_assets.flows.care import RepairPlan, repair_plan
from quant_assets.registry import Registry


@click.command()
@click.option("--sessions", metavar="A..B", help="Look in this range; else from the first published session on.")
@click.option("--dry-run", is_flag=True, help="Name the sessions and the holes, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def repair(sessions: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Run the data cycle where a table lacks a session, or a session lacks minutes that nothing explains.

    TWS is asked for just those. What was asked so often in vain that it counts as a known hole is listed and left
    alone. Sessions that follow each other share a run; what stands is not rewritten.
    """
    first, _, last = (sessions or "").partition("..")
    with open_work() as work:
        plan = repair_plan(work, parse_day(first) if first else None, parse_day(last) if last else None)
        registry = Registry(work.settings)
        stretches = plan.stretches(work.calendar.all_sessions)
    if dry_run or not stretches:
        _tell(plan, as_json=as_json)
        return
    finish([run_data(registry, stretch, is_repair=True) for stretch in stretches], as_json=as_json)


def _tell(plan: RepairPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({"missing": plan.missing, "holes": plan.holes.to_dicts()})
        return
    click.echo(f"missing: {', '.join(map(str, plan.missing))}" if plan.missing else "no session is missing")
    for known, title in ((False, "holes to ask for again"), (True, "known holes, left alone")):
        holes = plan.holes.filter(pl.col("is_known") == known).drop("is_known", "con_id")
        if not holes.is_empty():
            print_table(holes, title=title)
    if not plan.sessions:
        click.echo("nothing to repair")
