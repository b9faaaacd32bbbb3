"""From an outcome of asking to rows of bronze: the bars as served, and one ledger row per session."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

import polars as pl

import quant_assets
from quant_assets.connectors.base import BarAnswer
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import outcome_of, series_of

NO_BAR = "the answer holds no bar of this session"


def _constants(outcome: Outcome, batch_id: str, number: int) -> dict[str, object]:
    contract = outcome.planned.request.contract
    return {
        "con_id": contract.con_id,
        "symbol": contract.symbol,
        **series_of(outcome.planned.request),
        "batch_id": batch_id,
        "request_id": f"{batch_id}-{number:03d}",
        "pipeline_version": quant_assets.__version__,
    }


def _ledger_row(outcome: Outcome, constants: dict[str, object], session: date, n_rows: int) -> dict[str, object]:
    """Return the ledger row of one session: bars, no data, or the kind of failure, each with its words."""
    answer, error = outcome.answer, outcome.error
    asked_at = answer.asked_at if answer else None
    if error:
        verdict, detail = outcome_of(error), str(error)
    elif n_rows:
        verdict, detail = "bars", ""
    else:
        assert answer is not None
        verdict, detail = "no_data", answer.no_data_text or NO_BAR
    return {
        **constants,
        "session": session,
        "outcome": verdict,
        "detail": detail,
        "n_rows": n_rows,
        "asked_from": session,
        "duration": outcome.planned.request.duration,
        "asked_at": asked_at,
        "ingested_at": answer.answered_at if answer else None,
    }


@dataclass(frozen=True, slots=True)
class MinuteRows:
    """Bronze rows of one request for 1-minute bars."""

    bars: pl.DataFrame
    ledger: pl.DataFrame

    @classmethod
    def of(cls, outcome: Outcome, batch_id: str, number: int, calendar: TradingCalendar, at: datetime) -> Self:
        """Divide an answer by session; rows of sessions that nobody asked for are left out.

        Args:
            outcome: what became of the request.
            batch_id: commit that the rows belong to.
            number: position of the request in the commit.
            calendar: of the instrument's own exchange, which dates its bars.
            at: knowledge time of outcomes that have no answer.
        """
        constants = _constants(outcome, batch_id, number)
        needed = sorted(outcome.planned.needed)
        bars = RAW_TWS_BARS.empty()
        if (answer := outcome.answer) and not answer.bars.is_empty():
            bars = _as_minutes(answer, constants, calendar).filter(pl.col("session").is_in(needed))
        counts = dict(bars.group_by("session").len().iter_rows())
        rows = [_ledger_row(outcome, constants, session, counts.get(session, 0)) for session in needed]
        return cls(bars, RAW_TWS_REQUESTS.frame([_stamped(row, at) for row in rows]))


def _stamped(row: dict[str, object], at: datetime) -> dict[str, object]:
    return {**row, "asked_at": row["asked_at"] or at, "ingested_at": row["ingested_at"] or at}


def _as_minutes(answer: BarAnswer, constants: dict[str, object], calendar: TradingCalendar) -> pl.DataFrame:
    dated = answer.bars.with_columns(calendar.session_of(pl.col("ts")))
    return _complete(dated, RAW_TWS_BARS.schema, constants, answer.answered_at)


def _complete(
    rows: pl.DataFrame, schema: pl.Schema, constants: dict[str, object], answered_at: datetime
) -> pl.DataFrame:
    """Add what is the same for every row of an answer, and each row's place among its session's rows."""
    added = {**constants, "ingested_at": answered_at}
    return rows.with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).over("session").alias("answer_row"),
        *(pl.lit(value, dtype=schema[name]).alias(name) for name, value in added.items()),
    ).select(schema.names())


@dataclass(frozen=True, slots=True)
class DailyRows:
    """Bronze rows of one request for daily bars: one vintage of one series."""

    bars: pl.DataFrame
    ledger: pl.DataFrame

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        batch_id: str,
        number: int,
        vintage: date,
        asked_from: date,
        *,
        is_full: bool,
        at: datetime,
    ) -> Self:
        """Date an answer by its vintage; the bar of a session that has not closed is left out, for it is unfinished."""
        constants = _constants(outcome, batch_id, number)
        bars = RAW_TWS_DAILY_BARS.empty()
        if (answer := outcome.answer) and not answer.bars.is_empty():
            closed = answer.bars.filter(pl.col("session") <= vintage).with_columns(
                pl.lit(vintage).alias("vintage"),
                pl.lit(is_full).alias("is_full"),
                pl.lit("observed").alias("known_basis"),
            )
            bars = _complete(closed, RAW_TWS_DAILY_BARS.schema, constants, answer.answered_at)
        row = _ledger_row(outcome, constants, vintage, bars.height) | {"asked_from": asked_from}
        return cls(bars, RAW_TWS_REQUESTS.frame([_stamped(row, at)]))
