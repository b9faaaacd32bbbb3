"""`quant pause` and `quant resume`: hold the ingestion between two requests to TWS, and let it go on."""

import click

from quant_assets.cli.common import json_option, open_work, print_json
from quant_assets.control.locks import holder_of
from quant_assets.control.pausing import Wish, write_control
from quant_assets.control.status import read_status
from quant_assets.flows.gate import STAGE
from quant_assets.flows.work import Work

_stage = click.argument("stage", type=click.Choice([STAGE]), default=STAGE)


@click.command()
@_stage
@click.option("--reason", default="", metavar="TEXT", help="Told to whoever asks, and kept in the audit log.")
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
    verb = "pauses before its next request" if wish == "pause" else "goes on"
    click.echo(f"{stage} {verb}" if told["is_running"] else f"{stage} is not running; the next run finds the request")


def state_of(work: Work, stage: str) -> dict[str, object]:
    """Return whether a stage runs, whether it is paused and since when, and whether it can be resumed."""
    status = read_status(stage, work.layout.lakehouse)
    holder = holder_of("tws", work.layout.locks)
    is_running = bool(status and holder and holder.get("lock_id") == status.lock_id)
    return {
        "stage": stage,
        "is_running": is_running,
        "phase": status.phase if status else None,
        "paused_since": status.paused_since if status and is_running else None,
        "health_check": status.health_check if status else "unknown",
        "can_resume": bool(status and status.can_resume),
        "holder": holder,
    }
