"""`quant run`: runs of the alpha cycle."""

from dataclasses import asdict
from pathlib import Path

import click

from quant_assets.cli.common import json_option, open_work, print_json, print_synthetic_banner, print_table
from quant_assets.errors import VerificationError


@click.group()
def run() -> None:
    """List, show, verify and size runs: immutable directories below data/artifacts/runs."""


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


@run.command()
@click.argument("run_id")
@click.option("--net-liquidation", type=float, metavar="AMOUNT", help="Worth of the account in the base currency.")
@click.option(
    "--positions", "file", type=click.Path(path_type=Path), help="CSV or Parquet: quantity, con_id or symbol."
)
@click.option("--account", metavar="ALIAS", help="Which account, where several are known.")
@click.option("--fractional", is_flag=True, help="Allow the exchange's own steps below one share.")
@click.option("--rate", "rates", multiple=True, metavar="EUR=1.08", help="Base currency per unit of another one.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
def targets(
    run_id: str,
    net_liquidation: float | None,
    file: Path | None,
    account: str | None,
    rates: tuple[str, ...],
    *,
    fractional: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Turn a run's weights into quantities, changes and estimated costs. Nothing is ever ordered.

    With --net-liquidation alone the account starts from cash; otherwise positions come from --positions, or from the
    newest published ones.
    """
    from quant_assets.flows.alpha import open_run
    from quant_assets.flows.targets import FROM_CASH, account_from_file, account_from_lake, targets_of

    with open_work() as work:
        print_synthetic_banner(work.settings)
        opened = open_run(work.layout, run_id)
        if file is not None:
            held = account_from_file(file, opened, account)
        else:
            held = FROM_CASH if net_liquidation is not None else account_from_lake(work, account)
        found = targets_of(
            work, opened, held, net_liquidation=net_liquidation, is_fractional=fractional, rates=_rates(rates)
        )
    if as_csv:
        click.echo(found.frame.write_csv(), nl=False)
    elif as_json:
        told = {"run_id": run_id, "from": held.told, "summary": found.summary(), "unpriced": found.unpriced}
        print_json({**told, "targets": found.frame.to_dicts()})
    else:
        print_table(found.frame, title=f"Targets of {run_id}, from {held.told}: an estimate, not an order")
        for name, value in found.summary().items():
            click.echo(f"  {name:16} {value:,.6g}" if isinstance(value, float) else f"  {name:16} {value}")
    if found.unpriced:
        click.secho(f"warning: no quantity for {', '.join(found.unpriced)}: see note", fg="yellow", err=True)


def _rates(texts: tuple[str, ...]) -> dict[str, float]:
    """Parse `EUR=1.08`."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name.strip().upper()] = float(number)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not CURRENCY=RATE", param_hint="--rate") from None
    return found
