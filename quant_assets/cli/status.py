"""`quant status`: what is published, how fresh it is, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from quant_assets.cli.common import json_option, nothing, open_work, print_json, print_synthetic_banner
from quant_assets.cli.pause import state_of
from quant_assets.cli.tabular import print_table
from quant_assets.domain.certificates import Certificate
from quant_assets.errors.base import number_of
from quant_assets.flows.care import spans_of
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.certify import published_certificates
from quant_assets.flows.discover import set_aside
from quant_assets.flows.gate import STAGE
from quant_assets.flows.given_up import recent_refusals, sentences
from quant_assets.flows.work import Work

_RARE = ("degraded", "accepted")
"""Columns of certificates that are shown where they hold anything."""
_SHOWN = 10
"""Sessions whose certificate is shown to people; `--json` has all of them."""


@click.command()
@click.option("--missing", is_flag=True, help="Name the missing sessions too, and what TWS refuses.")
@json_option
def status(*, missing: bool, as_json: bool) -> None:
    """Show every table with its newest session and content id, and the certificates of the newest sessions."""
    with open_work() as work:
        catalog = refresh_catalog(work)
        if as_json:
            told = [asdict(one) for one in published_certificates(work)]
            refused = _given_up(work)
            print_json({**catalog, "ingestion": state_of(work, STAGE), "certificates": told, "given_up": refused})
            return
        print_synthetic_banner(work.settings)
        _tell_ingestion(state_of(work, STAGE))
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
        print_table(rows, f"Latest closed session: {catalog['latest_expected_session']}", spare=["content id", "zone"])
        _tell_certificates(published_certificates(work, _SHOWN))
        if empty := nothing(work, ""):
            click.echo(empty)
        if missing:
            _tell_missing(work, catalog["tables"])
            for sentence in _given_up(work):
                click.echo(f"given up: {sentence}")


def _tell_missing(work: Work, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Name the missing sessions of each table, in ranges; tables that lack the same share a line."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name, entry in tables.items():
        lacking.setdefault(tuple(entry["missing_sessions"]), []).append(name)
    for missing, names in lacking.items():
        if missing:
            spans = spans_of([date.fromisoformat(one) for one in missing], work.calendar.all_sessions)
            click.echo(f"{', '.join(names)}: {number_of(len(missing), 'session')} missing: {', '.join(spans)}")


def _given_up(work: Work) -> list[str]:
    """Return a sentence for each instrument that TWS refused lately, or that discovery left out because of it."""
    return sentences([*recent_refusals(work), *set_aside.recent(work)])


def _tell_certificates(found: Sequence[Certificate]) -> None:
    """Show the newest sessions' certificates; one whose content changed says what changed."""
    if not found:
        return
    rows = [
        {
            "session": one.session,
            "certificate": one.certificate_id[:12],
            "state": one.state if one.state != "none" else "not certified",
            "certified at": f"{one.certified_at:%Y-%m-%d %H:%M}Z" if one.certified_at else "",
            "changed since": ", ".join(one.changed),
            "degraded": one.degraded,
            "accepted": one.accepted,
        }
        for one in found
    ]
    columns = [name for name in rows[0] if name not in _RARE or any(row[name] for row in rows)]
    print_table([{name: row[name] for name in columns} for row in rows], title="Certified sessions")
    for one in found:
        for problem in one.beyond:
            click.secho(f"{one.session} does not keep today's limits: {problem}", fg="yellow")
        for told in one.behind if one.state == "behind" else ():
            click.secho(f"{one.session} is behind: {told}; `quant flow data --session {one.session}`", fg="yellow")


def _tell_ingestion(state: dict[str, object]) -> None:
    """Say what the ingestion does, where it does something or ended badly."""
    why = f" ({state['reason']})" if state["reason"] else ""
    if unreadable := state["unreadable"]:
        click.secho(f"the state of the ingestion is unknown: {unreadable}", fg="yellow")
    if since := state["paused_since"]:
        said = f"ingestion is paused since {since:%Y-%m-%d %H:%M} UTC{why}; `quant resume` lets it go on"
        click.secho(said, fg="yellow")
    elif state["is_running"]:
        click.echo("ingestion is running")
    elif state["asked"] == "pause":
        since = f"{state['asked_at']:%Y-%m-%d %H:%M} UTC{why}"
        said = f"a pause of the ingestion stands since {since}; the next run waits, until `quant resume`"
        click.secho(said, fg="yellow")
    elif state["health_check"] == "error":
        click.secho("the last ingestion stopped; the next run asks only for what is not committed", fg="yellow")
