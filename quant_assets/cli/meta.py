"""`quant meta`: finished runs as sleeves of one portfolio."""

import click

from quant_assets.cli.common import json_option, open_work, parse_day, print_json, print_synthetic_banner
from quant_assets.cli.tabular import print_table
from quant_assets.domain.run_files import REPORT, WEIGHTS_RECORD


@click.group()
def meta() -> None:
    """Meta portfolios: finished runs, weighed against each other."""


@meta.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--profile", metavar="NAME", help="A profile with sleeves; the only one there is when left out.")
@click.option("--session", metavar="YYYY-MM-DD", help="Session of the sleeves; the newest closed one when left out.")
@json_option
def run(run_ids: tuple[str, ...], profile: str | None, session: str | None, *, as_json: bool) -> None:
    """Weigh finished runs against each other: those of the profile's sleeves at a session, or the RUNs named."""
    from quant_assets.flows.alpha import open_run
    from quant_assets.flows.meta import build_meta, freeze_sleeves
    from quant_assets.flows.meta.sleeves import meta_profile, published_sleeves

    with open_work() as work:
        print_synthetic_banner(work.settings)
        name, config = meta_profile(work.settings.manifest, profile)
        day = parse_day(session) if session else work.latest_session()
        runs = [open_run(work.layout, one) for one in run_ids] or published_sleeves(
            work.lake, work.layout, name, config, day
        )
        made = freeze_sleeves(work.layout, name, config, runs, work.clock)
        frame = build_meta(made, work.clock)
        record = made.read_json(WEIGHTS_RECORD)
    if as_json:
        print_json({"run_id": made.run_id, **record})
        return
    sleeves = [
        {key: one[key] for key in ("profile", "run_id", "share", "min", "max", "gross")} for one in record["sleeves"]
    ]
    print_table(sleeves, title=f"Sleeves of {name}, {made.inputs['session']}")
    print_table(frame.select("symbol", "sector", "weight", "risk_contribution").sort("weight", descending=True))
    for one in record["findings"]:
        if one["severity"] != "info":
            click.secho(f"{one['severity']}: {one['check']}: {one['message']}", fg="yellow", err=True)
    click.echo(f"{record['method']}: gross {record['gross']:.4%}, cash {record['cash']:z.4%}")
    click.echo(f"run {made.run_id}; report {made.file(REPORT)}")
