"""`quant demo`: the whole road once, for somebody who sees it for the first time."""

from datetime import date
from pathlib import Path

import click
import polars as pl

from quant_assets.cli.common import json_option, open_work, print_json, print_synthetic_banner
from quant_assets.cli.flow import cost, counted, run_alpha, run_data
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import REPORTS, WEIGHTS
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.registry import Registry, RunOutcome


class _StepFailedError(QuantAssetsError):
    def __init__(self, outcome: RunOutcome) -> None:
        super().__init__(" ".join(sentence for _, sentence in outcome.failures) or "the run failed")
        self.exit_code = outcome.exit_code  # type: ignore[misc]


@click.command()
@click.option(
    "--sessions",
    "n_sessions",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many closed sessions to ingest.",
)
@json_option
def demo(n_sessions: int, *, as_json: bool) -> None:
    """Fetch bars over the TWS protocol, curate them, and turn them into weights and a report.

    Runs on the embedded replay gateway unless configs/manifest.json says `live`. A second run finds everything in
    place: it sends no request and rewrites no file.
    """
    with open_work() as work:
        latest = work.latest_session()
        sessions = _newest(work, latest, n_sessions)
        registry, profiles = Registry(work.settings), list(work.settings.manifest.active_profiles)
        print_synthetic_banner(work.settings)
        data = _checked("data cycle", run_data(registry, sessions), quiet=as_json)
        runs = [_checked(f"alpha cycle, {one}", run_alpha(registry, [latest], one), quiet=as_json) for one in profiles]
        _show(work, latest, [data, *runs], as_json=as_json)
    for sentence in data.given_up:
        click.secho(f"given up: {sentence}", fg="yellow", err=True)
    if data.exit_code:
        click.get_current_context().exit(data.exit_code)


def _newest(work: Work, latest: date, n: int) -> list[date]:
    """Return the newest sessions that have a partition.

    Raises:
        click.BadParameter: there are not as many.
    """
    start = work.settings.manifest.lakehouse.start_session
    if n > (most := work.calendar.count(start, latest)):
        said = f"{n} sessions are more than the {most} since lakehouse.start_session {start}"
        raise click.BadParameter(said, param_hint="'--sessions'")
    return work.calendar.window(latest, n)


def _checked(step: str, outcome: RunOutcome, *, quiet: bool) -> RunOutcome:
    if not outcome.success:
        raise _StepFailedError(outcome)
    if not quiet:
        click.echo(f"  {step}: {counted(outcome)}")
    return outcome


def _show(work: Work, session: date, outcomes: list[RunOutcome], *, as_json: bool) -> None:
    profile = work.settings.manifest.resolve(work.settings.manifest.default_profile)
    partition = Partition(session, profile)
    weights = work.lake.curated.read(WEIGHTS, partition).sort("weight", descending=True)
    report = work.layout.data / work.lake.curated.read(REPORTS, partition)["html"][0]
    shown = weights.select("symbol", "sector", (100 * pl.col("weight")).round(2).alias("weight %"))
    requests = sum(outcome.requests for outcome in outcomes)
    rewritten = sum(outcome.rewritten for outcome in outcomes)
    if as_json:
        print_json(
            {
                "session": session,
                "profile": profile,
                "weights": weights.select("con_id", "symbol", "weight").to_dicts(),
                "report": report,
                "tws_requests": requests,
                "rows_written": rewritten,
            }
        )
        return
    print_table(shown.filter(pl.col("weight %") > 0), title=f"Weights of {session}, profile {profile}")
    click.echo(f"cash: {100 * (1 - float(weights['weight'].abs().sum())):.2f} %")
    click.echo(cost(requests, rewritten))
    click.echo(f"report: {_near(report)}")
    click.secho("next: `make ui` opens the lineage, the checks and the pictures in Dagster's UI", fg="green")


def _near(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
