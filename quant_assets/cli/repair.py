"""`quant repair`: fetch what is missing, whole sessions and holes inside them, and build what stands on it."""

import getpass
from datetime import date
from typing import Any

import click
import polars as pl

from quant_assets.cli.common import json_option, nothing, open_work, parse_day, print_json, span_from, span_options
from quant_assets.cli.flow import finish, run_data
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, INSTRUMENTS, UNIVERSE
from quant_assets.errors.base import number_of
from quant_assets.flows.accepting import accept as accept_hole
from quant_assets.flows.care import DATA_TABLES, RepairPlan, repair_plan, spans_of
from quant_assets.flows.damage import damaged_results, set_aside
from quant_assets.flows.work import Work
from quant_assets.lakehouse.damage import Damage
from quant_assets.registry import Registry


@click.group(invoke_without_command=True)
@span_options("from the first published session on")
@click.option("--known", is_flag=True, help="Ask for known holes as well, once more.")
@click.option("--dry-run", is_flag=True, help="Name the sessions and the holes, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_context
def repair(
    context: click.Context, session: str | None, sessions: str | None, *, known: bool, dry_run: bool, as_json: bool
) -> None:
    """Run the data cycle where a table lacks a session, or a session lacks minutes that nothing explains.

    TWS is asked for just those, also where its answers agree and the daily volume contradicts them. What was asked so
    often in vain that it counts as a known hole is listed and left alone, unless --known is given; `quant repair
    accept` puts on record that nothing is to be had. Sessions that follow each other share a run; what stands is not
    rewritten. Files of sessions that are named are hashed, and damaged ones of silver and gold go to data/aside first.
    """
    if context.invoked_subcommand:
        return
    span = span_from(session, sessions)
    with open_work() as work:
        damaged = _damaged(work, *span)
        if not dry_run:
            damaged = set_aside(work, damaged)
        for one in () if as_json else damaged:
            click.echo(f"{one}; it {'would go' if dry_run else 'went'} to data/aside, and is computed again")
        plan = repair_plan(work, *span)
        sound = nothing(work, "nothing to repair")
        registry = Registry(work.settings)
        stretches = plan.stretches(work.calendar.all_sessions, asks_known=known)
    if dry_run or not stretches:
        if as_json:
            print_json({"missing": plan.missing, "outdated": list(plan.outdated), "holes": plan.holes.to_dicts()})
        else:
            _tell(work, plan, sound, known=known)
        return
    finish([run_data(registry, stretch, is_repair=True, asks_known=known) for stretch in stretches], as_json=as_json)


def _damaged(work: Work, first: date | None, last: date | None) -> list[Damage]:
    """Return the damaged files of the data cycle in the sessions that were named; nothing where none are."""
    if first is None or last is None:
        return []
    named = {one.session for one in work.lake.curated.partitions(UNIVERSE) if first <= one.session <= last}
    return damaged_results(work, named, DATA_TABLES)


def _tell(work: Work, plan: RepairPlan, sound: str, *, known: bool) -> None:
    spans = spans_of(plan.missing, work.calendar.all_sessions)
    found = f"{number_of(len(plan.missing), 'session')} missing: {', '.join(spans)}"
    if spans:
        click.echo(found)
    for table in (INSTRUMENTS, ADJUSTMENT_FACTORS):
        outdated = [day for day, one in plan.outdated.items() if table.name in one.lacks]
        if spans := spans_of(outdated, work.calendar.all_sessions):
            click.echo(f"{table.name} to bring up to date, without a request: {', '.join(spans)}")
    fate = "asked for once more" if known else "left alone"
    for is_known, title in ((False, "holes to ask for again"), (True, f"known holes, {fate}")):
        holes = plan.holes.filter(pl.col("is_known") == is_known).drop("is_known", "con_id")
        if not holes.is_empty():
            print_table(holes, title, spare=["asked_at", "outcome"])
    if not plan.sessions_of(asks_known=known):
        click.echo(sound)
    if not known and plan.holes["is_known"].any():
        click.echo(
            "known holes: `quant repair --known` asks for them once more; `quant repair accept` puts on record that "
            "nothing is to be had"
        )


@repair.command()
@click.option("--session", required=True, metavar="YYYY-MM-DD", help="The session.")
@click.option("--symbol", required=True, help="The instrument; EXCHANGE:SYMBOL where two exchanges have one.")
@click.option("--why", required=True, help="The reason; it is kept for good.")
@click.option("--by", default=getpass.getuser, show_default="your login", help="Who says so.")
@click.option("--take-back", is_flag=True, help="The minutes are to be unexplained again.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@json_option
def accept(session: str, symbol: str, why: str, by: str, *, take_back: bool, dry_run: bool, as_json: bool) -> None:
    """Put on record that minutes of an instrument that nothing explains are lost for good.

    When the session is curated again they are explained, as `accepted`: the certificate and the instrument's health
    name them. A hole that grows afterwards is unexplained again.
    """
    if not why.strip() or not by.strip():
        raise click.UsageError("--why and --by must say something: they are what a reader has, years from now")
    with open_work() as work:
        said: dict[str, Any] = {"by": by.strip(), "why": why.strip(), "takes_back": take_back, "dry_run": dry_run}
        line = accept_hole(work, parse_day(session), symbol, **said)
    if as_json:
        print_json({**line, "dry_run": dry_run})
        return
    would = "would be written" if dry_run else "is written"
    what = "count as unexplained again" if take_back else f"({line['minutes']}) count as accepted"
    click.echo(f"minutes of {line['symbol']} {what} when {line['session']} is curated again; {by}'s word {would}")
    if not dry_run:
        click.echo(f"now: quant flow data --session {line['session']}")
