"""`quant repair`: fetch and build the sessions that are missing."""

import click

from quant_assets.cli.common import open_work, parse_day, print_json
from quant_assets.cli.flow import finish, run_data
from quant_assets.flows.care import missing_sessions, runs_of
from quant_assets.registry import Registry


@click.command()
@click.option("--sessions", metavar="A..B", help="Look in this range; else from the first published session on.")
@click.option("--dry-run", is_flag=True, help="Name the sessions, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def repair(sessions: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Run the data cycle for every session that some table lacks, one run per stretch; what stands is left alone."""
    first, _, last = (sessions or "").partition("..")
    with open_work() as work:
        missing = missing_sessions(work, parse_day(first) if first else None, parse_day(last) if last else None)
        stretches = runs_of(missing, work.calendar.all_sessions)
        registry = Registry(work.settings)
    if dry_run or not missing:
        if as_json:
            print_json({"missing": missing})
        else:
            click.echo(f"missing: {', '.join(map(str, missing))}" if missing else "nothing is missing")
        return
    finish([run_data(registry, stretch) for stretch in stretches], as_json=as_json)
