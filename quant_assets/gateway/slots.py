"""What happens to a history request before it is answered, and the slot that it occupies until it has ended."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from quant_assets.gateway.faults import Moment, MomentKind
from quant_assets.gateway.handlers import found
from quant_assets.gateway.ledger import HistoryEntry, Outcome
from quant_assets.gateway.requests import HistoryRequest
from quant_assets.gateway.rules import PACING_TEXT
from quant_assets.gateway.validation import Problem, has_no_zone, head_problem, history_problem

if TYPE_CHECKING:
    from quant_assets.gateway.server import Gateway
    from quant_assets.gateway.session import Session

_CANCELLED: Final = "Historical Market Data Service error message:API historical data query cancelled: "
_PROCESSING: Final = "Error processing request.-'bS' : cause - "


@dataclass(slots=True)
class Slot:
    """One history request that is still open."""

    entry: HistoryEntry
    release: Callable[[], None]
    end: Callable[[Outcome, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """An answer to be made."""

    moment: Moment
    make: Callable[[], bytes]
    slot: Slot | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.slot is not None and self.slot.entry.outcome != "open"

    def settle(self, outcome: Outcome, code: int = 0) -> None:
        """Note how a history request ended and free its slot; the first outcome stands."""
        if self.slot is None or self.slot.entry.outcome != "open":
            return
        self.slot.end(outcome, code)
        if self.slot.entry.request.kind == "history" or outcome != "answered":
            self.slot.release()


class HistorySlots:
    """The open history and head timestamp requests of one session.

    A head timestamp keeps its slot after the answer, until the client cancels it, as IBKR documents.
    """

    def __init__(self, gateway: "Gateway", session: "Session") -> None:
        self._gateway, self._session = gateway, session
        self._open: dict[int, HistoryEntry] = {}

    def ask(self, request: HistoryRequest) -> None:
        """Judge a request in TWS's order: malformed, no free slot, too fast; then answer it."""
        gateway = self._gateway
        gateway.requests.add(request.kind)
        clock = gateway.clock
        entry = HistoryEntry(clock.monotonic(), gateway.now(), self._session.client_id, request)
        problem = self._malformed(request) or self._no_slot(entry) or self._too_fast(entry)
        gateway.history_ledger.add(entry)
        if problem is not None:
            gateway.history_ledger.end(entry, "refused", problem[0])
            self._session.notify(request.req_id, *problem)
            return
        if has_no_zone(request.end):
            text = "You submitted a request without explicit time zone. The gateway assumes the exchange's."
            self._session.notify(request.req_id, 2174, text)
        self._open[request.req_id] = entry
        self._session.perform(self._job(entry))

    def cancel(self, req_id: int) -> None:
        """Answer message 25: the query is cancelled (162), or there is none (366)."""
        entry = self._open.pop(req_id, None)
        if entry is None:
            text = f"No historical data query found for ticker id:{req_id}"
            self._session.notify(req_id, 366, text)
            return
        self._gateway.history_ledger.end(entry, "cancelled")
        self._session.notify(req_id, 162, f"{_CANCELLED}{req_id}")

    def release_head(self, req_id: int) -> None:
        """Answer message 90: silently, as TWS does."""
        entry = self._open.pop(req_id, None)
        if entry is not None and entry.outcome == "open":
            self._gateway.history_ledger.end(entry, "cancelled")

    def lose(self) -> None:
        """Free everything because the connection is gone."""
        for entry in self._open.values():
            if entry.outcome == "open":
                self._gateway.history_ledger.end(entry, "lost")
        self._open.clear()

    def _malformed(self, request: HistoryRequest) -> Problem | None:
        if not self._gateway.rules.validates:
            return None
        return head_problem(request) if request.kind != "history" else history_problem(request, self._gateway.now())

    def _no_slot(self, entry: HistoryEntry) -> Problem | None:
        if entry.request.req_id in self._open:
            return 322, f"{_PROCESSING}Duplicate ticker id"
        limit = self._gateway.rules.max_open
        if limit is None or len(self._open) < limit:
            return None
        entry.breach = "open"
        return 322, f"{_PROCESSING}Only {limit} simultaneous API historical data requests allowed."

    def _too_fast(self, entry: HistoryEntry) -> Problem | None:
        entry.breach = self._gateway.pacing.judge(entry.request)
        return (162, PACING_TEXT) if entry.breach else None

    def _job(self, entry: HistoryEntry) -> Job:
        request, gateway = entry.request, self._gateway

        def make() -> bytes:
            instrument = found(gateway.market, request.contract, gateway.now())
            data, entry.n_bars = gateway.history.answer(request, instrument, gateway.now())
            return data

        kind: MomentKind = "head_timestamp" if request.kind == "head_timestamp" else "history"
        about = self._session.moment(kind, request.req_id, request.contract)
        moment = replace(about, what=request.what, bar_size=request.bar_size)
        end = partial(gateway.history_ledger.end, entry)
        return Job(moment, make, Slot(entry, lambda: self._release(entry), end))

    def _release(self, entry: HistoryEntry) -> None:
        """Free the slot if it is still this request's: its id may have been used again."""
        if self._open.get(entry.request.req_id) is entry:
            del self._open[entry.request.req_id]
