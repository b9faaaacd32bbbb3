"""Listens to one conversation between a client and TWS, and keeps bars and contract details of it.

Only the messages that carry those are decoded. Accounts, positions, orders and everything else are never looked into,
so that they can reach neither a file nor a log.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import polars as pl

from quant_assets.clock import Clock
from quant_assets.gateway.hours import trading_hours
from quant_assets.gateway.market import TRADE_SERIES
from quant_assets.gateway.proxy.decode import BARS, DETAILS, bars_of, details_of
from quant_assets.gateway.proxy.tape import SCHEMAS, Kind, Tape
from quant_assets.gateway.requests import HistoryRequest, number, parse_history
from quant_assets.gateway.wire import API_PREFIX, MAX_VERSION, FrameBuffer, WireError, fields_of

_log = logging.getLogger(__name__)
_MINUTE: Final = timedelta(minutes=1)
_HISTORY: Final = 20
_KINDS: Final[dict[str, tuple[Kind, tuple[str, ...]]]] = {
    "1 min": ("minutes", ("TRADES",)),
    "1 day": ("daily", TRADE_SERIES),
}
"""Bar sizes that a recording holds, and the series of each; a replay computes or refuses all others."""

Told = Callable[[str], None]


class Listener:
    """Hears both directions; a defect of what it hears ends the listening, never the conversation."""

    def __init__(self, tape: Tape, clock: Clock, sent: Counter[int], tell: Told) -> None:
        self._tape, self._clock, self._sent, self._tell = tape, clock, sent, tell
        self._from_client, self._from_server = FrameBuffer(), FrameBuffer()
        self._from_server.feed(API_PREFIX)  # the server's first frame has no prefix; the rest is framed alike
        self._asked: dict[int, HistoryRequest] = {}
        self._has_greeted = self._is_deaf = False
        self._version = 0

    def hear_client(self, data: bytes) -> None:
        """Take what the client sent."""
        self._hear(self._from_client, data, self._on_request)

    def hear_server(self, data: bytes) -> None:
        """Take what TWS sent."""
        self._hear(self._from_server, data, self._on_answer)

    def _hear(self, frames: FrameBuffer, data: bytes, take: Callable[[bytes], None]) -> None:
        if self._is_deaf:
            return
        frames.feed(data)
        try:
            while not self._is_deaf and (payload := frames.next_frame()) is not None:
                take(payload)
        except WireError:
            self._stop("this is not the TWS protocol")
        except OSError as cause:
            self._stop(f"the recording cannot be written ({cause.strerror})")

    def _stop(self, reason: str) -> None:
        """Go on passing bytes, but listen no more."""
        self._is_deaf = True
        self._tell(f"nothing more of this connection is recorded: {reason}")

    # ------------------------------------------------------------ requests

    def _on_request(self, payload: bytes) -> None:
        if not self._has_greeted:
            self._has_greeted = True
            return
        message_id = _message_id(payload)
        self._sent[message_id] += 1
        if message_id == _HISTORY:
            try:
                request = parse_history(fields_of(payload))
            except (IndexError, ValueError):
                _log.warning("a history request could not be read")
            else:
                self._asked[request.req_id] = request

    # ------------------------------------------------------------ answers

    def _on_answer(self, payload: bytes) -> None:
        if not self._version:
            self._version = number(fields_of(payload)[0])
            if self._version > MAX_VERSION:
                self._stop(f"server version {self._version} is newer than {MAX_VERSION}; use ib_insync or ib_async")
            return
        message_id = _message_id(payload)
        try:
            if message_id == BARS:
                self._on_bars(fields_of(payload))
            elif message_id == DETAILS:
                self._on_details(fields_of(payload))
        except (IndexError, ValueError, pl.exceptions.PolarsError) as cause:
            self._tell(f"not recorded: message {message_id} ({cause})")

    def _on_bars(self, fields: list[str]) -> None:
        request = self._asked.pop(int(fields[1]), None)
        kind, series = _KINDS.get(request.bar_size, (None, ())) if request else (None, ())
        if request is None or kind is None or request.what not in series:
            return
        rows = self._finished(bars_of(fields, request))
        if rows.is_empty():
            return
        contract = request.contract
        named = {"con_id": contract.con_id, "symbol": contract.symbol, "what": request.what}
        marked = rows.with_columns(pl.lit(value).alias(name) for name, value in named.items())
        self._tape.add(kind, marked.cast({"con_id": pl.Int64}))
        subject = f"{contract.symbol or contract.con_id} {request.what}"
        self._tell(f"recorded {rows.height} bars of {request.bar_size}: {subject}")

    def _finished(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out the bar that is still growing: a recording keeps what will not change."""
        now = self._clock.now()
        if "ts" in rows.columns:
            return rows.filter(pl.col("ts") + _MINUTE <= now)
        hours = trading_hours()
        return rows.filter(pl.col("session") <= hours.session(hours.closed_by(now) - 1))

    def _on_details(self, fields: list[str]) -> None:
        found = details_of(fields, self._version)
        self._tape.add("details", pl.DataFrame([found], schema=SCHEMAS["details"]))
        self._tell(f"recorded the contract details of {found['symbol']}")


def _message_id(payload: bytes) -> int:
    return number(payload.split(b"\0", 1)[0].decode(errors="replace"))
