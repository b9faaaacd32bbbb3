"""From an outcome of asking to rows of bronze: the bars as served, and one ledger row per session."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Self

import polars as pl

import quant_assets
from quant_assets.connectors.base import MINUTE_ANSWER, BarAnswer, Contract
from quant_assets.connectors.tws.planner import PlannedRequest
from quant_assets.connectors.tws.retry import Outcome
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.completeness import ANSWERS, DailyVerdict
from quant_assets.domain.hours import HOURS
from quant_assets.domain.instruments import may_be_lots
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.flows.ingest.ledger import outcome_of, series_columns


def _constants(outcome: Outcome, batch_id: str, number: int) -> dict[str, object]:
    contract = outcome.planned.request.contract
    return {
        "con_id": contract.con_id,
        "symbol": contract.symbol,
        **series_columns(outcome.planned.request),
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
    """Bronze rows of a group of requests for 1-minute bars, before anybody has judged them."""

    bars: pl.DataFrame
    """Rows of `raw_tws_bars`."""
    ledger: pl.DataFrame
    """Rows of `raw_tws_requests`; the outcome is empty where there is an answer."""
    answers: pl.DataFrame
    """`completeness.ANSWERS` of the sessions that there is an answer for."""

    @classmethod
    def of(
        cls, group: Sequence[Outcome], batch_id: str, calendar_of: Callable[[Contract], TradingCalendar], at: datetime
    ) -> Self:
        """Divide answers by session; rows of sessions that nobody asked for are left out.

        Args:
            group: what became of the requests.
            batch_id: commit that the rows belong to.
            calendar_of: the calendar of an instrument's own exchange, which dates its bars.
            at: knowledge time of outcomes that have no answer.
        """
        requests = [_constants(outcome, batch_id, number) for number, outcome in enumerate(group)]
        ledger = [
            _ledger_row(outcome, constants, session, at)
            for outcome, constants in zip(group, requests, strict=True)
            for session in sorted(outcome.planned.needed)
        ]
        dated = _dated(group, requests, calendar_of)
        answers = _answers(group, requests, dated)
        bars = dated.join(answers, on=["request_id", "session"], how="semi", maintain_order="left")
        return cls(_complete(bars, group, requests), RAW_TWS_REQUESTS.frame(ledger), answers)


def _dated(
    group: Sequence[Outcome],
    requests: Sequence[Mapping[str, object]],
    calendar_of: Callable[[Contract], TradingCalendar],
) -> pl.DataFrame:
    """Return all bars with request_id and session; a calendar dates those of all its instruments at once."""
    alike: dict[TradingCalendar, list[tuple[str, pl.DataFrame]]] = defaultdict(list)
    for outcome, constants in zip(group, requests, strict=True):
        if (answer := outcome.answer) and not answer.bars.is_empty():
            calendar = calendar_of(outcome.planned.request.contract)
            alike[calendar].append((str(constants["request_id"]), answer.bars))
    if not alike:
        return pl.DataFrame(schema={**MINUTE_ANSWER, "request_id": pl.String(), "session": pl.Date()})
    return pl.concat(
        pl.concat([bars for _, bars in parts]).with_columns(
            _repeated([(request_id, bars.height) for request_id, bars in parts]).alias("request_id"),
            calendar.session_of(pl.col("ts")),
        )
        for calendar, parts in alike.items()
    )


def _repeated(values: Sequence[tuple[str, int]]) -> pl.Series:
    """Return each value as often as it is to be there."""
    counted = pl.DataFrame(values, schema={"value": pl.String, "n": pl.UInt32}, orient="row")
    return counted.select(pl.col("value").repeat_by("n").explode())["value"]


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


def _answers(group: Sequence[Outcome], requests: Sequence[Mapping[str, object]], dated: pl.DataFrame) -> pl.DataFrame:
    """Return what is known of answers before their bars are looked at, per session that they were to bring."""
    rows = [
        row
        for outcome, constants in zip(group, requests, strict=True)
        if outcome.answer
        for row in _asked(outcome.planned, outcome.answer, str(constants["request_id"]))
    ]
    spans = dated.group_by("request_id").agg(
        pl.col("session").min().alias("first_row"), pl.col("session").max().alias("last_row")
    )
    asked = pl.DataFrame(rows, schema={name: dtype for name, dtype in ANSWERS.items() if name not in _ROWS})
    return asked.join(spans, on="request_id", how="left", maintain_order="left").select(ANSWERS.names())


_ROWS: Final = ("first_row", "last_row")


def _asked(planned: PlannedRequest, answer: BarAnswer, request_id: str) -> Iterator[dict[str, object]]:
    contract = planned.request.contract
    hours = {one.session: one.hours for one in planned.covers}
    for day in sorted(planned.needed):
        yield {
            "session": day,
            "con_id": contract.con_id,
            "request_id": request_id,
            **dict(zip(HOURS, hours[day].row, strict=True)),
            "is_share": contract.sec_type == "STK",
            "may_be_lots": may_be_lots(contract.sec_type, contract.currency),
            "words": answer.no_data_text,
            "first_asked": planned.sessions[0],
            "last_asked": planned.sessions[-1],
            "n_nothing": 0,
            "is_reread": False,
        }


def _complete(bars: pl.DataFrame, group: Sequence[Outcome], requests: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Add what is the same for every row of an answer, and each row's place among its session's rows."""
    schema = RAW_TWS_BARS.schema
    same = [
        {**constants, "ingested_at": outcome.answer.answered_at}
        for outcome, constants in zip(group, requests, strict=True)
        if outcome.answer
    ]
    names = [*requests[0], "ingested_at"] if requests else ["request_id"]
    constant = pl.DataFrame(same, schema={name: schema[name] for name in names})
    return (
        bars.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over("request_id", "session").alias("answer_row"))
        .join(constant, on="request_id", how="left", maintain_order="left")
        .select(schema.names())
    )


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
                added = {"vintage": vintage, "is_full": is_full, "known_basis": "observed"}
                bars = _of_series(closed, {**constants, **added, "ingested_at": answer.answered_at})
                row |= {"bars_batch_id": batch_id}
        return cls(bars, RAW_TWS_REQUESTS.frame([row]))


def _of_series(rows: pl.DataFrame, constants: Mapping[str, object]) -> pl.DataFrame:
    """Add what is the same for every row of a vintage, and each row's place among its session's rows."""
    schema = RAW_TWS_DAILY_BARS.schema
    return rows.with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).over("session").alias("answer_row"),
        *(pl.lit(value, dtype=schema[name]).alias(name) for name, value in constants.items()),
    ).select(schema.names())
