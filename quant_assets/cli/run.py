"""`quant run`: runs of the alpha cycle."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant_assets.cli.common import Finite, json_option, open_work, print_json, print_synthetic_banner
from quant_assets.cli.tabular import print_table
from quant_assets.domain.run_files import REPORT
from quant_assets.errors import VerificationError
from quant_assets.settings import Settings

if TYPE_CHECKING:
    from quant_assets.domain.comparison import RunDiff
    from quant_assets.lakehouse.layout import Layout
    from quant_assets.lakehouse.runs import RunDirectory

_SHORT = 12
_ROWS = 40
_SPARE = ("con_id", "weight_after", "slippage", "commission")
"""Columns of targets that a narrow terminal does without."""


@click.group()
def run() -> None:
    """List, show, verify, compare and size runs: immutable directories below data/artifacts/runs."""


def layout() -> "Layout":
    """Return where runs are looked for by their id; nothing is made there."""
    from quant_assets.lakehouse.layout import Layout

    return Layout(Settings.from_env().data)


def opened(name: str) -> "RunDirectory":
    """Return a run by its id, or by the path of its directory."""
    from quant_assets.flows.alpha import find_run

    return find_run(name, layout)


@run.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all runs, the newest session first."""
    from quant_assets.flows.alpha import list_runs

    with open_work() as work:
        print_synthetic_banner(work.settings)
        runs = list_runs(work.layout).sort("session", "run_id", descending=[True, False], nulls_last=True)
    if as_json:
        print_json(runs.to_dicts())
    elif runs.is_empty():
        click.echo("no runs yet: `quant flow all` makes one")
    else:
        print_table(runs.drop("path"))


