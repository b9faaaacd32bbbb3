"""`quant quarantine`: rows that were kept out of silver, why, and a person's word on them."""

import getpass
from dataclasses import asdict
from typing import Any

import click

from quant_assets.cli.common import (
    json_option,
    nothing,
    open_work,
    print_json,
    print_words,
    session_options,
    sessions_from,
    tell_unpublished,
)
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import QUARANTINE_TWS_BARS
from quant_assets.flows.overriding import Action, Exhibit, exhibit, override, rejected, said

_SHORT = ("id", "symbol", "ts", "close", "volume", "rule", "verdict", "evidence")


@click.group()
def quarantine() -> None:
    """Look at the rows that were kept out of silver, release one, or confirm that it is bad."""


@quarantine.command("list")
@session_options
@click.option("--symbol", default="", help="Only this symbol.")
@click.option("--rule", default="", help="Only rows that broke this rule; `quant quarantine rules` lists them.")
@click.option(
    "--verdict", default="", help="Only this verdict, such as bad_print; another word is answered with the legal ones."
)
@json_option
def list_(session: str | None, sessions: str | None, symbol: str, rule: str, verdict: str, *, as_json: bool) -> None:
    """List quarantined rows of sessions; the newest closed session when none is named."""
    with open_work() as work:
        chosen = sessions_from(work, session, sessions)
        tell_unpublished(work, QUARANTINE_TWS_BARS, chosen)
        rows = rejected(work, chosen, symbol=symbol, rule=rule, verdict=verdict)
        span = f"{chosen[0]}..{chosen[-1]}" if len(chosen) > 1 else str(chosen[0])
        none = nothing(work, f"no row of {span} {'like that ' if symbol or rule or verdict else ''}is in quarantine")
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(none)
    else:
        shown = [{**{name: row[name] for name in _SHORT}, "ts": f"{row['ts']:%Y-%m-%d %H:%M:%S}Z"} for row in rows]
        print_table(shown, title=f"In quarantine of {span}")


@quarantine.command()
@click.argument("row")
@json_option
def show(row: str, *, as_json: bool) -> None:
    """Show one row, named by its id: the bar, its neighbours, the evidence, its request, and what people said."""
    with open_work() as work:
        found = exhibit(work, row)
    if as_json:
        print_json(asdict(found))
        return
    _show(found)


def _show(found: Exhibit) -> None:
    row, asked = found.row, found.request
    click.secho(f"{row['id']}  {row['symbol']} (con_id {row['con_id']})  {row['ts']:%Y-%m-%d %H:%M:%S}Z", bold=True)
    click.echo(f"verdict   {row['verdict']}, by {', '.join(row['rules'].split(';'))}")
    click.echo(f"evidence  {row['evidence']}")
    click.echo(f"batch     {row['batch_id']}, received {row['ingested_at']:%Y-%m-%d %H:%M:%S}Z")
    told = f": {asked['duration']} from {asked['asked_from']}, {asked['outcome']}" if asked else ""
    click.echo(f"request   {row['request_id']}{told}; row {row['answer_row']} of its answer")
    around = [
        *({**bar, "": ""} for bar in found.neighbours),
        {name: row[name] for name in ("ts", "open", "high", "low", "close", "volume")} | {"": "<- quarantined"},
    ]
    names = ("ts", "open", "high", "low", "close", "volume", "dq_status", "dq_rules", "")
    ordered = sorted(around, key=lambda bar: (bar["ts"], bar[""]))
    print_table([{**{name: bar.get(name) for name in names}, "ts": f"{bar['ts']:%H:%M:%S}Z"} for bar in ordered])
    for word in found.words:
        click.echo(_sentence(word))


@quarantine.command()
@json_option
def rules(*, as_json: bool) -> None:
    """List the rules with their severities as configured, and the thresholds that they compare with."""
    from quant_assets.domain.quality import RULES, severities

    with open_work() as work:
        config = work.settings.manifest.quality
    severity = severities(config)
    rows = [
        {
            "rule": rule.name,
            "severity": severity[rule.name],
            "verdict": rule.verdict,
            "looks for": rule.about,
            "STK": ", ".join(f"{name} {_number(config.thresholds('STK'), name)}" for name in rule.parameters),
        }
        for rule in RULES
    ]
    if as_json:
        thresholds = {name: config.thresholds(name).model_dump() for name in config.asset_classes}
        print_json({"rules": rows, "thresholds": thresholds, "metrics": config.metrics.model_dump()})
    else:
        print_table(rows)


def _number(thresholds: Any, name: str) -> str:
    value = getattr(thresholds, name)
    return f"{value:g}" if isinstance(value, int | float) else "/".join(value)


@quarantine.command()
@json_option
def log(*, as_json: bool) -> None:
    """Tell what people said about quarantined rows, the oldest first."""
    with open_work() as work:
        lines = said(work)
    print_words(lines, _sentence, as_json=as_json)


def _sentence(line: dict[str, Any]) -> str:
    done = {"quarantine_release": "released", "quarantine_confirm": "confirmed"}[line["event"]]
    about = f"{line['row']} ({line['symbol']}, {line['rule']})"
    return f"{line['timestamp'][:16]}Z  {line['who']} {done} {about}: {line['why']}"


def _options(command: Any) -> Any:
    row = click.argument("row")
    why = click.option("--why", required=True, help="The reason; it is kept for good.")
    by = click.option("--by", default=getpass.getuser, show_default="your login", help="Who says so.")
    dry = click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
    return row(why(by(dry(json_option(command)))))


@quarantine.command()
@_options
def release(row: str, why: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Let a row into silver, marked `warn`, at the next curation of its session."""
    _say("release", row, why, by, dry_run=dry_run, as_json=as_json)


@quarantine.command()
@_options
def confirm(row: str, why: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Keep a row out of silver for good, whatever the rules come to say."""
    _say("confirm", row, why, by, dry_run=dry_run, as_json=as_json)


def _say(action: Action, row: str, why: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    if not why.strip() or not by.strip():
        raise click.UsageError("--why and --by must say something: they are what a reader has, years from now")
    with open_work() as work:
        line = override(work, action, row, by=by.strip(), why=why.strip(), dry_run=dry_run)
    if as_json:
        print_json({**line, "dry_run": dry_run})
        return
    if not line["is_new"]:
        click.echo(f"nothing is written, it is said already: {_sentence(line)}")
        return
    would = "would be written" if dry_run else "is written"
    effect = "enters silver, marked warn," if action == "release" else "stays out of silver"
    click.echo(f"{line['row']} {effect} when its session is curated again; {line['who']}'s word {would}")
    if not dry_run:
        click.echo(f"now: quant flow data --session {line['session']}")
