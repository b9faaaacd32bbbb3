"""The request ledger: what has been asked before, and whether the outcome can be relied on."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.connectors.base import BarRequest
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import (
    NoPermissionError,
    QuantAssetsError,
    SourceTimeoutError,
    SourceUnavailableError,
    UnknownContractError,
)
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

FINAL = ("bars", "no_data")
"""Outcomes that answer for a closed session."""

REFUSED = ("no_permission", "unknown_contract")
"""Outcomes that hold until somebody may have changed something: they are asked again after the fetch throttle."""


def outcome_of(error: QuantAssetsError) -> str | None:
    """Return the ledger's word for an error, or None for one that is no outcome of asking."""
    if isinstance(error, NoPermissionError):
        return "no_permission"
    if isinstance(error, UnknownContractError):
        return "unknown_contract"
    if isinstance(error, SourceTimeoutError):
        return "timeout"
    return "unavailable" if error.exit_code == SourceTimeoutError.exit_code else None


def is_fatal(error: QuantAssetsError) -> bool:
    """Return whether an error ends the whole ingestion: the source is gone, or the request itself is wrong."""
    return outcome_of(error) is None or isinstance(error, SourceUnavailableError)


def series_of(request: BarRequest) -> dict[str, Any]:
    """Return the columns that name the series of a request."""
    return {
        "source": "TWS",
        "bar_size": request.bar_size,
        "what_to_show": request.what_to_show,
        "use_rth": request.use_rth,
    }


def read_ledger(work: Work, sessions: Iterable[date]) -> pl.DataFrame:
    """Return all ledger rows of the given sessions, but for bars whose batch is gone: those have to come again."""
    frames = [_of_session(work, Partition(session)) for session in sessions]
    return pl.concat(frames) if frames else RAW_TWS_REQUESTS.empty()


def _of_session(work: Work, partition: Partition) -> pl.DataFrame:
    rows = work.lake.raw.read(RAW_TWS_REQUESTS, partition)
    if rows.is_empty():
        return rows
    stored = [
        (pl.col("bar_size") == bar_size)
        & pl.col("batch_id").is_in([file.stem for file in work.lake.raw.batches(table, partition)])
        for bar_size, table in (("1 min", RAW_TWS_BARS), ("1 day", RAW_TWS_DAILY_BARS))
    ]
    return rows.filter((pl.col("outcome") != "bars") | pl.any_horizontal(stored))


def settled(ledger: pl.DataFrame, now: datetime, throttle: timedelta) -> pl.DataFrame:
    """Return the ledger rows that need not be asked again at `now`."""
    recent = pl.col("asked_at") >= now - throttle
    return ledger.filter(pl.col("outcome").is_in(FINAL) | (pl.col("outcome").is_in(REFUSED) & recent))


def throttle_of(work: Work) -> timedelta:
    """Return how long a refusal holds."""
    return timedelta(hours=work.settings.manifest.lakehouse.fetch_throttle_hours)
