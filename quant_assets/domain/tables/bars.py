"""Bronze and silver bars."""

from collections.abc import Mapping

import polars as pl

from quant_assets.domain.outcomes import OUTCOMES, PROOFS
from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import UTC_MICROS, Column, Table
from quant_assets.settings.quality import RULE_NAMES

ANSWER_ROW = Column("answer_row", pl.Int64, "position", "Position of the bar in its TWS answer", ge=0)

RAW_TWS_BARS = Table(
    name="raw_tws_bars",
    zone="bronze",
    key=("con_id", "bar_size", "what_to_show", "use_rth", "ts", "batch_id", "request_id", "answer_row"),
    sort_by=("con_id", "ingested_at", "request_id", "answer_row"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        *c.SERIES,
        c.TS,
        *c.ohlcv(strict=False),
        ANSWER_ROW,
        c.BATCH_ID,
        c.REQUEST_ID,
        c.INGESTED_AT,
        c.PIPELINE_VERSION,
    ),
    grain="one row of one TWS answer; a re-fetch adds a newer batch",
    description="1-minute bars exactly as TWS served them, duplicates and disorder included.",
    producer="raw_tws_bars",
    append_only=True,
    may_be_empty=True,
)

RAW_TWS_REQUESTS = Table(
    name="raw_tws_requests",
    zone="bronze",
    key=("con_id", "bar_size", "what_to_show", "use_rth", "request_id"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        *c.SERIES,
        Column("outcome", pl.String, "enum", "What the request came to for this session", isin=OUTCOMES),
        Column("proof", pl.String, "enum", "What speaks for the outcome; empty while nothing does", isin=("", *PROOFS)),
        Column("detail", pl.String, "text", "TWS's own words, or ours when it said nothing"),
        Column("n_rows", pl.Int64, "rows", "Bars of this session in the answer", ge=0),
        Column("asked_from", pl.Date, "date", "First session that the request was meant to cover", provenance=True),
        Column("duration", pl.String, "TWS duration", "Length that was asked for", provenance=True),
        Column("asked_at", UTC_MICROS, "UTC instant", "When the request was sent", provenance=True),
        Column(
            "bars_batch_id",
            pl.String,
            "id",
            "Commit that holds these bars: an earlier one where they are equal to its own; null without bars",
            nullable=True,
            provenance=True,
        ),
        c.BATCH_ID,
        c.REQUEST_ID,
        c.INGESTED_AT,
        c.PIPELINE_VERSION,
    ),
    grain="(session, series, request): the outcome of asking",
    description=(
        "What each request came to per session: empty, no data, no permission and timeout are four things. "
        "What nothing proves is asked again."
    ),
    producer="raw_tws_bars",
    append_only=True,
)

RAW_TWS_SCHEDULES = Table(
    name="raw_tws_schedules",
    zone="bronze",
    key=("calendar", "session", "request_id"),
    columns=(
        Column("calendar", pl.String, "name", "Calendar in question, `CALENDAR:con_id` where it is one instrument's"),
        c.SESSION,
        Column("opens_at", UTC_MICROS, "UTC instant", "Opening; null where TWS has no session", nullable=True),
        Column("closes_at", UTC_MICROS, "UTC instant", "Close; likewise", nullable=True),
        Column("pauses_at", UTC_MICROS, "UTC instant", "Where trading pauses; null where it does not", nullable=True),
        Column("resumes_at", UTC_MICROS, "UTC instant", "Where it goes on; likewise", nullable=True),
        Column("con_id", pl.Int64, "id", "Instrument whose schedule was asked for", gt=0, provenance=True),
        Column("symbol", pl.String, "label", "Its symbol", provenance=True),
        c.BATCH_ID,
        c.REQUEST_ID,
        c.INGESTED_AT,
        c.PIPELINE_VERSION,
    ),
    grain="(calendar, session, request): the hours in TWS's schedule",
    description=(
        "Sessions of an exchange, or of a future, a pair or another instrument with hours of its own, as TWS's "
        "schedule has them, where bars spoke against the calendar or the schedule differs from it. The newest row of a "
        "session overrules the calendar, in every rebuild."
    ),
    producer="raw_tws_bars",
    append_only=True,
    on_request=True,
)

