"""`quant doctor`: what stands between this machine and the next data cycle, and how it is mended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import click

from quant_assets.cli.common import json_option, print_json, settings_of_command
from quant_assets.flows.doctor import Check, examine

_COLOURS: Final = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@click.command()
@click.option(
    "--symbol", metavar="S", default="", help="EXCHANGE:SYMBOL to ask TWS about; a listed name when left out."
)
@click.option("--dagster-home", envvar="DAGSTER_HOME", hidden=True)
@json_option
@click.pass_context
def doctor(context: click.Context, symbol: str, dagster_home: str | None, *, as_json: bool) -> None:
    """Check configuration, disk, calendar, locks and TWS, from the port to one bar. Sends no order, mends nothing.

    Exit code 0 when no check fails, 1 otherwise.
    """
    checks = examine(settings_of_command(), symbol, home=dagster_home)
    counts: Counter[str] = Counter(check.status for check in checks)
    if as_json:
        print_json({"ok": not counts["fail"], "counts": dict(counts), "checks": [asdict(check) for check in checks]})
    else:
        _show(checks, counts)
    if counts["fail"]:
        context.exit(1)


def _show(checks: Sequence[Check], counts: Counter[str]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(click.style(check.status, fg=_COLOURS[check.status]) + f"  {check.name:{width}}  {check.found}")
        if check.mend:
            click.echo(" " * (width + 8) + click.style(check.mend, bold=check.status == "fail"))
    click.echo(", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status]))
