"""The `quant` command. Each group lives in its own module and is imported only when it is asked for."""

import importlib
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import click

import quant_assets

_COMMANDS = {
    "demo": ("quant_assets.cli.demo", "demo", "Run everything once, on the synthetic market, and show the weights."),
    "flow": ("quant_assets.cli.flow", "flow", "Run a cycle: data, alpha, production, all."),
    "repair": ("quant_assets.cli.repair", "repair", "Fetch and build the sessions that are missing."),
    "status": ("quant_assets.cli.status", "status", "Show what is published, how fresh it is, and what is missing."),
    "sql": ("quant_assets.cli.sql", "sql", "Ask the lakehouse in SQL, read-only."),
    "backtest": ("quant_assets.cli.backtest", "backtest", "Walk a profile's alpha cycle forward through the past."),
    "run": ("quant_assets.cli.run", "run", "List, show, verify, compare and size runs of the alpha cycle."),
    "why": ("quant_assets.cli.why", "why", "Explain a weight back to its bars, or follow a bar to every weight."),
    "meta": ("quant_assets.cli.meta", "meta", "Weigh finished runs against each other."),
    "gateway": ("quant_assets.cli.gateway", "gateway", "Serve a replay TWS gateway, or list its planted events."),
    "lake": ("quant_assets.cli.lake", "lake", "Maintain the lakehouse: health, compaction, garbage, clean slate."),
    "manifest": ("quant_assets.cli.manifest", "manifest", "Check and show configs/manifest.json."),
    "scanner": ("quant_assets.cli.scanner", "scanner", "List the scanners, and show what their layers resolve to."),
    "candidates": ("quant_assets.cli.candidates", "candidates", "Show candidates, and why the others are none."),
    "plan": ("quant_assets.cli.plan", "plan", "Show what a data cycle would ask of TWS, before it asks."),
    "live": ("quant_assets.cli.live", "live", "Capture minutes of open sessions into staging, until they close."),
    "pause": ("quant_assets.cli.pause", "pause", "Hold the ingestion before its next request to TWS."),
    "resume": ("quant_assets.cli.pause", "resume", "Let a paused ingestion go on."),
    "doctor": ("quant_assets.cli.doctor", "doctor", "Check configuration, disk and TWS, and say what to mend."),
    "quarantine": (
        "quant_assets.cli.quarantine",
        "quarantine",
        "Look at rows that were kept out of silver; release or confirm one.",
    ),
    "breaks": ("quant_assets.cli.breaks", "breaks", "Look at price breaks; confirm that one was a real move."),
    "audit": ("quant_assets.cli.audit", "audit", "Look for damage in the lakehouse, and prove the audit log."),
}


_SEALED = (["flow", "production"], ["flow", "alpha"], ["run", "verify"], ["meta", "run"])
"""Commands that need no network, and give it up before any library could start a thread."""


class _Lazy(click.Group):
    """A group whose commands are modules; their names and help are known without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - same
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - same
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from quant_assets.errors import UnknownNameError

            raise UnknownNameError("command", args[0], _COMMANDS) from None


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(quant_assets.__version__, prog_name="quant")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Put a value on top of configs/manifest.json and the environment, for example risk.max_weight=0.1.",
)
def cli(assignments: tuple[str, ...]) -> None:
    """quant_assets: from the TWS socket to portfolio weights.

    Data live in $QUANT_DATA (default: data), configuration in $QUANT_CONFIGS (default: configs).
    """
    del assignments  # read by `settings_of_command`


def main() -> None:
    """Run the command line; our own errors become one message and the exit code of their branch."""
    from quant_assets.errors import INTERRUPTED, QuantAssetsError

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    if _words(sys.argv[1:])[:2] in _SEALED:
        _isolate()
    code: object = 0
    try:
        code = cli(standalone_mode=False)
    except QuantAssetsError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        code, sentence = INTERRUPTED
        click.secho(sentence, err=True)
        sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    if isinstance(code, int):
        sys.exit(code)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, in whatever way that is heard at present: services and containers send SIGTERM."""
    heard = signal.getsignal(signal.SIGINT)
    (heard if callable(heard) else signal.default_int_handler)(number, frame)


def _words(arguments: Sequence[str]) -> list[str]:
    """Return a command with all that follows it, without the options before it; nothing where these are wrong."""
    with suppress(click.UsageError):
        return cli.make_parser(click.Context(cli)).parse_args([*arguments])[1]
    return []


def _isolate() -> None:
    """Leave the network for good, unless the configuration wants to keep it."""
    from quant_assets.control.seal import isolate
    from quant_assets.settings.seal import wants_namespace

    if wants_namespace():
        isolate()
