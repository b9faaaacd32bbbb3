"""The request ledger: what has been asked before, and whether the outcome can be relied on."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.connectors.base import BarRequest
from quant_assets.connectors.tws.failures import RepeatedRefusalError
from quant_assets.domain.accounting import is_unexplained
from quant_assets.domain.outcomes import DOUBTFUL, NOTHING
from quant_assets.domain.quality import hundredfold
from quant_assets.domain.tables import BAR_ACCOUNTING, DQ_METRICS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import (
    NoPermissionError,
    QuantAssetsError,
    SourceTimeoutError,
    SourceUnavailableError,
    UnknownContractError,
)
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

REFUSED = ("no_permission", "unknown_contract", "refused")
"""Outcomes that hold until somebody may have changed something: they are asked again after the fetch throttle."""

UNANSWERED = ("timeout", "unavailable")
"""Outcomes without an answer: they say nothing of the instrument."""

CONFIRMATIONS = 2
"""How often a run asks again, each time cut differently, before it leaves a doubt to a later run."""
MAX_ASKS = 3 * (1 + CONFIRMATIONS)
"""Answers in doubt, or refusals for an unknown reason, after which a hole counts as known, and is left alone."""


def outcome_of(error: QuantAssetsError) -> str | None:
    """Return the ledger's word for an error, or None for one that is no outcome of asking."""
    if isinstance(error, NoPermissionError):
        return "no_permission"
    if isinstance(error, UnknownContractError):
        return "unknown_contract"
    if isinstance(error, RepeatedRefusalError):
        return "refused"
    if isinstance(error, SourceTimeoutError):
        return "timeout"
    return "unavailable" if error.exit_code == SourceTimeoutError.exit_code else None


def is_fatal(error: QuantAssetsError) -> bool:
    """Return whether an error ends the whole ingestion: the source is gone, or the request itself is wrong."""
    return outcome_of(error) is None or isinstance(error, SourceUnavailableError)


def series_columns(request: BarRequest) -> dict[str, Any]:
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
        & pl.col("bars_batch_id").is_in([file.stem for file in work.lake.raw.batches(table, partition)])
        for bar_size, table in (("1 min", RAW_TWS_BARS), ("1 day", RAW_TWS_DAILY_BARS))
    ]
    return rows.filter(pl.col("bars_batch_id").is_null() | pl.any_horizontal(stored))


def settled(ledger: pl.DataFrame, now: datetime, throttle: timedelta, *, asks_known: bool = False) -> pl.DataFrame:
    """Return the ledger rows because of which a session of a series need not be asked for at `now`.

    What is proved holds for good. A refusal, a nothing that was heard twice, and a doubt that a whole run could not
    dispel hold for the throttle, so that one instrument does not hold up a session; its minutes stay unexplained until
    a later run, or a repair, brings them. After `MAX_ASKS` answers, or refusals for an unknown reason, it is a known
    hole, which holds unless known holes are to be asked for, too. Volumes in another unit never settle, and are no
    doubt: that is mended in TWS.
    """
    recent = pl.col("asked_at") >= now - throttle
    is_doubt = (pl.col("proof") == "") & pl.col("outcome").is_in(DOUBTFUL) & (pl.col("outcome") != "wrong_unit")
    is_nothing = is_doubt & pl.col("outcome").is_in(["no_data", "suspect_empty"])
    n_doubts, n_nothing = (
        which.sum().over("session", "con_id", "bar_size", "what_to_show")
        for which in (is_doubt, is_doubt & pl.col("outcome").is_in([*NOTHING, "shifted"]))
    )
    is_refused = pl.col("outcome") == "refused"
    n_refused = is_refused.sum().over("session", "con_id", "bar_size", "what_to_show")
    return ledger.filter(
        (pl.col("proof") != "")
        | (pl.col("outcome").is_in(REFUSED) & recent)
        | (is_nothing & recent & (n_nothing > 1))
        | (is_doubt & recent & (n_doubts > CONFIRMATIONS))
        | (is_doubt & (n_doubts >= MAX_ASKS) & (not asks_known))
        | (is_refused & (n_refused >= MAX_ASKS) & (not asks_known))
    )


