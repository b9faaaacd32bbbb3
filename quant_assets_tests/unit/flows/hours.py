"""The hours of New York with one session of another length, one less, or one more."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np

from quant_assets.domain import venues
from quant_assets.domain.hours import HOURS, Hours
from quant_assets.domain.tables import RAW_TWS_SCHEDULES
from quant_assets.gateway.hours import TradingHours, trading_hours
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import Lakehouse
from quant_assets_tests.builders import instant


def closing(day: date, at: str, known: TradingHours | None = None) -> TradingHours:
    """New York as it is, or other hours, but for one close."""
    known = known or trading_hours()
    closes = np.where(known.sessions == np.datetime64(day), int(instant(f"{day} {at}").timestamp()), known.closes)
    return replace(known, closes=closes, pauses=closes, resumes=closes)


def without(day: date) -> TradingHours:
    known = trading_hours()
    kept = known.sessions != np.datetime64(day)
    return TradingHours(
        known.sessions[kept], known.opens[kept], known.closes[kept], known.pauses[kept], known.resumes[kept]
    )


def with_session(day: date) -> TradingHours:
    known = trading_hours()
    at = int(np.searchsorted(known.sessions, np.datetime64(day)))
    opens, closes = (int(instant(f"{day} {clock}").timestamp()) for clock in ("14:30", "21:00"))
    closed = np.insert(known.closes, at, closes)
    return TradingHours(
        np.insert(known.sessions, at, np.datetime64(day)), np.insert(known.opens, at, opens), closed, closed, closed
    )


def shorter(session: date, by: timedelta) -> Hours:
    hours = venues.calendar("XNYS").hours(session)
    return replace(hours, closes_at=hours.closes_at - by)


def tell(lake: Lakehouse, at: datetime, session: date, hours: Hours | None, batch: str) -> None:
    """Keep what TWS's schedule says of a session of New York, as it was heard at an instant."""
    row = {
        "calendar": "XNYS",
        "session": session,
        **dict(zip(HOURS, hours.row if hours else [None] * len(HOURS), strict=True)),
        "con_id": 1,
        "symbol": "QMKT",
        "batch_id": batch,
        "request_id": f"{batch}-XNYS",
        "pipeline_version": "0",
        "ingested_at": at,
    }
    lake.raw.append(RAW_TWS_SCHEDULES, Partition(session), RAW_TWS_SCHEDULES.frame([row]), batch)
