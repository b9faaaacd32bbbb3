"""`quant live`: capture finished minutes of open sessions into staging; off unless the manifest enables it."""

import time
from dataclasses import asdict

import click

from quant_assets.cli.common import Finite, json_option, open_work, print_json
from quant_assets.flows.live import Round, capture, open_now


@click.command()
@click.option("--once", is_flag=True, help="One round, and end.")
@click.option("--every", "every_s", type=Finite(min=10), metavar="SECONDS", help="Between rounds.")
@click.option("--dry-run", is_flag=True, help="Show which exchanges are open, and ask nothing.")
@json_option
def live(*, once: bool, every_s: float | None, dry_run: bool, as_json: bool) -> None:
    """Capture finished minutes of the sessions that are open now, until none is.

    They wait in data/lakehouse/staging, where nothing reads them. After the close and the delay the next round, or the
    next data cycle, moves them into bronze. Set capture.enabled in configs/manifest.json.
    """
    with open_work() as work:
        pause_s = every_s or work.settings.manifest.capture.every_s
        if dry_run:
            found = sorted({(str(one.row["exchange"]), str(one.session)) for one in open_now(work)})
            _tell({"open": [f"{exchange} {session}" for exchange, session in found]}, as_json=as_json)
            return
        while True:
            done = capture(work)
            _tell(_as_dict(done), as_json=as_json)
            if once or not done.n_open:
                return
            time.sleep(pause_s)


def _as_dict(done: Round) -> dict[str, object]:
    return asdict(done) | {"promoted": [str(session) for session in done.promoted]}


def _tell(told: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    elif "open" in told:
        opened = told["open"]
        assert isinstance(opened, list)
        click.echo("open now: " + (", ".join(opened) or "no exchange"))
    else:
        failures = told["failures"]
        assert isinstance(failures, (list, tuple))
        text = f"{told['n_rows']} minutes of {told['n_asked']} of {told['n_open']} open instruments staged"
        click.echo(text + (f"; promoted {', '.join(map(str, told['promoted']))}" if told["promoted"] else ""))  # type: ignore[call-overload]
        for failure in failures:
            click.echo(f"  not served: {failure}", err=True)
