"""`quant run`: runs of the alpha cycle."""

from dataclasses import asdict

import click

from quant_assets.cli.common import json_option, open_work, print_json, print_synthetic_banner, print_table
from quant_assets.errors import VerificationError


@click.group()
def run() -> None:
    """List, show and verify runs: immutable directories below data/artifacts/runs."""


@run.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all runs, the newest session first."""
    from quant_assets.flows.alpha import list_runs

    with open_work() as work:
        print_synthetic_banner(work.settings)
        runs = list_runs(work.layout)
    if as_json:
        print_json(runs.to_dicts())
    elif runs.is_empty():
        click.echo("no runs yet: `quant flow all` makes one")
    else:
        print_table(runs)


@run.command()
@click.argument("run_id")
@json_option
def verify(run_id: str, *, as_json: bool) -> None:
    """Prove a run: hash every file again, and compute returns and weights again from the frozen inputs."""
    from quant_assets.domain.verification import errors
    from quant_assets.flows.alpha import verify_run

    with open_work() as work:
        findings = verify_run(work.layout, run_id)
    problems = errors(findings)
    if as_json:
        print_json({"run_id": run_id, "verified": not problems, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            click.echo(f"  {one.severity:7} {one.check}: {one.message}")
    if problems:
        raise VerificationError(run_id, [finding.message for finding in problems])
    if not as_json:
        click.secho(f"verified: {run_id}", fg="green")
