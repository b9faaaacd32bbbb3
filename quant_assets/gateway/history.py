"""Answers to history, schedule and head timestamp requests: from the request's window to the wire."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from quant_assets.gateway import messages
from quant_assets.gateway.encoding import FORMAT_EPOCH, BodyCache, encoded
from quant_assets.gateway.hours import WIRE_ZONE, ZONE, TradingHours, exchange_date, regular
from quant_assets.gateway.market import CRYPTO_TRADES, VALUES, Instrument, Market
from quant_assets.gateway.requests import HistoryRequest
from quant_assets.gateway.validation import BAR_SECONDS, end_instant, parsed_duration, window_start

_MINUTE_S: Final = 60
_DAY_S: Final = 86400
_NO_DATA: Final = "Historical Market Data Service error message:HMDS query returned no data: "
_NO_SERIES: Final = "Historical Market Data Service error message:No historical market data for "
_NOT_SERVED: Final = "Historical Market Data Service error message:Query failed: the replay gateway has no bars of "


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that is answered with an error message."""

    def __init__(self, code: int, text: str, *, is_no_data: bool = False) -> None:
        super().__init__(text)
        self.code, self.text, self.is_no_data = code, text, is_no_data


@dataclass(frozen=True, slots=True)
class Window:
    """What a request covers: the nominal window, and the sessions or instants that it means."""

    nominal_start: datetime
    end: datetime
    start: datetime
    """As nominal_start, but N D reaches back to the opening of the Nth last session."""
    sessions: range
    """Ordinals of the sessions that opened inside."""


def window_of(request: HistoryRequest, now: datetime, hours: TradingHours) -> Window:
    """Resolve end and duration: N D counts sessions, S the wall clock, W, M and Y the calendar.

    Bars are counted back from now when the end lies in the future; a schedule may look ahead.
    """
    end = end_instant(request.end, now)
    count, unit = parsed_duration(request.duration)
    nominal = window_start(end, count, unit)
    stop = hours.opened_before(end if request.what == "SCHEDULE" else min(end, now))
    if unit == "D":
        first = max(stop - count, 0)
        start = hours.open_at(first) if stop > 0 else end
    else:
        first, start = hours.opened_before(nominal), nominal
    return Window(nominal, end, start, range(first, stop))


