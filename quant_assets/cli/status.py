"""`quant status`: what is published, how fresh it is, and what is missing."""

import click

from quant_assets.cli.common import json_option, open_work, print_json, print_synthetic_banner, print_table
from quant_assets.flows.catalog import refresh_catalog


@click.command()
@click.option("--missing", is_flag=True, help="Name the missing sessions too.")
@json_option
def status(*, missing: bool, as_json: bool) -> None:
    """Show every table: partitions, rows, newest session, sessions behind, and its newest content id."""
    with open_work() as work:
        catalog = refresh_catalog(work)
        if as_json:
            print_json(catalog)
            return
        print_synthetic_banner(work.settings)
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
