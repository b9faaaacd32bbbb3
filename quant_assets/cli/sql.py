"""`quant sql`: the lakehouse in SQL."""

import click
import polars as pl

from quant_assets.cli.common import open_work, parse_instant, print_json, print_synthetic_banner
from quant_assets.cli.tabular import print_table
from quant_assets.errors.base import number_of

_LIMIT = 40


@click.command()
@click.argument("query", required=False)
@click.option("--tables", "list_tables", is_flag=True, help="List the tables and what a row of each is.")
@click.option("--as-of", "as_of", metavar="INSTANT", help="Answer with what was known then: 2026-03-14T21:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, all rows.")
def sql(query: str | None, *, list_tables: bool, as_of: str | None, as_json: bool, as_csv: bool) -> None:
    """Answer one SELECT over the tables, read-only.

    Example: quant sql "SELECT symbol, count(*) AS bars FROM curated_tws_1m_bars GROUP BY 1 ORDER BY 2 DESC"
    """
    from quant_assets.domain.tables import ALL
    from quant_assets.flows.readers import sql_as_of
    from quant_assets.lakehouse.query import run_sql

    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    if list_tables or not query:
        answer = pl.DataFrame([{"table": one.name, "zone": one.zone, "a row is": one.grain} for one in ALL])
        _print(answer, answer.height, as_json=as_json, as_csv=as_csv)
        return
    with open_work() as work:
        print_synthetic_banner(work.settings)
        if as_of:
            answer, origins = sql_as_of(work, query, parse_instant(as_of))
            told = ", ".join(f"{n} {origin}" for origin, n in origins.items()) or "no partition was needed"
            click.echo(f"as of {parse_instant(as_of):%Y-%m-%d %H:%M:%S}Z: {told}", err=True)
        else:
            answer = run_sql(work.layout, query)
    _print(answer, _LIMIT, as_json=as_json, as_csv=as_csv)


def _print(answer: pl.DataFrame, limit: int, *, as_json: bool, as_csv: bool) -> None:
    """Print all rows for programs, and at most `limit` of them for people."""
    if as_csv:
        click.echo(answer.write_csv(), nl=False)
    elif as_json:
        print_json(answer.to_dicts())
    else:
        print_table(answer.head(limit))
        if answer.height > limit:
            click.echo(f"… {number_of(answer.height - limit, 'more row')}; use --csv or --json for all", err=True)
