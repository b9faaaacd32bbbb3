"""`quant lake revisions`: what the vendor changed after the fact, and what had read it."""

from dataclasses import asdict

import click

from quant_assets.cli.common import json_option, open_work, parse_day, parse_instant, print_json
from quant_assets.cli.tabular import print_table


@click.command()
@click.option("--session", metavar="YYYY-MM-DD", help="Revisions of this session only.")
@click.option("--since", metavar="INSTANT", help="Answers that arrived since then only: 2026-03-14T21:00Z.")
@json_option
def revisions(session: str | None, since: str | None, *, as_json: bool) -> None:
    """Show what later answers changed (rows, columns, sizes), and the runs that had read the bars before."""
    from quant_assets.flows.revisions import revisions as find

    with open_work() as work:
        days = [work.calendar.require(parse_day(session))] if session else None
        found = find(work, days, parse_instant(since) if since else None)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        click.echo("nothing was revised")
        return
    rows = [
        {
            "session": one.session,
            "table": one.table,
            "symbol": one.symbol,
            "arrived": f"{one.arrived_at:%Y-%m-%d %H:%M}Z",
            "rows +/-/~": f"{one.n_added}/{one.n_removed}/{one.n_changed}",
            "columns": ", ".join(
                f"{name} ({change.n_rows}, ≤ {change.largest:.2%})" if change.largest is not None else name
                for name, change in one.columns.items()
            ),
            "basis": "" if one.rescaled_by == 1.0 else f"× {one.rescaled_by:.6g}",
            "runs": len(one.runs),
        }
        for one in found
    ]
    print_table(rows)
    for run_id in dict.fromkeys(run_id for one in found for run_id in one.runs):
        click.echo(f"touched: {run_id}")
