"""A market that happened: bars served from a Parquet recording as they were recorded, dirt included."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import polars as pl

from quant_assets.gateway import ranking
from quant_assets.gateway.hours import TradingHours, exchange_date, trading_hours
from quant_assets.gateway.market import DAILY_BARS, MINUTE_BARS, TRADE_SERIES, Instrument
from quant_assets.gateway.recording_file import read_recording

_PRICES: Final = ("open", "high", "low", "close")
_DECIMALS: Final = 6
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RecordingReport:
    """What was found in the file."""

    path: Path
    rows: int
    instruments: int
    null_rows: dict[str, int] = field(default_factory=dict)
    """Rows without prices by symbol; they are left out, for a TWS message cannot hold them."""
    first_session: date | None = None
    last_session: date | None = None


class RecordedMarket:
    """Serves a recording; `open` loads it.

    Minute bars come in the source's row order, with its duplicates, stragglers and rows outside the session. Daily
    bars of a series that was recorded are served as recorded; others are aggregated from the minutes of the
    calendar's regular hours in chronological order; the first of duplicate minutes counts. What was not recorded
    (wap, number of trades) is -1, and only TRADES and ADJUSTED_LAST exist. TRADES stand on the vendor's price basis,
    whatever the day of the request; ADJUSTED_LAST also takes the recorded dividends out.
    """

    is_synthetic = False

    def __init__(
        self,
        path: Path,
        rows: pl.DataFrame,
        hours: TradingHours | None = None,
        primary_exchange: str = "ARCA",
        *,
        served_daily: pl.DataFrame | None = None,
        details: pl.DataFrame | None = None,
    ) -> None:
        has_prices = pl.all_horizontal(pl.col(name).is_not_null() for name in (*_PRICES, "volume"))
        self.hours = hours or trading_hours()
        self.path, self.name = path, path.stem
        self.description = f"Minute bars recorded in {path.name}."
        self._rows = rows.filter(has_prices)
        spans = self._rows.group_by("con_id", maintain_order=True).agg(pl.len(), pl.col("symbol").last())
        starts = spans["len"].cum_sum() - spans["len"]
        self._spans = dict(zip(spans["con_id"], zip(starts, spans["len"], strict=True), strict=True))
        self._served_daily = served_daily
        named = {con_id: _instrument(con_id, symbol, primary_exchange) for con_id, _, symbol in spans.rows()}
        named |= {row["con_id"]: Instrument(**row) for row in (details.to_dicts() if details is not None else ())}
        self._instruments = {x.con_id: x for x in sorted(named.values(), key=lambda x: x.symbol)}
        self._by_symbol = {x.symbol: x for x in self._instruments.values()}
        self.report = self._reported(rows.filter(~has_prices))

    @classmethod
    def open(cls, path: Path | str, symbols: Collection[str] | None = None, hours: TradingHours | None = None) -> Self:
        """Load a recording, or the instruments of it called `symbols`.

        Raises:
            ConfigurationError: there is no such file.
            CorruptFileError: it is not a recording.
            UnknownNameError: one of `symbols` was not recorded.
        """
        from quant_assets.gateway.proxy import tape

        rows, chosen = read_recording(Path(path), symbols), pl.lit(value=True)
        if symbols is not None:
            chosen = pl.col("symbol").is_in(list(symbols))
        daily, details = (tape.load(Path(path), kind).filter(chosen) for kind in ("daily", "details"))
        return cls(Path(path), rows, hours, served_daily=daily, details=details)

    # ------------------------------------------------------------ who

    def hours_of(self, instrument: Instrument) -> TradingHours:  # noqa: ARG002 - one exchange was recorded
        """Return the recording's sessions."""
        return self.hours

    def instruments(self, as_of: datetime) -> list[Instrument]:  # noqa: ARG002 - names were recorded once
        """Return every recorded instrument, by symbol."""
        return list(self._instruments.values())

    def find(self, as_of: datetime, *, con_id: int = 0, symbol: str = "") -> Instrument | None:  # noqa: ARG002
        """Return the instrument with this con_id, or, when that is 0, with this symbol."""
        return self._instruments.get(con_id) if con_id else self._by_symbol.get(symbol)

    # ------------------------------------------------------------ bars

    def minute_bars(
        self, instrument: Instrument, start: datetime, end: datetime, what: str, as_of: datetime
    ) -> pl.DataFrame:
        """Return the recorded minutes that start in [start, end) and have completed, in the source's order."""
        if what not in TRADE_SERIES:
            return MINUTE_BARS.to_frame()
        ts = pl.col("ts")
        inside = (ts >= start) & (ts < end) & (ts <= as_of - _MINUTE)
        found = self._of(instrument).filter(inside).select(*MINUTE_BARS.names())
        return self._adjusted(found, instrument, as_of) if what == "ADJUSTED_LAST" else found

    def daily_bars(self, instrument: Instrument, first: date, last: date, what: str, as_of: datetime) -> pl.DataFrame:
        """Return the sessions from `first` to `last` that had closed and in which it traded, ascending."""
        if what not in TRADE_SERIES:
            return DAILY_BARS.to_frame()
        until = min(last, self._last_closed(as_of))
        if (served := self._as_served(instrument, what)) is not None:
            return served.filter(pl.col("session").is_between(first, until)).select(*DAILY_BARS.names())
        inside = (pl.col("con_id") == instrument.con_id) & pl.col("session").is_between(first, until)
        found = self._daily.filter(inside).select(*DAILY_BARS.names())
        return self._adjusted(found, instrument, as_of) if what == "ADJUSTED_LAST" else found

    def head(self, instrument: Instrument, what: str, as_of: datetime) -> datetime | None:
        """Return the start of the oldest recorded bar."""
        if what not in TRADE_SERIES:
            return None
        oldest = self._of(instrument)["ts"].min()
        if oldest is None and (served := self._as_served(instrument, what)) is not None:
            oldest = self.hours.open_at(self.hours.ordinal_on_or_after(served["session"][0]))
        return oldest if isinstance(oldest, datetime) and oldest < as_of else None

    def scan(self, code: str, n_rows: int, as_of: datetime) -> list[Instrument]:
        """Return the best instruments of the last recorded session that had closed."""
        known = self._daily.filter(pl.col("session") <= self._last_closed(as_of))
        return [self._instruments[con_id] for con_id in ranking.ranked(ranking.totals(known), code, n_rows)]

    # ------------------------------------------------------------ the parts

    def _of(self, instrument: Instrument) -> pl.DataFrame:
        start, n = self._spans.get(instrument.con_id, (0, 0))
        return self._rows.slice(start, n)

    def _as_served(self, instrument: Instrument, what: str) -> pl.DataFrame | None:
        """Return the recorded daily bars of a series, ascending; None when it was not recorded."""
        if self._served_daily is None:
            return None
        found = self._served_daily.filter((pl.col("con_id") == instrument.con_id) & (pl.col("what") == what))
        return None if found.is_empty() else found

    def _last_closed(self, as_of: datetime) -> date:
        return self.hours.session(max(self.hours.closed_by(as_of) - 1, 0))

    @cached_property
    def _daily(self) -> pl.DataFrame:
        """Daily bars of all instruments, with what they paid: con_id, DAILY_BARS, dividend."""
        sessions = pl.DataFrame(
            {
                "session": self.hours.sessions,
                "ts": pl.Series(self.hours.opens * 1_000_000).cast(MINUTE_BARS["ts"]),
                "closes": pl.Series(self.hours.closes * 1_000_000).cast(MINUTE_BARS["ts"]),
            }
        ).sort("ts")
        minutes = self._rows.unique(["con_id", "ts"], keep="first", maintain_order=True).sort("ts", maintain_order=True)
        joined = minutes.join_asof(sessions, on="ts", strategy="backward").filter(pl.col("ts") < pl.col("closes"))
        has_wap = (pl.col("wap") >= 0).all()
        wap = pl.when(has_wap).then((pl.col("wap") * pl.col("volume")).sum() / pl.col("volume").sum()).otherwise(-1.0)
        count = pl.when((pl.col("bar_count") >= 0).all()).then(pl.col("bar_count").sum()).otherwise(-1)
        return (
            joined.group_by("con_id", "session")
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
                wap.fill_nan(pl.col("close").last()).round(_DECIMALS).alias("wap"),
                count.alias("bar_count"),
                pl.col("dividend").max(),
            )
            .sort("con_id", "session")
            .set_sorted("con_id")
        )

    def _adjusted(self, frame: pl.DataFrame, instrument: Instrument, as_of: datetime) -> pl.DataFrame:
        """Scale prices before each ex-dividend session that had come by `as_of`; -1 stays -1."""
        factor: pl.Expr = pl.lit(1.0)
        for session, ratio in self._dividends(instrument, exchange_date(as_of)):
            opens = self.hours.open_at(self.hours.ordinal_on_or_after(session))
            is_before = pl.col("ts") < opens if "ts" in frame.columns else pl.col("session") < session
            factor = factor * pl.when(is_before).then(ratio).otherwise(1.0)
        scaled = [(pl.col(name) * factor).round(_DECIMALS) for name in _PRICES]
        wap = pl.when(pl.col("wap") < 0).then(pl.col("wap")).otherwise((pl.col("wap") * factor).round(_DECIMALS))
        return frame.with_columns(*scaled, wap.alias("wap"))

    def _dividends(self, instrument: Instrument, until: date) -> list[tuple[date, float]]:
        """Return (ex-dividend session, factor on the prices before it)."""
        mine = self._daily.filter(pl.col("con_id") == instrument.con_id)
        paid = mine.with_columns(ratio=1 - pl.col("dividend") / pl.col("close").shift(1)).filter(
            (pl.col("dividend") > 0) & pl.col("ratio").is_not_null() & (pl.col("session") <= until)
        )
        return list(zip(paid["session"], paid["ratio"], strict=True))

    def _reported(self, nulls: pl.DataFrame) -> RecordingReport:
        counts = nulls.group_by("symbol").len().sort("symbol")
        first, last = self._rows["ts"].min(), self._rows["ts"].max()
        return RecordingReport(
            path=self.path,
            rows=self._rows.height,
            instruments=len(self._instruments),
            null_rows=dict(zip(counts["symbol"], counts["len"], strict=True)),
            first_session=exchange_date(first) if isinstance(first, datetime) else None,
            last_session=exchange_date(last) if isinstance(last, datetime) else None,
        )


def _instrument(con_id: int, symbol: str, primary_exchange: str) -> Instrument:
    return Instrument(con_id, symbol, f"{symbol} (recorded)", primary_exchange, market_name="RECORDED")