RAW_TWS_DAILY_BARS = Table(
    name="raw_tws_daily_bars",
    zone="bronze",
    key=("con_id", "what_to_show", "use_rth", "vintage", "session", "batch_id", "request_id", "answer_row"),
    sort_by=("con_id", "what_to_show", "ingested_at", "request_id", "answer_row"),
    columns=(
        Column("vintage", pl.Date, "date", "Session as of which the history was served: it fixes the price basis"),
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        *c.SERIES,
        *c.ohlcv(strict=False),
        Column("is_full", pl.Boolean, "flag", "The full window was fetched, not only a short overlap"),
        ANSWER_ROW,
        c.KNOWN_BASIS,
        c.BATCH_ID,
        c.REQUEST_ID,
        c.INGESTED_AT,
        c.PIPELINE_VERSION,
    ),
    grain="(series, session, vintage)",
    description="Daily history in vintages: each fetch on the price basis of its own day, TRADES and ADJUSTED_LAST.",
    producer="raw_tws_daily_bars",
    partition_by="vintage",
    append_only=True,
)

IMPUTED = tuple(
    Column(f"is_imputed_{name}", pl.Boolean, "flag", f"`{name}` was imputed, not observed")
    for name in ("open", "high", "low", "close", "volume")
)

DQ_RULES = Column(
    "dq_rules",
    pl.String,
    "names",
    "Rules behind a status other than ok, separated by `;`; null for a sound row",
    nullable=True,
)

CURATED_TWS_1M_BARS = Table(
    name="curated_tws_1m_bars",
    zone="silver",
    key=("session", "con_id", "ts"),
    sort_by=("con_id", "ts"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        c.TS,
        *c.ohlcv(strict=True),
        *IMPUTED,
        c.DQ_STATUS,
        DQ_RULES,
        c.KNOWN_AT,
        c.KNOWN_BASIS,
        c.TRANSFORM_VERSION,
    ),
    grain="(session, con_id, ts)",
    description="1-minute bars of regular trading hours that kept every rule; one row per traded minute.",
    producer="curated_tws_1m_bars",
    row_rules=c.OHLC_ORDER,
)

QUARANTINE_TWS_BARS = Table(
    name="quarantine_tws_bars",
    zone="silver",
    key=("session", "con_id", "ts", "batch_id", "request_id", "answer_row"),
    sort_by=("con_id", "ts", "ingested_at", "request_id", "answer_row"),
    columns=(
        *RAW_TWS_BARS.columns,
        Column("rule", pl.String, "name", "First rule that the row broke"),
        Column("rules", pl.String, "names", "All rules that the row broke, separated by `;`"),
        *(Column(f"broke_{name}", pl.Boolean, "flag", f"The row broke `{name}`") for name in RULE_NAMES),
        Column("verdict", pl.String, "name", "What the row is taken for"),
        Column("evidence", pl.String, "text", "The numbers that the verdict rests on"),
        c.TRANSFORM_VERSION,
    ),
    grain="one rejected row of one TWS answer",
    description="Rows that broke a rule, with the rule, the evidence and the verdict. Nothing is deleted.",
    producer="curated_tws_1m_bars",
    may_be_empty=True,
)

KINDS = ("none", "split", "dividend", "split_and_dividend", "basis", "unexplained", "unexplained_break", "real_move")

ADJUSTMENT_FACTORS = Table(
    name="adjustment_factors",
    zone="silver",
    key=("as_of_session", "con_id", "session"),
    sort_by=("con_id", "session"),
    columns=(
        Column("as_of_session", pl.Date, "date", "Session D whose price basis the factors lead to"),
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        Column(
            "split_factor",
            pl.Float64,
            "price now per price then",
            "Multiplies prices, divides volumes. Row of the session before D: from the basis as of then to that of D. "
            "Row of D: from its stored 1-minute bars to the basis of D",
            gt=0.0,
        ),
        Column(
            "total_return_factor",
            pl.Float64,
            "price now per price then",
            "split_factor, times the dividends that went ex on D",
            gt=0.0,
        ),
        Column(
            "kind",
            pl.String,
            "enum",
            "What the factors stand for; basis: the minutes were fetched on another side of a split; unexplained: the "
            "answers differ by what is no split, and nothing is adjusted; unexplained_break: its two sides stand on "
            "two price bases, and nothing says how one leads to the other; real_move: the same, and a person says that "
            "the price moved: the factors are those of a split and a dividend, if any",
            isin=KINDS,
        ),
        Column(
            "observed_ratio",
            pl.Float64,
            "price per price",
            "Ratio as measured, before it was taken for a split",
            nullable=True,
        ),
        Column(
            "close_before",
            pl.Float64,
            "quote currency per share",
            "Of a break within one answer, or a real move: the close before it, on the basis of D. Null where two "
            "answers for the same prices differ: no price moved",
            nullable=True,
        ),
        Column(
            "close_after", pl.Float64, "quote currency per share", "The same: the close of D beyond it", nullable=True
        ),
        Column("vintage_before", pl.Date, "date", "Daily vintage on the basis before", nullable=True, provenance=True),
        Column("vintage_after", pl.Date, "date", "Daily vintage on the basis of D", nullable=True, provenance=True),
        Column(
            "evidence",
            pl.String,
            "text",
            "The two vintages that disagree, or the minutes against the day",
            provenance=True,
        ),
        c.TRANSFORM_VERSION,
    ),
    grain="(as-of session, con_id, session): per instrument a row of the session before, and one of the session itself",
    description="Splits and dividends as the answers of two days prove them, and the basis of the stored minutes.",
    producer="adjustment_factors",
)

