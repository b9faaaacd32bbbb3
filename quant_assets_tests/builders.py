"""Frames in the shape of the tables, with realistic defaults: a test writes down only what it is about."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.hours import HOURS, Hours
from quant_assets.domain.tables import (
    CURATED_TWS_1M_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    UNIVERSE,
    Column,
    Table,
)

CALENDAR = TradingCalendar()
SESSION = date(2024, 1, 3)
HALF_DAY = date(2019, 12, 24)
CON_ID = 101
ASKED = timedelta(hours=10)
"""How long after the close an answer arrives unless a test says otherwise."""

_TEXT = {"source": "TWS", "bar_size": "1 min", "what_to_show": "TRADES", "pipeline_version": "0.1.0"}


def far_from_the_reset(now: datetime | None = None) -> dict[str, str]:
    """Return a `tws.reset_window` half a day away from a clock, or the machine's: inside it no denial is believed."""
    place = ZoneInfo("America/New_York")
    then = (now.astimezone(place) if now else datetime.now(place)) + timedelta(hours=12)
    return {"start": f"{then:%H:%M}", "end": f"{then + timedelta(minutes=30):%H:%M}"}


def instant(text: str) -> datetime:
    """Return a UTC instant from `2024-01-03 14:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(session: date = SESSION) -> Hours:
    """Return opening and closing of a session of XNYS."""
    return CALENDAR.hours(session)


def trading(session: date = SESSION, con_ids: Iterable[int] = (CON_ID, CON_ID + 1)) -> pl.DataFrame:
    """Return con_id and HOURS of instruments that keep the hours of XNYS."""
    rows = [(con_id, *hours(session).row) for con_id in con_ids]
    return pl.DataFrame(rows, schema={"con_id": pl.Int64, **HOURS}, orient="row")


def paused(session: date = SESSION, con_ids: Iterable[int] = (CON_ID, CON_ID + 1)) -> pl.DataFrame:
    """Return the same with a pause of an hour: minutes 120 to 179 do not trade."""
    pause = pl.lit(minute(120, session)).alias("pauses_at"), pl.lit(minute(180, session)).alias("resumes_at")
    return trading(session, con_ids).with_columns(one.cast(HOURS["opens_at"]) for one in pause)


def minute(number: int, session: date = SESSION) -> datetime:
    """Return the start of a session's minute; 0 is the opening."""
    return hours(session).opens_at + timedelta(minutes=number)


def raw_bars(
    closes: Sequence[float] | dict[int, float],
    *,
    session: date = SESSION,
    con_id: int = CON_ID,
    request: str = "b1-000",
    ingested_at: datetime | None = None,
    first: int = 0,
    rows: Iterable[dict[str, object]] = (),
) -> pl.DataFrame:
    """Return the rows of one answer: one flat bar per close, minute by minute, and `rows` appended as they are.

    Args:
        closes: from minute `first` on, or by minute.
        session: the session.
        con_id: the instrument.
        request: request id; the batch id is what stands before its dash.
        ingested_at: when the answer arrived; ten hours after the close when None.
        first: minute of the first close.
        rows: further rows, each `{"minute": 3, …}` or with `ts`, and the columns that differ.
    """
    by_minute = closes if isinstance(closes, dict) else dict(enumerate(closes, first))
    wanted = [{"minute": number, "close": close} for number, close in by_minute.items()]
    at = ingested_at or hours(session).closes_at + ASKED
    made = []
    for place, row in enumerate([*wanted, *rows]):
        given = dict(row)
        number = given.pop("minute", 0)
        close = float(given.get("close", 100.0))  # type: ignore[arg-type]
        bar = {
            **_TEXT,
            **dict.fromkeys(("open", "high", "low", "close", "wap"), close),
            "session": session,
            "con_id": con_id,
            "symbol": f"S{con_id}",
            "use_rth": True,
            "ts": minute(int(number), session),  # type: ignore[call-overload]
            "volume": 1000.0,
            "bar_count": 10,
            "answer_row": place,
            "batch_id": request.split("-", maxsplit=1)[0],
            "request_id": request,
            "ingested_at": at,
        }
        made.append({**bar, **given})
    return RAW_TWS_BARS.frame(made)


