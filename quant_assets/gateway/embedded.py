"""The gateway inside this process: a daemon thread with a loop of its own, on a free loopback port."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from quant_assets.clock import Clock
from quant_assets.errors import DefectError
from quant_assets.gateway.ledger import HistoryLedger
from quant_assets.gateway.market import Market
from quant_assets.gateway.rules import Rules
from quant_assets.gateway.server import Gateway

T = TypeVar("T")
_STOP_TIMEOUT_S = 10.0


class EmbeddedGateway:
    """Context manager around a gateway in a daemon thread.

    Nothing is started before `port` is read (or `start()` called) for the first time, so that a run which asks for
    no data costs nothing. `options` go to `Gateway`.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        market: Market | Callable[[], Market],
        rules: Rules | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self._market, self._rules, self._clock, self._options = market, rules, clock, options
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gateway: Gateway | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port to connect to; starts the gateway when it is not running."""
        return self.start().port

    @property
    def is_running(self) -> bool:
        """Whether the gateway has been started and not stopped."""
        return self._thread is not None

    @property
    def gateway(self) -> Gateway:
        """The gateway itself; touch it from another thread only through `call`."""
        return self.start()

    @property
    def history_ledger(self) -> HistoryLedger:
        """The ledger of history requests; empty when nothing was started."""
        return self._gateway.history_ledger if self._gateway else HistoryLedger()

    def counts(self) -> Counter[str]:
        """Return the number of requests by kind; empty when nothing was started."""
        return self._gateway.requests.snapshot() if self._gateway else Counter()

    def data_requests(self) -> int:
        """Return the number of requests for data; 0 when nothing was started."""
        return self._gateway.requests.data() if self._gateway else 0

    def start(self) -> Gateway:
        """Start the thread and wait until the port is open."""
        with self._lock:
            if self._gateway is None:
                market = self._market() if callable(self._market) else self._market
                self._gateway = Gateway(market, self._rules, self._clock, **self._options)
            if self._thread is None:
                self._launch(self._gateway)
            return self._gateway

    def stop(self) -> None:
        """Drop all clients, close the port and end the thread. Counts and ledger stay readable."""
        with self._lock:
            thread, loop, gateway = self._thread, self._loop, self._gateway
            if thread is None or loop is None or gateway is None:
                return
            asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(_STOP_TIMEOUT_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_TIMEOUT_S)
            self._thread = self._loop = None

    def call(self, action: Callable[[Gateway], T]) -> T:
        """Run `action` on the gateway's thread and return its result."""
        gateway, loop = self.start(), self._loop
        assert loop is not None

        async def run() -> T:
            return action(gateway)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(_STOP_TIMEOUT_S)

    def _launch(self, gateway: Gateway) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(loop,), name="replay-gateway", daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(gateway.start(self.host), loop).result(_STOP_TIMEOUT_S)
        if gateway.port == 0:
            raise DefectError("the embedded gateway has no port")
        self._thread, self._loop = thread, loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
