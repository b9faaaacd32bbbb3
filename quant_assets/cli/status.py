"""`quant status`: what is published, how fresh it is, and what is missing."""

import click

from quant_assets.cli.common import json_option, open_work, print_json, print_synthetic_banner, print_table
from quant_assets.cli.pause import state_of
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.gate import STAGE


@click.command()
@click.option("--missing", is_flag=True, help="Name the missing sessions too.")
@json_option
def status(*, missing: bool, as_json: bool) -> None:
    """Show every table: partitions, rows, newest session, sessions behind, and its newest content id."""
    with open_work() as work:
        catalog = refresh_catalog(work)
        if as_json:
            print_json({**catalog, "ingestion": state_of(work, STAGE)})
            return
        print_synthetic_banner(work.settings)
        _tell_ingestion(state_of(work, STAGE))
        rows = [
            {
                "zone": entry["zone"],
                "table": name,
                "partitions": entry["n_partitions"],
                "rows": entry["rows"],
                "newest": entry["last_partition"],
                "behind": entry["sessions_behind"],
                "missing": len(entry["missing_sessions"]),
                "content id": (entry["last_content_id"] or "")[:12],
            }
            for name, entry in catalog["tables"].items()
        ]
        print_table(rows, title=f"Latest closed session: {catalog['latest_expected_session']}")
        if missing:
            for name, entry in catalog["tables"].items():
                for session in entry["missing_sessions"]:
                    click.echo(f"{name} lacks {session}")


def _tell_ingestion(state: dict[str, object]) -> None:
    """Say what the ingestion does, where it does something or ended badly."""
    if since := state["paused_since"]:
        click.secho(f"ingestion is paused since {since:%Y-%m-%d %H:%M} UTC; `quant resume` lets it go on", fg="yellow")
    elif state["is_running"]:
        click.echo("ingestion is running")
    elif state["health_check"] == "error":
        click.secho("the last ingestion stopped; the next run asks only for what is not committed", fg="yellow")
