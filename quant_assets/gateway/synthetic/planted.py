"""The plan of events as a table, so that anything found in the data can be checked against the truth."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import polars as pl

from quant_assets.gateway.hours import FULL_SESSION_MINUTES, TradingHours
from quant_assets.gateway.synthetic.events import Events
from quant_assets.gateway.synthetic.universe import Listing

EVENTS: Final = pl.Schema(
    {
        "kind": pl.String(),
        "con_id": pl.Int64(),
        "symbol": pl.String(),
        "session": pl.Date(),
        "first_ts": pl.Datetime("us", "UTC"),
        "last_ts": pl.Datetime("us", "UTC"),
        "detail": pl.String(),
    }
)
"""`con_id` is null for events of the whole exchange; `first_ts` and `last_ts` are the starts of the minutes concerned.
`symbol` is the name on that session. `detail`: ratio of a split (new for old), amount of a dividend, factor of a bad
print, the former symbol, the closing time of a half day."""

Dividend = Callable[[int, int], float]
Row = tuple[Any, ...]


def table(
    events: Events, listed: list[Listing], hours: TradingHours, dividend: Dividend, *, first: date, last: date
) -> pl.DataFrame:
    """Return the events of the sessions from `first` to `last`, by session, kind and instrument."""
    sessions = hours.between(first, last)
    rows = [
        *_half_days(hours, sessions),
        *_minute_events(events, listed, hours, sessions),
        *_splits(events, listed, hours, sessions),
        *_dividends(events, listed, hours, dividend, sessions),
        *_lives(listed, first, last),
    ]
    return pl.DataFrame(rows, schema=EVENTS, orient="row").sort("session", "kind", "con_id")


def _of(listing: Listing, kind: str, day: date, detail: str, *ts: datetime) -> Row:
    first, last = ts or (None, None)
    return (kind, listing.instrument.con_id, listing.symbol_on(day), day, first, last, detail)


def _half_days(hours: TradingHours, sessions: range) -> Iterator[Row]:
    for n in sessions:
        if hours.minutes([n])[0] < FULL_SESSION_MINUTES:
            closes = hours.close_at(n)
            yield (
                "half_day",
                None,
                None,
                hours.session(n),
                None,
                closes - timedelta(minutes=1),
                f"closes {closes:%H:%M}Z",
            )


def _minute_events(events: Events, listed: list[Listing], hours: TradingHours, sessions: range) -> Iterator[Row]:
    for n in sessions:
        for event in events.of_session(n):
            opens = int(hours.opens[n])
            ts = [datetime.fromtimestamp(opens + 60 * minute, UTC) for minute in (event.first, event.last)]
            minutes = event.last - event.first + 1
            detail = f"x{event.factor:g}" if event.kind == "bad_print" else f"{minutes} minutes"
            yield _of(listed[event.index], event.kind, hours.session(n), detail, *ts)


def _splits(events: Events, listed: list[Listing], hours: TradingHours, sessions: range) -> Iterator[Row]:
    for split in events.splits:
        if split.ordinal in sessions:
            yield _of(listed[split.index], "split", hours.session(split.ordinal), f"{split.ratio:g}")


def _dividends(
    events: Events, listed: list[Listing], hours: TradingHours, dividend: Dividend, sessions: range
) -> Iterator[Row]:
    for index, listing in enumerate(listed):
        for n in events.dividend_ordinals(index, sessions.start, sessions.stop - 1):
            if listing.is_listed_on(hours.session(n)) and listing.is_listed_on(hours.session(n - 1)):
                yield _of(listing, "dividend", hours.session(n), f"{dividend(index, n):.2f}")


def _lives(listed: list[Listing], first: date, last: date) -> Iterator[Row]:
    for listing in listed:
        if listing.listed and first <= listing.listed <= last:
            yield _of(listing, "listing", listing.listed, "first session")
        if listing.delisted and first <= listing.delisted <= last:
            yield _of(listing, "delisting", listing.delisted, "last session")
        if listing.renamed and first <= listing.renamed[1] <= last:
            yield _of(listing, "symbol_change", listing.renamed[1], f"was {listing.renamed[0]}")
