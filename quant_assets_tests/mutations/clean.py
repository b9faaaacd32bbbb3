"""Clean sessions to plant faults into: what TWS would serve, and what the daily history says beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.tables import RAW_TWS_BARS
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets_tests.builders import trading

CALENDAR = TradingCalendar()
SESSIONS = (date(2025, 11, 28), date(2025, 12, 1))
"""The first one is a half day."""
N_INSTRUMENTS = 24
_USUAL = 20
_RECEIVED = timedelta(hours=4)
_MINUTE_EVENTS = ("bad_print", "gap", "halt", "split")


@dataclass(frozen=True)
class Clean:
    """One session without a fault."""

    session: date
    raw: pl.DataFrame
    """Rows of raw_tws_bars, one answer per instrument."""
    hours: pl.DataFrame
    daily: pl.DataFrame

    @property
    def con_ids(self) -> list[int]:
        """The instruments."""
        return self.hours["con_id"].to_list()


def answers(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    """Return bars as rows of raw_tws_bars: one answer per instrument, in the order of the frame."""
    closes = CALENDAR.hours(session).closes_at
    texts = {
        "source": "TWS",
        "bar_size": "1 min",
        "what_to_show": "TRADES",
        "batch_id": "m",
        "pipeline_version": "0",
    }
    return rows.with_columns(
        *(pl.lit(value).alias(name) for name, value in texts.items()),
        pl.lit(session).alias("session"),
        pl.lit(value=True).alias("use_rth"),
        pl.format("m-{}", "con_id").alias("request_id"),
        pl.lit(closes + _RECEIVED).cast(RAW_TWS_BARS.schema["ingested_at"]).alias("ingested_at"),
        pl.int_range(pl.len(), dtype=pl.Int64).over("con_id").alias("answer_row"),
    ).select(RAW_TWS_BARS.schema.names())


def _hours(con_ids: list[int], names: list[str], session: date) -> pl.DataFrame:
    labels = pl.DataFrame({"con_id": con_ids, "symbol": names, "asset_class": "STK"})
    return labels.join(trading(session, con_ids), on="con_id", maintain_order="left")


@lru_cache(maxsize=1)
def market() -> SyntheticMarket:
    """Return the market that everything is planted into."""
    return SyntheticMarket(7)


@lru_cache(maxsize=8)
def synthetic(session: date) -> Clean:
    """Return a session of the synthetic market: instruments that trade every minute and have no event that day."""
    found, days = [], []
    opened = CALENDAR.hours(session)
    now = datetime(session.year, session.month, session.day, 23, tzinfo=UTC)
    before = CALENDAR.window(session, _USUAL + 1)
    planted = market().planted_events(before[0], session).filter(pl.col("kind").is_in(_MINUTE_EVENTS))
    troubled = set(planted.filter((pl.col("session") == session) | (pl.col("kind") == "split"))["con_id"])
    for one in market().instruments(now):
        if len(found) == N_INSTRUMENTS or one.con_id in troubled:
            continue
        bars = market().minute_bars(one, opened.opens_at, opened.closes_at, "TRADES", now)
        if bars.height != opened.n_minutes or (bars["volume"] == 0).any():
            continue
        found.append(
            bars.with_columns(pl.lit(one.con_id, pl.Int64).alias("con_id"), pl.lit(one.symbol).alias("symbol"))
        )
        day = market().daily_bars(one, before[0], session, "TRADES", now)
        days.append(_reference(one.con_id, day, session))
    rows = answers(pl.concat(found).cast({"bar_count": pl.Int64}), session)
    named = rows.group_by("con_id", maintain_order=True).agg(pl.col("symbol").first())
    return Clean(session, rows, _hours(*named.to_dict(as_series=False).values(), session), pl.concat(days))


def _reference(con_id: int, day: pl.DataFrame, session: date) -> pl.DataFrame:
    today, before = day.filter(pl.col("session") == session), day.filter(pl.col("session") < session)
    return pl.DataFrame(
        {
            "con_id": [con_id],
            "previous_close": [before["close"][-1]],
            **{f"day_{name}": [float(today[name][0])] for name in ("high", "low", "close", "volume")},
            "usual_volume": [float(before["volume"].median())],
        }
    )


def recorded(path: Path) -> Iterator[Clean]:
    """Yield sessions of a recording: liquid funds, their real minutes cleaned of duplicates, the day made from them."""
    everything = pl.read_parquet(path).with_columns(
        pl.col("datetime").str.slice(0, 10).str.to_date().alias("session"),
        pl.col("datetime").str.to_datetime(time_unit="us", time_zone="UTC").alias("ts"),
    )
    days = [date(2019, 12, 19), date(2019, 12, 20)]
    sound = everything.filter(
        pl.col("session").is_in(days), pl.all_horizontal(pl.col("open", "high", "low", "close").is_not_null())
    ).unique(["symbol", "ts"], keep="none")
    most = sound.group_by("symbol").len().sort("len", "symbol", descending=[True, False]).head(N_INSTRUMENTS)
    chosen = sound.join(most, on="symbol", how="semi").sort("symbol", "ts")
    symbols = sorted(most["symbol"])
    numbered = chosen.with_columns(
        pl.col("symbol")
        .replace_strict({name: place + 1 for place, name in enumerate(symbols)})
        .cast(pl.Int64)
        .alias("con_id"),
        pl.lit(None, pl.Float64).alias("wap"),
        pl.lit(None, pl.Int64).alias("bar_count"),
        pl.col("volume").cast(pl.Float64),
    )
    first, second = (numbered.filter(pl.col("session") == day) for day in days)
    last = first.group_by("con_id").agg(
        pl.col("close").last().alias("previous_close"), pl.col("volume").sum().alias("usual_volume")
    )
    day = second.group_by("con_id", maintain_order=True).agg(
        pl.col("high").max().alias("day_high"),
        pl.col("low").min().alias("day_low"),
        pl.col("close").last().alias("day_close"),
        pl.col("volume").sum().alias("day_volume"),
    )
    hours = _hours(list(range(1, len(symbols) + 1)), symbols, days[1])
    yield Clean(days[1], answers(second, days[1]), hours, day.join(last, on="con_id").sort("con_id"))


def recorded_tws(path: Path) -> Clean:
    """Return a recorded session of one stock as TWS served it, under three con_ids, the day made from its minutes."""
    session = date(2025, 9, 26)
    opened = CALENDAR.hours(session)
    served = (
        pl.read_csv(path)
        .rename({"average": "wap", "barCount": "bar_count"})
        .with_columns(
            pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S%z", time_unit="us", time_zone="UTC").alias("ts")
        )
    )
    before = served.filter(pl.col("ts") < opened.opens_at)
    rows = served.filter(pl.col("ts") >= opened.opens_at, pl.col("ts") < opened.closes_at)
    con_ids, names = [1, 2, 3], ["AAPL1", "AAPL2", "AAPL3"]
    named = pl.DataFrame({"con_id": con_ids, "symbol": names}).join(rows, how="cross", maintain_order="left_right")
    day = rows.select(
        pl.lit(before["close"][-1]).alias("previous_close"),
        pl.col("high").max().alias("day_high"),
        pl.col("low").min().alias("day_low"),
        pl.col("close").last().alias("day_close"),
        pl.col("volume").sum().alias("day_volume"),
        pl.col("volume").sum().alias("usual_volume"),
    )
    daily = pl.DataFrame({"con_id": con_ids}).join(day, how="cross")
    return Clean(session, answers(named, session), _hours(con_ids, names, session), daily)
