"""`quant backtest`: the alpha cycle, walked forward through the past."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant_assets.cli.common import json_option, open_work, parse_day, print_json, print_synthetic_banner
from quant_assets.cli.tabular import print_table
from quant_assets.domain.run_files import REPORT, REPORT_TEXT
from quant_assets.errors import ConfigurationError, VerificationError
from quant_assets.errors.base import number_of

if TYPE_CHECKING:
    from quant_assets.flows.backtest import History
    from quant_assets.settings.manifest import Profile


class _Default(click.Group):
    """A group whose first word may be left out: `quant backtest --profile P` is `quant backtest run --profile P`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and first not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Default)
def backtest() -> None:
    """Walk the whole alpha cycle of a profile forward through past sessions.

    quant backtest run --profile hrp --sessions 2014-09-02..2017-09-01 --bars daily.parquet --sectors sectors.csv
    """


@backtest.command()
@click.option("--profile", metavar="NAME", help="Profile or alias; the default profile when left out.")
@click.option("--sessions", metavar="A..B", required=True, help="The sessions that earn, the earlier one first.")
@click.option("--rebalance", default="monthly", show_default=True, metavar="monthly|weekly|N", help="How often.")
@click.option("--window", type=click.Choice(["rolling", "expanding"]), default="rolling", show_default=True)
@click.option("--embargo", type=int, default=1, show_default=True, help="Sessions from the decision to the trade.")
@click.option("--purge", type=int, default=0, show_default=True, help="Youngest sessions that decisions do not see.")
@click.option("--bars", type=click.Path(path_type=Path), help="Daily history from a file instead of the lakehouse.")
@click.option("--sectors", type=click.Path(path_type=Path), help="CSV with symbol, sector and company.")
@click.option("--dry-run", is_flag=True, help="Show the folds, and decide nothing.")
@json_option
def run(
    profile: str | None,
    sessions: str,
    bars: Path | None,
    sectors: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
    **plan: Any,
) -> None:
    """Decide at each rebalance from what was known then, hold until the next, and tell what it came from."""
    from quant_assets.domain.backtest import Plan, plan_folds
    from quant_assets.flows.backtest import FileHistory, LakeHistory, store, walk
    from quant_assets.flows.screens import load_screens

    begin, _, end = sessions.partition("..")
    first, last, walked_by = parse_day(begin), parse_day(end or begin), Plan(**plan)
    if first > last:
        raise ConfigurationError("--sessions", f"{first} comes after {last}.", "Write the earlier one first.")
    with open_work() as work:
        name = work.settings.manifest.resolve(profile or work.settings.manifest.default_profile)
        config = work.settings.manifest.profiles[name]
        if config.sleeves:
            raise ConfigurationError(f"profile {name}", "it is a meta portfolio.", "Backtest the profiles it is of.")
        history: History
        if bars is not None:
            history = FileHistory.read(bars, sectors, work.calendar, name)
            _require_columns(name, config, has_sectors=history.has_sectors)
            last = min(last, history.sessions[-1])
        else:
            print_synthetic_banner(work.settings)
            history = LakeHistory(work, config.data.lookback_sessions, last, load_screens(work, config))
        folds = plan_folds(history.sessions, first, last, walked_by)
        if dry_run:
            _show_plan([(one.number, one.known, one.traded, one.earns[0], one.earns[-1]) for one in folds], as_json)
            return
        if isinstance(history, LakeHistory):
            history.require([fold.known for fold in folds], folds[-1].earns[-1], name)
        walked = walk(history, name, config, first, last, walked_by, progress=work.progress)
        made = store(work.layout, walked, history, config, work.clock)
    if as_json:
        print_json({"backtest": made.run_id, "path": made.path, **walked.record})
        return
    click.echo(made.file(REPORT_TEXT).read_text(encoding="utf-8").rstrip())
    for number, problem in walked.record["failed"].items():
        click.secho(f"warning: fold {number} kept what was held: {problem}", fg="yellow", err=True)
    click.echo(f"report: {made.file(REPORT)}")


def _require_columns(name: str, config: "Profile", *, has_sectors: bool) -> None:
    """Refuse a file of bars that lacks what the profile decides by."""
    if config.selection.screens:
        raise ConfigurationError(
            f"profile {name}, key selection.screens", "a file has no features.", "Backtest over the lakehouse."
        )
    cap = config.risk.sector_cap
    if cap < 1 and not has_sectors:
        problem = f"without sectors all are of one, `unknown`, and risk.sector_cap keeps {1 - cap:.0%} in cash."
        raise ConfigurationError("--bars", problem, "Give --sectors, or lift the cap: quant --set risk.sector_cap=1 …")


def _show_plan(rows: list[tuple[Any, ...]], as_json: bool) -> None:  # noqa: FBT001
    names = ("fold", "known", "traded", "first", "last")
    told = [dict(zip(names, map(str, row), strict=True)) for row in rows]
    if as_json:
        print_json(told)
    else:
        print_table(told, title=f"{number_of(len(told), 'fold')}; nothing was decided")


@backtest.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List finished backtests."""
    from quant_assets.flows.backtest import list_backtests

    with open_work() as work:
        found = list_backtests(work.layout)
    if as_json:
        print_json(found.to_dicts())
    elif found.is_empty():
        click.echo("no backtests yet: `quant backtest --sessions A..B` makes one")
    else:
        print_table(found)


@backtest.command()
@click.argument("name")
@json_option
def verify(name: str, *, as_json: bool) -> None:
    """Hash every file of a backtest against its manifest, and its name against what it was made from."""
    from quant_assets.domain.verification import errors
    from quant_assets.flows.backtest import open_backtest
    from quant_assets.lakehouse.runs import hash_findings

    with open_work() as work:
        findings = hash_findings(open_backtest(work.layout, name))
    problems = [one.message for one in errors(findings)]
    if as_json:
        print_json({"backtest": name, "verified": not problems, "problems": problems})
    if problems:
        raise VerificationError(name, problems, "Backtest")
    if not as_json:
        click.secho(f"verified: {name}; run the same command again to compute it anew", fg="green")
