"""`quant breaks`: price breaks that nothing explains, and a person's word that one was a real move."""

import getpass
from dataclasses import asdict
from typing import Any

import click

from quant_assets.cli.common import (
    json_option,
    nothing,
    open_work,
    parse_day,
    print_json,
    print_words,
    sessions_from,
    span_options,
    tell_unpublished,
)
from quant_assets.cli.tabular import print_table
from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.flows.confirming import breaks as find_breaks
from quant_assets.flows.confirming import confirm as write_word
from quant_assets.flows.confirming import said, sentence, to_build


@click.group()
def breaks() -> None:
    """Look at the price breaks that nothing explains, confirm that one was a real move, or take that back."""


@breaks.command("list")
@span_options("every session")
@json_option
def list_(session: str | None, sessions: str | None, *, as_json: bool) -> None:
    """List the breaks of sessions with their evidence, and what people said."""
    with open_work() as work:
        span = sessions_from(work, session, sessions) if session or sessions else None
        tell_unpublished(work, ADJUSTMENT_FACTORS, span or [])
        rows = [asdict(one) | {"may_be_a_move": one.may_be_a_move} for one in find_breaks(work, span)]
        none = nothing(work, "no price breaks")
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(none)
    else:
        print_table([{**row, "session": str(row["session"]), "con_id": str(row["con_id"])} for row in rows])


@breaks.command()
@json_option
def log(*, as_json: bool) -> None:
    """Tell what people said about breaks, the oldest first."""
    with open_work() as work:
        lines = said(work)
    print_words(
        lines,
        lambda line: f"{line['session']} {line['symbol']} {line['price_ratio']:.6g} times: {sentence(line)}",
        as_json=as_json,
    )


def _options(command: Any) -> Any:
    symbol, session = click.argument("symbol"), click.argument("session", metavar="YYYY-MM-DD")
    why = click.option("--why", required=True, help="The reason; it is kept for good.")
    by = click.option("--by", default=getpass.getuser, show_default="your login", help="Who says so.")
    dry = click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
    return symbol(session(why(by(dry(json_option(command))))))


@breaks.command()
@_options
def confirm(symbol: str, session: str, why: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Put on record that a break was a real move: it is computed across when its sessions are built again.

    SYMBOL is EXCHANGE:SYMBOL where two exchanges have one; the session is the first one beyond the break.
    """
    _say(symbol, session, why, by, takes_back=False, dry_run=dry_run, as_json=as_json)


@breaks.command()
@_options
def reopen(symbol: str, session: str, why: str, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Take back that a break was a real move: it is unexplained again when its sessions are built again."""
    _say(symbol, session, why, by, takes_back=True, dry_run=dry_run, as_json=as_json)


def _say(symbol: str, session: str, why: str, by: str, *, takes_back: bool, dry_run: bool, as_json: bool) -> None:
    if not why.strip() or not by.strip():
        raise click.UsageError("--why and --by must say something: they are what a reader has, years from now")
    told: dict[str, Any] = {"by": by.strip(), "why": why.strip(), "takes_back": takes_back, "dry_run": dry_run}
    with open_work() as work:
        line = write_word(work, parse_day(session), symbol, **told)
        first, last = to_build(work, parse_day(session))
    if as_json:
        print_json({**line, "dry_run": dry_run, "build": [str(first), str(last)]})
        return
    what = f"the break of {line['symbol']} on {line['session']} ({line['price_ratio']:.6g} times)"
    if not line["is_new"]:
        click.echo(f"nothing is written, {what} counts as a real move: {sentence(line)}")
        return
    would = "would be written" if dry_run else "is written"
    effect = "is unexplained again" if takes_back else "counts as a real move"
    click.echo(f"{what} {effect} when its sessions are built again; {line['who']}'s word {would}")
    click.echo(f"{'then' if dry_run else 'now'}: quant flow data --sessions {first}..{last}")
