"""Listens to one conversation between a client and TWS, and keeps bars, schedules and contract details of it.

Only the messages that carry those are decoded. Accounts, positions, orders and everything else are never looked into,
so that they can reach neither a file nor a log; that they passed is counted.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import polars as pl

from quant_assets.clock import Clock
from quant_assets.domain.instruments import minute_series
from quant_assets.gateway.market import CRYPTO_TRADES, QUOTE_SERIES, TRADE_SERIES, Instrument
from quant_assets.gateway.proxy.decode import BARS, DETAILS, SCHEDULE, bars_of, details_of, schedule_of
from quant_assets.gateway.proxy.missed import REFUSALS, Missed
from quant_assets.gateway.proxy.names import Names
from quant_assets.gateway.proxy.tape import Kind, Tape, described
from quant_assets.gateway.recording_hours import hours_of, last_ended
from quant_assets.gateway.requests import HistoryRequest, number, parse_history
from quant_assets.gateway.wire import API_PREFIX, MAX_VERSION, FrameBuffer, WireError, fields_of

_MINUTE: Final = timedelta(minutes=1)
_HISTORY: Final = 20
_ERROR: Final = 4
_NOTICES: Final = (*range(2100, 2200), 366, 10167, 10168)
_KINDS: Final[dict[str, Kind]] = {"1 min": "minutes", "1 day": "daily"}
"""Bar sizes that a recording holds; a replay makes those between of the minutes."""
_SERIES: Final = (*TRADE_SERIES, *QUOTE_SERIES, CRYPTO_TRADES)
_SEC_TYPES: Final = ("STK", "CASH", "CRYPTO", "FUT", "IND", "CFD", "CMDTY")
"""What the replay gateway can tell apart by what a request says of it."""

Told = Callable[[str], None]


class Listener:
    """Hears both directions; a defect of what it hears ends the listening, never the conversation."""

    def __init__(
        self, tape: Tape, clock: Clock, sent: Counter[int], names: Names, missed: Missed, *, tell: Told, warn: Told
    ) -> None:
        self._tape, self._clock, self._sent, self._names, self._missed = tape, clock, sent, names, missed
        self._tell, self._warn = tell, warn
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
        self._warn(f"nothing more of this connection is recorded: {reason}")

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
                self._missed.add("history requests that could not be read", "their bars cannot be told")
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
        take = {BARS: self._on_bars, DETAILS: self._on_details, SCHEDULE: self._on_schedule, _ERROR: self._on_error}
        if message_id not in take:
            self._missed.message(message_id)
            return
        try:
            take[message_id](fields_of(payload))
        except (IndexError, ValueError, pl.exceptions.PolarsError) as cause:
            self._missed.counts["messages that could not be read"] += 1
            self._warn(f"not recorded: message {message_id} ({cause})")

    def _on_error(self, fields: list[str]) -> None:
        """Of an error only its request counts: what it says may name an account."""
        req_id, code = int(fields[2]), int(fields[3])
        if req_id > 0 and code not in _NOTICES:
            self._asked.pop(req_id, None)
            self._missed.add(REFUSALS)

    def _on_bars(self, fields: list[str]) -> None:
        request = self._asked.pop(int(fields[1]), None)
        if request is None:
            self._missed.add("bars of an unknown request", "nobody can tell what they are")
            return
        instrument, label = self._names.of(request.contract)
        if instrument.sec_type not in _SEC_TYPES:
            self._missed.add(f"{instrument.sec_type} bars")
        elif request.bar_size not in _KINDS:
            self._missed.add(f"bars of {request.bar_size}", "a replay makes bars of 2 mins to 8 hours of the minutes")
        elif request.what not in _SERIES:
            self._missed.add(f"{request.what} bars")
        elif not self._names.keeps_hours(
            (instrument.con_id, label, request.what, request.bar_size), use_rth=request.use_rth
        ):
            self._missed.add("bars with another useRTH than the first of their series", "record them to another file")
        else:
            self._keep(bars_of(fields, request), request, instrument, label)

    def _keep(self, bars: pl.DataFrame, request: HistoryRequest, instrument: Instrument, label: str) -> None:
        rows = self._finished(bars, instrument)
        if rows.is_empty():
            return
        self._describe(instrument)
        named = {"con_id": instrument.con_id, "symbol": label, "what": request.what}
        self._add(_KINDS[request.bar_size], rows, named)
        subject = f"{label or instrument.con_id} {request.what}"
        self._tell(f"recorded {rows.height} bars of {request.bar_size}: {subject}")

    def _add(self, kind: Kind, rows: pl.DataFrame, named: dict[str, object]) -> None:
        marked = rows.with_columns(pl.lit(value).alias(name) for name, value in named.items())
        self._tape.add(kind, marked.cast({"con_id": pl.Int64}))

    def _describe(self, instrument: Instrument) -> None:
        """Keep what a request said of an instrument whose details nobody has asked for."""
        if instrument.con_id and not self._names.knows(instrument.con_id):
            self._names.learn(instrument)
            self._tape.add("details", described(instrument, is_told=False))

    def _finished(self, rows: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
        """Leave out the bar that is still growing: a recording keeps what will not change."""
        now = self._clock.now()
        if "ts" in rows.columns:
            return rows.filter(pl.col("ts") + _MINUTE <= now)
        return rows.filter(pl.col("session") <= last_ended(hours_of(instrument), now))

    def _on_schedule(self, fields: list[str]) -> None:
        request = self._asked.pop(int(fields[1]), None)
        if request is None:
            self._missed.add("schedules of an unknown request", "nobody can tell what they are")
            return
        instrument, label = self._names.of(request.contract)
        if request.use_rth != minute_series(instrument.sec_type, use_rth=True).use_rth:
            self._missed.add("schedules of other hours", "a replay tells those of the bars, of shares regular ones")
            return
        days = schedule_of(fields)
        self._describe(instrument)
        self._add("schedule", days, {"con_id": instrument.con_id, "symbol": label})
        self._tell(f"recorded a schedule of {days.height} days: {label or instrument.con_id}")

    def _on_details(self, fields: list[str]) -> None:
        found = details_of(fields, self._version)
        if found.sec_type not in _SEC_TYPES:
            self._missed.add(f"{found.sec_type} contract details")
            return
        self._names.learn(found)
        self._tape.add("details", described(found, is_told=True))
        self._tell(f"recorded the contract details of {found.label}")


def _message_id(payload: bytes) -> int:
    return number(payload.split(b"\0", 1)[0].decode(errors="replace"))
