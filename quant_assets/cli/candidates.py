"""`quant candidates`: who is a candidate, and why the others are not."""

import json
from typing import Any

import click
import polars as pl

from quant_assets.cli.common import json_option, open_work, parse_day, print_json, print_synthetic_banner
from quant_assets.cli.tabular import print_table


@click.group()
def candidates() -> None:
    """Show the candidates of a session and profile, from wherever they are resolved."""


@candidates.command()
@click.option("--session", metavar="YYYY-MM-DD", help="The session; the newest closed one when left out.")
@click.option("--profile", metavar="NAME", help="Profile or alias; the default profile when left out.")
@click.option(
    "--run-id", metavar="ID", default="", help="The instruments of this run, where CANDIDATES_FILE names none."
)
@click.option("--rejected", is_flag=True, help="Show the rejected too, with their reasons.")
@json_option
def show(session: str | None, profile: str | None, run_id: str, *, rejected: bool, as_json: bool) -> None:
    """Resolve and print candidates: CANDIDATES_FILE goes before a run id, and a run id before the table."""
    from quant_assets.flows.discover.resolution import resolve_candidates

    with open_work() as work:
        print_synthetic_banner(work.settings)
        day = work.calendar.require(parse_day(session)) if session else work.latest_session()
        name = profile or work.settings.manifest.default_profile
        found = resolve_candidates(work, day, name, run_id)
    rows = found.frame if rejected or "verdict" not in found.frame.columns else _accepted(found.frame)
    if as_json:
        print_json({"from": found.origin, "where": found.where, "candidates": [_plain(row) for row in rows.to_dicts()]})
        return
    click.echo(f"from {found.origin}: {found.where}")
    hidden = {"session", "profile", "metadata", "exchange"}
    print_table(rows.drop([column for column in rows.columns if column in hidden]))


def _accepted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("verdict") == "accepted").sort("rank")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "metadata": json.loads(row["metadata"])} if row.get("metadata") else row
