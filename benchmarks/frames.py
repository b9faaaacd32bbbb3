"""Generated rows in the declared shapes: seeded, and clean but for one bad print."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from quant_assets.domain.tables import (
    CURATED_TWS_1M_BARS,
    RAW_TWS_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
    Table,
)

MINUTES = 390
KNOWN = datetime(2026, 1, 31, tzinfo=UTC)


def opening(session: date) -> datetime:
    """Return 09:30 New York time in winter."""
    return datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)


def _minutes(session: date, n_instruments: int) -> pl.DataFrame:
    rng = np.random.default_rng(session.toordinal())
    n = n_instruments * MINUTES
    steps = rng.normal(0, 5e-4, (n_instruments, MINUTES)).cumsum(axis=1)
    close = np.round(rng.uniform(10, 400, (n_instruments, 1)) * np.exp(steps), 2).ravel()
    open_ = np.round(close * (1 + rng.normal(0, 2e-4, n)), 2)
    begin = opening(session)
    minutes = [begin + timedelta(minutes=minute) for minute in range(MINUTES)]
    return pl.DataFrame(
        {
            "con_id": np.repeat(np.arange(1, n_instruments + 1), MINUTES),
            "ts": pl.Series(minutes * n_instruments, dtype=pl.Datetime("us", "UTC")),
            "open": open_,
            "high": np.maximum(open_, close) + 0.01,
            "low": np.minimum(open_, close) - 0.01,
            "close": close,
            "volume": rng.integers(100, 10_000, n).astype(np.float64),
            "wap": close,
            "bar_count": rng.integers(1, 200, n),
        }
    ).with_columns(pl.lit(session).alias("session"), _symbol())


def _symbol() -> pl.Expr:
    return pl.format("S{}", "con_id").alias("symbol")


def filled(table: Table, frame: pl.DataFrame, values: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Return the frame with every other declared column: as given, else the first legal value, else a filler."""
    fillers = {pl.String: "x", pl.Float64: 1.0, pl.Int64: 1, pl.Boolean: False, pl.Date: KNOWN.date()}
    given = dict(values or {})
    added = []
    for column in table.columns:
        if column.name in frame.columns:
            continue
        filler = column.isin[0] if column.isin else fillers.get(type(column.dtype), fillers.get(column.dtype, KNOWN))
        added.append(pl.lit(given.get(column.name, filler)).cast(column.dtype).alias(column.name))
    return frame.with_columns(added).select(table.schema.names())


def curated(session: date, n_instruments: int) -> pl.DataFrame:
    """Return a session of curated 1-minute bars."""
    return filled(CURATED_TWS_1M_BARS, _minutes(session, n_instruments), {"transform_version": "bench"})


def raw(session: date, n_instruments: int) -> pl.DataFrame:
    """Return a session of raw rows as one batch, one of them a bad print."""
    rows = _minutes(session, n_instruments).with_columns(pl.int_range(pl.len()).over("con_id").alias("answer_row"))
    bad = (pl.col("con_id") == 1) & (pl.col("answer_row") == MINUTES // 2)
    prices = [
        pl.when(bad).then(100 * pl.col(name)).otherwise(name).alias(name) for name in ("open", "high", "low", "close")
    ]
    named = rows.with_columns(prices).with_columns(pl.format("bench-{}", "con_id").alias("request_id"))
    return filled(RAW_TWS_BARS, named, {"batch_id": "bench", "ingested_at": KNOWN, "use_rth": True})


def asked(session: date, n_instruments: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the universe and the request ledger that belong to `raw`."""
    members = pl.DataFrame({"con_id": range(1, n_instruments + 1)}).with_columns(
        pl.lit(session).alias("session"), _symbol()
    )
    ledger = members.with_columns(pl.format("bench-{}", "con_id").alias("request_id"))
    known = {"batch_id": "bench", "bars_batch_id": "bench", "ingested_at": KNOWN, "proof": "complete"}
    return filled(UNIVERSE, members), filled(RAW_TWS_REQUESTS, ledger, known)
