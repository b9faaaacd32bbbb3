"""`quant sql`: the lakehouse in SQL."""

import click

from quant_assets.cli.common import open_work, print_json, print_synthetic_banner, print_table

_LIMIT = 40


@click.command()
@click.argument("query", required=False)
@click.option("--tables", "list_tables", is_flag=True, help="List the tables and what a row of each is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, all rows.")
def sql(query: str | None, *, list_tables: bool, as_json: bool, as_csv: bool) -> None:
    """Answer one SELECT over the tables, read-only.

    Example: quant sql "SELECT symbol, count(*) AS bars FROM curated_tws_1m_bars GROUP BY 1 ORDER BY 2 DESC"
    """
    from quant_assets.domain.tables import ALL
    from quant_assets.lakehouse.query import run_sql

    if list_tables or not query:
        print_table([{"table": one.name, "zone": one.zone, "a row is": one.grain} for one in ALL])
        return
    with open_work() as work:
        print_synthetic_banner(work.settings)
        answer = run_sql(work.layout, query)
    if as_csv:
        click.echo(answer.write_csv(), nl=False)
    elif as_json:
        print_json(answer.to_dicts())
    else:
        print_table(answer.head(_LIMIT))
        if answer.height > _LIMIT:
            click.echo(f"… {answer.height - _LIMIT} more rows; use --csv or --json for all", err=True)
