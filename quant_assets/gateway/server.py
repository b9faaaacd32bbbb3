"""The gateway: one market, one set of rules, any number of client connections."""

import asyncio
import threading
from collections import Counter
from datetime import datetime

from quant_assets.clock import Clock, SystemClock
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.faults import NO_FAULTS, FaultPlan
from quant_assets.gateway.history import HistoryService
from quant_assets.gateway.market import Market
from quant_assets.gateway.rules import HistoryLedger, Pacing, Rules
from quant_assets.gateway.session import Session
from quant_assets.gateway.wire import MAX_VERSION, MIN_VERSION

DATA_REQUESTS = ("contract_details", "history", "head_timestamp", "scanner", "scanner_parameters", "matching_symbols")
"""The kinds of `RequestCounts` that ask for data; connecting and account synchronisation are not among them."""


class RequestCounts:
    """How many messages of each kind have arrived; may be read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[kind] += 1

    def snapshot(self) -> Counter[str]:
        """Return a copy."""
        with self._lock:
            return Counter(self._counts)

    def data(self) -> int:
        """Return how many requests for data have arrived."""
        counts = self.snapshot()
        return sum(counts[kind] for kind in DATA_REQUESTS)


class Gateway:
    """A TCP server that answers as TWS does.

    Args:
        market: where bars come from.
        rules: rate limits; IBKR's documented numbers by default.
        clock: what rate limits and latency are counted on.
        market_clock: tells the gateway's now: no bar that completes later is sent, and the price basis is that day's.
            `clock` by default; give another one when `clock` runs faster, or the market's days would fly by too.
        faults: what goes wrong.
        accounts: account names, separated by commas.
        max_version: newest server version offered, 157 to 178.
        latency_s: time on the clock before a history request is answered.
    """

    def __init__(
        self,
        market: Market,
        rules: Rules | None = None,
        clock: Clock | None = None,
        *,
        market_clock: Clock | None = None,
        faults: FaultPlan = NO_FAULTS,
        accounts: str = "DU0000000",
        max_version: int = MAX_VERSION,
        latency_s: float = 0.0,
    ) -> None:
        self.market = market
        self.rules = rules or Rules()
        self.clock = clock or SystemClock()
        self.market_clock = market_clock or self.clock
        self.faults, self.accounts, self.max_version, self.latency_s = faults, accounts, max_version, latency_s
        self.history = HistoryService(market)
        self.pacing = Pacing(self.rules, self.clock)
        self.history_ledger = HistoryLedger()
        self.requests = RequestCounts()
        self.sessions: set[Session] = set()
        self.is_frozen = False
        self.host, self.port = "", 0
        self._server: asyncio.Server | None = None

    def now(self) -> datetime:
        """Return the market's time."""
        return self.market_clock.now()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, which `port` then holds.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Session(self), host, port)
        except OSError as cause:
            reason = cause.strerror or str(cause)
            mend = "Choose another port, or stop the program that listens there."
            raise ConfigurationError(
                f"gateway address {host}:{port}", f"cannot be listened on: {reason}.", mend
            ) from cause
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop all clients."""
        if self._server is not None:
            self._server.close()
            self.kick(abort=True)
            await self._server.wait_closed()
            self._server = None

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None, "start() first"
        await self._server.serve_forever()

    # ------------------------------------------------------------ what sessions ask

    def version_for(self, low: int, high: int) -> int | None:
        """Return the version to speak with a client of versions `low` to `high`, or None when there is none."""
        version = min(high, self.max_version)
        return version if version >= max(low, MIN_VERSION) else None

    def client_ids(self) -> set[int]:
        """Return the client ids in use."""
        return {session.client_id for session in self.sessions if session.client_id >= 0}

    # ------------------------------------------------------------ what an operator does

    def broadcast(self, code: int, text: str) -> None:
        """Send a notice to every client, such as 1100 or 2105."""
        for session in self.sessions:
            session.notify(-1, code, text)

    def kick(self, *, abort: bool = False) -> None:
        """Close all connections: in order, or with a reset."""
        for session in list(self.sessions):
            session.close(abort=abort)

    def freeze(self, *, frozen: bool = True) -> None:
        """Take requests and answer none, as a hung gateway does."""
        self.is_frozen = frozen
