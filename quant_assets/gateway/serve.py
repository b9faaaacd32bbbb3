"""The gateway as a program of its own."""

from collections.abc import Callable

from quant_assets.clock import Clock
from quant_assets.gateway.faults import NO_FAULTS, FaultPlan
from quant_assets.gateway.ledger import Sink
from quant_assets.gateway.market import Market
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway


async def serve(
    market: Market,
    host: str = "127.0.0.1",
    port: int = 4002,
    rules: Rules | None = None,
    clock: Clock | None = None,
    *,
    on_ready: Callable[[Gateway], None] | None = None,
    market_clock: Clock | None = None,
    faults: FaultPlan = NO_FAULTS,
    latency_s: float = 0.0,
    sink: Sink | None = None,
) -> None:
    """Serve a market until cancelled; `on_ready` is called once the port is open.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    gateway = Gateway(market, rules, clock, market_clock=market_clock, faults=faults, latency_s=latency_s, sink=sink)
    await gateway.start(host, port)
    if on_ready is not None:
        on_ready(gateway)
    try:
        await gateway.serve_forever()
    finally:
        await gateway.stop()
