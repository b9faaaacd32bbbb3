"""`quant lake compact|gc|wipe|rebuild`: copies for research, garbage, and a clean slate."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date

import click

from quant_assets.assets.cycles import ALPHA, DATA
from quant_assets.cli.common import Finite, confirmed, json_option, open_work, print_json, span_from, span_options
from quant_assets.cli.flow import finish
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import ALL, BY_NAME
from quant_assets.errors import CorruptCopyError
from quant_assets.errors.base import number_of
from quant_assets.flows.care import runs_of
from quant_assets.flows.compact import compact_months, due_months, prove_copies
from quant_assets.flows.damage import check_sources, damaged_results, set_aside
from quant_assets.flows.slate import DERIVED, WORD, rebuildable, wipe_plan
from quant_assets.flows.slate import wipe as wipe_zones
from quant_assets.flows.work import Work
from quant_assets.lakehouse.damage import OBSERVED
from quant_assets.lakehouse.garbage import Garbage, kept_and_gone
from quant_assets.lakehouse.runs import list_runs
from quant_assets.registry import Registry, RunOutcome, range_of

_HOUR_S = 3600.0
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command()
@click.option("--month", metavar="YYYY-MM", default="", help="Only this month; every month that is due when left out.")
@click.option("--all", "every", is_flag=True, help="Every month that is due; what happens without --month, too.")
@click.option("--verify", is_flag=True, help="Compare the copies that stand with their session files, and make none.")
@dry_run_option
@json_option
def compact(month: str, *, every: bool, verify: bool, dry_run: bool, as_json: bool) -> None:
    """Make month copies, from which research reads are many times faster; each is proven equal before it is used."""
    if month and every:
        raise click.UsageError("give --month or --all, not both")
    with open_work() as work:
        if verify:
            proofs = prove_copies(work)
            _show([asdict(one) for one in proofs], "no copies", as_json=as_json)
            if broken := [one for one in proofs if not one.equal]:
                raise CorruptCopyError(work.layout.copies, f"{len(broken)} copies differ, first: {broken[0].why}")
            return
        due = due_months(work, month)
        if dry_run:
            told = [
                {
                    "table": one.table.name,
                    "month": one.month,
                    "sessions": len(one.sessions),
                    "state": one.state,
                    "why": one.why,
                }
                for one in due
            ]
        else:
            told = [{**asdict(one), "content_ids": len(one.content_ids)} for one in compact_months(work, due)]
    _show(told, "every copy is current", as_json=as_json)


@click.command()
@click.option(
    "--older-than", metavar="HOURS", type=Finite(0), default=24.0, show_default=True, help="Age of leftovers."
)
@dry_run_option
@json_option
def gc(older_than: float, *, dry_run: bool, as_json: bool) -> None:
    """Remove what killed writers left, stale copies, unfinished runs that nothing names, and superseded index lines.

    Results of stages that no run asked for in 30 days go as well: the next run that needs one computes it again.
    Session files and batches of bronze are not even looked at, and whatever a snapshot, a run or a tag names stays.
    While a tag or a run cannot be read, nothing goes that it may name.
    """
    with open_work() as work:
        garbage = Garbage(work.lake, ALL, work.clock.now().timestamp(), older_than * _HOUR_S)
        items = garbage.survey() if dry_run else garbage.collect()
        doubts = garbage.doubts()
        if not dry_run:
            status = "warn" if doubts else "ok"
            work.audit.record("garbage_collected", run_id=work.run_id, status=status, items=len(items))
    for one in doubts:
        click.secho(f"warning: what it may name stays: {one}", fg="yellow", err=True)
    shown = kept_and_gone(items)
    if as_json:
        print_json(shown.to_dicts())
    elif shown.is_empty():
        click.echo("nothing to remove")
    else:
        print_table(shown)
        gone = [item for item in items if item.goes]
        verb = "would go" if dry_run else "went"
        click.echo(f"{len(gone)} of {len(items)} {verb}, {sum(item.bytes for item in gone):,} bytes looked at")


@click.command()
@click.option("--silver", is_flag=True, help="Silver only, unless --gold is given too.")
@click.option("--gold", is_flag=True, help="Gold only, unless --silver is given too.")
@click.option("--bronze", metavar=WORD, default="", help=f"Bronze and discovery as well; the value has to be {WORD!r}.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@json_option
def wipe(*, silver: bool, gold: bool, bronze: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove silver and gold, which `quant lake rebuild` computes again; bronze and discovery stay.

    Runs, tags and signed decisions stay in any case: they are records.
    """
    zones = [zone for zone, asked in zip(DERIVED, (silver, gold), strict=True) if asked] or list(DERIVED)
    zones += OBSERVED if bronze else ()
    with open_work() as work:
        plan = wipe_plan(work, zones, bronze)
        total = f"{number_of(sum(one.files for one in plan), 'file')}, {sum(one.bytes for one in plan):,} bytes"
        if not as_json:
            print_table([asdict(one) for one in plan if one.files], title=f"{' and '.join(zones)}: {total}")
        if not dry_run:
            dry_run = not yes and not _is_confirmed(f"Remove {total} of {', '.join(zones)}?")
        if not dry_run:
            plan = wipe_zones(work, zones, bronze)
    if as_json:
        print_json([asdict(one) for one in plan])
    else:
        click.echo("nothing was removed" if dry_run else f"removed {total}; `quant lake rebuild` computes it again")


