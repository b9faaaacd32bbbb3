"""An unmodified client of the installed library, ib_insync or ib_async, on a gateway in the same loop."""

import asyncio
import importlib.util
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from quant_assets.clock import ManualClock
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway
from quant_assets.gateway.synthetic import SyntheticMarket

NOW = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
RECORDING = Path(__file__).parents[3].parent / "shared" / "data" / "us_etf_1m_2019.parquet"


@lru_cache(maxsize=4)
def synthetic(seed: int = 7) -> SyntheticMarket:
    return SyntheticMarket(seed)


def library() -> Any:
    with warnings.catch_warnings():
        # eventkit asks for an event loop at import, which newer Pythons deprecate
        warnings.simplefilter("ignore", DeprecationWarning)
        names = [name for name in ("ib_insync", "ib_async") if importlib.util.find_spec(name)]
        (only,) = names
        return importlib.import_module(only)


def new_client() -> Any:
    ib = library().IB()
    ib.RaiseRequestErrors = True
    ib.client.MaxRequests = 0
    ib.errors = []
    ib.errorEvent += lambda req_id, code, text, _: ib.errors.append((req_id, code, text))
    return ib


@asynccontextmanager
async def serving(
    market: Any = None, rules: Rules | None = None, clock: Any = None, **options: Any
) -> AsyncIterator[Gateway]:
    gateway = Gateway(market or synthetic(), rules or Rules.off(), clock or ManualClock(NOW), **options)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@asynccontextmanager
async def connected(*args: Any, client_id: int = 1, **options: Any) -> AsyncIterator[tuple[Any, Gateway]]:
    async with serving(*args, **options) as gateway:
        ib = new_client()
        await ib.connectAsync("127.0.0.1", gateway.port, clientId=client_id, timeout=5)
        try:
            yield ib, gateway
        finally:
            ib.disconnect()
            await asyncio.sleep(0)


def stock(symbol: str, **more: Any) -> Any:
    return library().Stock(symbol, "SMART", "USD", **more)


def history(ib: Any, contract: Any, **changes: Any) -> Awaitable[Any]:
    asked = {
        "endDateTime": "20261119-23:00:00",
        "durationStr": "1 D",
        "barSizeSetting": "1 min",
        "whatToShow": "TRADES",
        "useRTH": True,
        "formatDate": 2,
    } | changes
    return ib.reqHistoricalDataAsync(contract, **asked)


def send_history(
    ib: Any, req_id: int, contract: Any, *, end: str = "20261119-23:00:00", what: str = "TRADES", duration: str = "1 D"
) -> None:
    """Send the bytes only, as a client that does not wait would."""
    ib.client.reqHistoricalData(req_id, contract, end, duration, "1 min", what, True, 2, False, [])


async def refused(awaitable: Awaitable[Any]) -> tuple[int, str]:
    try:
        answer = await awaitable
    except library().wrapper.RequestError as error:
        return error.code, error.message
    raise AssertionError(f"was answered: {answer!r:.200}")


async def eventually(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in the library or the gateway
        await asyncio.sleep(0.005)
