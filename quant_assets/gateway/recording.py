"""A market that happened: bars served from a Parquet recording as they were recorded, dirt included."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import polars as pl

from quant_assets.gateway import ranking
from quant_assets.gateway.hours import TradingHours, exchange_date, trading_hours
from quant_assets.gateway.market import DAILY_BARS, MINUTE_BARS, PRICES, Instrument
from quant_assets.gateway.recording_file import read_recording, require_recorded
from quant_assets.gateway.recording_hours import hours_of, last_ended, scheduled

_DECIMALS: Final = 6
_MINUTE: Final = timedelta(minutes=1)
_INSTANT: Final = MINUTE_BARS["ts"]
_SESSIONS: Final = pl.Schema({"session": pl.Date(), "ts": _INSTANT, "closes": _INSTANT, "place": pl.Int64()})


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
    bars of a series that was recorded are served as recorded; others are aggregated from the series' minutes inside
    the instrument's sessions in chronological order; the first of duplicate minutes counts. What was not recorded
    (wap, number of trades) is -1. TRADES stand on the vendor's price basis, whatever the day of the request;
    ADJUSTED_LAST, where it was not recorded, takes the recorded dividends out of them.

    Sessions are those of the calendar of the instrument's exchange, corrected by recorded schedules. An exchange that
    is not known has the week that contract details told; what nothing is known of trades when New York does.
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
        details: Iterable[Instrument] = (),
        schedule: pl.DataFrame | None = None,
    ) -> None:
        has_prices = pl.all_horizontal(pl.col(name).is_not_null() for name in (*PRICES, "volume"))
        self.hours = hours or trading_hours()
        self.path, self.name = path, path.stem
        self.description = f"Minute bars recorded in {path.name}."
        self._rows = rows.filter(has_prices)
        spans = self._rows.group_by("con_id", "what", maintain_order=True).agg(pl.len())
        starts = spans["len"].cum_sum() - spans["len"]
        keys = zip(spans["con_id"], spans["what"], strict=True)
        self._spans = dict(zip(keys, zip(starts, spans["len"], strict=True), strict=True))
        self._served_daily, self._schedule = served_daily, schedule
        self._schedules: dict[tuple[int, bool], TradingHours] = {}
        bars = [self._rows] if served_daily is None else [self._rows, served_daily]
        names = pl.concat([frame.select("con_id", "symbol") for frame in bars]).unique("con_id", keep="last")
        named = {con_id: _instrument(con_id, symbol, primary_exchange) for con_id, symbol in names.iter_rows()}
        named |= {one.con_id: one for one in details}
        self._instruments = {x.con_id: x for x in sorted(named.values(), key=lambda x: (x.symbol, x.con_id))}
        self._hours = {con_id: hours or hours_of(one) or self.hours for con_id, one in self._instruments.items()}
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

        path = Path(path)
        if not path.is_file():
            return cls(path, read_recording(path, symbols), hours)
        details, daily, schedule = tape.instruments(path), tape.load(path, "daily"), tape.load(path, "schedule")
        if symbols is None:
            rows = read_recording(path)
            return cls(path, rows, hours, served_daily=daily, details=details, schedule=schedule)
        chosen = [one for one in details if {one.label, one.symbol} & set(symbols)]
        con_ids = {one.con_id for one in chosen}
        is_chosen = pl.col("symbol").is_in(list(symbols)) | pl.col("con_id").is_in(list(con_ids))
        rows, daily = read_recording(path, symbols, con_ids), daily.filter(is_chosen)
        found = {*rows["symbol"], *daily["symbol"], *(name for one in chosen for name in (one.label, one.symbol))}
        require_recorded(path, symbols, found, [one.label for one in details])
        return cls(path, rows, hours, served_daily=daily, details=chosen, schedule=schedule)

    # ------------------------------------------------------------ who

    def hours_of(self, instrument: Instrument) -> TradingHours:
        """Return the sessions of the exchange that an instrument trades on."""
        return self._corrected(instrument, keeps_hours=True)

    def schedule_of(self, instrument: Instrument) -> TradingHours:
        """Return the same days, with the hours that a recorded schedule told of them."""
        return self._corrected(instrument, keeps_hours=False)

    def instruments(self, as_of: datetime) -> list[Instrument]:  # noqa: ARG002 - names were recorded once
        """Return every recorded instrument, by symbol."""
        return list(self._instruments.values())

    def find(self, as_of: datetime, *, con_id: int = 0, symbol: str = "") -> Instrument | None:  # noqa: ARG002
        """Return the instrument with this con_id, or, when that is 0, the first with this symbol."""
        if con_id:
            return self._instruments.get(con_id)
        return next((one for one in self._instruments.values() if one.symbol == symbol), None)

    # ------------------------------------------------------------ bars

    def minute_bars(
        self, instrument: Instrument, start: datetime, end: datetime, what: str, as_of: datetime
    ) -> pl.DataFrame:
        """Return the recorded minutes that start in [start, end) and have completed, in the source's order."""
        ts = pl.col("ts")
        inside = (ts >= start) & (ts < end) & (ts <= as_of - _MINUTE)
        is_derived = self._is_derived(instrument, what)
        found = self._of(instrument, "TRADES" if is_derived else what).filter(inside).select(*MINUTE_BARS.names())
        return self._adjusted(found, instrument, as_of) if is_derived else found

    def daily_bars(self, instrument: Instrument, first: date, last: date, what: str, as_of: datetime) -> pl.DataFrame:
        """Return the sessions from `first` to `last` that had closed and in which it traded, ascending."""
        until = min(last, last_ended(self.hours_of(instrument), as_of))
        if (served := self._as_served(instrument, what)) is not None:
            return served.filter(pl.col("session").is_between(first, until)).select(*DAILY_BARS.names())
        is_derived = self._is_derived(instrument, what)
        is_mine = (pl.col("con_id") == instrument.con_id) & (pl.col("what") == ("TRADES" if is_derived else what))
        found = self._daily.filter(is_mine & pl.col("session").is_between(first, until)).select(*DAILY_BARS.names())
        return self._adjusted(found, instrument, as_of) if is_derived else found

    def head(self, instrument: Instrument, what: str, as_of: datetime) -> datetime | None:
        """Return the start of the oldest recorded bar."""
        oldest = self._of(instrument, "TRADES" if self._is_derived(instrument, what) else what)["ts"].min()
        if oldest is None and (served := self._as_served(instrument, what)) is not None:
            hours = self.hours_of(instrument)
            oldest = hours.open_at(hours.ordinal_on_or_after(served["session"][0]))
        return oldest if isinstance(oldest, datetime) and oldest < as_of else None

    def scan(self, code: str, n_rows: int, as_of: datetime) -> list[Instrument]:
        """Return the best of what New York lists in the last recorded session that had closed."""
        here = [con_id for con_id, hours in self._hours.items() if hours is self.hours]
        is_listed = pl.col("con_id").is_in(here) & (pl.col("what") == "TRADES")
        known = self._daily.filter(is_listed & (pl.col("session") <= last_ended(self.hours, as_of)))
        return [self._instruments[con_id] for con_id in ranking.ranked(ranking.totals(known), code, n_rows)]

    # ------------------------------------------------------------ the parts

    def _of(self, instrument: Instrument, what: str) -> pl.DataFrame:
        start, n = self._spans.get((instrument.con_id, what), (0, 0))
        return self._rows.slice(start, n)

    def _is_derived(self, instrument: Instrument, what: str) -> bool:
        """Whether a series is made of TRADES because it was not recorded itself."""
        return what == "ADJUSTED_LAST" and (instrument.con_id, what) not in self._spans

    def _corrected(self, instrument: Instrument, *, keeps_hours: bool) -> TradingHours:
        key = (instrument.con_id, keeps_hours)
        if key not in self._schedules:
            hours = self._hours.get(instrument.con_id, self.hours)
            told = pl.DataFrame() if self._schedule is None else self._schedule
            mine = told.filter(pl.col("con_id") == instrument.con_id) if told.height else told
            self._schedules[key] = scheduled(hours, mine, keeps_hours=keeps_hours) if mine.height else hours
        return self._schedules[key]

    def _as_served(self, instrument: Instrument, what: str) -> pl.DataFrame | None:
        """Return the recorded daily bars of a series, ascending; None when it was not recorded."""
        if self._served_daily is None:
            return None
        found = self._served_daily.filter((pl.col("con_id") == instrument.con_id) & (pl.col("what") == what))
        return None if found.is_empty() else found

    @cached_property
    def _daily(self) -> pl.DataFrame:
        """Daily bars of all instruments and series, with what they paid: con_id, what, DAILY_BARS, dividend."""
        place, sessions = self._session_table()
        order = self._rows.unique(["con_id", "what", "ts"], keep="first", maintain_order=True)
        minutes = order.join(place, on="con_id", how="left", maintain_order="left").sort("ts", maintain_order=True)
        joined = minutes.join_asof(sessions, on="ts", by="place", strategy="backward", check_sortedness=False)
        joined = joined.filter(pl.col("ts") < pl.col("closes"))
        has_wap = (pl.col("wap") >= 0).all()
        wap = pl.when(has_wap).then((pl.col("wap") * pl.col("volume")).sum() / pl.col("volume").sum()).otherwise(-1.0)
        count = pl.when((pl.col("bar_count") >= 0).all()).then(pl.col("bar_count").sum()).otherwise(-1)
        return (
            joined.group_by("con_id", "what", "session")
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.when((pl.col("volume") >= 0).all()).then(pl.col("volume").sum()).otherwise(-1.0).alias("volume"),
                wap.fill_nan(pl.col("close").last()).round(_DECIMALS).alias("wap"),
                count.alias("bar_count"),
                pl.col("dividend").max(),
            )
            .sort("con_id", "what", "session")
            .set_sorted("con_id")
        )

    def _session_table(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the place of each con_id, and the sessions of each place: place, session, ts (the opening), closes."""
        tables: dict[int, TradingHours] = {}
        places = []
        for con_id, one in self._instruments.items():
            hours = self.hours_of(one)
            tables[id(hours)] = hours
            places.append((con_id, id(hours)))
        frames = [
            pl.DataFrame(
                {
                    "session": hours.sessions,
                    "ts": pl.Series(hours.opens * 1_000_000).cast(_INSTANT),
                    "closes": pl.Series(hours.closes * 1_000_000).cast(_INSTANT),
                }
            ).with_columns(pl.lit(key, pl.Int64).alias("place"))
            for key, hours in tables.items()
        ]
        schema = {"con_id": pl.Int64(), "place": pl.Int64()}
        empty = _SESSIONS.to_frame()
        return pl.DataFrame(places, schema=schema, orient="row"), pl.concat([empty, *frames]).sort("ts")

    def _adjusted(self, frame: pl.DataFrame, instrument: Instrument, as_of: datetime) -> pl.DataFrame:
        """Scale prices before each ex-dividend session that had come by `as_of`; -1 stays -1."""
        factor: pl.Expr = pl.lit(1.0)
        hours = self.hours_of(instrument)
        for session, ratio in self._dividends(instrument, exchange_date(as_of)):
            opens = hours.open_at(hours.ordinal_on_or_after(session))
            is_before = pl.col("ts") < opens if "ts" in frame.columns else pl.col("session") < session
            factor = factor * pl.when(is_before).then(ratio).otherwise(1.0)
        scaled = [(pl.col(name) * factor).round(_DECIMALS) for name in PRICES]
        wap = pl.when(pl.col("wap") < 0).then(pl.col("wap")).otherwise((pl.col("wap") * factor).round(_DECIMALS))
        return frame.with_columns(*scaled, wap.alias("wap"))

    def _dividends(self, instrument: Instrument, until: date) -> list[tuple[date, float]]:
        """Return (ex-dividend session, factor on the prices before it)."""
        mine = self._daily.filter((pl.col("con_id") == instrument.con_id) & (pl.col("what") == "TRADES"))
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