class HistoryService:
    """Turns validated requests into messages."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._cache = BodyCache()

    def answer(self, request: HistoryRequest, instrument: Instrument, now: datetime) -> tuple[bytes, int]:
        """Return the message that answers a request and its number of bars.

        Args:
            request: passed validation.
            instrument: what its contract means.
            now: nothing that completes later is sent.

        Raises:
            Refusal: there is no data.
        """
        _refuse_series(request, instrument)
        if request.kind == "head_timestamp":
            return self._head(request, instrument, now), 0
        if request.what == "SCHEDULE":
            return self._schedule(request, instrument, now)
        window = window_of(request, now, self._market.hours_of(instrument))
        n_bars, body = self._body(request, instrument, window, now)
        if n_bars == 0:
            raise _no_data(request, instrument)
        start, end = (_header_time(x, request.format_date) for x in (window.nominal_start, window.end))
        return messages.bars(request.req_id, start, end, n_bars, body), n_bars

    def _head(self, request: HistoryRequest, instrument: Instrument, now: datetime) -> bytes:
        instant = self._market.head(instrument, request.what, now)
        if instant is None:
            raise Refusal(162, "Historical Market Data Service error message:No head time stamp", is_no_data=True)
        return messages.head_timestamp(request.req_id, instant, request.format_date)

    def _schedule(self, request: HistoryRequest, instrument: Instrument, now: datetime) -> tuple[bytes, int]:
        hours = self._market.schedule_of(instrument)
        if request.use_rth:
            hours = regular(hours, instrument.sec_type, instrument.timezone)
        sessions = window_of(request, now, hours).sessions
        if not sessions:
            raise _no_data(request, instrument)
        rows = [(hours.session(n), *interval) for n in sessions for interval in hours.intervals(n)]
        return messages.schedule(request.req_id, instrument.timezone, rows), len(rows)

    def _body(
        self, request: HistoryRequest, instrument: Instrument, window: Window, now: datetime
    ) -> tuple[int, bytes]:
        length = timedelta(seconds=BAR_SECONDS[request.bar_size])
        known_until = min(window.end + length, now.replace(second=0, microsecond=0))
        what = (instrument.con_id, request.what, request.bar_size, request.format_date)
        key = (*what, window.start, window.end, known_until, exchange_date(now))
        found = self._cache.get(key)
        if found is None:
            frame = self._bars(request, instrument, window, now)
            found = (frame.height, encoded(frame, request.format_date))
            self._cache.put(key, *found)
        return found

    def _bars(self, request: HistoryRequest, instrument: Instrument, window: Window, now: datetime) -> pl.DataFrame:
        seconds = BAR_SECONDS[request.bar_size]
        if seconds == _DAY_S:
            return self._daily(request.what, instrument, window, now)
        if not _MINUTE_S <= seconds < _DAY_S:
            raise Refusal(162, f"{_NOT_SERVED}{request.bar_size}: ask for 1 min to 8 hours, or 1 day")
        frame = self._market.minute_bars(instrument, window.start, window.end, request.what, now)
        return frame if seconds == _MINUTE_S else _resampled(frame, seconds, self._market.hours_of(instrument), now)

    def _daily(self, what: str, instrument: Instrument, window: Window, now: datetime) -> pl.DataFrame:
        hours, sessions = self._market.hours_of(instrument), window.sessions
        first = hours.session(sessions.start) if sessions else exchange_date(window.end)
        last = hours.session(sessions.stop - 1) if sessions else first - timedelta(days=1)
        return self._market.daily_bars(instrument, first, last, what, now)


def _refuse_series(request: HistoryRequest, instrument: Instrument) -> None:
    """Refuse what TWS has no series of, in its words.

    Raises:
        Refusal: trades of a currency pair, trades of a coin under another name than TWS's, and the like.
    """
    if request.what in (*instrument.series, "SCHEDULE"):
        return
    if instrument.sec_type == "CRYPTO" and request.what == "TRADES":
        raise Refusal(10299, f"Expected what to show is {CRYPTO_TRADES}, please use that instead of {request.what}.")
    place = f"{instrument.symbol}/{instrument.sec_type}@{instrument.exchange}"
    raise Refusal(162, f"{_NO_SERIES}{place} {request.what.title()}")


def _no_data(request: HistoryRequest, instrument: Instrument) -> Refusal:
    where = f"{instrument.symbol}@{request.contract.exchange} {request.what.title()}"
    return Refusal(162, _NO_DATA + where, is_no_data=True)


def _header_time(instant: datetime, format_date: int) -> str:
    if format_date == FORMAT_EPOCH:
        return f"{instant.astimezone(UTC):%Y%m%d %H:%M:%S}"
    return f"{instant.astimezone(ZONE):%Y%m%d %H:%M:%S} {WIRE_ZONE}"


def _resampled(frame: pl.DataFrame, seconds: int, hours: TradingHours, now: datetime) -> pl.DataFrame:
    """Aggregate minute bars on clock boundaries; the first bar of a session starts at its opening."""
    if frame.is_empty():
        return frame
    ordered = frame.sort("ts", maintain_order=True).with_columns(
        bucket=pl.col("ts").dt.convert_time_zone(ZONE.key).dt.truncate(f"{seconds // 60}m").dt.convert_time_zone("UTC")
    )
    weight = pl.col("volume").clip(lower_bound=0)
    turnover = (pl.col("wap") * weight).sum() / weight.sum()
    grouped = ordered.group_by("bucket", maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.when(pl.col("volume").first() < 0).then(-1.0).otherwise(pl.col("volume").sum()).alias("volume"),
        pl.when(pl.col("wap").first() < 0)
        .then(-1.0)
        .otherwise(turnover.fill_nan(pl.col("wap").last()).round(6))
        .alias("wap"),
        pl.when(pl.col("bar_count").first() < 0).then(-1).otherwise(pl.col("bar_count").sum()).alias("bar_count"),
    )
    is_complete = pl.col("bucket") + timedelta(seconds=seconds) <= now
    sessions = hours.overlapping(frame["ts"].min(), frame["ts"].max() + timedelta(minutes=1))  # type: ignore[arg-type, operator]
    opens = pl.Series("ts", [hours.open_at(n) for n in sessions], dtype=pl.Datetime("us", "UTC")).to_frame()
    starts = grouped.filter(is_complete).with_columns(end=pl.col("bucket") + timedelta(seconds=seconds - 1))
    joined = starts.join_asof(opens.sort("ts"), left_on="end", right_on="ts", strategy="backward")
    ts = pl.max_horizontal("bucket", pl.col("ts").fill_null(pl.col("bucket")))
    return joined.with_columns(ts=ts).select("ts", *VALUES)
