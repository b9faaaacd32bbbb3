"""`quant why`: from a weight back to TWS requests, and from a bar forward to weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from quant_assets.cli.common import json_option, parse_day, print_json
from quant_assets.cli.run import layout, opened
from quant_assets.cli.tabular import print_table

if TYPE_CHECKING:
    from quant_assets.flows.alpha.why import Explanation
    from quant_assets.flows.touched import Touched
    from quant_assets.lakehouse.runs import RunDirectory

_ROWS = 12


@click.command()
@click.argument("run", metavar="[RUN", required=False)
@click.argument("symbol", metavar="SYMBOL]", required=False)
@click.option("--bar", metavar="EXCHANGE:SYMBOL@TIME", help="Follow this bar forward instead.")
@click.option("--session", metavar="YYYY-MM-DD", help="Session of --bar, for a symbol without a time.")
@json_option
def why(run: str | None, symbol: str | None, bar: str | None, session: str | None, *, as_json: bool) -> None:
    """Explain a weight, or follow a bar.

    \b
    quant why 2026-01-09-hrp-0123456789 NYSE:XYZ    weight → atoms → score → bars → TWS requests
    quant why --bar NYSE:XYZ@2026-01-05T14:30Z      bar → tables → runs
    quant why --bar NYSE:XYZ --session 2026-01-05   the same for a daily bar

    RUN is a run id, or the path of a run directory; without a lakehouse the run's own record names the requests.
    """  # noqa: D301 - click's mark for text that keeps its lines
    if bar:
        if run or symbol:
            raise click.UsageError("give RUN and SYMBOL, or --bar, not both")
        _forward(bar, session, as_json=as_json)
    elif run and symbol:
        _back(run, symbol, as_json=as_json)
    else:
        raise click.UsageError("give RUN and SYMBOL, or --bar")


def _back(name: str, symbol: str, *, as_json: bool) -> None:
    from quant_assets.flows.alpha.fates import is_meta
    from quant_assets.flows.alpha.why import explain

    run = opened(name)
    if is_meta(run):
        _split(run, symbol, as_json=as_json)
        return
    found = explain(run, symbol)
    if requests := _from_lakehouse(run, found.con_id):
        found = explain(run, symbol, requests)
    if as_json:
        print_json(asdict(found))
    else:
        _print_explanation(found)


def _split(run: "RunDirectory", symbol: str, *, as_json: bool) -> None:
    """Split a weight of a meta portfolio over its sleeves, each of which explains its own part."""
    from quant_assets.flows.meta.facts import parts_of

    found = parts_of(run, symbol)
    if as_json:
        print_json(asdict(found))
        return
    _headline(found.symbol, found.con_id, found.run_id)
    click.echo(f"  weight {found.weight:z.4%}{_of_risk(found.risk_contribution)}, sleeves weighed by {found.method}")
    percents = ("share", "weight", "part")
    rows = [{**one, **{f"{key} %": f"{100 * one[key]:z.4f}" for key in percents}} for one in found.sleeves]
    names = ("profile", "run_id", *(f"{key} %" for key in percents))
    print_table([{key: row[key] for key in names} for row in rows], title="Sleeves: share x weight = part")
    for one in found.sleeves:
        if one["part"]:
            click.echo(f"  quant why {one['run_id']} {found.symbol}")


def _headline(symbol: str, con_id: int, run_id: str) -> None:
    click.secho(f"{symbol} (con_id {con_id}) in run {run_id}", bold=True)


def _of_risk(part: float | None) -> str:
    return "" if part is None else f", {part:.2%} of the risk"


def _from_lakehouse(run: "RunDirectory", con_id: int) -> list[dict[str, Any]]:
    """Return the requests behind the frozen bars, when a lakehouse is here and holds the very table."""
    from quant_assets.flows.snapshot import requests_of
    from quant_assets.lakehouse.store import Lakehouse

    place = layout()
    return requests_of(Lakehouse(place), run, con_id) if place.lakehouse.is_dir() else []


def _forward(bar: str, session: str | None, *, as_json: bool) -> None:
    from quant_assets.flows.touched import Bar, touched
    from quant_assets.lakehouse.store import Lakehouse

    found = touched(Lakehouse(layout()), Bar.parse(bar, parse_day(session) if session else None))
    if as_json:
        print_json(asdict(found))
    else:
        _print_touched(found)


def _print_explanation(one: "Explanation") -> None:
    _headline(one.symbol, one.con_id, one.run_id)
    told = {"weighted": "", "no weight": "selected, but the optimizer gave it nothing. "}
    out = f"left out by {one.verdict}: {_words(one.reason)}. "
    click.echo(
        f"  {told.get(one.verdict, out)}weight {one.weight:.4%}{_of_risk(one.risk_contribution)}, method {one.method}"
    )
    for limit in one.limits:
        group = f" {limit['group']}" if limit["group"] else ""
        binds = ", which binds" if limit["binds"] else ""
        click.echo(f"  {limit['limit']}{group}: {limit['value']:.4%} of at most {limit['cap']:.0%}{binds}")
    _table("Atoms", one.atoms, ("atom", "weight", "live", "held", "reason"))
    if one.score:
        score = one.score
        click.secho("Score", bold=True)
        mates = ", ".join(score["cluster_mates"]) or "nobody"
        click.echo(
            f"  {score['score']:.6f}, rank {score['rank']} of {score['of']}; cluster {score['cluster']} with {mates}"
        )
        print_table(score["terms"])
    _table("Vetoes", one.vetoes, ("metric", "min", "max", "value", "kept"))
    _pairs("Returns", one.returns)
    _pairs("Candidate", {**one.candidate, "metadata": None, **one.candidate["metadata"]})
    _pairs("Bars", one.bars)
    _table(
        f"TWS requests (from the {one.requests_from})",
        one.requests,
        ("what_to_show", "vintage", "n_bars", "first_session", "last_session", "request_id", "ingested_at"),
    )
    _table("Quarantine beside them", one.quarantine, ("rule", "verdict", "n_rows", "n_sessions"))


def _print_touched(found: "Touched") -> None:
    click.secho(f"{found.bar} (con_id {found.con_id}): {found.status}", bold=True)
    _table(
        "Answers of TWS",
        found.answers[-_ROWS:],
        ("what_to_show", "vintage", "close", "volume", "request_id", "ingested_at"),
    )
    _table("Quarantine", found.quarantine, ("rule", "verdict", "evidence", "request_id"))
    _table("Tables", _by_table(found.tables), ("table", "via", "partitions", "first", "last", "rows"))
    _table("Runs", found.runs, ("run_id", "profile", "state", "weight"))
    if not found.runs:
        click.echo("no run stands on this bar" + ("" if "T" not in found.bar else ": weights are made of daily bars"))


def _by_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Count partitions and rows per table; the JSON answer names every partition with its content id."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["table"], row["via"]), []).append(row)
    return [
        {
            "table": table,
            "via": via,
            "partitions": len(mine),
            "first": mine[0]["partition"],
            "last": mine[-1]["partition"],
            "rows": sum(row["rows"] or 0 for row in mine) if mine[0]["rows"] is not None else None,
        }
        for (table, via), mine in grouped.items()
    ]


def _table(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    if rows:
        shown = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
        print_table([{name: _cell(row.get(name)) for name in shown} for row in rows], title=title)


def _pairs(title: str, values: Mapping[str, Any]) -> None:
    click.secho(title, bold=True)
    shown = {name: value for name, value in values.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"  {name:{width}}  {value}")


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def _words(reason: str) -> str:
    return reason.replace(";", "; ").replace("_", " ")