def holes(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return what is in doubt: the newest ledger row of each session of a series that nothing proves, and `n_asked`.

    Args:
        ledger: ledger rows, as `read_ledger` returns them.
    """
    series = ["session", "con_id", "bar_size", "what_to_show"]
    is_proved = (pl.col("proof") != "").any().over(series)
    open_ = ledger.filter(~is_proved & pl.col("outcome").is_in([*DOUBTFUL, *REFUSED, *UNANSWERED]))
    counted = open_.with_columns(pl.len().over(series).alias("n_asked"))
    return counted.sort("asked_at", "request_id").unique(series, keep="last", maintain_order=True).sort(series)


def throttle_of(work: Work) -> timedelta:
    """Return how long a refusal holds, and a doubt that another run may look into."""
    return timedelta(hours=work.settings.manifest.lakehouse.fetch_throttle_hours)


def patience_of(work: Work) -> timedelta:
    """Return how long an ingestion leaves refusals and doubts alone; a repair does not wait."""
    return timedelta(0) if work.is_repair else throttle_of(work)


def contradicted(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return what answers agree on and the accounting calls unexplained: the daily volume says that more was traded.

    Returns:
        session, con_id, symbol, outcome, detail, n_asked, asked_at, is_known (asked for `MAX_ASKS` times) and missing
        (minutes that nothing explains), ordered by session and con_id.
    """
    rows = work.lake.curated.read_many(BAR_ACCOUNTING, [Partition(session) for session in sessions])
    lost = rows.filter(is_unexplained()).group_by("session", "con_id", "symbol").agg(_MISSING)
    ledger = read_ledger(work, lost["session"].unique().sort()).filter(
        (pl.col("bar_size") == "1 min") & ~pl.col("outcome").is_in([*REFUSED, *UNANSWERED])
    )
    asked = (
        ledger.sort("asked_at", "request_id")
        .group_by("session", "con_id")
        .agg(
            pl.col("outcome", "detail", "asked_at").last(),
            pl.len().cast(pl.UInt32).alias("n_asked"),
            (pl.col("proof") != "").any().alias("is_proved"),
        )
        .filter("is_proved")
    )
    found = lost.join(asked, on=["session", "con_id"]).with_columns((pl.col("n_asked") >= MAX_ASKS).alias("is_known"))
    return found.select(*_HOLE, "is_known", "missing").sort("session", "con_id")


def in_other_units(work: Work, sessions: Iterable[date]) -> pl.DataFrame:
    """Return instruments whose minutes and daily history are a hundred times apart in volume: either may be in lots.

    Returns:
        session, con_id and recorded_at: what was asked since then may have mended it.
    """
    partitions = [Partition(session) for session in sessions]
    return hundredfold(work.lake.curated.read_many(DQ_METRICS, partitions)).select("session", "con_id", "recorded_at")


def without_contradicted(ledger: pl.DataFrame, contradictions: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """Return ledger rows but for those that were contradicted after they had been asked.

    Args:
        ledger: rows of `raw_tws_requests`.
        contradictions: rows as `in_other_units` returns them.
        on: columns that say whether one speaks of the other.
    """
    newest = contradictions.group_by(on).agg(pl.col("recorded_at").max())
    judged = ledger.join(newest, on=on, how="left", maintain_order="left")
    is_open = pl.col("recorded_at").is_null() | (pl.col("asked_at") > pl.col("recorded_at"))
    return judged.filter(is_open).drop("recorded_at")


_MISSING = pl.col("minutes").sum().cast(pl.Int64).alias("missing")
_HOLE = ("session", "con_id", "symbol", "outcome", "detail", "n_asked", "asked_at")


def open_holes(work: Work, sessions: Iterable[date]) -> pl.DataFrame:
    """Return the holes in the 1-minute bars of sessions that another request may still fill, and the known ones.

    Returns:
        session, con_id, symbol, outcome, detail, n_asked, asked_at, is_known (given up after `MAX_ASKS` answers),
        ordered by session and con_id.
    """
    found = holes(read_ledger(work, sessions).filter(pl.col("bar_size") == "1 min"))
    return found.select(*_HOLE, is_known().alias("is_known")).sort("session", "con_id")


def is_known() -> pl.Expr:
    """Return whether a row of `holes` was asked for so often that only a person's word asks again."""
    return pl.col("outcome").is_in([*DOUBTFUL, "refused"]) & (pl.col("n_asked") >= MAX_ASKS)
