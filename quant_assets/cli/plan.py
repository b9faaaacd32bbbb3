"""`quant plan`: what a data cycle would ask of TWS, before anything is asked."""

from typing import Any

import click

from quant_assets.cli.common import json_option, open_work, print_json, session_options, sessions_from
from quant_assets.cli.flow import require_partitions
from quant_assets.cli.tabular import print_table
from quant_assets.errors.base import number_of
from quant_assets.flows.plan import CyclePlan, plan_cycle


@click.command()
@session_options
@click.option(
    "--profile", metavar="NAME", help="Count the instruments of this profile or of its sleeves; of all when left out."
)
@json_option
def plan(session: str | None, sessions: str | None, profile: str | None, *, as_json: bool) -> None:
    """Show the requests, the minutes of pacing and the bytes that `quant flow data` would cost. Asks TWS nothing."""
    with open_work() as work:
        chosen = sessions_from(work, session, sessions)
        require_partitions(work, chosen)
        name = work.settings.manifest.resolve(profile) if profile else ""
        made = plan_cycle(work, chosen, name)
    if as_json:
        print_json(made.as_dict())
    else:
        _show(made)


def _show(made: CyclePlan) -> None:
    span = f"{made.sessions[0]} to {made.sessions[-1]}" if len(made.sessions) > 1 else str(made.sessions[0])
    counted = number_of(len(made.sessions), "session"), span, number_of(made.n_instruments, "instrument")
    print_table(_rows(made), title=", ".join(counted))
    per_window = f"{made.budget.requests_per_window} requests per {made.budget.window_s / 60:g} minutes"
    click.echo(f"{number_of(made.n_requests, 'request')}, {_duration(made.pacing_s)} of pacing at {per_window}")
    click.echo(f"at most {_size(made.wire_bytes)} on the wire, about {_size(made.disk_bytes)} on disk")
    if not made.n_requests:
        click.secho("nothing to ask: every answer is there already", fg="green")
    for note in made.notes():
        click.secho(f"note: {note}", fg="yellow")


def _rows(made: CyclePlan) -> list[dict[str, Any]]:
    minutes, daily, details = made.minutes, made.daily, made.details
    return [
        {"kind": "market scan", "requests": made.universe.n_scans, "needed": None, "settled": None, "bars": None},
        {"kind": "contract details: discovery", "requests": made.universe.n_details}
        | {"needed": f"{len(made.universe.to_publish)} universes", "settled": None, "bars": None},
        {"kind": "contract details: instruments", "requests": details.n_requests}
        | {"needed": f"{details.n_requests} instruments", "settled": details.n_settled, "bars": None},
        {"kind": "history, 1 min", "requests": minutes.n_requests}
        | {"needed": f"{minutes.n_needed} instrument sessions", "settled": minutes.n_settled, "bars": minutes.n_bars},
        {"kind": "history, 1 day", "requests": daily.n_requests}
        | {"needed": f"{daily.n_needed} series", "settled": daily.n_settled, "bars": daily.n_bars},
    ]


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"  # noqa: PLR2004 - two hours


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":  # noqa: PLR2004 - SI
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
