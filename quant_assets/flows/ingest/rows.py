"""From an outcome of asking to rows of bronze: the bars as served, and one ledger row per session."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

import polars as pl

import quant_assets
from quant_assets.connectors.base import BarAnswer
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.completeness import ANSWERS, DailyVerdict
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import outcome_of, series_of


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


def _ledger_row(outcome: Outcome, constants: dict[str, object], session: date, at: datetime) -> dict[str, object]:
    """Return the ledger row of one session, as far as it is known before the bars are looked at.

    Args:
        outcome: what became of the request.
        constants: what all rows of the request share.
        session: the session.
        at: knowledge time of outcomes that have no answer.
    """
    answer, error = outcome.answer, outcome.error
    return {
        **constants,
        "session": session,
        "outcome": outcome_of(error) if error else "",
        "proof": "",
        "detail": str(error) if error else "",
        "n_rows": 0,
        "asked_from": session,
        "duration": outcome.planned.request.duration,
        "asked_at": answer.asked_at if answer else at,
        "ingested_at": answer.answered_at if answer else at,
    }


@dataclass(frozen=True, slots=True)
class MinuteRows:
    """Bronze rows of one request for 1-minute bars, before anybody has judged them."""

    bars: pl.DataFrame
    """Rows of `raw_tws_bars`."""
    ledger: pl.DataFrame
    """Rows of `raw_tws_requests`; the outcome is empty where there is an answer."""
    answers: pl.DataFrame
    """`completeness.ANSWERS` of the sessions that there is an answer for."""

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
        bars, answers = RAW_TWS_BARS.empty(), pl.DataFrame(schema=ANSWERS)
        if answer := outcome.answer:
            dated = _as_minutes(answer, constants, calendar)
            bars = dated.filter(pl.col("session").is_in(needed))
            answers = _answers(outcome.planned, answer, dated["session"], str(constants["request_id"]))
        ledger = [_ledger_row(outcome, constants, session, at) for session in needed]
        return cls(bars, RAW_TWS_REQUESTS.frame(ledger), answers)


def stamped(drafts: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Return ledger rows with what their answers were judged to be; rows without an answer stay as they are.

    Args:
        drafts: rows of `raw_tws_requests` as `MinuteRows` has them.
        judged: see `completeness.judge_minutes`.
    """
    found = ["outcome", "proof", "detail", "n_rows"]
    joined = drafts.drop("bars_batch_id").join(
        judged, on=["session", "con_id", "request_id"], how="left", suffix="_judged", maintain_order="left"
    )
    own = pl.when(pl.col("is_kept")).then("batch_id")
    return joined.with_columns(
        *(pl.coalesce(f"{name}_judged", name).alias(name) for name in found),
        pl.coalesce("same_as", own).alias("bars_batch_id"),
    ).select(RAW_TWS_REQUESTS.schema.names())


def _answers(planned: PlannedRequest, answer: BarAnswer, dated: pl.Series, request_id: str) -> pl.DataFrame:
    """Return what is known of an answer before its bars are looked at, per session that it was to bring."""
    contract = planned.request.contract
    common = {
        "con_id": contract.con_id,
        "request_id": request_id,
        "is_share": contract.sec_type == "STK",
        "words": answer.no_data_text,
        "first_asked": planned.sessions[0],
        "last_asked": planned.sessions[-1],
        "first_row": dated.min(),
        "last_row": dated.max(),
        "n_nothing": 0,
        "is_reread": False,
    }
    hours = {one.session: one for one in planned.covers}
    rows = [
        {**common, "session": day, "opens_at": hours[day].opens_at, "closes_at": hours[day].closes_at}
        for day in sorted(planned.needed)
    ]
    return pl.DataFrame(rows, schema=ANSWERS)


def _as_minutes(answer: BarAnswer, constants: dict[str, object], calendar: TradingCalendar) -> pl.DataFrame:
    if answer.bars.is_empty():
        return RAW_TWS_BARS.empty()
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
        verdict: DailyVerdict | None,
        request_id: str,
        vintage: date,
        asked_from: date,
        *,
        is_full: bool,
        at: datetime,
    ) -> Self:
        """Date an answer by its vintage; bars before the window, and unfinished ones of a later session, are left out.

        Args:
            outcome: what became of the request.
            verdict: what its answer was judged to be; only `bars` reach bronze.
            request_id: batch id and number of the request.
            vintage: session as of which it was asked.
            asked_from: first session that it was to cover.
            is_full: the whole window was asked for.
            at: knowledge time of outcomes that have no answer.
        """
        batch_id, _, number = request_id.rpartition("-")
        constants = _constants(outcome, batch_id, int(number))
        row = _ledger_row(outcome, constants, vintage, at) | {"asked_from": asked_from}
        bars = RAW_TWS_DAILY_BARS.empty()
        if (answer := outcome.answer) and verdict:
            closed = answer.bars.filter(pl.col("session").is_between(asked_from, vintage))
            said = {"outcome": verdict.outcome, "proof": verdict.proof, "detail": verdict.detail}
            row |= {**said, "n_rows": closed.height}
            if verdict.outcome == "bars":
                dated = closed.with_columns(
                    pl.lit(vintage).alias("vintage"),
                    pl.lit(is_full).alias("is_full"),
                    pl.lit("observed").alias("known_basis"),
                )
                bars = _complete(dated, RAW_TWS_DAILY_BARS.schema, constants, answer.answered_at)
                row |= {"bars_batch_id": batch_id}
        return cls(bars, RAW_TWS_REQUESTS.frame([row]))