CURATED_TWS_1D_BARS = Table(
    name="curated_tws_1d_bars",
    zone="silver",
    key=("as_of_session", "con_id", "session"),
    sort_by=("con_id", "session"),
    columns=(
        Column("as_of_session", pl.Date, "date", "Session as of which the window is seen"),
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        *c.ohlcv(strict=True),
        Column("adj_close", pl.Float64, "quote currency per share", "Close adjusted for splits and dividends", gt=0.0),
        Column(
            "coverage", pl.Float64, "fraction", "Sessions present ÷ sessions expected in the window", ge=0.0, le=1.0
        ),
        c.DQ_STATUS,
        DQ_RULES,
        Column("vintage", pl.Date, "date", "Vintage that the row was taken from", provenance=True),
        c.KNOWN_AT,
        c.KNOWN_BASIS,
        c.TRANSFORM_VERSION,
    ),
    grain="(as-of session, con_id, session)",
    description="The trailing window of daily bars as of a session, on one price basis; rows before an unexplained "
    "break of it are in error, and nothing is computed from them.",
    producer="curated_tws_1d_bars",
    row_rules=c.OHLC_ORDER,
)

ACCOUNTING_REASONS: Mapping[str, tuple[str, ...]] = {
    "present": ("present",),
    "imputed": ("imputed", "imputed_quarantined", "imputed_unexplained"),
    "explained": (
        "closed",
        "half_day",
        "halt",
        "no_trades",
        "vendor_filler",
        "not_listed",
        "delisted",
        "no_permission",
        "unknown_contract",
        "quarantined",
        "accepted",
    ),
    "unexplained": ("suspect_empty", "unexplained"),
}
"""Term of the equation → reasons that it is the sum of; `domain/accounting.py` says when each is given."""

BAR_ACCOUNTING = Table(
    name="bar_accounting",
    zone="silver",
    key=("session", "con_id", "reason"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        Column(
            "kind",
            pl.String,
            "enum",
            "Term of the equation expected = present + imputed + explained + unexplained",
            isin=tuple(ACCOUNTING_REASONS),
        ),
        Column(
            "reason",
            pl.String,
            "enum",
            "Why. imputed_quarantined, imputed_unexplained: a value is filled in where rows were rejected, or where "
            "nothing says what happened; accepted: TWS has no more, and a person put that on record",
            isin=tuple(reason for reasons in ACCOUNTING_REASONS.values() for reason in reasons),
        ),
        Column("minutes", pl.Int64, "minutes", "Minutes of that reason", ge=0.0),
        Column("expected", pl.Int64, "minutes", "Minutes of the exchange's usual session: what all reasons add up to"),
        Column("evidence", pl.String, "text", "What it rests on: outcome, proof and words of the request"),
    ),
    grain="(session, con_id, reason)",
    description="Where every expected minute went: present, imputed, explained by a reason, or unexplained.",
    producer="curated_tws_1m_bars",
)

DQ_METRICS = Table(
    name="dq_metrics",
    zone="silver",
    key=("dataset", "session", "con_id", "metric"),
    columns=(
        Column("dataset", pl.String, "name", "Table that the metric is about"),
        c.SESSION,
        Column("con_id", pl.Int64, "id", "Instrument; null for the whole session", nullable=True, gt=0),
        Column("metric", pl.String, "name", "What is measured; `rule_` names count the rows that broke a rule"),
        Column("value", pl.Float64, "count or share", "The measurement"),
        Column("status", pl.String, "enum", "warn beyond the threshold", isin=("ok", "warn")),
        Column("threshold", pl.Float64, "as value", "From where it warns; null where nothing does", nullable=True),
        c.PIPELINE_VERSION,
        Column("recorded_at", UTC_MICROS, "UTC instant", "When it was measured", provenance=True),
    ),
    grain="(dataset, session, instrument or none, metric)",
    description="How good a session is: rule counts, coverage, shares of bad rows, and the minutes against the day.",
    producer="curated_tws_1m_bars",
)
