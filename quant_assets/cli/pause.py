"""`quant pause` and `quant resume`: hold the ingestion between two requests to TWS, and let it go on."""

from collections.abc import Mapping
from typing import Final

import click

from quant_assets.cli.common import json_option, open_work, print_json
from quant_assets.control.locks import holder_of
from quant_assets.control.pausing import Wish, read_control, write_control
from quant_assets.control.status import read_status
from quant_assets.errors import CorruptFileError
from quant_assets.flows.gate import STAGE
from quant_assets.flows.work import Work

_stage = click.argument("stage", type=click.Choice([STAGE]), default=STAGE)


@click.command()
@_stage
@click.option("--reason", default="", metavar="TEXT", help="Told by `quant status`, and kept in the audit log.")
@json_option
def pause(stage: str, reason: str, *, as_json: bool) -> None:
    """Hold a stage before its next request to TWS; requests in flight are answered first.

    The pause stands until `quant resume`, for runs that start later too.
    """
    _ask(stage, "pause", reason, as_json=as_json)


@click.command()
@_stage
@json_option
def resume(stage: str, *, as_json: bool) -> None:
    """Let a paused stage go on."""
    _ask(stage, "resume", "", as_json=as_json)


def _ask(stage: str, wish: Wish, reason: str, *, as_json: bool) -> None:
    with open_work() as work:
        write_control(stage, work.layout.lakehouse, wish, reason=reason, clock=work.clock)
        work.audit.record(f"{stage}_{wish}_requested", run_id=work.run_id, status="ok", detail=reason)
        told = state_of(work, stage)
    if as_json:
        print_json(told)
        return
    click.echo(f"{stage} {_SAID[wish, bool(told['is_running'])]}")


_SAID: Final[Mapping[tuple[Wish, bool], str]] = {
    ("pause", True): "pauses before its next request; `quant resume` lets it go on",
    ("pause", False): "is not running; the next run waits before its first request, until `quant resume`",
    ("resume", True): "goes on",
    ("resume", False): "is not running; the next run does not wait",
}


def state_of(work: Work, stage: str) -> dict[str, object]:
    """Return whether a stage runs, what was asked of it, whether it is paused and since when, and if it can resume.

    `unreadable` is what is wrong with its status; then only its lock tells whether it runs.
    """
    asked = read_control(stage, work.layout.lakehouse)
    holder = holder_of("tws", work.layout.locks)
    try:
        status, unreadable = read_status(stage, work.layout.lakehouse), ""
        is_running = bool(status and holder and holder.get("lock_id") == status.lock_id)
    except CorruptFileError as error:
        status, unreadable = None, str(error)
        is_running = bool(holder and holder.get("stage") == stage)
    return {
        "stage": stage,
        "is_running": is_running,
        "asked": asked.request if asked else None,
        "asked_at": asked.requested_at if asked else None,
        "reason": asked.reason if asked else "",
        "phase": status.phase if status else None,
        "is_complete": bool(status and status.is_complete),
        "candidate_count": status.candidate_count if status else 0,
        "paused_since": status.paused_since if status and is_running else None,
        "health_check": status.health_check if status else "unknown",
        "can_resume": bool(status and status.can_resume),
        "holder": holder,
        "unreadable": unreadable,
    }