def curated_bars(
    closes: Sequence[float | None], *, session: date = SESSION, con_id: int = CON_ID, first: int = 0
) -> pl.DataFrame:
    """Return curated bars, minute by minute; None is a minute without a bar."""
    rows = []
    for number, close in enumerate(closes, first):
        if close is None:
            continue
        rows.append(
            {
                **dict.fromkeys(("open", "high", "low", "close", "wap"), float(close)),
                **dict.fromkeys((f"is_imputed_{x}" for x in ("open", "high", "low", "close", "volume")), False),
                "session": session,
                "con_id": con_id,
                "symbol": f"S{con_id}",
                "ts": minute(number, session),
                "volume": 1000.0,
                "bar_count": 10,
                "dq_status": "ok",
                "known_at": hours(session).closes_at + ASKED,
                "known_basis": "observed",
                "transform_version": "1",
            }
        )
    return CURATED_TWS_1M_BARS.frame(rows)


def vintage(
    closes: dict[date, float],
    of: date,
    *,
    what: str = "TRADES",
    con_id: int = CON_ID,
    is_full: bool = True,
    request: str = "",
    ingested_at: datetime | None = None,
    volume: float = 1e6,
) -> pl.DataFrame:
    """Return the rows of one daily answer: one flat bar per session, on the price basis of the vintage `of`."""
    name = request or f"v{of:%Y%m%d}-{what[0]}{con_id}"
    rows = [
        {
            **_TEXT,
            **dict.fromkeys(("open", "high", "low", "close", "wap"), float(close)),
            "bar_size": "1 day",
            "what_to_show": what,
            "vintage": of,
            "session": session,
            "con_id": con_id,
            "symbol": f"S{con_id}",
            "use_rth": True,
            "volume": volume,
            "bar_count": 5000,
            "is_full": is_full,
            "answer_row": place,
            "known_basis": "observed",
            "batch_id": name.split("-")[0],
            "request_id": name,
            "ingested_at": ingested_at or hours(of).closes_at + ASKED,
        }
        for place, (session, close) in enumerate(sorted(closes.items()))
    ]
    return RAW_TWS_DAILY_BARS.frame(rows)


def both(
    closes: dict[date, float], of: date, *, adjusted: dict[date, float] | None = None, **options: object
) -> pl.DataFrame:
    """Return TRADES and ADJUSTED_LAST of one vintage; equal closes unless `adjusted` says otherwise."""
    return pl.concat(
        [
            vintage(closes, of, what="TRADES", **options),  # type: ignore[arg-type]
            vintage(adjusted or closes, of, what="ADJUSTED_LAST", **options),  # type: ignore[arg-type]
        ]
    )


def universe(session: date = SESSION, con_ids: Iterable[int] = (CON_ID,)) -> pl.DataFrame:
    """Return the universe of a session."""
    common = {
        "exchange": "NYSE",
        "currency": "USD",
        "asset_class": "STK",
        "sources": "list:core",
        "profiles": "default",
        "observed_at": hours(session).closes_at + ASKED,
        "is_pit": True,
    }
    return UNIVERSE.frame([{**common, "session": session, "con_id": i, "symbol": f"S{i}"} for i in con_ids])


def references(**closes: float) -> pl.DataFrame:
    """Return previous closes; `references(c101=99.0)`."""
    rows = [(int(name.removeprefix("c")), value) for name, value in closes.items()]
    return pl.DataFrame(rows, schema={"con_id": pl.Int64, "previous_close": pl.Float64}, orient="row")


def small_table(**changes: object) -> Table:
    """Return a declaration for store tests: two instruments' prices per session, with one provenance column."""
    columns = (
        Column("session", pl.Date, "date", "Session"),
        Column("con_id", pl.Int64, "id", "Instrument", gt=0),
        Column("price", pl.Float64, "USD", "Price", nullable=True),
        Column("batch_id", pl.String, "id", "Batch", provenance=True),
        Column("ingested_at", pl.Datetime("us", "UTC"), "UTC instant", "Arrival", provenance=True),
    )
    given = {
        "name": "small",
        "zone": "silver",
        "key": ("session", "con_id"),
        "columns": columns,
        "grain": "(session, con_id)",
        "description": "A small table.",
        "producer": "small",
        **changes,
    }
    return Table(**given)  # type: ignore[arg-type]


def small_rows(
    prices: dict[int, float | None], *, session: date = SESSION, batch: str = "b1", at: datetime | None = None
) -> pl.DataFrame:
    """Return rows of `small_table` by con_id."""
    rows = [
        {
            "session": session,
            "con_id": i,
            "price": price,
            "batch_id": batch,
            "ingested_at": at or instant("2024-01-03 22:00"),
        }
        for i, price in prices.items()
    ]
    return small_table().frame(rows)
