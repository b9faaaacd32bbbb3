"""The gateway: one market, one set of rules, any number of client connections."""

import asyncio
import logging
import threading
from collections import Counter
from datetime import datetime

from quant_assets.clock import Clock, SystemClock
from quant_assets.errors import ConfigurationError
from quant_assets.gateway.accounts import NOTHING, Portfolio
from quant_assets.gateway.faults import NO_FAULTS, FaultEngine, FaultPlan, MomentKind
from quant_assets.gateway.history import HistoryService
from quant_assets.gateway.ledger import HistoryLedger, NoticeRecord, Sink, StrikeRecord
from quant_assets.gateway.market import Market
from quant_assets.gateway.rules import Breach, Pacing, Rules
from quant_assets.gateway.session import Session
from quant_assets.gateway.wire import MAX_VERSION, MIN_VERSION

_log = logging.getLogger(__name__)

DATA_REQUESTS = ("contract_details", "history", "head_timestamp", "scanner", "scanner_parameters", "matching_symbols")
"""The kinds of `RequestCounts` that ask for data; connecting and account synchronisation are not among them."""


ACCOUNT = "DU0000000"
"""The account of a gateway that was given none."""


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
        portfolio: what they hold; nothing by default.
        max_version: newest server version offered, 157 to 178.
        latency_s: time on the clock before a history request is answered.
        sink: is told of every request, breach and fault as it happens, for example a `LedgerFile`.
    """

    def __init__(
        self,
        market: Market,
        rules: Rules | None = None,
        clock: Clock | None = None,
        *,
        market_clock: Clock | None = None,
        faults: FaultPlan = NO_FAULTS,
        accounts: str = ACCOUNT,
        portfolio: Portfolio = NOTHING,
        max_version: int = MAX_VERSION,
        latency_s: float = 0.0,
        sink: Sink | None = None,
    ) -> None:
        self.market = market
        self.rules = rules or Rules()
        self.clock = clock or SystemClock()
        self.market_clock = market_clock or self.clock
        self.faults, self.accounts, self.max_version, self.latency_s = faults, accounts, max_version, latency_s
        self.portfolio = portfolio
        self.history = HistoryService(market)
        self.pacing = Pacing(self.rules, self.clock)
        self.history_ledger = HistoryLedger(sink=sink)
        self.strikes: list[StrikeRecord] = []
        """What was made to go wrong, in order."""
        self.endings: list[StrikeRecord] = []
        """Which of it ended by itself, in order."""
        self.notices: list[NoticeRecord] = []
        """What all clients were told, in order."""
        self.rate_breaches = 0
        """How many messages exceeded the message rate."""
        self.requests = RequestCounts()
        self.sessions: set[Session] = set()
        self.is_frozen = False
        self.muted: list[frozenset[MomentKind]] = []
        """Kinds of requests that get no answer at present, one entry per reason."""
        self.standing: list[tuple[int, str]] = []
        """What a client that connects now is told at once."""
        self.host, self.port = "", 0
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()

    def now(self) -> datetime:
        """Return the market's time."""
        return self.market_clock.now()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, which `port` then holds.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        self.host, self.port = host, port
        self._stopped.clear()
        try:
            await self._listen()
        except OSError as cause:
            reason = cause.strerror or str(cause)
            mend = "Choose another port, or stop the program that listens there."
            raise ConfigurationError(
                f"gateway address {host}:{port}", f"cannot be listened on: {reason}.", mend
            ) from cause
        if isinstance(self.faults, FaultEngine):
            self.faults.start(self)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Session(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop all clients."""
        if isinstance(self.faults, FaultEngine):
            self.faults.stop()
        self._stopped.set()
        if self._server is not None:
            server = self._server
            self.close_port()
            self.kick(abort=True)
            await server.wait_closed()

    async def serve_forever(self) -> None:
        """Serve until cancelled or stopped, through closed ports and all."""
        await self._stopped.wait()

    # ------------------------------------------------------------ what sessions ask

    def version_for(self, low: int, high: int) -> int | None:
        """Return the version to speak with a client of versions `low` to `high`, or None when there is none."""
        version = min(high, self.max_version)
        return version if version >= max(low, MIN_VERSION) else None

    def client_ids(self) -> set[int]:
        """Return the client ids in use."""
        return {session.client_id for session in self.sessions if session.client_id >= 0 and not session.is_closing}

    def mutes(self, kind: MomentKind) -> bool:
        """Return whether requests of this kind get no answer at present."""
        return any(kind in kinds for kinds in self.muted)

    def answers(self, kind: MomentKind) -> bool:
        """Return whether requests of this kind get an answer at present."""
        return not (self.is_frozen or self.mutes(kind))

    def note_strike(self, name: str, detail: str) -> None:
        """Record that something was made to go wrong, and tell the log."""
        self.strikes.append(StrikeRecord(self.clock.monotonic(), name, detail))
        _log.info("fault %s: %s", name, detail)
        self._write("strike", fault=name, detail=detail)

    def note_end(self, name: str) -> None:
        """Record that an event is over."""
        self.endings.append(StrikeRecord(self.clock.monotonic(), name, "is over"))
        self._write("over", fault=name)

    def _write(self, event: str, **what: object) -> None:
        if self.history_ledger.sink:
            self.history_ledger.sink({"event": event, "at": round(self.clock.monotonic(), 3), **what})

    def note_breach(self, client_id: int, breach: Breach) -> None:
        """Record that a rule about all messages was broken."""
        self.rate_breaches += 1
        if self.history_ledger.sink:
            self.history_ledger.sink({"event": "breach", "client_id": client_id, "breach": breach})

    # ------------------------------------------------------------ what an operator does

    def broadcast(self, code: int, text: str) -> None:
        """Send a notice to every client, such as 1100 or 2105."""
        self.notices.append(NoticeRecord(self.clock.monotonic(), code, len(self.sessions)))
        self._write("notice", code=code, n_clients=len(self.sessions))
        for session in self.sessions:
            session.notify(-1, code, text)

    def kick(self, *, abort: bool = False) -> None:
        """Close all connections: in order, or with a reset."""
        for session in list(self.sessions):
            session.close(abort=abort)

    def freeze(self, *, frozen: bool = True) -> None:
        """Take requests and answer none, as a hung gateway does."""
        self.is_frozen = frozen

    def close_port(self) -> None:
        """Stop listening; connections stand. `open_port` undoes it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def open_port(self) -> None:
        """Listen again on the same port; another program may hold it for a moment."""
        for wait_s in (0.01, 0.1, 0.5, 2.0, 0.0):
            if self._server is not None or self._stopped.is_set():
                return
            try:
                await self._listen()
            except OSError:
                if not wait_s:
                    raise
                await asyncio.sleep(wait_s)
