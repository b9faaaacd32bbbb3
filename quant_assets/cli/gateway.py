"""`quant gateway`: the replay TWS gateway as a program."""

import asyncio
import logging
from pathlib import Path

import click

from quant_assets.cli.common import Finite, print_json, span_of
from quant_assets.cli.tabular import print_table
from quant_assets.control.stopping import until_stopped
from quant_assets.errors import NotASessionError
from quant_assets.flows.gate import open_market
from quant_assets.settings.manifest import ReplayConfig


@click.group()
def gateway() -> None:
    """Serve a market over the TWS protocol, to this product or to any other client of the API."""


@gateway.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7497, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--recording", type=click.Path(path_type=Path), help="Serve this Parquet recording; else the synthetic market."
)
@click.option("--symbols", help="Of a recording, serve only these; comma-separated.")
@click.option("--seed", default=7, show_default=True, help="Seed of the synthetic market.")
@click.option(
    "--time-scale",
    type=Finite(0, 1e6, min_open=True),
    default=1.0,
    show_default=True,
    help="Let the pacing clock run this many times as fast.",
)
@click.option(
    "--latency",
    type=Finite(0, 3600),
    default=0.0,
    show_default=True,
    help="Answer historical requests after this many seconds.",
)
@click.option("--no-pacing", is_flag=True, help="Do not enforce IBKR's request limits.")
@click.option(
    "--faults", type=click.Path(path_type=Path), help="Play this fault script, such as configs/faults/flaky_day.yaml."
)
@click.option(
    "--ledger", type=click.Path(path_type=Path), help="Append every request, breach and fault to this JSONL file."
)
def serve(
    *,
    host: str,
    port: int,
    recording: Path | None,
    symbols: str | None,
    seed: int,
    time_scale: float,
    latency: float,
    no_pacing: bool,
    faults: Path | None,
    ledger: Path | None,
) -> None:
    """Serve until interrupted."""
    from quant_assets.clock import ScaledClock
    from quant_assets.gateway.faults import NO_FAULTS, FaultEngine, FaultScript
    from quant_assets.gateway.ledger import LedgerFile
    from quant_assets.gateway.rules import Rules
    from quant_assets.gateway.serve import serve as serve_market
    from quant_assets.gateway.server import Gateway

    chosen = tuple(part.strip() for part in symbols.split(",")) if symbols else ()
    market = open_market(ReplayConfig(market=str(recording) if recording else "synthetic", seed=seed, symbols=chosen))

    script = FaultScript.load(faults) if faults else None
    plan = FaultEngine(script) if script else NO_FAULTS
    sink = LedgerFile(ledger) if ledger else None
    if script:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("quant_assets.gateway").setLevel(logging.INFO)

    def ready(running: Gateway) -> None:
        click.echo(f"replay gateway on {host}:{running.port}: {market.description}")
        if script:
            click.echo(f"playing {faults}: {script.description or f'{len(script.faults)} faults'}")
        click.echo("press Ctrl-C to stop")

    rules, clock = Rules.off() if no_pacing else Rules(), ScaledClock(time_scale)
    serving = serve_market(market, host, port, rules, clock, on_ready=ready, faults=plan, latency_s=latency, sink=sink)
    asyncio.run(until_stopped(serving))
    click.echo("stopped")


@gateway.command()
@click.option("--first", required=True, metavar="YYYY-MM-DD", help="First session.")
@click.option("--last", required=True, metavar="YYYY-MM-DD", help="Last session.")
@click.option("--seed", default=7, show_default=True, help="Seed of the synthetic market.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def events(*, first: str, last: str, seed: int, as_json: bool) -> None:
    """List what is planted in the synthetic market: halts, gaps, bad prints, splits, dividends, listings."""
    from quant_assets.gateway.synthetic import SyntheticMarket

    market, span = SyntheticMarket(seed=seed), span_of(first, last)
    if not market.hours.between(*span):
        raise NotASessionError(f"{first}..{last}", "the market is closed in the range", market.hours.nearest(*span))
    planted = market.planted_events(*span)
    if as_json:
        print_json(planted.to_dicts())
    elif planted.is_empty():
        click.echo(f"nothing is planted in {first}..{last}")
    else:
        print_table(planted, spare=["con_id"])


@gateway.command()
@click.option("--listen", "port", default=7500, show_default=True, help="Port for clients; 0 takes a free one.")
@click.option("--upstream", required=True, metavar="HOST:PORT", help="TWS or IB Gateway, for example 127.0.0.1:7496.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Recording to write or to go on with.")
@click.option("--quiet", is_flag=True, help="Do not print a line per answer.")
@click.option("--json", "as_json", is_flag=True, help="Print what was recorded as JSON.")
def record(*, port: int, upstream: str, out: Path, quiet: bool, as_json: bool) -> None:
    """Record what any API client asks of a real TWS: bytes pass unmodified.

    Kept are bars of 1 minute and 1 day of every series, contract details and schedules; of anything else it is said
    that it passed. Account names, positions and orders are never stored. `quant gateway serve --recording FILE` serves
    the result.
    """
    from quant_assets.gateway.proxy import Relay
    from quant_assets.gateway.proxy import record as record_to

    host, _, number = upstream.rpartition(":")
    if not host or not number.isdecimal() or not 0 < int(number) < 2**16:
        raise click.UsageError(f"--upstream is HOST:PORT, not {upstream!r}")
    if out.suffix != ".parquet":
        raise click.UsageError(f"--out names a .parquet file, not {out.name!r}")

    def ready(relay: Relay) -> None:
        click.echo(f"recording {upstream} to {out}: point clients at 127.0.0.1:{relay.port}", err=as_json)
        click.echo("press Ctrl-C to stop", err=as_json)

    def warn(line: str) -> None:
        click.echo(line, err=as_json)

    def tell(line: str) -> None:
        if not quiet:
            warn(line)

    held = asyncio.run(record_to(out, (host, int(number)), port, on_ready=ready, tell=tell, warn=warn))
    if as_json:
        print_json({"recording": out, **held})
        return
    missed = held.pop("not_recorded")
    click.echo(f"{out} holds " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in held.items()))
    if missed:
        click.echo("not recorded: " + ", ".join(f"{count} × {kind}" for kind, count in missed.items()))