@run.command()
@click.argument("run", metavar="RUN")
@json_option
def verify(run: str, *, as_json: bool) -> None:
    """Prove a run: hash every file again, and compute returns and weights again from the frozen inputs.

    RUN is a run id, or the path of a run directory. A directory that was copied from another machine needs no
    lakehouse, no configuration and no network here, and nothing in it is written.
    """
    from quant_assets.domain.verification import errors
    from quant_assets.flows.alpha import verify_directory

    found = opened(run)
    findings = verify_directory(found)
    problems = errors(findings)
    if as_json:
        print_json({"run_id": found.run_id, "verified": not problems, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            click.echo(f"  {one.severity:7} {one.check}: {one.message}")
    if problems:
        raise VerificationError(found.run_id, [finding.message for finding in problems])
    if not as_json:
        click.secho(f"verified: {found.inputs['run_id']}", fg="green")


@run.command()
@click.argument("run", metavar="RUN")
@json_option
def show(run: str, *, as_json: bool) -> None:
    """Show what a finished run came to. RUN is a run id, or the path of a run directory."""
    from quant_assets.flows.alpha.differ import facts_of
    from quant_assets.flows.alpha.stages import origins

    found = opened(run)
    facts = facts_of(found)
    heaviest = sorted(facts.weights.items(), key=lambda item: (-abs(item[1]), item[0]))
    held = [(con_id, facts.fates[con_id].symbol, weight) for con_id, weight in heaviest if weight]
    told = {"run_id": facts.run_id, "session": facts.session, "profile": facts.profile, "code": facts.code_version}
    metrics = {**told, **facts.metrics, "stages": origins(found)}
    if as_json:
        weights = [dict(zip(("con_id", "symbol", "weight"), one, strict=True)) for one in held]
        print_json({**metrics, "weights": weights, "report": found.file(REPORT)})
        return
    print_table([{"": name, "value": _shown(value)} for name, value in metrics.items()], title=f"Run {facts.run_id}")
    print_table(
        [{"symbol": symbol, "weight %": _percent(weight)} for _, symbol, weight in held], "Weights", ["weight %"]
    )
    click.echo(f"report: {found.file(REPORT)}")


@run.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_option
def diff(a: str, b: str, *, as_json: bool) -> None:
    """Show what differs between two runs: inputs, configuration, code, environment, selection, weights, metrics.

    A and B are run ids, or paths of run directories. Both are checked against their manifests first.
    """
    from quant_assets.flows.alpha import diff_runs

    found = diff_runs(opened(a), opened(b))
    if as_json:
        print_json({"equal": found.is_equal, **asdict(found)})
    elif found.is_equal:
        click.secho(f"equal: {found.a} and {found.b} saw the same, did the same, and hold the same", fg="green")
    else:
        _print_diff(found)


@run.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--net-liquidation",
    type=Finite(0, min_open=True),
    metavar="AMOUNT",
    help="Worth of the account in the base currency.",
)
@click.option(
    "--positions", "file", type=click.Path(path_type=Path), help="CSV or Parquet: quantity, con_id or symbol."
)
@click.option("--account", metavar="ALIAS", help="Which account, where several are known.")
@click.option("--fractional", is_flag=True, help="Allow the exchange's own steps below one share.")
@click.option("--rate", "rates", multiple=True, metavar="EUR=1.08", help="Base currency per unit of another one.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
def targets(
    run: str,
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
    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    from quant_assets.flows.targets import FROM_CASH, account_from_file, account_from_lake, targets_of

    with open_work() as work:
        print_synthetic_banner(work.settings)
        found_run = opened(run)
        if file is not None:
            held = account_from_file(file, found_run, account)
        else:
            held = FROM_CASH if net_liquidation is not None else account_from_lake(work, account)
        found = targets_of(
            work, found_run, held, net_liquidation=net_liquidation, is_fractional=fractional, rates=_rates(rates)
        )
    if as_csv:
        click.echo(found.frame.write_csv(), nl=False)
    elif as_json:
        told = {"run_id": found_run.run_id, "from": held.told, "summary": found.summary(), "unpriced": found.unpriced}
        print_json({**told, "targets": found.frame.to_dicts()})
    else:
        title = f"Targets of {found_run.run_id}, from {held.told}: an estimate, not an order"
        print_table(found.frame, title, spare=_SPARE)
        for name, value in found.summary().items():
            click.echo(f"  {name:16} {value:,.6g}" if isinstance(value, float) else f"  {name:16} {value}")
    if found.unpriced:
        click.secho(f"warning: no quantity for {', '.join(found.unpriced)}: see note", fg="yellow", err=True)


@run.command()
@click.option("--clear", is_flag=True, help="Empty the cache; the next run computes every stage.")
@json_option
def cache(*, clear: bool, as_json: bool) -> None:
    """Show which results of stages are kept to be served again, and check every one of them."""
    from quant_assets.lakehouse.runs import StageCache

    kept = StageCache(layout().cache)
    entries = kept.entries()
    freed = kept.clear() if clear else 0
    if as_json:
        print_json({"entries": entries.to_dicts(), "freed_bytes": freed})
    elif clear:
        click.echo(f"{entries.height} results forgotten, {freed:,} bytes free")
    elif entries.is_empty():
        click.echo("nothing is kept yet: `quant flow alpha` fills the cache")
    else:
        print_table(entries)


def _print_diff(found: "RunDiff") -> None:
    click.echo(f"A  {found.a}\nB  {found.b}")
    _section("Inputs", found.tables, [_table_line(one) for one in found.tables])
    if found.window:
        click.echo(f"  window      {found.window['a']} → {found.window['b']}")
    if found.bars:
        click.echo(f"  instruments {_bars_line(found.bars)}")
    _section("Configuration", found.config, _lines(found.config))
    _section("Code", found.code, [f"{found.code['a']} → {found.code['b']}"] if found.code else [])
    _section("Environment", found.environment, _lines(found.environment))
    _section("Selection", found.selection, [_fate_line(one) for one in found.selection])
    _section("Weights", found.weights, [])
    if found.weights:
        rows = [
            {
                "symbol": one["symbol"],
                "A %": _percent(one["a"]),
                "B %": _percent(one["b"]),
                "change %": _percent(one["change"], "+"),
            }
            for one in found.weights[:_ROWS]
        ]
        print_table(rows, right=["A %", "B %", "change %"])
        click.echo(f"  {len(found.weights)} weights differ; turnover from A to B {found.turnover:.2%}")
    _section("Metrics", found.metrics, [])
    if found.metrics:
        names = ("metric", "a", "b", "change")
        print_table([{name: _shown(one.get(name)) for name in names} for one in found.metrics], right=names[1:])


@run.command()
@click.argument("run_id")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), help="Directory; data/artifacts/dvc/RUN_ID when left out."
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def dvc(run_id: str, target: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Write a DVC pointer file for every data file of a finished run."""
    from quant_assets.flows.alpha import open_run
    from quant_assets.flows.tracking import write_pointers

    with open_work() as work:
        chosen = target or work.layout.dvc(run_id)
        done = write_pointers(open_run(work.layout, run_id), chosen, dry_run=dry_run)
    if as_json:
        print_json([{"pointer": path, **asdict(one)} for path, one in done])
        return
    total = sum(one.size for _, one in done)
    verb = "would be written" if dry_run else "stand"
    click.echo(f"{len(done)} pointers to {total:,} bytes {verb} below {chosen}")


@run.command()
@click.argument("run_id")
@json_option
def track(run_id: str, *, as_json: bool) -> None:
    """Log a finished run to MLflow now, whether or not tracking.mlflow.enabled is set."""
    from quant_assets.flows.alpha import open_run
    from quant_assets.flows.tracking import track_run

    with open_work() as work:
        done = track_run(work, open_run(work.layout, run_id))
    if as_json:
        print_json(asdict(done))
        return
    state = "logged" if done.is_new else "was there already"
    figures = f"{done.n_params} parameters, {done.n_metrics} metrics, {done.n_artifacts} artifacts"
    click.echo(f"{state}: {figures}; look at them with `mlflow ui --backend-store-uri sqlite:///{done.database}`")


def _section(title: str, found: object, lines: Sequence[str]) -> None:
    click.secho(title if found else f"{title}: the same", bold=bool(found), dim=not found)
    for line in lines[:_ROWS]:
        click.echo(f"  {line}")
    if len(lines) > _ROWS:
        click.echo(f"  … and {len(lines) - _ROWS} more (--json shows all)")


def _lines(changes: Sequence[dict[str, Any]]) -> list[str]:
    width = max((len(one["key"]) for one in changes), default=0)
    return [f"{one['key']:{width}}  {_shown(one['a'])} → {_shown(one['b'])}" for one in changes]


def _table_line(one: dict[str, Any]) -> str:
    return f"{one['table']:20} {_frozen(one['a'])} → {_frozen(one['b'])}"


def _frozen(side: dict[str, Any] | None) -> str:
    return "—" if side is None else f"{side['partition']} ({side['n_rows']} rows, {side['content_id'][:_SHORT]}…)"


def _bars_line(bars: Sequence[dict[str, Any]]) -> str:
    came = [one["symbol"] for one in bars if one["a"] is None]
    went = [one["symbol"] for one in bars if one["b"] is None]
    other = [one["symbol"] for one in bars if one["a"] and one["b"]]
    told = (("frozen in B only", came), ("frozen in A only", went), ("with other bars", other))
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in told if names)


def _fate_line(one: dict[str, Any]) -> str:
    side = "A" if one["change"] == "came" else "B"
    why = one["reason"].replace(";", "; ").replace("_", " ")
    return f"{one['change']}  {one['symbol']:14} {side}: {one['stage']}{', ' + why if why else ''}"


def _percent(value: float, sign: str = "-") -> str:
    return f"{100 * value:{sign}.4f}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:z,.6f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return "—" if value is None else str(value)


_RATE = Finite(0, min_open=True)


def _rates(texts: tuple[str, ...]) -> dict[str, float]:
    """Parse `EUR=1.08`."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name.strip().upper()] = _RATE.convert(number, None, None)
        except click.BadParameter as error:
            said = f"{text!r} is not CURRENCY=RATE: {error.message}"
            raise click.BadParameter(said, param_hint="--rate") from None
    return found