@click.command()
@span_options("every session that was observed")
@dry_run_option
@json_option
def rebuild(session: str | None, sessions: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Compute silver and gold from bronze; TWS is asked nothing, and equal inputs give equal content ids.

    Every file is hashed before. Lost or altered bronze is refused; damaged silver and gold go to data/aside.
    """
    span = span_from(session, sessions)
    with open_work() as work:
        found = rebuildable(work, *span)
        check_sources(work, found)
        damaged = damaged_results(work, found)
        stretches = runs_of(found, work.calendar.all_sessions)
        runs = _finished_runs(work, found)
        registry = Registry(work.settings)
        if not dry_run:
            damaged = set_aside(work, damaged)
    for one in () if as_json else damaged:
        click.echo(f"{one}; it {'would go' if dry_run else 'went'} to data/aside, and is computed again")
    if dry_run:
        told = [{"sessions": f"{span[0]}..{span[-1]}", "n": len(span), "runs": len(runs)} for span in stretches]
        _show(told, "nothing", as_json=as_json)
        return
    finish([rebuild_sessions(registry, stretches, runs)], as_json=as_json)


def rebuild_sessions(
    registry: Registry, stretches: Sequence[Sequence[date]], runs: Sequence[tuple[date, str]] = ()
) -> RunOutcome:
    """Run the derived part of the data cycle over stretches of sessions, then the alpha cycle of runs that there were.

    Args:
        registry: of the configuration.
        stretches: consecutive sessions each.
        runs: (session, profile), ascending.
    """
    derived = [name for name in DATA if BY_NAME[name].zone in DERIVED]
    outcomes = [registry.run(derived, *range_of(one)) for one in stretches]
    if not all(one.success for one in outcomes):
        return _sum(outcomes)
    profiles = registry.settings.manifest.active_profiles
    for name in profiles:
        outcomes += [registry.run(["candidates"], *range_of(one, name)) for one in stretches]
    for session, profile in runs:
        if profile in profiles:
            outcomes.append(registry.run(ALPHA, *range_of([session], profile)))
    registry.run(["catalog"])
    return _sum(outcomes)


def _finished_runs(work: Work, sessions: Sequence[date]) -> list[tuple[date, str]]:
    inside = {str(day) for day in sessions}
    rows = list_runs(work.layout).select("session", "profile", "state").iter_rows()
    found = {(one, profile) for one, profile, state in rows if state == "finished" and one in inside and profile}
    return sorted((date.fromisoformat(session), profile) for session, profile in found)


def _sum(outcomes: Sequence[RunOutcome]) -> RunOutcome:
    return replace(
        outcomes[0],
        run_id=",".join(one.run_id for one in outcomes),
        success=all(one.success for one in outcomes),
        failures=tuple(failure for one in outcomes for failure in one.failures),
        requests=sum(one.requests for one in outcomes),
        rewritten=sum(one.rewritten for one in outcomes),
        warnings=tuple(dict.fromkeys(warning for one in outcomes for warning in one.warnings)),
    )


def _is_confirmed(question: str) -> bool:
    """Ask on a terminal; a script has to say --yes.

    Raises:
        click.UsageError: nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("this removes files, and nobody is there to ask: give --yes")
    return confirmed(question)


def _show(rows: Sequence[dict[str, object]], nothing: str, *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(list(rows))
    else:
        click.echo(nothing)
